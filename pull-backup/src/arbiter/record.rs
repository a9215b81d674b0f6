//! The arbiter's record and the reigns that follow from it: what one says in the other's words. Pure.
//!
//! The record knows reigns by epoch and node, the rule of publishing by keys; the record says where a reign ended, and so which head the next one follows.
//! A grant that came to nothing leaves no trace in the reigns: who reigned before reigns again. Unless it had left snapshots behind; then what follows them cannot be
//! published, and nobody's key counts until another is granted the role.
//!
//! Two branches of one epoch are both claims, over the reign before them: then nothing is published until a person chose.

use election::ledger::{Entry, How, ReignState};
use election::timers::Values;
use election::{ClusterId, Epoch, NodeId, Point, Position, Record, Reign, SnapshotId, Timers};
use link::reigns::{At, Claim, Holder, Reigns, Sealed, Tops};
use std::time::Duration;

/// What signs nothing.
const NOBODY: &str = "-";

pub fn position(tops: &Tops) -> Position {
    let point = |at: &At| Point { epoch: Epoch(at.epoch), sequence: at.sequence, id: SnapshotId(at.snapshot.clone()) };
    Position(tops.iter().map(|(dataset, at)| (dataset.as_str().into(), point(at))).collect())
}

pub fn tops(position: &Position) -> Tops {
    let at = |point: &Point| At { epoch: point.epoch.0, sequence: point.sequence, snapshot: point.id.0.clone() };
    position.0.iter().map(|(dataset, point)| (dataset.0.clone(), at(point))).collect()
}

fn entry(reign: Reign, how: How, state: ReignState, timers: Timers) -> Entry {
    let (base, sealed) = (Position::default(), None);
    Entry { reign, how, state, base, sealed, lossy: false, last: None, timers }
}

/// The record of a cluster whose reigns are known and that had no arbiter. Nobody leased anything there, and no gate closes by itself: so nobody takes over by itself either,
/// until a reign was granted.
pub fn adopt(cluster: &str, reigns: &Reigns, members: &[NodeId], timers: Timers) -> Record {
    let mut record = Record::new(ClusterId(cluster.to_owned()));
    for sealed in &reigns.sealed {
        let reign = Reign { epoch: Epoch(sealed.epoch), node: sealed.holder.node.as_str().into() };
        let ended = position(&sealed.heads);
        record
            .ledger
            .push(Entry { sealed: Some(ended), ..entry(reign, How::Manual, ReignState::Released, timers) });
    }
    let reign = Reign { epoch: Epoch(reigns.epoch), node: reigns.holder.node.as_str().into() };
    let highest = reigns.claims.iter().map(|claim| claim.epoch).chain([reigns.epoch]).max().unwrap_or_default();
    (record.epoch, record.granted, record.holder) = (reign.epoch, Epoch(highest), Some(reign.node.clone()));
    record.ledger.push(entry(reign, How::Manual, ReignState::Active, timers));
    record.generation = 1;
    record.members = members.iter().map(|node| (node.clone(), 1)).collect();
    (record.unguarded, record.designated) = (true, Some(reigns.holder.node.as_str().into()));
    record
}

/// A node reigns because a person said so: it was invited, or its branch was chosen. The reign before it ends there.
pub fn crown(record: &mut Record, reign: Reign, ended: &Tops, how: How) {
    let longest = |a: Timers, b: Timers| if a.over() < b.over() { b } else { a };
    // By which timers it lives is unknown: the longest that are known, else the default ones, which are no shorter than the others.
    let timers = record.ledger.iter().map(|entry| entry.timers).reduce(longest);
    let timers = timers.unwrap_or_else(default_timers);
    record.ledger.retain(|entry| entry.reign != reign);
    for rival in record.ledger.iter_mut().filter(|entry| entry.reign.epoch == reign.epoch) {
        (rival.state, rival.sealed) = (ReignState::Void, None);
    }
    let real = |entry: &&mut Entry| entry.state != ReignState::Void;
    let last = record.ledger.iter_mut().filter(real).map(|entry| entry.reign.epoch).max();
    for before in record.ledger.iter_mut().filter(real) {
        if before.sealed.is_none() || Some(before.reign.epoch) == last {
            before.sealed = Some(position(ended));
        }
    }
    (record.epoch, record.granted) = (reign.epoch, record.granted.max(reign.epoch));
    (record.holder, record.designated, record.pause, record.expelling) = (Some(reign.node.clone()), None, None, None);
    (record.acknowledged, record.unguarded) = (0, true);
    record.ledger.push(Entry { base: position(ended), ..entry(reign, how, ReignState::Active, timers) });
}

/// A branch that was not chosen: known, so that its node's word is no new branch.
pub fn pass_over(record: &mut Record, reign: Reign) {
    if record.entry(&reign).is_none() {
        record.ledger.push(entry(reign, How::Recovered, ReignState::Void, default_timers()));
    }
}

pub fn default_timers() -> Timers {
    Timers::new(Values::DEFAULT, Duration::ZERO).expect("the default profile keeps two nodes apart, as its tests show")
}

/// The reigns that follow from a record. `before` is what was known: times, keys and claims are taken from there.
pub fn view(before: Option<&Reigns>, record: &Record, holder_of: &dyn Fn(&str) -> Option<Holder>, now_ms: u64) -> Option<Reigns> {
    let Some(last) = record.last_reign() else { return before.cloned() };
    let known = Known { before, holder_of };
    let of_last = |entry: &&Entry| entry.state != ReignState::Void && entry.reign.epoch == last.reign.epoch && entry.sealed.is_none();
    let branches: Vec<&Entry> = record.ledger.iter().filter(of_last).collect();
    let (epoch, holder) = match branches.as_slice() {
        [_, _, ..] => {
            let earlier = |entry: &&Entry| entry.state != ReignState::Void && entry.reign.epoch < last.reign.epoch;
            match record.ledger.iter().rev().find(earlier) {
                Some(earlier) => (earlier.reign.epoch.0, known.holder(earlier)),
                None => (0, nobody("")),
            }
        }
        [_] => (last.reign.epoch.0, known.holder(last)),
        [] => (record.epoch.0, nobody(&last.reign.node.0)),
    };
    let sealed = |entry: &Entry| {
        let at = entry.sealed.as_ref().filter(|_| entry.state != ReignState::Void && entry.reign.epoch.0 < epoch)?;
        let before = before.and_then(|before| before.seal_of(entry.reign.epoch.0));
        let sealed_ms = before.map_or(now_ms, |before| before.sealed_ms);
        Some(Sealed { epoch: entry.reign.epoch.0, sealed_ms, holder: known.holder(entry), heads: tops(at) })
    };
    let sealed = record.ledger.iter().filter_map(sealed).collect();
    let same = before.filter(|before| before.epoch == epoch && before.holder.node == holder.node);
    let mut claims: Vec<Claim> = before.map_or(vec![], |before| before.claims.clone());
    claims.retain(|claim| claim.epoch > epoch);
    if branches.len() > 1 {
        for branch in branches {
            known.claims(&mut claims, branch, now_ms);
        }
    }
    Some(Reigns {
        epoch,
        since_ms: same.map_or(now_ms, |same| same.since_ms),
        told: false,
        holder,
        begun: same.map_or_else(Tops::new, |same| same.begun.clone()),
        sealed,
        claims,
    })
}

fn nobody(node: &str) -> Holder {
    Holder { node: node.into(), key: NOBODY.into(), former: vec![] }
}

struct Known<'a> {
    before: Option<&'a Reigns>,
    holder_of: &'a dyn Fn(&str) -> Option<Holder>,
}

impl Known<'_> {
    /// With which keys the node of a reign signs. What was known of that reign stays, since a node that comes anew signs with another.
    fn holder(&self, entry: &Entry) -> Holder {
        let (epoch, node) = (entry.reign.epoch.0, entry.reign.node.0.as_str());
        let current = self.before.filter(|before| before.epoch == epoch).map(|before| &before.holder);
        let sealed = || self.before.and_then(|before| Some(&before.seal_of(epoch)?.holder));
        let known = current.or_else(sealed).filter(|holder| holder.node == node && holder.key != NOBODY);
        let claimed = || {
            let claims = self.before.map_or(&[][..], |before| &before.claims);
            let claim = claims.iter().find(|claim| claim.epoch == epoch && claim.holder.node == node);
            claim.map(|claim| claim.holder.clone())
        };
        known.cloned().or_else(claimed).or_else(|| (self.holder_of)(node)).unwrap_or_else(|| nobody(node))
    }

    fn claims(&self, claims: &mut Vec<Claim>, branch: &Entry, now_ms: u64) {
        let holder = self.holder(branch);
        let epoch = branch.reign.epoch.0;
        let known = claims.iter().find(|claim| claim.epoch == epoch && claim.holder.node == holder.node);
        let since_ms = known.map_or(now_ms, |known| known.since_ms);
        claims.retain(|claim| claim.holder.node != holder.node || claim.epoch != epoch);
        claims.push(Claim { epoch, since_ms, dismissed: false, holder });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder_of(node: &str) -> Option<Holder> {
        Some(Holder { node: node.into(), key: format!("ed25519:{node}"), former: vec![] })
    }

    fn at(sequence: u64) -> Tops {
        Tops::from([("shop".to_owned(), At { epoch: 1, sequence, snapshot: format!("s{sequence}") })])
    }

    fn reigns() -> Reigns {
        let mut reigns = Reigns::first(holder_of("web1").unwrap(), 5);
        (reigns.epoch, reigns.begun) = (2, at(4));
        reigns.sealed = vec![Sealed { epoch: 1, sealed_ms: 4, holder: holder_of("web9").unwrap(), heads: at(3) }];
        reigns.claims = vec![Claim { epoch: 7, since_ms: 6, dismissed: false, holder: holder_of("web2").unwrap() }];
        reigns
    }

    fn names() -> Vec<NodeId> {
        ["web1", "web2"].map(NodeId::from).to_vec()
    }

    #[test]
    fn reigns_without_a_record_become_one_and_stay_what_they_were() {
        let record = adopt("shop", &reigns(), &names(), default_timers());
        assert_eq!((record.epoch, record.granted, record.holder.as_ref()), (Epoch(2), Epoch(7), Some(&"web1".into())));
        assert!(record.unguarded && record.acknowledged == 0);
        assert_eq!(view(Some(&reigns()), &record, &holder_of, 99), Some(reigns()));
    }

    #[test]
    fn who_is_crowned_ends_the_reign_before() {
        let mut record = adopt("shop", &reigns(), &names(), default_timers());
        crown(&mut record, Reign { epoch: Epoch(7), node: "web2".into() }, &at(5), How::Recovered);
        let after = view(Some(&reigns()), &record, &holder_of, 99).unwrap();
        assert_eq!((after.epoch, after.since_ms, after.holder.node.as_str(), after.claims.len()), (7, 99, "web2", 0));
        assert_eq!(after.sealed.iter().map(|sealed| (sealed.epoch, sealed.sealed_ms)).collect::<Vec<_>>(), [(1, 4), (2, 99)]);
        assert_eq!((after.seal_of(2).unwrap().heads.clone(), after.begun), (at(5), Tops::new()));
    }

    #[test]
    fn two_branches_of_one_epoch_are_a_conflict_over_the_reign_before() {
        let mut record = adopt("shop", &reigns(), &names(), default_timers());
        crown(&mut record, Reign { epoch: Epoch(7), node: "web2".into() }, &at(5), How::Recovered);
        let rival = Reign { epoch: Epoch(7), node: "web3".into() };
        record.ledger.push(entry(rival, How::Recovered, ReignState::Active, default_timers()));
        let seen = view(Some(&reigns()), &record, &holder_of, 99).unwrap();
        assert_eq!(seen.epoch, 2);
        let (one, two) = seen.conflict().expect("both are claims");
        assert_eq!((one.holder.node.as_str(), two.holder.node.as_str()), ("web2", "web3"));
        crown(&mut record, Reign { epoch: Epoch(7), node: "web3".into() }, &at(4), How::Recovered);
        let chosen = view(Some(&seen), &record, &holder_of, 100).unwrap();
        assert_eq!((chosen.epoch, chosen.holder.node.as_str(), chosen.conflict().is_none()), (7, "web3", true));
        assert_eq!(chosen.seal_of(2).unwrap().heads, at(4), "it ends where the branch that was chosen goes on from");
    }

    #[test]
    fn after_a_grant_that_came_to_nothing_who_reigned_before_goes_on_unless_something_was_left_behind() {
        let mut record = adopt("shop", &reigns(), &names(), default_timers());
        let before = record.ledger.len() - 1;
        record.ledger[before].sealed = Some(position(&at(5)));
        let void = entry(Reign { epoch: Epoch(8), node: "web2".into() }, How::Automatic, ReignState::Void, default_timers());
        record.ledger.push(Entry { lossy: true, ..void });
        (record.epoch, record.granted, record.holder) = (Epoch(8), Epoch(8), None);
        let lossy = view(Some(&reigns()), &record, &holder_of, 99).unwrap();
        assert_eq!((lossy.epoch, lossy.holder.node.as_str(), lossy.holder.key.as_str()), (8, "web1", NOBODY));
        assert_eq!(lossy.seal_of(2).unwrap().heads, at(5), "and what follows what was left behind is not published");
        record.ledger[before].sealed = None;
        let back = view(Some(&lossy), &record, &holder_of, 99).unwrap();
        assert_eq!((back.epoch, back.holder.key.as_str(), back.sealed.len()), (2, "ed25519:web1", 1));
    }
}
