//! System V message queues (msgget(2), msgsnd(2), msgrcv(2), msgctl(2)).

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};

use crate::semaphores::{IPC_CREAT, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, key, listed};
use crate::support::{become_user, call, in_child, in_state, start, stat_path, state_of};
use crate::{Outcome, check, tests};

tests! {
    messages_come_out_in_the_order_of_their_type,
    msgrcv_takes_the_type_that_it_asks_for,
    a_message_that_does_not_fit_stays_unless_it_may_be_cut,
    a_copy_leaves_the_message_in_the_queue,
    msgsnd_and_msgrcv_refuse_what_is_wrong,
    a_receiver_is_handed_what_it_waits_for,
    a_sender_waits_for_room,
    removing_a_queue_ends_the_waits_with_eidrm,
    msgrcv_is_interrupted_by_a_handler_and_goes_on_after_a_stop,
    a_queue_keeps_its_figures,
    only_privilege_makes_a_queue_larger_than_the_limit,
    proc_shows_the_message_queues,
}

const NOWAIT: usize = 0o4000;
const MSG_NOERROR: usize = 0o10000;
const MSG_EXCEPT: usize = 0o20000;
const MSG_COPY: usize = 0o40000;

/// A queue that is removed when it goes out of scope.
struct Queue(usize);

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = call(__NR_msgctl, [self.0, IPC_RMID, 0]);
    }
}

#[repr(C)]
struct Buffer {
    kind: i64,
    text: [u8; 64],
}

impl Queue {
    fn new() -> Result<Queue, Errno> {
        call(__NR_msgget, [IPC_PRIVATE, 0o600]).map(Queue)
    }

    fn send(&self, kind: i64, text: &[u8], flags: usize) -> Result<usize, Errno> {
        let mut buffer = Buffer { kind, text: [0; 64] };
        buffer.text[..text.len()].copy_from_slice(text);
        call(__NR_msgsnd, [self.0, &raw const buffer as usize, text.len(), flags])
    }

    /// The type and the first byte of what is received; the length too.
    fn receive(&self, kind: i64, room: usize, flags: usize) -> Result<(i64, u8, usize), Errno> {
        let mut buffer = Buffer { kind: 0, text: [0; 64] };
        let len = call(__NR_msgrcv, [self.0, &raw mut buffer as usize, room, kind as usize, flags])?;
        // SAFETY: the kernel has written it.
        let buffer = unsafe { (&raw const buffer).read_volatile() };
        Ok((buffer.kind, buffer.text[0], len))
    }

    fn status(&self) -> Result<[u64; 15], Errno> {
        let mut status = [0; 15];
        call(__NR_msgctl, [self.0, IPC_STAT, status.as_mut_ptr() as usize])?;
        Ok(status)
    }
}

/// Waits until the process sleeps and goes on sleeping: in the call that it is to wait in, not on its way there.
fn sleeps(id: i32) -> bool {
    let mut path = [0; 32];
    let path = stat_path(id, &mut path);
    let mut looks = 0;
    for _ in 0..1000 {
        looks = if state_of(path) == b'S' { looks + 1 } else { 0 };
        if looks == 6 {
            return true;
        }
        sys::sleep_ms(5);
    }
    false
}

fn messages_come_out_in_the_order_of_their_type() -> Outcome {
    let queue = Queue::new()?;
    for (kind, text) in [(3, b"a"), (1, b"b"), (2, b"c"), (1, b"d")] {
        queue.send(kind, text, 0)?;
    }
    check!(queue.receive(0, 64, 0)? == (3, b'a', 1));
    // The lowest type that is at most 2; the first of those.
    check!(queue.receive(-2, 64, 0)? == (1, b'b', 1));
    check!(queue.receive(-2, 64, 0)? == (1, b'd', 1));
    check!(queue.receive(-2, 64, 0)? == (2, b'c', 1));
    check!(queue.receive(0, 64, NOWAIT) == Err(Errno(ENOMSG)));
    Ok(())
}

fn msgrcv_takes_the_type_that_it_asks_for() -> Outcome {
    let queue = Queue::new()?;
    for (kind, text) in [(3, b"a"), (1, b"b"), (i64::MAX, b"c")] {
        queue.send(kind, text, 0)?;
    }
    check!(queue.receive(2, 64, NOWAIT) == Err(Errno(ENOMSG)));
    check!(queue.receive(3, 64, MSG_EXCEPT)? == (1, b'b', 1));
    check!(queue.receive(i64::MAX, 64, 0)?.1 == b'c');
    check!(queue.receive(i64::MIN, 64, 0)? == (3, b'a', 1));
    Ok(())
}

fn a_message_that_does_not_fit_stays_unless_it_may_be_cut() -> Outcome {
    let queue = Queue::new()?;
    queue.send(1, b"hello", 0)?;
    check!(queue.receive(0, 4, 0) == Err(Errno(E2BIG)));
    check!(queue.receive(0, 4, MSG_NOERROR)? == (1, b'h', 4));
    check!(queue.receive(0, 4, NOWAIT) == Err(Errno(ENOMSG)));
    queue.send(9, b"", 0)?;
    check!(queue.receive(0, 0, 0)? == (9, 0, 0));
    Ok(())
}

fn a_copy_leaves_the_message_in_the_queue() -> Outcome {
    let queue = Queue::new()?;
    queue.send(1, b"a", 0)?;
    queue.send(2, b"bc", 0)?;
    let copied = queue.receive(1, 64, MSG_COPY | NOWAIT);
    if copied == Err(Errno(ENOSYS)) {
        // A kernel without checkpointing.
        return Ok(());
    }
    check!(copied? == (2, b'b', 2));
    check!(queue.receive(0, 64, MSG_COPY | NOWAIT)? == (1, b'a', 1));
    check!(queue.receive(2, 64, MSG_COPY | NOWAIT) == Err(Errno(ENOMSG)));
    check!(queue.receive(0, 64, MSG_COPY) == Err(Errno(EINVAL)));
    check!(queue.receive(0, 64, MSG_COPY | NOWAIT | MSG_EXCEPT) == Err(Errno(EINVAL)));
    check!(queue.receive(0, 64, 0)? == (1, b'a', 1));
    Ok(())
}

fn msgsnd_and_msgrcv_refuse_what_is_wrong() -> Outcome {
    let queue = Queue::new()?;
    check!(queue.send(0, b"x", 0) == Err(Errno(EINVAL)));
    check!(queue.send(-1, b"x", 0) == Err(Errno(EINVAL)));
    let buffer = Buffer { kind: 1, text: [0; 64] };
    let at = &raw const buffer as usize;
    check!(call(__NR_msgsnd, [queue.0, at, 8193, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgsnd, [queue.0, at, usize::MAX, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgsnd, [usize::MAX, at, 1, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgsnd, [queue.0, 8, 1, 0]) == Err(Errno(EFAULT)));
    check!(call(__NR_msgrcv, [queue.0, at, usize::MAX, 0, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgrcv, [usize::MAX, at, 1, 0, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgctl, [queue.0, 77, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_msgctl, [queue.0, IPC_STAT, 8]) == Err(Errno(EFAULT)));
    check!(call(__NR_msgget, [key(3), 0]) == Err(Errno(ENOENT)));
    let id = call(__NR_msgget, [key(3), IPC_CREAT | 0o200])?;
    let named = Queue(id);
    let status = in_child(|| {
        become_user(4242)?;
        check!(call(__NR_msgget, [key(3), 0]) == Err(Errno(ENOENT)));
        check!(named.send(1, b"x", 0) == Err(Errno(EACCES)));
        check!(named.receive(0, 8, NOWAIT) == Err(Errno(EACCES)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn a_receiver_is_handed_what_it_waits_for() -> Outcome {
    let queue = Queue::new()?;
    let child = start(|| {
        check!(queue.receive(5, 64, 0)? == (5, b'y', 1));
        Ok(())
    })?;
    let small = start(|| {
        check!(queue.receive(6, 1, 0) == Err(Errno(E2BIG)));
        Ok(())
    })?;
    check!(sleeps(child) && sleeps(small));
    queue.send(1, b"x", 0)?;
    queue.send(5, b"y", 0)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    queue.send(6, b"zz", 0)?;
    check!(sys::wait4(small, 0)? == (small, 0));
    check!(queue.receive(0, 64, 0)?.1 == b'x');
    check!(queue.receive(0, 64, NOWAIT)? == (6, b'z', 2));
    Ok(())
}

/// Holds the queue to `bytes`.
fn set_bytes(queue: &Queue, bytes: u64) -> Result<usize, Errno> {
    let mut status = queue.status()?;
    status[11] = bytes;
    call(__NR_msgctl, [queue.0, IPC_SET, status.as_ptr() as usize])
}

fn a_sender_waits_for_room() -> Outcome {
    let queue = Queue::new()?;
    set_bytes(&queue, 4)?;
    queue.send(1, b"abc", 0)?;
    check!(queue.send(2, b"de", NOWAIT) == Err(Errno::AGAIN));
    let child = start(|| {
        queue.send(2, b"de", 0)?;
        Ok(())
    })?;
    check!(sleeps(child));
    check!(queue.send(3, b"f", NOWAIT)? == 0);
    check!(queue.receive(1, 64, 0)? == (1, b'a', 3));
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(queue.receive(0, 64, 0)? == (3, b'f', 1));
    check!(queue.receive(0, 64, NOWAIT)? == (2, b'd', 2));
    // More room lets a sender in as well.
    let child = start(|| {
        queue.send(2, b"12345678", 0)?;
        Ok(())
    })?;
    check!(sleeps(child));
    set_bytes(&queue, 8)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(queue.receive(0, 64, 0)?.2 == 8);
    Ok(())
}

fn removing_a_queue_ends_the_waits_with_eidrm() -> Outcome {
    let queue = Queue::new()?;
    set_bytes(&queue, 1)?;
    queue.send(9, b"x", 0)?;
    let receiver = start(|| {
        check!(queue.receive(5, 64, 0) == Err(Errno(EIDRM)));
        Ok(())
    })?;
    let sender = start(|| {
        check!(queue.send(5, b"y", 0) == Err(Errno(EIDRM)));
        Ok(())
    })?;
    check!(sleeps(receiver) && sleeps(sender));
    call(__NR_msgctl, [queue.0, IPC_RMID, 0])?;
    check!(sys::wait4(receiver, 0)? == (receiver, 0));
    check!(sys::wait4(sender, 0)? == (sender, 0));
    Ok(())
}

extern "C" fn nothing(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

fn msgrcv_is_interrupted_by_a_handler_and_goes_on_after_a_stop() -> Outcome {
    let queue = Queue::new()?;
    let child = start(|| {
        signal::handle(SIGUSR1, nothing, SA_RESTART)?;
        check!(queue.receive(5, 64, 0) == Err(Errno::INTR));
        check!(queue.receive(5, 64, 0)? == (5, b'y', 1));
        Ok(())
    })?;
    check!(sleeps(child));
    signal::kill(child, SIGUSR1)?;
    check!(sleeps(child));
    signal::kill(child, SIGSTOP)?;
    check!(in_state(child, b'T'));
    signal::kill(child, SIGCONT)?;
    check!(sleeps(child));
    queue.send(5, b"y", 0)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn a_queue_keeps_its_figures() -> Outcome {
    let queue = Queue::new()?;
    let status = queue.status()?;
    check!(status[6] == 0 && status[7] == 0 && status[8] > 0);
    check!(status[9] == 0 && status[10] == 0 && status[11] == 16384 && status[12] == 0);
    queue.send(1, b"abc", 0)?;
    queue.send(1, b"de", 0)?;
    let status = queue.status()?;
    check!(status[6] > 0 && status[9] == 5 && status[10] == 2 && status[12] == sys::getpid() as u64);
    queue.receive(0, 64, 0)?;
    let status = queue.status()?;
    check!(status[7] > 0 && status[9] == 2 && status[10] == 1);
    check!(status[12] >> 32 == sys::getpid() as u64);
    let mut info = [0i32; 8];
    call(__NR_msgctl, [0, 12, info.as_mut_ptr() as usize])?;
    check!(info[0] >= 1 && info[1] >= 1 && info[6] >= 2 && info[2] == 8192);
    Ok(())
}

fn only_privilege_makes_a_queue_larger_than_the_limit() -> Outcome {
    let status = in_child(|| {
        become_user(4243)?;
        let queue = Queue::new()?;
        check!(set_bytes(&queue, 16385) == Err(Errno(EPERM)));
        check!(set_bytes(&queue, 16384)? == 0);
        Ok(())
    })?;
    check!(status == 0);
    // Who runs the tests may have less than all privileges.
    const CAP_SYS_RESOURCE: usize = 24;
    if call(__NR_prctl, [rt::raw::prctl::PR_CAPBSET_READ as usize, CAP_SYS_RESOURCE])? == 1 {
        let queue = Queue::new()?;
        check!(set_bytes(&queue, 20000)? == 0);
    }
    Ok(())
}

fn proc_shows_the_message_queues() -> Outcome {
    let queue = Queue::new()?;
    check!(listed(c"/proc/sysvipc/msg", queue.0)?);
    Ok(())
}
