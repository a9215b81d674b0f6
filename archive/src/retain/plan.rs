//! Which snapshots stay: a pure function of what was received when.
//!
//! Of each bucket (an hour, a day, a week, a month, a year in the caller's zone) the snapshot received *first* stays, in as many of the newest buckets that hold
//! any as the rule says. So nothing that comes later can take a bucket from what has it: a flood fills `last` and its own hour. Buckets without snapshots do not
//! count, so a dead exporter loses nothing by waiting. The first of a month is the first of its day: what was dropped early is never missed later.
//!
//! Times are those of the earliest valid receipt. What has none, or lies after now, is kept and takes no other's place.

use crate::id::SnapshotId;
use crate::repository::Known;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashSet;
use std::fmt;

/// What is kept. Zero keeps none by that rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// Everything that was received at most so long before the newest.
    pub within_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Rules {
    pub fn units(&self) -> [(Unit, u32); 5] {
        [
            (Unit::Hour, self.hourly),
            (Unit::Day, self.daily),
            (Unit::Week, self.weekly),
            (Unit::Month, self.monthly),
            (Unit::Year, self.yearly),
        ]
    }

    /// Whether nothing at all is asked to be kept.
    pub fn is_empty(&self) -> bool {
        *self == Rules::default()
    }
}

impl Unit {
    /// The bucket that a time falls into. An hour that comes twice when clocks go back is two buckets.
    pub fn bucket(self, time_ms: u64, zone: &TimeZone) -> String {
        let millis = i64::try_from(time_ms).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
        match self {
            Unit::Hour => time.strftime("hourly %Y-%m-%d %H %:z").to_string(),
            Unit::Day => time.strftime("daily %Y-%m-%d").to_string(),
            Unit::Week => time.strftime("weekly %G-W%V").to_string(),
            Unit::Month => time.strftime("monthly %Y-%m").to_string(),
            Unit::Year => time.strftime("yearly %Y").to_string(),
        }
    }
}

/// A snapshot to decide about.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub known: Known,
    /// By the earliest valid receipt.
    pub received_ms: Option<u64>,
    /// It was imported or drilled, and that went well.
    pub proven: bool,
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is above it, by position or by receipt.
    Newest,
    Last(u32),
    Within,
    Bucket(String),
    Proven,
    Pinned,
    NoReceipt,
    Future,
    /// It cannot be read, or cannot be dropped without harm to others.
    Damaged(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Newest => f.write_str("newest"),
            Reason::Last(count) => write!(f, "last {count}"),
            Reason::Within => f.write_str("within"),
            Reason::Bucket(bucket) => f.write_str(bucket),
            Reason::Proven => f.write_str("newest imported"),
            Reason::Pinned => f.write_str("pinned"),
            Reason::NoReceipt => f.write_str("no receipt: kept"),
            Reason::Future => f.write_str("received after now: kept"),
            Reason::Damaged(why) => write!(f, "damaged: kept ({why})"),
        }
    }
}

/// What becomes of a snapshot: without a reason to stay it goes.
#[derive(Clone, Debug)]
pub struct Decision {
    pub known: Known,
    pub received_ms: Option<u64>,
    pub reasons: Vec<Reason>,
}

impl Decision {
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// The candidates that count, first received first.
fn counted(candidates: &[Candidate], now_ms: u64) -> Vec<(u64, usize)> {
    let known = candidates.iter().enumerate().filter_map(|(index, candidate)| Some((candidate.received_ms?, index)));
    let mut order: Vec<(u64, usize)> = known.filter(|(received_ms, _)| *received_ms <= now_ms).collect();
    order.sort_by_key(|&(received_ms, index)| (received_ms, &candidates[index].known));
    order
}

/// The newest buckets that hold anything, as many as the rule says, with what was received first in each.
fn buckets(order: &[(u64, usize)], unit: Unit, count: u32, zone: &TimeZone) -> Vec<(String, usize)> {
    let (mut seen, mut firsts) = (HashSet::new(), Vec::new());
    for &(received_ms, index) in order {
        let bucket = unit.bucket(received_ms, zone);
        if seen.insert(bucket.clone()) {
            firsts.push((bucket, index));
        }
    }
    firsts.split_off(firsts.len().saturating_sub(count as usize))
}

/// Decides. Decisions come in the order of the candidates.
pub fn plan(candidates: &[Candidate], rules: &Rules, pins: &[SnapshotId], now_ms: u64, zone: &TimeZone) -> Vec<Decision> {
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); candidates.len()];
    let order = counted(candidates, now_ms);
    let head = (0..candidates.len()).max_by_key(|index| &candidates[*index].known);
    let newest = order.last().map(|(_, index)| *index);
    for index in [head, newest.filter(|_| newest != head)].into_iter().flatten() {
        reasons[index].push(Reason::Newest);
    }
    order
        .iter()
        .rev()
        .take(rules.last as usize)
        .for_each(|&(_, index)| reasons[index].push(Reason::Last(rules.last)));
    if let (Some(within_ms), Some(&(newest_ms, _))) = (rules.within_ms, order.last()) {
        let young = order.iter().filter(|(received_ms, _)| newest_ms - received_ms <= within_ms);
        young.for_each(|&(_, index)| reasons[index].push(Reason::Within));
    }
    for (unit, count) in rules.units() {
        for (bucket, index) in buckets(&order, unit, count, zone) {
            reasons[index].push(Reason::Bucket(bucket));
        }
    }
    if let Some(&(_, index)) = order.iter().rev().find(|(_, index)| candidates[*index].proven) {
        reasons[index].push(Reason::Proven);
    }
    for (index, candidate) in candidates.iter().enumerate() {
        match candidate.received_ms {
            None => reasons[index].push(Reason::NoReceipt),
            Some(received_ms) if received_ms > now_ms => reasons[index].push(Reason::Future),
            Some(_) => {}
        }
        if pins.contains(&candidate.known.id) {
            reasons[index].push(Reason::Pinned);
        }
    }
    let decided = candidates.iter().zip(reasons);
    decided
        .map(|(candidate, reasons)| Decision { known: candidate.known.clone(), received_ms: candidate.received_ms, reasons })
        .collect()
}

/// Why a plan must not be carried out: a bucket that a rule keeps, or the whole history, would be left with nothing but damaged snapshots.
pub fn endangered(decisions: &[Decision], rules: &Rules, damaged: &HashSet<SnapshotId>, now_ms: u64, zone: &TimeZone) -> Option<String> {
    let whole = |decision: &&Decision| !damaged.contains(&decision.known.id);
    let loses = |of: &[&Decision]| of.iter().filter(|decision| !decision.is_kept()).any(whole);
    let keeps = |of: &[&Decision]| of.iter().filter(|decision| decision.is_kept()).any(whole);
    let all: Vec<&Decision> = decisions.iter().collect();
    if loses(&all) && !keeps(&all) {
        return Some("no whole snapshot would be left".into());
    }
    let candidate = |decision: &Decision| Candidate { known: decision.known.clone(), received_ms: decision.received_ms, proven: false };
    let candidates: Vec<Candidate> = decisions.iter().map(candidate).collect();
    let order = counted(&candidates, now_ms);
    for (unit, count) in rules.units() {
        for (bucket, first) in buckets(&order, unit, count, zone) {
            let inside = order.iter().filter(|(received_ms, _)| unit.bucket(*received_ms, zone) == bucket);
            let inside: Vec<&Decision> = inside.map(|(_, index)| &decisions[*index]).collect();
            if loses(&inside) && !keeps(&inside) {
                let name = &decisions[first].known.name;
                return Some(format!("{bucket} would lose its last whole snapshot: {name} is damaged"));
            }
        }
    }
    None
}
