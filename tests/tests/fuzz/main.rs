//! Every parser is fed what is nearly right. Fixed work by default (ten times as much with `RESILIENT_LONG`), for ever with `RESILIENT_FUZZ_SECONDS`.
//! A failure prints its target and case; `RESILIENT_FUZZ_TARGET` and `RESILIENT_FUZZ_CASE` do that one again.

mod mutate;
mod seeds;
mod targets;
mod whole;

use mutate::mutated;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use targets::Target;
use tests::apart::{ask, bound_memory, part, peak_kib};
use tests::chance::{Chance, budget};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// One case: a seed is chosen, mutated and parsed.
fn try_case(target: &Target, case: u64) {
    let mut chance = Chance::new(case);
    let seed = &target.seeds[chance.below(target.seeds.len())];
    let other = &target.seeds[chance.below(target.seeds.len())];
    let bytes = mutated(seed, other, &mut chance);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.parse)(&bytes, &mut chance)));
    if outcome.is_err() {
        let hex = archive::id::hex(&bytes[..bytes.len().min(2000)]);
        panic!("RESILIENT_FUZZ_TARGET='{}' RESILIENT_FUZZ_CASE={case} fails ({} bytes: {hex})", target.name, bytes.len());
    }
}

#[expect(clippy::disallowed_methods, reason = "an open-ended search ends by the clock")]
fn search(targets: &[Target]) {
    if let Some(case) = number("RESILIENT_FUZZ_CASE") {
        let name = std::env::var("RESILIENT_FUZZ_TARGET").expect("a case is one of a target");
        return try_case(targets.iter().find(|target| target.name == name).expect("it is one of them"), case);
    }
    for target in targets {
        target.seeds.iter().for_each(|seed| (target.parse)(seed, &mut Chance::new(0)));
        (0..budget(target.cases) as u64).for_each(|case| try_case(target, case));
    }
    let Some(seconds) = number("RESILIENT_FUZZ_SECONDS") else { return };
    let begun = std::time::Instant::now();
    let mut case = u64::from(std::process::id()) << 32;
    while begun.elapsed() < Duration::from_secs(seconds) {
        for target in targets {
            (0..1 + target.cases as u64 / 100).for_each(|n| try_case(target, case + n));
        }
        case += 1 << 20;
    }
}

#[test]
fn nearly_right_bytes_break_no_parser_and_cost_no_memory() {
    if part().is_some() {
        bound_memory(4 << 30);
        search(&targets::all());
        println!("answer: {}", peak_kib());
        return;
    }
    let limit = Duration::from_secs(900 + number("RESILIENT_FUZZ_SECONDS").unwrap_or(0));
    let peak: u64 = ask("nearly_right_bytes_break_no_parser_and_cost_no_memory", "search", limit)
        .parse()
        .expect("a number");
    println!("{} MiB at most", peak >> 10);
    assert!(peak < 300 << 10, "{peak} KiB were needed");
}
