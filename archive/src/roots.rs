//! Roots: the snapshots in `snapshots/` and `quarantine/`, and what they need. Retention, sweep and check stand on it.
//!
//! What a root needs is told by its live ranges alone, so nothing here takes a key. A root that cannot be read needs nobody knows what: callers are told,
//! and nobody may remove anything on the strength of such a list.
//!
//! It does not look at bytes of segments; `check` does.

use crate::error::{Error, Kind, Result};
use crate::id::{Address, IdentityId, RecordId, RunId};
use crate::name;
use crate::record::{LiveRange, Run, RunUse, Signed, Snapshot};
use crate::repository::{Known, Repository};
use crate::sign::PublicKey;
use std::collections::{BTreeMap, HashMap};

/// A snapshot that was read, without its root.
#[derive(Clone, Debug)]
pub struct Root {
    pub known: Known,
    pub node: String,
    pub signer: PublicKey,
    pub sealed: bool,
    pub runs: Vec<RunUse>,
}

impl Root {
    fn of(known: Known, signed: Signed<Snapshot>) -> Self {
        let Snapshot { node, sealed, runs, .. } = signed.body;
        Root { known, node, signer: signed.signer, sealed, runs }
    }
}

/// All roots of a repository.
#[derive(Default)]
pub struct Roots {
    pub read: Vec<Root>,
    /// Those that could not be read, and why.
    pub unreadable: Vec<(Known, Error)>,
}

/// Whether an error says something about bytes, and not about the world around them.
pub fn is_damage(error: &Error) -> bool {
    error.kind() != Kind::Retry
}

impl Roots {
    pub fn load(repository: &Repository) -> Result<Roots> {
        let mut roots = Roots::default();
        for known in repository.snapshots()?.into_iter().chain(repository.quarantined()?) {
            match repository.snapshot(&known) {
                Ok(signed) => roots.read.push(Root::of(known, signed)),
                Err(error) if is_damage(&error) => roots.unreadable.push((known, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(roots)
    }
}

/// Which segments are needed by any of some roots.
#[derive(Default)]
pub struct Needed {
    runs: HashMap<RunId, Vec<LiveRange>>,
}

impl Needed {
    pub fn by<'a>(roots: impl Iterator<Item = &'a Root>) -> Needed {
        let mut runs: HashMap<RunId, Vec<LiveRange>> = HashMap::new();
        for used in roots.flat_map(|root| &root.runs) {
            let known = runs.entry(used.run).or_default();
            if *known != used.live {
                known.extend_from_slice(&used.live);
            }
            if known.len() > 2 * used.live.len() + 64 {
                join(known);
            }
        }
        runs.values_mut().for_each(join);
        Needed { runs }
    }

    pub fn uses(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    pub fn has(&self, address: Address) -> bool {
        self.runs.get(&address.run).is_some_and(|live| {
            let after = live.partition_point(|range| range.first <= address.sequence);
            after > 0 && address.sequence - live[after - 1].first < live[after - 1].count
        })
    }
}

impl Needed {
    /// The first that is needed and, by this, not there.
    pub fn first_missing(&self, is_there: &dyn Fn(Address) -> bool) -> Option<Address> {
        let ranges = self.runs.iter().flat_map(|(run, live)| live.iter().map(move |range| (*run, range)));
        let mut all = ranges.flat_map(|(run, range)| (0..range.count).map(move |n| Address { run, sequence: range.first + n }));
        all.find(|address| !is_there(*address))
    }
}

/// Sorts ranges, and makes one of those that touch.
fn join(ranges: &mut Vec<LiveRange>) {
    ranges.sort_unstable_by_key(|range| range.first);
    let mut joined: Vec<LiveRange> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match joined.last_mut() {
            Some(last) if range.first <= last.first + last.count => last.count = last.count.max(range.first - last.first + range.count),
            _ => joined.push(range),
        }
    }
    *ranges = joined;
}

/// Something that is missing or wrong, and the roots (by their place in the list) that need it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub name: String,
    pub why: String,
    pub roots: Vec<usize>,
}

/// Says whether a run's signer counts.
pub type Accept<'a> = &'a dyn Fn(&Signed<Run>) -> Result<()>;

/// Looks whether everything that roots need is there: run records as the snapshots list them, every live segment with the length that was signed,
/// sealing identities. Each run is read once. `seen` hears of each run and how many of its segments are live.
pub fn faults(repository: &Repository, roots: &[Root], accept: Accept<'_>, seen: &mut dyn FnMut(u64)) -> Result<Vec<Fault>> {
    let mut users: BTreeMap<(RunId, RecordId), Vec<(usize, usize)>> = BTreeMap::new();
    for (index, root) in roots.iter().enumerate() {
        for (at, used) in root.runs.iter().enumerate() {
            users.entry((used.run, used.record)).or_default().push((index, at));
        }
    }
    let mut faults = Vec::new();
    let mut sealing: BTreeMap<IdentityId, Vec<usize>> = BTreeMap::new();
    for ((id, _), users) in users {
        let uses: Vec<(usize, &RunUse)> = users.iter().map(|&(root, at)| (root, &roots[root].runs[at])).collect();
        let run = match repository.run(uses[0].1).and_then(|run| accept(&run).map(|()| run)) {
            Ok(run) => run.body,
            Err(error) if is_damage(&error) => {
                let roots = uses.iter().map(|(root, _)| *root).collect();
                faults.push(Fault { name: name::run(id), why: error.to_string(), roots });
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(seal) = &run.seal {
            sealing.entry(seal.identity).or_default().extend(uses.iter().map(|(root, _)| *root));
        }
        faults.extend(run_faults(repository, roots, &run, &uses, seen)?);
    }
    for (id, mut users) in sealing {
        users.sort_unstable();
        users.dedup();
        if repository.sealing_identities(id)?.is_empty() {
            faults.push(Fault { name: name::key(id, 1), why: "no whole copy of this sealing identity is there".into(), roots: users });
        }
    }
    Ok(faults)
}

fn run_faults(
    repository: &Repository,
    roots: &[Root],
    run: &Run,
    uses: &[(usize, &RunUse)],
    seen: &mut dyn FnMut(u64),
) -> Result<Vec<Fault>> {
    let mut found = Vec::new();
    let mut live = Vec::new();
    for (root, used) in uses {
        let end = used.live.last().map_or(0, |range| u64::from(range.first) + u64::from(range.count));
        if end > run.segments.len() as u64 || run.seal.is_some() != roots[*root].sealed {
            let why = if end > run.segments.len() as u64 {
                format!("it uses segments that run {} does not have", run.id)
            } else {
                format!("it is sealed and its run {} is not, or the other way", run.id)
            };
            found.push(Fault { name: roots[*root].known.name.clone(), why, roots: vec![*root] });
        }
        live.extend_from_slice(&used.live);
    }
    join(&mut live);
    let numbers = || {
        live.iter()
            .flat_map(|range| range.first..range.first.saturating_add(range.count))
            .take_while(|n| (*n as usize) < run.segments.len())
    };
    let (mut missing, mut wrong, mut count) = (Vec::new(), Vec::new(), 0);
    let locations = repository.locations()?;
    for sequence in numbers() {
        count += 1;
        let place = locations.as_ref().and_then(|known| known.segment(Address { run: run.id, sequence }));
        match place {
            None => missing.push(sequence),
            Some(place) if place.len != run.segments[sequence as usize].len => wrong.push(sequence),
            Some(_) => {}
        }
    }
    drop(locations);
    seen(count);
    for (sequences, what) in [(missing, "not there"), (wrong, "there with another length than was signed")] {
        if let Some(first) = sequences.first() {
            let needs = |used: &RunUse| sequences.iter().any(|sequence| used.holds(*sequence));
            let roots = uses.iter().filter(|(_, used)| needs(used)).map(|(root, _)| *root).collect();
            let name = format!("segments of run {}", run.id);
            found.push(Fault { name, why: format!("{} of them are {what}, the first is number {first}", sequences.len()), roots });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined() {
        let range = |first, count| LiveRange { first, count };
        let mut ranges = vec![range(9, 1), range(0, 3), range(2, 5), range(7, 1), range(3, 1)];
        join(&mut ranges);
        assert_eq!(ranges, [range(0, 8), range(9, 1)]);
    }
}
