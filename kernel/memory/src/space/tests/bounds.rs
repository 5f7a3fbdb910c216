//! Addresses and lengths as no program should give them: whatever the answer, nothing outside of user space is touched,
//! nothing overflows, and what was mapped stays what it was or goes whole.

use super::*;
use crate::space::Advice;
use arch::paging::USER_END;
use proptest::prelude::*;

const BASE: usize = 0x10_0000;

/// Addresses about which sums overflow or leave user space.
fn absurd() -> impl Strategy<Value = usize> {
    let near = prop_oneof![Just(0), Just(BASE), Just(USER_END.0), Just(1 << 63), Just(usize::MAX), Just(0x50_0000)];
    prop_oneof![
        (near.clone(), -3isize..4)
            .prop_map(|(base, pages)| base.wrapping_add_signed(pages * PAGE as isize) & !(PAGE - 1)),
        near,
        any::<usize>(),
    ]
}

#[test]
fn a_shrinking_remap_that_leaves_user_space_is_einval() {
    machine(1);
    let space = space();
    map(&space, at(BASE), 4, RW);
    store(&space, BASE, 7).unwrap();
    for old_len in [USER_END.0, USER_END.0 - BASE + PAGE, 1 << 63, (usize::MAX & !(PAGE - 1)) - BASE] {
        let result = run(space.remap(VirtAddr(BASE), old_len, PAGE, Remap::default(), &Limits::NONE));
        assert_eq!(result, Err(Errno::EINVAL), "{old_len:#x}");
    }
    assert_eq!(read(&space, BASE), Ok(7));
    let rest = USER_END.0 - BASE;
    assert_eq!(run(space.remap(VirtAddr(BASE), rest, PAGE, Remap::default(), &Limits::NONE)), Ok(VirtAddr(BASE)));
    assert_eq!(read(&space, BASE), Ok(7));
    assert_eq!(read(&space, BASE + PAGE), Err(FaultError::NoMapping));
}

#[test]
fn absurd_ranges_are_refused_or_stay_in_user_space() {
    machine(1);
    let case = (0..12, absurd(), absurd(), (absurd(), absurd()), 0u32..26, any::<[bool; 3]>());
    proptest!(ProptestConfig::with_cases(2000), |((which, start, len, other, advice, flags) in case)| {
        let space = space();
        map(&space, at(BASE), 4, RW);
        store(&space, BASE, 7).unwrap();
        let (addr, limits) = (VirtAddr(start), Limits { memlock: 1 << 20, ..Limits::NONE });
        let how = Remap { may_move: flags[0], fixed: flags[1].then_some(VirtAddr(other.0)), keep_old: flags[2] };
        match which {
            0 => drop(run(space.unmap(addr, len))),
            1 => drop(run(space.protect(addr, len, Flags::READ, flags[0], &limits))),
            2 | 3 => drop(run(space.remap(addr, len, other.1, how, &limits))),
            4 => drop(run(space.remap(VirtAddr(BASE), len, other.1, how, &limits))),
            5 => drop(Advice::from_raw(advice).map(|advice| run(space.advise(addr, len, advice)))),
            6 => drop(run(space.sync(addr, len, flags[0]))),
            7 => drop(run(space.lock(addr, len, flags[0], &limits))),
            8 => drop(run(space.unlock(addr, len))),
            9 => drop(run(space.brk(addr, &limits))),
            10 => drop(run(space.map(MapRequest::anonymous(Place::Hint(addr), len, RW), &limits))),
            _ => drop(run(space.map(MapRequest::anonymous(at(start), len, RW), &limits))),
        }
        run(space.each_area(VirtAddr(0), |area| {
            assert!(area.start() < area.end() && area.end() <= USER_END, "{:?}..{:?}", area.start(), area.end());
            true
        }));
        run(space.clear());
    });
}
