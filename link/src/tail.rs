//! A node's own tail: what it signed and no pull-backup has. It must not go with what a mirror or a spool drops, for it is nowhere else.
//!
//! Positions alone do not tell: a node that lost its role imports snapshots of later epochs, and a pull-backup that holds those holds none of the tail. So a pull-backup
//! tells where each reign was sealed and what it has in quarantine.

use crate::message::snapshot_of;
use crate::node::{Receiver, Receivers};
use archive::id::SnapshotId;
use archive::name::Position;
use archive::repository::{Known, Repository};
use archive::sign::PublicKey;

impl Receiver {
    /// Whether what it said shows that it has this snapshot of a node that may have lost its role since.
    pub fn has(&self, at: Position, name: &str) -> bool {
        self.quarantines(name) || self.publishes(at)
    }

    /// Whether it keeps this snapshot aside from a history that, by what it said, does not have it.
    pub fn keeps_aside(&self, name: &str) -> bool {
        self.quarantines(name) && snapshot_of(name).is_some_and(|(at, _)| !self.publishes(at))
    }

    fn quarantines(&self, name: &str) -> bool {
        let same = |told: &String| snapshot_of(told).is_some_and(|(_, id)| snapshot_of(name).is_some_and(|(_, asked)| asked == id));
        self.quarantined.iter().any(same)
    }

    fn publishes(&self, at: Position) -> bool {
        let covers = |told: &str| snapshot_of(told).is_some_and(|(top, _)| top.epoch == at.epoch && top.sequence >= at.sequence);
        self.sealed.iter().any(|told| covers(told))
            || self
                .held
                .as_deref()
                .is_some_and(|held| covers(held) && self.sealed.iter().all(|told| !is_of(told, at.epoch)))
    }
}

impl Receivers {
    /// Whether one of them keeps this snapshot aside from the history.
    pub fn keep_aside(&self, name: &str) -> bool {
        self.receiver.values().any(|receiver| receiver.keeps_aside(name))
    }
}

fn is_of(told: &str, epoch: u64) -> bool {
    snapshot_of(told).is_some_and(|(top, _)| top.epoch == epoch)
}

/// The tail of the node that signs with `own`, in one dataset. `pins` are the pull-backups that count; what one of them lacks belongs to the tail.
pub fn tail(repository: &Repository, own: PublicKey, receivers: &Receivers, pins: &[crate::identity::Pin]) -> archive::Result<Vec<Known>> {
    let mut found = Vec::new();
    for known in repository.snapshots()? {
        // What cannot be read goes with nothing anyway.
        let Ok(snapshot) = repository.snapshot(&known) else { continue };
        let has = |pin: &crate::identity::Pin| {
            let receiver = receivers.receiver.get(&pin.to_string());
            receiver.is_some_and(|receiver| receiver.has(known.at, &known.name))
        };
        if snapshot.signer == own && (pins.is_empty() || !pins.iter().all(has)) {
            found.push(known);
        }
    }
    Ok(found)
}

/// As retention is told.
pub fn pins(tail: &[Known]) -> Vec<SnapshotId> {
    tail.iter().map(|known| known.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(epoch: u64, sequence: u64) -> (Position, String) {
        let at = Position { epoch, sequence };
        (at, archive::name::snapshot(at, SnapshotId([sequence as u8; 16])))
    }

    #[test]
    fn a_later_epoch_is_no_word_on_an_older_one() {
        let ((seven, tail), (six, sealed), (_, later)) = (name(1, 7), name(1, 6), name(2, 9));
        let held = Receiver { held: Some(later.clone()), ..Receiver::default() };
        assert!(!held.has(seven, &tail) && !held.has(six, &sealed), "nothing was said of epoch 1");
        let told = Receiver { held: Some(later), sealed: vec![sealed.clone()], ..Receiver::default() };
        assert!(told.has(six, &sealed) && !told.has(seven, &tail));
        let kept = Receiver { quarantined: vec![tail.clone()], ..told };
        assert!(kept.has(seven, &tail) && kept.keeps_aside(&tail) && !kept.keeps_aside(&sealed));
        let published = Receiver { sealed: vec![tail.clone()], ..kept };
        assert!(published.has(seven, &tail) && !published.keeps_aside(&tail), "it became history");
        let before = Receiver { held: Some(tail.clone()), ..Receiver::default() };
        assert!(before.has(seven, &tail) && before.has(six, &sealed), "while it reigns");
        let rolled = Receiver { sealed: vec![sealed], ..before };
        assert!(!rolled.has(seven, &tail), "what was held above the seal counts no more");
    }
}
