//! Where the architectures differ in what programs see: the numbers that only one of them has, argument orders, the layouts
//! of signal frames and of `struct stat`.

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[path = "aarch64.rs"]
mod imp;

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
#[path = "x86_64.rs"]
mod imp;

#[cfg(not(target_os = "none"))]
#[path = "hosted.rs"]
mod imp;

pub use imp::*;
