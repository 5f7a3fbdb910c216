//! A handful of seeds on every test run, and the rule that makes a failing one worth printing: a seed is one run.

use std::process::Command;

fn sim(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the simulator starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in ["seed=3", "seed=47", "seed=476"] {
        let (first, second) = (sim(&[seed]), sim(&[seed]));
        assert!(first.0, "{}", first.1);
        assert_eq!(first.1, second.1);
    }
}

#[test]
fn other_seeds_give_other_traces() {
    let trace = |seed| sim(&[seed]).1.rsplit(' ').next().map(str::to_owned);
    assert_ne!(trace("seed=1"), trace("seed=2"));
}

#[test]
fn a_hundred_seeds_find_nothing() {
    let (fine, said) = sim(&["seeds=100"]);
    assert!(fine, "{said}");
}
