//! A creation that fails leaves nothing behind, wherever it fails: every request for memory is refused in turn, every access to user
//! memory faults in turn, and each pointer is bad in turn.

use super::*;
use base::Errno;
use process::clone::Flags as Clone;
use std::cell::Cell;
use std::rc::Rc;

/// What a failed creation must not change.
#[derive(Debug, PartialEq)]
struct State {
    memory: memory::frames::Stats,
    threads: u64,
    processes: usize,
    descriptors: usize,
    numbers: usize,
}

fn state(first: &Current) -> State {
    let numbers = (1..=pid::last_number()).filter(|number| pid::Pid::find(*number).is_some()).count();
    State {
        memory: memory::stats(),
        threads: process::users::threads(),
        processes: process::tree::lock().processes,
        descriptors: first.files.count(),
        numbers,
    }
}

/// An address where nothing is.
const NOWHERE: VirtAddr = VirtAddr(0x7000_0000);

/// Where the calls of these tests store numbers: in the page that all share.
const fn word(index: usize) -> VirtAddr {
    VirtAddr(WORDS + 0x800 + 4 * index)
}

fn request(flags: Clone) -> Request {
    Request {
        flags,
        exit_signal: if flags.contains(Clone::THREAD) { 0 } else { Signal::SIGCHLD.number() },
        stack: 0,
        tls: 0,
        parent_tid: word(0),
        child_tid: word(1),
        pidfd: word(2),
        number: None,
    }
}

/// The kinds of children: what is shared, and what is stored where.
const KINDS: [Clone; 7] = [
    Clone::empty(),
    Clone::VM,
    Clone::PIDFD,
    Clone::PARENT_SETTID.union(Clone::CHILD_SETTID).union(Clone::CHILD_CLEARTID),
    Clone::FILES.union(Clone::FS).union(Clone::IO),
    Clone::VM.union(Clone::SIGHAND).union(Clone::PIDFD),
    Clone::VM.union(Clone::SIGHAND).union(Clone::THREAD).union(Clone::PARENT_SETTID),
];

fn create(first: &mut Current, request: Request) -> Result<u32, base::Error> {
    first.cx = Context::new(0, 0);
    first.cx.program = Some(Arc::new(Script(vec![exit()])));
    now(clone::clone(first, request, syscalls::run::spawn))
}

/// Lets a child of these tests run to its end.
fn bury(first: &mut Current, id: u32, flags: Clone) {
    (0..CPUS).for_each(drain);
    for cpu in 0..CPUS {
        sim::set_cpu(cpu);
        first.thread.install();
    }
    sim::set_cpu(0);
    if !flags.contains(Clone::THREAD) {
        assert_eq!(is_over(first, id), Some(0));
    }
    if flags.contains(Clone::PIDFD) {
        let fd = word_at(word(2));
        first.files.close(fd).expect("the pidfd");
    }
}

fn word_at(addr: VirtAddr) -> u32 {
    arch::usercopy::load_u32(addr).expect("a word")
}

/// Has the `nth` of these chances go wrong, once. The count says how many there were.
fn strike(chance: sim::Chance, nth: usize) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let seen = count.clone();
    sim::set_fate(Some(Box::new(move |this| {
        if this != chance {
            return false;
        }
        seen.set(seen.get() + 1);
        seen.get() == nth
    })));
    count
}

/// A page of the first process's own, so that a fork has something to copy.
fn settle(first: &mut Current) {
    first.thread.install();
    for flags in KINDS {
        let id = create(first, request(flags)).expect("nothing goes wrong");
        bury(first, id, flags);
    }
}

#[test]
fn whatever_memory_is_refused_a_creation_leaves_nothing() {
    on_machine(|first| {
        settle(first);
        for flags in KINDS {
            let before = state(first);
            let mut refused = 0;
            loop {
                let asked = strike(sim::Chance::Memory, refused + 1);
                let result = create(first, request(flags));
                sim::set_fate(None);
                match result {
                    Ok(id) => {
                        assert!(asked.get() <= refused, "{flags:?}: refused, and succeeds");
                        bury(first, id, flags);
                        break;
                    }
                    Err(error) => assert_eq!(error, Errno::ENOMEM.into(), "{flags:?}, refusal {refused}"),
                }
                assert_eq!(state(first), before, "{flags:?}, refusal {refused}");
                refused += 1;
            }
            println!("{flags:?}: {refused} requests refused");
            assert!(refused > 0);
            assert_eq!(state(first), before, "{flags:?}");
        }
    });
}

#[test]
fn whichever_access_faults_a_creation_goes_on_once_the_page_is_there() {
    on_machine(|first| {
        settle(first);
        for flags in KINDS {
            let before = state(first);
            let mut faulted = 0;
            loop {
                let accesses = strike(sim::Chance::Access, faulted + 1);
                let id = create(first, request(flags)).expect("the page is there");
                sim::set_fate(None);
                if flags.contains(Clone::PARENT_SETTID) {
                    assert_eq!(word_at(word(0)), id, "{flags:?}, fault {faulted}");
                }
                bury(first, id, flags);
                assert_eq!(state(first), before, "{flags:?}, fault {faulted}");
                if accesses.get() <= faulted {
                    break;
                }
                faulted += 1;
            }
            println!("{flags:?}: {faulted} accesses faulted");
        }
    });
}

#[test]
fn a_bad_pointer_of_clone_is_efault_for_the_pidfd_and_ignored_for_numbers() {
    on_machine(|first| {
        settle(first);
        for flags in KINDS {
            let before = state(first);
            let bad = Request { pidfd: NOWHERE, ..request(flags | Clone::PIDFD) };
            if !flags.contains(Clone::THREAD) {
                assert_eq!(create(first, bad), Err(Errno::EFAULT.into()), "{flags:?}");
                assert_eq!(state(first), before, "{flags:?}");
            }
            let numbers = Clone::PARENT_SETTID | Clone::CHILD_SETTID | Clone::CHILD_CLEARTID;
            let bad = Request { parent_tid: NOWHERE, child_tid: NOWHERE, ..request(flags | numbers) };
            let id = create(first, bad).expect("a bad pointer to a number is ignored");
            bury(first, id, flags);
            assert_eq!(state(first), before, "{flags:?}");
        }
    });
}
