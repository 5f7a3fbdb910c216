//! What runs on the development machine: it installs what is needed, builds images and guest programs, boots them
//! under QEMU and reads what comes back.
//!
//! The command `harness` (src/bin/harness.rs) is a thin front on these modules; the justfile is one on that.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod accel;
pub mod arch;
pub mod bench;
pub mod busybox_test;
pub mod chart;
pub mod compare;
pub mod cpio;
pub mod cycles_test;
pub mod frame;
pub mod image;
pub mod interactive;
pub mod jobs_test;
pub mod machine_test;
pub mod packages;
pub mod profile;
pub mod python_test;
pub mod qemu;
pub mod recipe;
pub mod run;
pub mod scripts_test;
pub mod selftests_test;
pub mod server;
pub mod shell_test;
pub mod stress_test;
pub mod stub;
pub mod suite;
pub mod symbols;
pub mod terminal;
pub mod toolchain;
pub mod trace;
