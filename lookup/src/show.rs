//! How snapshots, entries and paths look: one line for people, one shape for JSON.
//!
//! Names come from the file systems of others: for people they pass through `console::human::text`. JSON has them as text, and beside it as hexadecimal
//! where they are no UTF-8. Shapes only grow (docs/json.md).

use archive::entry::{Attributes, Entry, Node};
use archive::id::hex;
use archive::trust::Standing;
use console::human;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::fact::Fact;
use crate::place::{Holder, Peers};

pub fn moment(ms: u64) -> Timestamp {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// A time for JSON.
pub fn stamp(ms: u64) -> String {
    moment(ms).to_string()
}

/// A time for people.
pub fn time(ms: u64, zone: &TimeZone) -> String {
    human::time(moment(ms), zone)
}

/// The line that says which snapshot a command reads.
pub fn headline(fact: &Fact, now: &Zoned) -> String {
    let body = &fact.snapshot.body;
    let zone = now.time_zone();
    let received = fact.received_ms().map_or("no receipt".to_owned(), |ms| format!("received {}", time(ms, zone)));
    format!(
        "snapshot {} of {}, captured {} ({}), {received}, {}{}",
        fact.short(),
        body.node,
        time(body.captured_ms, zone),
        human::age(moment(body.captured_ms), now.timestamp()),
        fact.standing.as_ref().map_or("signer refused", |standing| match standing {
            Standing::Unverified => "signer unverified",
            Standing::Pinned => "signer pinned",
            Standing::Certified => "signer certified",
        }),
        if fact.quarantined() { ", in quarantine" } else { "" },
    )
}

/// One word on a signer.
pub fn standing(fact: &Fact) -> &'static str {
    match fact.standing {
        Ok(Standing::Certified) => "certified",
        Ok(Standing::Pinned) => "pinned",
        Ok(Standing::Unverified) => "unverified",
        Err(_) => "refused",
    }
}

/// A snapshot in JSON.
#[derive(Serialize)]
pub struct SnapshotShape {
    pub id: String,
    pub epoch: u64,
    pub sequence: u64,
    pub node: String,
    pub captured: String,
    pub received: Option<String>,
    pub content_bytes: u64,
    pub stored_bytes: u64,
    pub entries: u64,
    pub runs: usize,
    pub sealed: bool,
    pub quarantined: bool,
    pub signer: String,
    pub standing: &'static str,
    pub receipts: Vec<ReceiptShape>,
    pub evidence: Vec<EvidenceShape>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newest_at: Vec<HolderShape>,
}

#[derive(Serialize)]
pub struct HolderShape {
    pub name: String,
    pub imported: bool,
    pub said: String,
}

impl SnapshotShape {
    /// Adds which hosts have it as their newest, and the names of those that received it.
    pub fn with(mut self, fact: &Fact, peers: &Peers) -> SnapshotShape {
        let id = Some(fact.known.id);
        let at = peers.holders.iter().filter(|holder| holder.held == id || holder.imported == id);
        let shape =
            |holder: &Holder| HolderShape { name: holder.name.clone(), imported: holder.imported == id, said: stamp(holder.said_ms) };
        self.newest_at = at.map(shape).collect();
        for (shape, receipt) in self.receipts.iter_mut().zip(&fact.receipts) {
            shape.name = peers.receivers.get(&receipt.signer).cloned();
        }
        self
    }
}

#[derive(Serialize)]
pub struct ReceiptShape {
    pub received: String,
    pub receiver: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Serialize)]
pub struct EvidenceShape {
    pub kind: &'static str,
    pub good: bool,
    pub finished: String,
    pub node: String,
    pub text: String,
}

impl From<&Fact> for SnapshotShape {
    fn from(fact: &Fact) -> SnapshotShape {
        let body = &fact.snapshot.body;
        let receipt = |receiver: String, ms| ReceiptShape { received: stamp(ms), receiver, name: None };
        SnapshotShape {
            id: fact.known.id.to_string(),
            epoch: body.epoch,
            sequence: body.sequence,
            node: body.node.clone(),
            captured: stamp(body.captured_ms),
            received: fact.received_ms().map(stamp),
            content_bytes: body.content_bytes,
            stored_bytes: body.stored_bytes,
            entries: body.entries,
            runs: body.runs.len(),
            sealed: body.sealed,
            quarantined: fact.quarantined(),
            signer: fact.snapshot.signer.to_string(),
            standing: standing(fact),
            receipts: fact
                .receipts
                .iter()
                .map(|signed| receipt(signed.signer.to_string(), signed.body.received_ms))
                .collect(),
            evidence: fact.evidence.iter().map(|signed| evidence(&signed.body)).collect(),
            newest_at: vec![],
        }
    }
}

fn evidence(body: &archive::record::Evidence) -> EvidenceShape {
    EvidenceShape {
        kind: body.kind.word(),
        good: body.good,
        finished: stamp(body.finished_ms),
        node: body.node.clone(),
        text: body.text.clone(),
    }
}

/// A path in JSON: text, and all its bytes where text is not all.
#[derive(Serialize)]
pub struct PathShape {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
}

impl From<&[u8]> for PathShape {
    fn from(path: &[u8]) -> PathShape {
        let path_hex = std::str::from_utf8(path).is_err().then(|| hex(path));
        PathShape { path: String::from_utf8_lossy(path).into_owned(), path_hex }
    }
}

/// An entry in JSON.
#[derive(Serialize)]
pub struct EntryShape {
    #[serde(flatten)]
    pub path: PathShape,
    pub kind: &'static str,
    pub mode: String,
    pub uid: u32,
    pub gid: u32,
    pub mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<[u32; 2]>,
}

impl From<&Entry> for EntryShape {
    fn from(entry: &Entry) -> EntryShape {
        let Attributes { mode, uid, gid, .. } = entry.attributes;
        let mut shape = EntryShape {
            path: entry.path.as_slice().into(),
            kind: kind(&entry.node),
            mode: format!("{mode:04o}"),
            uid,
            gid,
            mtime: mtime(&entry.attributes).to_string(),
            size: None,
            digest: None,
            torn: false,
            target: None,
            target_hex: None,
            device: None,
        };
        match &entry.node {
            Node::File(content) => {
                shape.size = Some(content.len);
                shape.digest = (content.len > 0).then(|| content.digest.to_string());
                shape.torn = content.torn;
            }
            Node::Symlink(to) | Node::HardLink(to) => {
                let PathShape { path, path_hex } = to.as_slice().into();
                (shape.target, shape.target_hex) = (Some(path), path_hex);
            }
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => shape.device = Some([*major, *minor]),
            Node::Folder | Node::Fifo => {}
        }
        shape
    }
}

fn kind(node: &Node) -> &'static str {
    match node {
        Node::Folder => "folder",
        Node::File(_) => "file",
        Node::Symlink(_) => "symlink",
        Node::HardLink(_) => "hardlink",
        Node::Fifo => "fifo",
        Node::CharDevice { .. } => "char-device",
        Node::BlockDevice { .. } => "block-device",
    }
}

fn mtime(attributes: &Attributes) -> Timestamp {
    let nanos = i32::try_from(attributes.mtime.nanos).unwrap_or(0);
    Timestamp::new(attributes.mtime.seconds, nanos).unwrap_or(Timestamp::MAX)
}

/// An entry for people: its path, or a line as `ls -l` has it.
pub fn entry(entry: &Entry, long: bool, zone: &TimeZone) -> String {
    let path = human::text(&entry.path);
    if !long {
        return path;
    }
    let Attributes { mode, uid, gid, .. } = entry.attributes;
    let size = match &entry.node {
        Node::File(content) => human::count(content.len),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => format!("{major}, {minor}"),
        _ => "-".into(),
    };
    let tail = match &entry.node {
        Node::Symlink(to) => format!(" -> {}", human::text(to)),
        Node::HardLink(to) => format!(" = {}", human::text(to)),
        Node::File(content) if content.torn => " (changed while it was captured)".into(),
        _ => String::new(),
    };
    let time = mtime(&entry.attributes).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string();
    format!("{}{} {uid:>5} {gid:>5} {size:>15} {time} {path}{tail}", entry.node.letter(), permissions(mode))
}

fn permissions(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letters) in [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letters[0],
            (true, false) => letters[1],
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_in_ls() {
        for (mode, text) in [(0o755, "rwxr-xr-x"), (0o4755, "rwsr-xr-x"), (0o1777, "rwxrwxrwt"), (0o2640, "rw-r-S---"), (0, "---------")] {
            assert_eq!(permissions(mode), text);
        }
    }

    #[test]
    fn a_path_that_is_no_text_keeps_its_bytes() {
        assert!(PathShape::from(&b"plain"[..]).path_hex.is_none());
        assert_eq!(PathShape::from(&b"a\xff"[..]).path_hex.as_deref(), Some("61ff"));
    }
}
