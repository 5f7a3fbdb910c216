//! Random sequences of operations, compared with a model that keeps every page by itself.

use super::*;
use proptest::prelude::*;

const BASE: usize = 0x7ff0_0000 - 8 * PAGE;
/// Across the border of two lowest page tables.
const PAGES: usize = 24;

/// What a page should be: protection, and the byte at its start.
type Model = BTreeMap<usize, (Flags, u8)>;

#[derive(Clone, Debug)]
enum Op {
    Map(usize, usize, Flags),
    Unmap(usize, usize),
    Protect(usize, usize, Flags),
    Store(usize, u8),
    Discard(usize, usize),
    Move(usize, usize, usize),
    Fork,
    Switch,
    Exit,
}

fn prot() -> impl Strategy<Value = Flags> {
    prop_oneof![Just(Flags::empty()), Just(Flags::READ), Just(RW), Just(RW)]
}

fn range() -> impl Strategy<Value = (usize, usize)> {
    (0..PAGES, 1..8usize).prop_map(|(start, len)| (start, len.min(PAGES - start)))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (range(), prot()).prop_map(|((s, l), p)| Op::Map(s, l, p)),
        2 => range().prop_map(|(s, l)| Op::Unmap(s, l)),
        3 => (range(), prot()).prop_map(|((s, l), p)| Op::Protect(s, l, p)),
        8 => (0..PAGES, 1u8..).prop_map(|(p, b)| Op::Store(p, b)),
        1 => range().prop_map(|(s, l)| Op::Discard(s, l)),
        2 => (range(), 0..PAGES).prop_map(|((s, l), t)| Op::Move(s, l, t)),
        2 => Just(Op::Fork),
        2 => Just(Op::Switch),
        1 => Just(Op::Exit),
    ]
}

fn addr(page: usize) -> usize {
    BASE + page * PAGE
}

fn check(space: &Space, model: &Model) {
    for page in 0..PAGES {
        let expected = match model.get(&page) {
            None => Err(FaultError::NoMapping),
            Some((prot, _)) if prot.is_empty() => Err(FaultError::BadPermission),
            Some((_, byte)) => Ok(*byte),
        };
        assert_eq!(read(space, addr(page)), expected, "page {page}");
    }
}

fn apply(space: &Space, model: &mut Model, op: &Op) {
    match *op {
        Op::Map(start, len, prot) => {
            map(space, at(addr(start)), len, prot);
            model.extend((start..start + len).map(|page| (page, (prot, 0))));
        }
        Op::Unmap(start, len) => {
            // Some by the way that does not wait.
            let (at, bytes) = (VirtAddr(addr(start)), len * PAGE);
            let done = if start % 2 == 0 { space.try_unmap(at, bytes) } else { None };
            match done {
                Some(done) => assert_eq!(done, Ok(true)),
                None => run(space.unmap(at, bytes)).unwrap(),
            }
            model.retain(|page, _| *page < start || *page >= start + len);
        }
        Op::Protect(start, len, prot) => {
            let (at, bytes) = (VirtAddr(addr(start)), len * PAGE);
            let done = if start % 2 == 0 { space.try_protect(at, bytes, prot, &Limits::NONE) } else { None };
            let result = match done {
                Some(done) => done.map(|settled| assert!(settled)),
                None => run(space.protect(at, bytes, prot, false, &Limits::NONE)),
            };
            if (start..start + len).all(|page| model.contains_key(&page)) {
                assert_eq!(result, Ok(()));
                for page in start..start + len {
                    model.entry(page).and_modify(|p| p.0 = prot);
                }
            } else {
                assert_eq!(result, Err(Errno::ENOMEM));
            }
        }
        Op::Store(page, byte) => {
            let expected = match model.get_mut(&page) {
                None => Err(FaultError::NoMapping),
                Some((prot, _)) if !prot.contains(Flags::WRITE) => Err(FaultError::BadPermission),
                Some((_, old)) => {
                    *old = byte;
                    Ok(())
                }
            };
            assert_eq!(store(space, addr(page), byte), expected);
        }
        Op::Discard(start, len) => {
            let all = (start..start + len).all(|page| model.contains_key(&page));
            let result = run(space.advise(VirtAddr(addr(start)), len * PAGE, Advice::DontNeed));
            assert_eq!(result, if all { Ok(()) } else { Err(Errno::ENOMEM) });
            for page in start..start + len {
                model.entry(page).and_modify(|p| p.1 = 0);
            }
        }
        Op::Move(start, len, to) => {
            let to = to.min(PAGES - len);
            let how = Remap { may_move: true, fixed: Some(VirtAddr(addr(to))), keep_old: false };
            let result = run(space.remap(VirtAddr(addr(start)), len * PAGE, len * PAGE, how, &Limits::NONE));
            if to < start + len && start < to + len {
                assert_eq!(result, Err(Errno::EINVAL));
                return;
            }
            let first = model.get(&start).map(|p| p.0);
            let one = first.is_some() && (start..start + len).all(|page| model.get(&page).map(|p| p.0) == first);
            if !one {
                assert_eq!(result, Err(Errno::EFAULT));
                return;
            }
            assert_eq!(result, Ok(VirtAddr(addr(to))));
            for i in 0..len {
                if let Some(page) = model.remove(&(start + i)) {
                    model.insert(to + i, page);
                }
            }
        }
        Op::Fork | Op::Switch | Op::Exit => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn spaces_behave_as_their_model(ops in prop::collection::vec(op(), 1..60)) {
        machine_with(1, 2 << 20);
        let before = stats();
        let mut all: Vec<(Arc<Space>, Model)> = alloc::vec![(space(), Model::new())];
        for op in &ops {
            let (space, model) = &mut all[0];
            apply(space, model, op);
            match op {
                Op::Fork if all.len() < 6 => {
                    let child = (run(all[0].0.fork()).unwrap(), all[0].1.clone());
                    all.push(child);
                }
                Op::Switch => all.rotate_left(1),
                Op::Exit if all.len() > 1 => {
                    let (space, _) = all.swap_remove(0);
                    run(space.clear());
                }
                _ => {}
            }
            for (space, model) in &all {
                let lines = maps(space);
                prop_assert!(lines.lines().count() <= model.len());
            }
        }
        for (space, model) in &all {
            check(space, model);
        }
        all.clear();
        tlb::leave();
        prop_assert_eq!(stats(), before);
    }
}
