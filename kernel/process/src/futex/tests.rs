//! The table, without programs: entries are put into it as a wait does.

use super::{ANY, Key, Kind, Queued, TABLE, Waiter, try_requeue, wake_key};
use crate::clone;
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use vfs::mount::MountFlags;
use vfs::tmpfs::{Options, Tmpfs};
use vfs::{FsContext, Mount};

fn first() -> crate::Current {
    memory::init(arch::sim::boot(1, 16 << 20, [5; 32]));
    crate::users::set_threads_max(100).unwrap();
    let root = Mount::new(Tmpfs::new(Options::default()).unwrap(), b"rootfs", MountFlags::empty()).root();
    clone::first(Arc::new(FsContext::new(root))).unwrap()
}

fn waiting_on(key: Key) -> usize {
    TABLE[key.bucket()].lock().iter().filter(|waiter| waiter.key == key).count()
}

#[test]
fn a_wake_that_an_interrupted_wait_cannot_use_goes_to_another_at_the_word_it_was_moved_to() {
    let current = first();
    let [from, to] = [8, 16].map(|offset| Key { space: 1, offset });
    let put = |key: Key, ticket| {
        let waiter = Waiter { key, bitset: ANY, ticket, thread: current.thread.clone(), kind: Kind::Single };
        TABLE[key.bucket()].lock().push_back(waiter);
    };
    put(from, 1);
    assert_eq!(try_requeue(VirtAddr(8), from, to, 0, 1, None).unwrap(), (0, 1));
    put(to, 2);
    assert_eq!((waiting_on(from), waiting_on(to)), (0, 2));
    let interrupted = Queued { thread: &current.thread, ticket: 1, key: from, consumed: false };
    assert_eq!(wake_key(to, 1, ANY), 1);
    drop(interrupted);
    println!("left at the word after one wake and one that was handed on: {}", waiting_on(to));
    assert_eq!(waiting_on(to), 0);
}
