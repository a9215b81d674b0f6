//! Names of objects in a store. FORMAT.md, beginning. Names are made and read here and nowhere else.

use crate::id::{Hash, IdentityId, PackId, RecordId, RunId, SnapshotId};
use crate::record::EvidenceKind;
use crate::sign::PublicKey;

pub const CONFIG: &str = "repository.json";
pub const PACKS: &str = "packs";
pub const INDEX: &str = "index";
pub const RUNS: &str = "runs";
pub const SNAPSHOTS: &str = "snapshots";
pub const KEYS: &str = "keys";
pub const NODES: &str = "nodes";
pub const RECEIPTS: &str = "receipts";
pub const HEARTBEATS: &str = "heartbeats";
pub const RECORDS: &str = "records";
pub const QUARANTINE: &str = "quarantine";
pub const TRASH: &str = "trash";
pub const MARKS: &str = "marks";

/// Every folder of a repository.
pub const FOLDERS: [&str; 12] = [PACKS, INDEX, RUNS, SNAPSHOTS, KEYS, NODES, RECEIPTS, HEARTBEATS, RECORDS, QUARANTINE, TRASH, MARKS];

pub fn pack(id: PackId) -> String {
    format!("{PACKS}/{id}")
}

pub fn index(hash: &Hash) -> String {
    format!("{INDEX}/{}", PackId::of(&hash.0))
}

pub fn marks(hash: &Hash) -> String {
    format!("{MARKS}/{}", RecordId::of(&hash.0))
}

pub fn run(id: RunId) -> String {
    format!("{RUNS}/{id}")
}

/// Where a snapshot stands in the order of a dataset. Names sort as positions do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub epoch: u64,
    pub sequence: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

/// No node that counts by ones gets as far. What claims such a number leaves none for what comes after it.
pub const SEQUENCE_MAX: u64 = 1 << 62;

fn snapshot_file(at: Position, id: SnapshotId) -> String {
    format!("{:08x}-{:016x}-{id}", at.epoch, at.sequence)
}

pub fn snapshot(at: Position, id: SnapshotId) -> String {
    format!("{SNAPSHOTS}/{}", snapshot_file(at, id))
}

pub fn quarantined(node: &PublicKey, at: Position, id: SnapshotId) -> String {
    format!("{QUARANTINE}/{:08x}/{}/{}", at.epoch, node.hex(), snapshot_file(at, id))
}

/// Whether this is the name of a snapshot in quarantine, and no other: names of peers are not to be trusted.
pub fn is_quarantined(name: &str) -> bool {
    let mut parts = name.split('/');
    let (folder, epoch, node) = (parts.next(), parts.next(), parts.next().and_then(PublicKey::parse));
    let known = parts.next().and_then(parse_snapshot);
    let (Some(node), Some((at, id))) = (node, known) else { return false };
    folder == Some(QUARANTINE) && epoch.is_some() && name == quarantined(&node, at, id)
}

/// Reads the last part of a snapshot's name.
pub fn parse_snapshot(name: &str) -> Option<(Position, SnapshotId)> {
    let file = name.rsplit('/').next()?;
    let mut parts = file.split('-');
    let (epoch, sequence, id) = (parts.next()?, parts.next()?, parts.next()?);
    let lower = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if parts.next().is_some() || epoch.len() != 8 || sequence.len() != 16 || !lower(epoch) || !lower(sequence) {
        return None;
    }
    let at = Position { epoch: u64::from_str_radix(epoch, 16).ok()?, sequence: u64::from_str_radix(sequence, 16).ok()? };
    Some((at, SnapshotId::parse(id)?))
}

pub fn key(id: IdentityId, generation: u64) -> String {
    format!("{KEYS}/{id}.{generation}.age")
}

/// Reads the last part of a sealing identity's name.
pub fn parse_key(name: &str) -> Option<(IdentityId, u64)> {
    let file = name.rsplit('/').next()?;
    let mut parts = file.split('.');
    let (id, generation) = (parts.next()?, parts.next()?);
    (parts.next() == Some("age") && parts.next().is_none()).then_some(())?;
    Some((IdentityId::parse(id)?, generation.parse().ok()?))
}

/// A certificate is named by its own record as well: a forged one takes no true one's place.
pub fn node(key: &PublicKey, certificate: RecordId) -> String {
    format!("{NODES}/{}.{certificate}", key.hex())
}

/// The key that a certificate is about, told by its name.
pub fn parse_node(name: &str) -> Option<PublicKey> {
    let (key, id) = name.strip_prefix(NODES)?.strip_prefix('/')?.split_once('.')?;
    (key.len() == 64 && RecordId::parse(id).is_some()).then(|| PublicKey::parse(key))?
}

pub fn receipt(snapshot: SnapshotId, receiver: &PublicKey) -> String {
    format!("{RECEIPTS}/{snapshot}.{}", &receiver.hex()[..16])
}

pub fn heartbeat(node: &PublicKey, counter: u64) -> String {
    format!("{HEARTBEATS}/{}.{counter:016x}", &node.hex()[..16])
}

/// Whose heartbeat it is (the first 16 digits of the node's key), and its counter.
pub fn parse_heartbeat(name: &str) -> Option<(&str, u64)> {
    let (node, counter) = name.rsplit('/').next()?.split_once('.')?;
    (node.len() == 16 && counter.len() == 16).then_some(())?;
    Some((node, u64::from_str_radix(counter, 16).ok()?))
}

pub fn evidence(snapshot: SnapshotId, kind: EvidenceKind, id: RecordId) -> String {
    format!("{RECORDS}/{snapshot}.{}.{id}", kind.word())
}

/// The snapshot that a receipt or evidence is about, told by its name.
pub fn subject(name: &str) -> Option<SnapshotId> {
    SnapshotId::parse(name.rsplit('/').next()?.split('.').next()?)
}

pub fn trash(seconds: u64, old: &str) -> String {
    format!("{TRASH}/{seconds}.{}", old.replace('/', "."))
}

/// When an object came to the trash, and its old name. Only containers that hold segments are ever put there.
pub fn parse_trash(name: &str) -> Option<(u64, String)> {
    let file = name.rsplit('/').next()?;
    let (seconds, old) = file.split_once('.')?;
    Some((seconds.parse().ok()?, old.replacen('.', "/", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let at = Position { epoch: 3, sequence: 0x1234 };
        let id = SnapshotId([0xab; 16]);
        assert_eq!(parse_snapshot(&snapshot(at, id)), Some((at, id)));
        assert_eq!(parse_key(&key(IdentityId([1; 16]), 12)), Some((IdentityId([1; 16]), 12)));
        assert_eq!(parse_trash(&trash(77, "packs/aa")), Some((77, "packs/aa".into())));
        for bad in ["snapshots/x", "snapshots/0000000g-0000000000000000-abababababababababababababababab", ""] {
            assert_eq!(parse_snapshot(bad), None);
        }
    }
}
