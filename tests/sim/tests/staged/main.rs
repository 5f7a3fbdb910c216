//! The kernel on a simulated machine, with what happens staged step by step.

mod undo;
mod windows;

use arch::addr::VirtAddr;
use arch::sim;
use arch::trap::Trap;
use arch::user::{Context, Program};
use arch::usercopy;
use executor::Step;
use linux_raw_sys::general as raw;
use memory::space::{Flags, Limits, MapRequest, Place};
use process::clone::{self, Request};
use process::signal::{Siginfo, Signal, SignalSet, send};
use process::{Current, Thread, futex, pid};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Poll, Waker};
use vfs::mount::MountFlags;
use vfs::tmpfs::{self, Tmpfs};
use vfs::{FsContext, Mount};

#[global_allocator]
static HEAP: sim::CountingHeap = sim::CountingHeap;

/// A page that all threads here share, full of futex words.
const WORDS: usize = 0x1000_0000;
const CPUS: usize = 3;

type Job = Box<dyn FnOnce(&mut Current) + Send>;

/// The kernel is booted once, and the machine is known to the host thread that did it: all tests run there, in turn.
static MACHINE: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
    let (jobs, queue) = channel::<Job>();
    std::thread::spawn(move || {
        let mut first = boot();
        for job in queue {
            job(&mut first);
        }
    });
    Mutex::new(jobs)
});

/// Runs a test with the first process's thread, which is not itself scheduled.
fn on_machine(test: impl FnOnce(&mut Current) + Send + 'static) {
    let (done, end) = channel();
    let job: Job = Box::new(move |first| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(first)));
        done.send(result).expect("the test waits");
    });
    MACHINE.lock().expect("no test panics here").send(job).expect("the machine runs");
    if let Err(panic) = end.recv().expect("the machine answers") {
        std::panic::resume_unwind(panic);
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("there is something to wait for"),
    }
}

fn boot() -> Current {
    memory::init(sim::boot(CPUS, 64 << 20, [7; 32]));
    kernel::time::init();
    kernel::random::init();
    process::users::set_threads_max(100).expect("a fair number");
    kernel::cpu::set_count(CPUS);
    for cpu in 0..CPUS {
        sim::set_cpu(cpu);
        executor::start();
    }
    sim::set_cpu(0);
    let fs = Tmpfs::new(tmpfs::Options { mode: 0o755, name: "rootfs", ..tmpfs::Options::default() }).expect("a tmpfs");
    let root = Mount::new(fs, b"rootfs", MountFlags::empty()).root();
    let current = clone::first(Arc::new(FsContext::new(root))).expect("a first process");
    let mut request = MapRequest::anonymous(Place::Fixed(VirtAddr(WORDS)), 0x1000, Flags::READ | Flags::WRITE);
    request.flags |= Flags::SHARED;
    now(current.space.map(request, &Limits::NONE)).expect("room");
    current
}

/// A program: system calls, one after the other, and what else happens in the machine while it is in user mode.
struct Script(Vec<Act>);

enum Act {
    Call(u32, [usize; 4]),
    Meanwhile(fn()),
}

impl Program for Script {
    fn run(&self, cx: &mut Context) -> Trap {
        loop {
            let at = cx.pc;
            cx.pc += 1;
            match self.0[at] {
                Act::Meanwhile(act) => act(),
                Act::Call(nr, [a, b, c, d]) => {
                    (cx.nr, cx.args) = (nr as usize, [a, b, c, d, 0, 0]);
                    return Trap::Syscall;
                }
            }
        }
    }
}

fn wait_on(word: usize) -> Act {
    Act::Call(raw::__NR_futex, [WORDS + 4 * word, raw::FUTEX_WAIT_PRIVATE as usize, 0, 0])
}

fn exit() -> Act {
    Act::Call(raw::__NR_exit, [0; 4])
}

/// A child of `parent` that runs `script`.
fn child(parent: &mut Current, flags: clone::Flags, script: Vec<Act>, spawn: clone::Spawn) -> u32 {
    parent.cx = Context::new(0, 0);
    parent.cx.program = Some(Arc::new(Script(script)));
    let null = VirtAddr(0);
    let request = Request {
        flags,
        exit_signal: if flags.contains(clone::Flags::THREAD) { 0 } else { Signal::SIGCHLD.number() },
        stack: 0,
        tls: 0,
        parent_tid: null,
        child_tid: null,
        pidfd: null,
        number: None,
    };
    now(clone::clone(parent, request, spawn)).expect("a child")
}

/// Runs a CPU until it has nothing to do.
fn drain(cpu: usize) {
    sim::set_cpu(cpu);
    while executor::run_next() == Step::Ran {}
    sim::set_cpu(0);
}

fn thread(id: u32) -> Arc<Thread> {
    pid::find_thread(id).expect("it lives")
}

/// Whether the process with this id is over; it is reaped.
fn is_over(first: &Current, id: u32) -> Option<i32> {
    use process::wait::{Options, Which, wait};
    let options = Options::EXITED | Options::NOHANG | Options::ALL;
    now(wait(&first.thread, Which::Process(id), options)).expect("a child").map(|event| event.status)
}

/// The caller's own side once more, for making a thread in another process that shares all with it.
fn fork_view(first: &Current) -> Current {
    Current {
        thread: first.thread.clone(),
        cx: Context::new(0, 0),
        fpu: arch::user::Fpu::new(),
        space: first.space.clone(),
        files: first.files.clone(),
        fs: first.fs.clone(),
        cred: first.cred.clone(),
        actions: first.actions.clone(),
        clear_child_tid: VirtAddr(0),
        set_child_tid: VirtAddr(0),
        alt_stack: Default::default(),
        saved_mask: None,
        resume: None,
        transferred: 0,
        carried: None,
        futex: None,
        parked: None,
        exiting: None,
        timer_slack: (0, 0),
        trampoline: VirtAddr(0),
        undo: None,
        rseq: None,
        vfork: None,
    }
}
