//! Thousands of random worlds. A failing one prints the end of its trace, and how to run it again.

use std::ops::Range;

use crate::chaos;
use crate::faults::Mutant;

const SEEDS: u64 = 1500;
const SEEDS_LONG: u64 = 40_000;
const FAILURES_TOLD: usize = 20;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if let Ok(one) = std::env::var("RESILIENT_SEED") {
        let seed = number(&one).expect("RESILIENT_SEED is a number");
        return seed..seed + 1;
    }
    if let Ok(range) = std::env::var("RESILIENT_SEEDS") {
        let (from, to) = range.split_once("..").expect("RESILIENT_SEEDS is FROM..TO");
        return number(from).expect("a number")..number(to).expect("a number");
    }
    0..if is_long() { SEEDS_LONG } else { SEEDS }
}

fn is_long() -> bool {
    std::env::var_os("RESILIENT_LONG").is_some_and(|value| value == "1")
}

fn run_part(seeds: Range<u64>, part: u64, parts: u64) {
    let whole_trace = std::env::var_os("RESILIENT_SEED").is_some();
    let broken = |seed| chaos::run(seed, Mutant::None, false).broken.clone().map(|why| (seed, why));
    let failed: Vec<(u64, String)> = seeds.filter(|seed| seed % parts == part).filter_map(broken).take(FAILURES_TOLD).collect();
    if let Some((seed, why)) = failed.first() {
        let again = chaos::run(*seed, Mutant::None, true);
        let most = if whole_trace { usize::MAX } else { 200 };
        let others: Vec<String> = failed[1..]
            .iter()
            .map(|(seed, why)| format!("seed {seed}: {}", &why[..why.len().min(200)]))
            .collect();
        let trace = again.lines(most);
        panic!("{trace}\nseed {seed}: {why}\nagain, with the whole trace: RESILIENT_SEED={seed}\nothers:\n{}", others.join("\n"));
    }
}

#[test]
fn random_worlds_have_one_gate_one_chain_and_lose_nothing_first_half() {
    run_part(seeds(), 0, 2);
}

#[test]
fn random_worlds_have_one_gate_one_chain_and_lose_nothing_second_half() {
    run_part(seeds(), 1, 2);
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let (a, b) = (chaos::run(7, Mutant::None, true), chaos::run(7, Mutant::None, true));
    assert_eq!(a.trace, b.trace);
    assert!(a.trace.as_ref().is_some_and(|lines| lines.len() > 500));
}

/// What random worlds find by themselves says how wild they are; the rare faults have their own schedules.
#[test]
fn random_worlds_notice_the_coarse_faults() {
    let slow = if is_long() { &[Mutant::NoGrace, Mutant::Majority][..] } else { &[] };
    for mutant in [Mutant::NoWatchdog, Mutant::LeaseFromAnswer].into_iter().chain(slow.iter().copied()) {
        let found = (0..3000).find(|seed| chaos::run(*seed, mutant, false).broken.as_ref().is_some_and(|why| why.contains("two gates")));
        assert!(found.is_some(), "{mutant:?} goes unnoticed");
    }
}
