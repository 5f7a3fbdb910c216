//! Rules of the frame allocator.

use super::*;
use alloc::vec::Vec;
use arch::sim;

fn machine() {
    init(sim::boot(4, 8 << 20, [1; 32]));
}

#[test]
fn a_frame_is_free_once_its_last_owner_is_gone() {
    machine();
    let before = stats();
    let frame = Frame::alloc_zeroed(Kind::Anonymous).unwrap();
    assert_eq!(stats().anonymous, 1);
    assert_eq!(stats().free, before.free - 1);
    let other = frame.clone();
    drop(frame);
    assert_eq!(other.owners(), 1);
    assert_eq!(stats().free, before.free - 1);
    drop(other);
    assert_eq!(stats(), before);
}

#[test]
fn programs_leave_the_reserve_to_the_kernel() {
    machine();
    let before = stats();
    let held: Vec<Frame> = core::iter::from_fn(|| Frame::alloc(Kind::Anonymous).ok()).collect();
    assert!(stats().free >= stats().reserve);
    assert!(stats().free <= stats().reserve + CACHE);
    assert_eq!(admit(1 << 20), Err(OutOfMemory));
    assert!(Frame::alloc(Kind::Heap).is_ok());
    drop(held);
    assert_eq!(stats(), before);
    assert!(admit(1 << 20).is_ok());
}

#[test]
fn living_on_the_reserve_is_noticed_until_there_is_memory_again() {
    machine();
    let held: Vec<Frame> = core::iter::from_fn(|| Frame::alloc(Kind::Anonymous).ok()).collect();
    assert!(!is_pressed());
    let kernel: Vec<Frame> = (0..2 * CACHE).map(|_| Frame::alloc(Kind::Heap).unwrap()).collect();
    assert!(is_pressed());
    drop(held);
    assert!(!is_pressed());
    drop(kernel);
}

#[test]
fn a_frame_may_be_freed_on_another_cpu() {
    machine();
    let before = stats();
    let held: Vec<Frame> = (0..200).map(|_| Frame::alloc(Kind::File).unwrap()).collect();
    sim::set_cpu(2);
    drop(held);
    assert_eq!(stats(), before);
}

#[test]
fn another_cpus_cache_is_used_when_memory_is_short() {
    machine();
    let held: Vec<Frame> = core::iter::from_fn(|| Frame::alloc(Kind::Kernel).ok()).collect();
    assert_eq!(stats().free, 0);
    sim::set_cpu(3);
    drop(held);
    let all = stats().free;
    sim::set_cpu(1);
    let held: Vec<Frame> = core::iter::from_fn(|| Frame::alloc(Kind::Kernel).ok()).collect();
    assert_eq!(held.len(), all);
}

#[test]
fn a_run_of_frames_gives_its_unused_tail_back() {
    machine();
    let before = stats();
    let run = state().frames.take_run(5, Kind::Heap).unwrap();
    assert_eq!(stats().free, before.free - 5);
    state().frames.give_run(run, 5);
    assert_eq!(stats(), before);
}

#[test]
fn bytes_stay_inside_the_frame() {
    machine();
    let frame = Frame::alloc_zeroed(Kind::File).unwrap();
    assert_eq!(frame.write(4090, &[7; 10]), 6);
    let mut buf = [1; 16];
    assert_eq!(frame.read(4088, &mut buf), 8);
    assert_eq!(buf[..8], [0, 0, 7, 7, 7, 7, 7, 7]);
    let mut out = [0; 4];
    assert_eq!(frame.put(4092, 100, &mut Dst::kernel(&mut out)), 4);
    assert_eq!(out, [7; 4]);
    assert_eq!(frame.take(0, 2, &mut Src::kernel(b"abc")), 2);
}

use crate::io::{Dst, Src};
