//! How much of each segment a snapshot uses, and which segments the next export writes anew.
//!
//! When all segments together hold more than twice what is needed of them, the emptiest are written anew where they are still used; when a snapshot would use too many runs, the smallest are merged. Both are bounded for each export, so
//! that no export costs much more than what changed.

use crate::extent::Extent;
use crate::id::{Address, RecordId, RunId};
use crate::record::{LiveRange, RunUse};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A segment by the names that extents use.
pub type Name = (u64, u32);

/// Bytes used of each of these segments.
pub type Uses = HashMap<Name, u64>;

/// Counts an extent.
pub fn count(uses: &mut Uses, extent: &Extent) {
    if let Some(place) = extent.place {
        *uses.entry((place.ordinal, place.sequence)).or_default() += extent.len;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentLive {
    pub len: u32,
    /// The sum of all extents in it: more than its length when content is there several times.
    pub used: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLive {
    pub id: RunId,
    pub record: RecordId,
    pub segments: Vec<SegmentLive>,
}

impl RunLive {
    fn used(&self) -> u64 {
        self.segments.iter().map(|segment| segment.used.min(segment.len.into())).sum()
    }
}

/// All runs that a snapshot uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub runs: BTreeMap<u64, RunLive>,
}

/// Runs that a snapshot may use, besides one for each GiB.
pub const RUNS_MAX: usize = 64;
/// How much all segments together may hold, in tenths of what is needed of them, before some are written anew: it is what reading back decodes.
const HELD_MAX: u64 = 22;
/// How much is written anew in one export, besides what is tied to its own literals.
const REWRITE_MAX: u64 = 64 << 20;

impl Live {
    pub fn is_live(&self, name: Name) -> bool {
        self.runs
            .get(&name.0)
            .and_then(|run| run.segments.get(name.1 as usize))
            .is_some_and(|segment| segment.used > 0)
    }

    pub fn add_run(&mut self, ordinal: u64, id: RunId, record: RecordId, content_lens: &[u32]) {
        let segments = content_lens.iter().map(|&len| SegmentLive { len, used: 0 }).collect();
        self.runs.insert(ordinal, RunLive { id, record, segments });
    }

    pub(super) fn segment(&mut self, name: Name) -> Option<&mut SegmentLive> {
        self.runs.get_mut(&name.0)?.segments.get_mut(name.1 as usize)
    }

    pub fn add(&mut self, uses: &Uses) {
        for (name, bytes) in uses {
            let segment = self.segment(*name).expect("extents name only runs that were added");
            segment.used += bytes;
        }
    }

    /// Takes uses away. `false` when they were never there: then the accounts are wrong and must not be believed.
    pub fn take_away(&mut self, uses: &Uses) -> bool {
        uses.iter().all(|(name, bytes)| match self.segment(*name) {
            Some(segment) if segment.used >= *bytes => {
                segment.used -= bytes;
                true
            }
            _ => false,
        })
    }

    /// Drops runs that are not used any more.
    pub fn drop_unused(&mut self, except: u64) {
        self.runs
            .retain(|ordinal, run| *ordinal == except || run.segments.iter().any(|segment| segment.used > 0));
    }

    pub fn used_bytes(&self) -> u64 {
        self.runs.values().map(RunLive::used).sum()
    }

    /// The table that a snapshot carries.
    pub fn table(&self) -> Vec<RunUse> {
        let used =
            |(ordinal, run): (&u64, &RunLive)| RunUse { ordinal: *ordinal, run: run.id, record: run.record, live: ranges(&run.segments) };
        self.runs.iter().map(used).collect()
    }

    /// The names of those of these segments that are used.
    pub fn named(&self, addresses: &[Address]) -> Vec<Name> {
        let ordinals: HashMap<RunId, u64> = self.runs.iter().map(|(ordinal, run)| (run.id, *ordinal)).collect();
        let name = |address: &Address| Some((*ordinals.get(&address.run)?, address.sequence));
        addresses.iter().filter_map(name).filter(|name| self.is_live(*name)).collect()
    }

    /// Which segments to write anew in the next export.
    pub fn rewrites(&self) -> HashSet<Name> {
        let mut chosen = HashSet::new();
        let mut budget = REWRITE_MAX;
        self.choose_sparse(&mut chosen, &mut budget);
        self.choose_small_runs(&mut chosen, &mut budget);
        chosen
    }

    /// The emptiest segments, until all together hold little more than twice what is needed: that is what reading back decodes.
    /// Rewriting each at the moment when it falls below a half would cost twice as much under scattered changes, and gain nothing more.
    fn choose_sparse(&self, chosen: &mut HashSet<Name>, budget: &mut u64) {
        let (mut held, mut needed) = (0u64, 0u64);
        let mut sparse: Vec<(u64, u64, Name)> = Vec::new();
        for (ordinal, run) in &self.runs {
            for (sequence, segment) in run.segments.iter().enumerate().filter(|(_, segment)| segment.used > 0) {
                let (len, used) = (u64::from(segment.len), segment.used.min(segment.len.into()));
                held += len;
                needed += used;
                if used * 2 < len {
                    sparse.push((used * 1000 / len, used, (*ordinal, sequence as u32)));
                }
            }
        }
        sparse.sort_unstable();
        for (_, used, name) in sparse {
            if held * 10 <= needed * HELD_MAX || used > *budget {
                return;
            }
            let len = self.runs[&name.0].segments[name.1 as usize].len;
            held -= u64::from(len) - used;
            *budget -= used;
            chosen.insert(name);
        }
    }

    /// Merges runs of like size, the smallest first, when the next snapshot would have too many. Merging many of one size at once rewrites each byte seldom: once for every
    /// so many exports, and again only when its new run is one of many.
    fn choose_small_runs(&self, chosen: &mut HashSet<Name>, budget: &mut u64) {
        let limit = RUNS_MAX + (self.used_bytes() >> 30) as usize;
        let mut sizes: Vec<(u64, u64)> = Vec::new();
        for (ordinal, run) in &self.runs {
            let rest = |(sequence, segment): (usize, &SegmentLive)| {
                let gone = chosen.contains(&(*ordinal, sequence as u32));
                if gone { 0 } else { segment.used.min(segment.len.into()) }
            };
            let used: u64 = run.segments.iter().enumerate().map(rest).sum();
            if used > 0 {
                sizes.push((used, *ordinal));
            }
        }
        // One more comes with the next export.
        if sizes.len() < limit {
            return;
        }
        sizes.sort_unstable();
        let merged = tier(&sizes, sizes.len() + 1 - limit);
        for &(used, ordinal) in &sizes[..merged] {
            if used > *budget {
                return;
            }
            *budget -= used;
            let run = &self.runs[&ordinal];
            let live = run.segments.iter().enumerate().filter(|(_, segment)| segment.used > 0);
            chosen.extend(live.map(|(sequence, _)| (ordinal, sequence as u32)));
        }
    }
}

/// A tier of so many runs is merged by itself; a smaller one takes some of the next with it.
const TIER: usize = 24;
const NEXT: usize = 14;
/// Runs are of like size when each is at most this many times the mean of the smaller ones.
const ALIKE: u64 = 4;

/// How many of the smallest runs to merge, of these sizes; more than `least`, for as many must go.
fn tier(sizes: &[(u64, u64)], least: usize) -> usize {
    let mut sum = 0;
    let mut alike = 0;
    for (used, _) in sizes {
        if alike > 0 && *used > ALIKE * sum / alike {
            break;
        }
        sum += used;
        alike += 1;
    }
    let alike = alike as usize;
    let merged = if alike >= TIER { alike } else { alike + NEXT };
    merged.max(least + 1).min(sizes.len())
}

fn ranges(segments: &[SegmentLive]) -> Vec<LiveRange> {
    let mut live: Vec<LiveRange> = Vec::new();
    for (sequence, segment) in segments.iter().enumerate() {
        if segment.used == 0 {
            continue;
        }
        let sequence = sequence as u32;
        match live.last_mut() {
            Some(last) if last.first + last.count == sequence => last.count += 1,
            _ => live.push(LiveRange { first: sequence, count: 1 }),
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(runs: &[&[(u32, u64)]]) -> Live {
        let mut live = Live::default();
        for (ordinal, segments) in runs.iter().enumerate() {
            let segments = segments.iter().map(|&(len, used)| SegmentLive { len, used }).collect();
            live.runs
                .insert(ordinal as u64, RunLive { id: RunId([ordinal as u8; 16]), record: RecordId::default(), segments });
        }
        live
    }

    #[test]
    fn the_emptiest_are_written_anew_when_all_are_less_than_half_used() {
        let full = live(&[&[(100, 10), (100, 50), (100, 0)], &[(100, 100)]]);
        assert!(full.rewrites().is_empty());
        assert_eq!(full.table()[0].live, vec![LiveRange { first: 0, count: 2 }]);
        let sparse = live(&[&[(100, 10), (100, 40), (100, 60)], &[(100, 70)]]);
        assert_eq!(sparse.rewrites(), HashSet::from([(0, 0)]));
    }

    #[test]
    fn the_small_are_merged_when_there_are_too_many() {
        let large: Vec<(u32, u64)> = vec![(1 << 20, 1 << 20); 4];
        let small: &[(u32, u64)] = &[(1000, 900)];
        let runs: Vec<&[(u32, u64)]> = (0..64).map(|n| if n < 40 { &large[..] } else { small }).collect();
        let chosen = live(&runs).rewrites();
        assert_eq!(chosen.len(), 24);
        assert!(chosen.iter().all(|(ordinal, _)| *ordinal >= 40));
        assert!(live(&runs[..63]).rewrites().is_empty());
    }

    #[test]
    fn accounts_that_do_not_add_up_are_noticed() {
        let mut live = live(&[&[(100, 10)]]);
        assert!(live.take_away(&Uses::from([((0, 0), 10)])));
        assert!(!live.take_away(&Uses::from([((0, 0), 1)])));
        assert!(!live.take_away(&Uses::from([((7, 0), 1)])));
    }
}
