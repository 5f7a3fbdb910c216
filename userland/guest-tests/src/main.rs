//! Conformance tests that run inside the guest, on any Linux-compatible kernel.
//!
//! Each test is named after the rule it holds and runs in a child of its own, watched by a clock. `guest-tests` runs all,
//! `guest-tests WORD...` those whose name contains a word, `guest-tests list` names them. The last line is
//! `N passed, N failed`.
#![no_std]
#![no_main]

mod alt_stacks;
mod clone_args;
mod comparing;
mod cores;
mod cpu_time;
mod exhaustion;
mod files;
mod futexes;
mod fuzz;
mod groups;
mod inheritance;
mod internet;
mod interrupts;
mod ipc;
mod jobs;
mod kernel_memory;
mod letting_go;
mod limits;
mod memory;
mod messages;
mod net;
mod openat2;
mod pidfds;
mod pointers;
mod polling;
mod privileges;
mod process;
mod process_files;
mod programs;
mod reaping;
mod scheduling;
mod segments;
mod semaphores;
mod sequences;
mod signals;
mod sockets;
mod splicing;
mod support;
mod terminals;
mod timers;
mod vectors;

use rt::raw::general::{O_CLOEXEC, POLLIN, SIGKILL, pollfd};
use rt::{println, sys};

/// What a test gives: nothing, or what did not hold.
pub type Outcome = Result<(), Why>;

/// Why a test failed.
pub enum Why {
    /// A condition, and the line that it stands in.
    Condition(&'static str, u32),
    /// A system call's error where none was expected.
    Call(rt::Errno),
}

impl From<rt::Errno> for Why {
    fn from(error: rt::Errno) -> Why {
        Why::Call(error)
    }
}

/// Fails the test unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            return Err($crate::Why::Condition(stringify!($condition), line!()));
        }
    };
}

/// A test and its name.
pub type Test = (&'static str, fn() -> Outcome);

/// Names a module's tests after their functions.
#[macro_export]
macro_rules! tests {
    ($($(#[$only:meta])* $name:ident),* $(,)?) => {
        /// This module's tests.
        pub const TESTS: &[$crate::Test] = &[$($(#[$only])* (stringify!($name), $name)),*];
    };
}

const SUITES: &[&[Test]] = &[
    process::TESTS,
    signals::TESTS,
    ipc::TESTS,
    polling::TESTS,
    memory::TESTS,
    files::TESTS,
    sockets::TESTS,
    internet::TESTS,
    vectors::TESTS,
    pointers::TESTS,
    exhaustion::TESTS,
    limits::TESTS,
    kernel_memory::TESTS,
    programs::TESTS,
    fuzz::TESTS,
    cpu_time::TESTS,
    timers::TESTS,
    pidfds::TESTS,
    privileges::TESTS,
    scheduling::TESTS,
    openat2::TESTS,
    futexes::TESTS,
    clone_args::TESTS,
    comparing::TESTS,
    splicing::TESTS,
    groups::TESTS,
    reaping::TESTS,
    jobs::TESTS,
    interrupts::TESTS,
    alt_stacks::TESTS,
    letting_go::TESTS,
    inheritance::TESTS,
    cores::TESTS,
    semaphores::TESTS,
    sequences::TESTS,
    messages::TESTS,
    segments::TESTS,
    terminals::TESTS,
    process_files::TESTS,
];

/// How long one test may take. The one that fills all memory takes long on an emulated machine that is busy.
const LIMIT_MS: i64 = 60_000;

rt::main!(run);

fn run(args: &rt::Args) -> i32 {
    if args.text(0).is_empty() {
        // Executed by a test without even a name: it must not run the tests again, which would not end.
        return 1;
    }
    if args.text(1) == "child" {
        // What the tests of execve become.
        return args.text(2).parse().unwrap_or(1);
    }
    if args.text(1) == "read" {
        return i32::from(sys::read(0, &mut [0]) != Ok(0));
    }
    if args.text(1) == "look" {
        return groups::look();
    }
    if args.text(1) == "whoami" {
        // What the tests of set-id programs become.
        return 10 + support::call(rt::raw::general::__NR_geteuid, []).map_or(99, |id| id.min(10) as i32);
    }
    if args.text(1) == "fuzz" {
        return fuzz::command(args);
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in SUITES.iter().copied().flatten() {
        if args.text(1) == "list" {
            println!("{name}");
            continue;
        }
        if args.len() > 1 && !(1..args.len()).any(|index| name.contains(args.text(index))) {
            continue;
        }
        if run_one(name, *test) {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    i32::from(failed > 0 || passed == 0)
}

/// Runs a test in a child whose end shows as the end of a pipe; what the child wrote there is why it failed.
fn run_one(name: &str, test: fn() -> Outcome) -> bool {
    let Ok(pipe) = sys::pipe(O_CLOEXEC) else {
        println!("test {name} ... FAILED: no pipe for its result");
        return false;
    };
    let child = match sys::fork() {
        Ok(0) => {
            let _ = (sys::close(pipe[0]), sys::setsid());
            match test() {
                Ok(()) => sys::exit_group(0),
                Err(Why::Condition(what, line)) => rt::print::print(pipe[1], format_args!("{what} (line {line})")),
                Err(Why::Call(error)) => rt::print::print(pipe[1], format_args!("errno {}", error.0)),
            }
            sys::exit_group(1)
        }
        Ok(child) => child,
        Err(error) => {
            println!("test {name} ... FAILED: fork: errno {}", error.0);
            let _ = (sys::close(pipe[0]), sys::close(pipe[1]));
            return false;
        }
    };
    let _ = sys::close(pipe[1]);
    let in_time =
        matches!(sys::poll(&mut [pollfd { fd: pipe[0], events: POLLIN as i16, revents: 0 }], LIMIT_MS), Ok(1));
    if !in_time {
        // The whole session: a test may have children that hang.
        let _ = rt::signal::kill(-child, SIGKILL);
        let _ = rt::signal::kill(child, SIGKILL);
    }
    let mut why = [0u8; 256];
    let count = if in_time { sys::read(pipe[0], &mut why).unwrap_or(0) } else { 0 };
    let _ = sys::close(pipe[0]);
    let status = sys::wait4(child, 0).map_or(-1, |(_, status)| status);
    match (in_time, status) {
        (true, 0) => println!("test {name} ... ok"),
        (false, _) => println!("test {name} ... FAILED: no end within {} s", LIMIT_MS / 1000),
        _ if count > 0 => {
            println!("test {name} ... FAILED: {}", core::str::from_utf8(&why[..count]).unwrap_or("?"));
        }
        _ => println!("test {name} ... FAILED: ended with raw status {status:#x}"),
    }
    in_time && status == 0
}
