//! What a freestanding Linux program needs instead of a libc: start code, raw system calls,
//! threads, signals and printing, for x86_64 and aarch64.
//!
//! A program says `rt::main!(run);` with `fn run(args: &rt::Args) -> i32`. There is no heap and no buffering:
//! each `print!` is one `write`. The crates are built for the bare-metal targets, so nothing here may use
//! floating point, and `target_os` is `none`; Linux is reached by its system calls alone.
#![no_std]
#![warn(missing_docs)]

mod args;
pub mod print;
pub mod signal;
pub mod sys;
pub mod thread;

pub use args::Args;
pub use linux_raw_sys as raw;
pub use sys::{Errno, Result};

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;

pub use arch::{counter_ns, syscall0, syscall1, syscall2, syscall3, syscall4, syscall5, syscall6};

/// Names the function that the program begins with: `fn(&Args) -> i32`.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        /// Called by the start code with the stack that the kernel laid out.
        #[unsafe(no_mangle)]
        extern "C" fn rt_main(stack: *const usize) -> ! {
            // SAFETY: the start code passes the stack pointer as it was at the program's first instruction.
            let args = unsafe { $crate::Args::from_stack(stack) };
            let run: fn(&$crate::Args) -> i32 = $run;
            $crate::sys::exit_group(run(&args))
        }
    };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    eprintln!("{info}");
    sys::exit_group(134)
}
