//! What the protocol is for: snapshots, the archive that publishes or keeps aside, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};

use election::{Admission, Dataset, Epoch, Lost, Point, Position, Published, Record, Reign, SnapshotId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub reign: Reign,
    pub dataset: Dataset,
    pub point: Point,
    pub previous: Option<SnapshotId>,
}

impl Snapshot {
    /// The next of this dataset, on top of `live`.
    pub fn next(reign: &Reign, dataset: &Dataset, live: &Position, number: u64) -> Snapshot {
        let before = live.0.get(dataset);
        let sequence = before.map_or(1, |point| point.sequence + 1);
        let id = SnapshotId(format!("{}.{}.{sequence}#{number}", reign.epoch, reign.node));
        let point = Point { epoch: reign.epoch, sequence, id };
        Snapshot {
            reign: reign.clone(),
            dataset: dataset.clone(),
            point,
            previous: before.map(|point| point.id.clone()),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Archive {
    pub published: BTreeMap<Dataset, Vec<Snapshot>>,
    pub quarantine: Vec<Snapshot>,
    known: BTreeSet<SnapshotId>,
}

impl Archive {
    pub fn heads(&self) -> Position {
        let last = |(dataset, list): (&Dataset, &Vec<Snapshot>)| Some((dataset.clone(), list.last()?.point.clone()));
        Position(self.published.iter().filter_map(last).collect())
    }

    pub fn told(&self) -> Vec<Published> {
        let all = self.published.values().flatten();
        all.map(|s| Published { dataset: s.dataset.clone(), point: s.point.clone(), age: std::time::Duration::ZERO })
            .collect()
    }

    /// Publishes or keeps aside, by the arbiter's rule. Gives what was published, or what is wrong with the rule.
    pub fn receive(&mut self, record: &Record, snapshot: Snapshot) -> Result<Option<Published>, String> {
        if !self.known.insert(snapshot.point.id.clone()) {
            return Ok(None);
        }
        let list = self.published.entry(snapshot.dataset.clone()).or_default();
        let head = list.last().map(|last| last.point.clone());
        match record.admit(&snapshot.reign, &snapshot.point, snapshot.previous.as_ref(), head.as_ref()) {
            Admission::Quarantine(_) => {
                self.quarantine.push(snapshot);
                Ok(None)
            }
            Admission::Publish if snapshot.previous != head.as_ref().map(|head| head.id.clone()) => {
                Err(format!("forked chain: {snapshot:?} published on top of {head:?}"))
            }
            Admission::Publish => {
                let age = std::time::Duration::ZERO;
                let published = Published { dataset: snapshot.dataset.clone(), point: snapshot.point.clone(), age };
                list.push(snapshot);
                Ok(Some(published))
            }
        }
    }

    pub fn move_aside(&mut self, lost: &[Lost]) {
        for Lost { dataset, point } in lost {
            let list = self.published.entry(dataset.clone()).or_default();
            if let Some(at) = list.iter().position(|snapshot| snapshot.point == *point) {
                let orphan = list.remove(at);
                self.quarantine.push(orphan);
            }
        }
    }

    /// Takes out of quarantine what this reign wrote, to be judged anew in its order.
    pub fn readmit(&mut self, reign: &Reign) -> Vec<Snapshot> {
        let (again, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.quarantine).into_iter().partition(|s| s.reign == *reign);
        self.quarantine = kept;
        again.iter().for_each(|snapshot| assert!(self.known.remove(&snapshot.point.id)));
        again
    }

    /// Goes back to an old state, as from a backup of the archive's host.
    pub fn restore(&mut self, old: &Archive) {
        *self = old.clone();
    }

    /// Takes newer heads from what members hold, as long as they continue what is here. Of an epoch that two nodes wrote in nobody knows yet which counts.
    pub fn gather(&mut self, chains: &[Vec<Snapshot>], highest: Epoch) {
        let wrote: BTreeSet<_> = chains.iter().flatten().map(|s| (s.point.epoch, s.reign.node.clone())).collect();
        let contested = |epoch: Epoch| wrote.iter().filter(|(of, _)| *of == epoch).count() > 1;
        for chain in chains {
            for snapshot in chain.iter().filter(|snapshot| snapshot.point.epoch <= highest && !contested(snapshot.point.epoch)) {
                let list = self.published.entry(snapshot.dataset.clone()).or_default();
                let head = list.last().map(|last| last.point.id.clone());
                if snapshot.previous == head && !self.known.contains(&snapshot.point.id) {
                    self.known.insert(snapshot.point.id.clone());
                    list.push(snapshot.clone());
                }
            }
        }
    }

    /// One chain for each dataset, with epochs that never go back.
    pub fn check(&self) -> Result<(), String> {
        for list in self.published.values() {
            for pair in list.windows(2) {
                let follows = pair[1].previous.as_ref() == Some(&pair[0].point.id) && pair[1].point.number() > pair[0].point.number();
                if !follows {
                    return Err(format!("broken chain: {:?} after {:?}", pair[1], pair[0]));
                }
            }
        }
        Ok(())
    }

    pub fn all(&self) -> impl Iterator<Item = &SnapshotId> {
        self.published.values().flatten().chain(&self.quarantine).map(|snapshot| &snapshot.point.id)
    }
}
