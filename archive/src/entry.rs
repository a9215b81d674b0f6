//! Entries of the index: one for each thing in the tree. FORMAT.md §5.
//!
//! The decoder trusts nothing: paths that climb, come in the wrong order, or lie below something that is no folder are refused here, so that whatever
//! restores a tree can rely on it. That a path stays inside the target on disk is the tree writer's business.

use crate::encode::{Malformed, Put, Take, Taken};
use crate::extent::List;
use crate::id::Hash;
use std::cmp::Ordering;

/// Extended attributes by name, ACLs among them.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Xattrs,
}

/// A file's content: how long, what it hashes to, where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub len: u64,
    pub digest: Hash,
    pub list: List,
    /// It changed while it was read, so it may be a mixture.
    pub torn: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Folder,
    File(Content),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

impl Node {
    /// One letter, as `ls -l` has it.
    pub fn letter(&self) -> char {
        match self {
            Node::Folder => 'd',
            Node::File(_) => '-',
            Node::HardLink(_) => 'h',
            Node::Symlink(_) => 'l',
            Node::Fifo => 'p',
            Node::CharDevice { .. } => 'c',
            Node::BlockDevice { .. } => 'b',
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub node: Node,
}

/// The order of the index: bytes, with `/` before every other.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let equal = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    match (a.get(equal), b.get(equal)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(&a), Some(&b)) => {
            let key = |byte: u8| if byte == b'/' { 0 } else { byte };
            key(a).cmp(&key(b))
        }
    }
}

/// Whether `path` is `folder` or lies below it. Everything lies below the empty path.
pub fn lies_in(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() || (path.starts_with(folder) && matches!(path.get(folder.len()), None | Some(b'/')))
}

/// The path without its last part; empty for a single part.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(&[], |at| &path[..at])
}

fn valid_path(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")) && !path.contains(&0)
}

/// A path for messages: text where it is text, and never anything that could steer a terminal.
pub fn display(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Encodes an entry behind the one at `previous`.
pub fn put(entry: &Entry, previous: &[u8], out: &mut Vec<u8>) {
    let shared = entry.path.iter().zip(previous).take_while(|(a, b)| a == b).count();
    out.varint(shared as u64);
    out.bytes(&entry.path[shared..]);
    put_rest(entry, out);
}

/// Encodes all of an entry but its path.
pub fn put_rest(entry: &Entry, out: &mut Vec<u8>) {
    let kind = match &entry.node {
        Node::Folder => 1,
        Node::File(_) => 2,
        Node::Symlink(_) => 3,
        Node::HardLink(_) => 4,
        Node::Fifo => 5,
        Node::CharDevice { .. } => 6,
        Node::BlockDevice { .. } => 7,
    };
    out.raw(&[kind]);
    let attributes = &entry.attributes;
    for number in [attributes.mode, attributes.uid, attributes.gid] {
        out.varint(number.into());
    }
    out.zigzag(attributes.mtime.seconds);
    out.varint(attributes.mtime.nanos.into());
    out.varint(attributes.xattrs.len() as u64);
    for (name, value) in &attributes.xattrs {
        out.bytes(name);
        out.bytes(value);
    }
    match &entry.node {
        Node::Folder | Node::Fifo => {}
        Node::File(content) => {
            out.varint(content.len);
            if content.len > 0 {
                out.raw(&content.digest.0);
                content.list.put(out);
            }
            out.raw(&[content.torn.into()]);
        }
        Node::Symlink(target) | Node::HardLink(target) => out.bytes(target),
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
            out.varint((*major).into());
            out.varint((*minor).into());
        }
    }
}

/// Decodes all of an entry but its path.
pub fn take_rest(path: Vec<u8>, take: &mut Take<'_>) -> Taken<Entry> {
    let kind = take.u8()?;
    let (mode, uid, gid) = (take.varint_u32()?, take.varint_u32()?, take.varint_u32()?);
    let mtime = Time { seconds: take.zigzag()?, nanos: take.varint_u32()? };
    if mode > 0o7777 || mtime.nanos >= 1_000_000_000 {
        return Err(Malformed("a mode or a time is impossible"));
    }
    let count = take.count(2)?;
    let start = take.position();
    let xattrs = (0..count)
        .map(|_| Ok((take.bytes()?.to_vec(), take.bytes()?.to_vec())))
        .collect::<Taken<Xattrs>>()?;
    if take.position() - start > XATTRS_MAX {
        return Err(Malformed("there are too many extended attributes"));
    }
    let node = match kind {
        1 => Node::Folder,
        2 => Node::File(take_content(take)?),
        3 => Node::Symlink(take_target(take)?),
        4 => Node::HardLink(take_target(take)?),
        5 => Node::Fifo,
        6 => Node::CharDevice { major: take.varint_u32()?, minor: take.varint_u32()? },
        7 => Node::BlockDevice { major: take.varint_u32()?, minor: take.varint_u32()? },
        _ => return Err(Malformed("an entry is of an unknown kind")),
    };
    Ok(Entry { path, attributes: Attributes { mode, uid, gid, mtime, xattrs }, node })
}

fn take_content(take: &mut Take<'_>) -> Taken<Content> {
    let len = take.varint()?;
    let (digest, list) = if len > 0 { (take.hash()?, List::take(take)?) } else { (Hash::default(), List::default()) };
    let marks = take.u8()?;
    if marks > 1 {
        return Err(Malformed("a file has unknown marks"));
    }
    Ok(Content { len, digest, list, torn: marks == 1 })
}

fn take_target(take: &mut Take<'_>) -> Taken<Vec<u8>> {
    let target = take.bytes()?;
    if target.is_empty() || target.contains(&0) || target.len() > PATH_MAX {
        return Err(Malformed("a link has an impossible target"));
    }
    Ok(target.to_vec())
}

/// The most bytes of extended attributes of one entry that are read.
const XATTRS_MAX: usize = 8 << 20;
/// The longest path that is read: whoever claims more is an enemy.
const PATH_MAX: usize = 1 << 20;

/// Decodes the entries of an index one after the other, and checks that they are a tree.
#[derive(Clone, Debug, Default)]
pub struct EntryDecoder {
    previous: Vec<u8>,
    /// Whether the entry before was a folder, and thus may have entries below it.
    folder: bool,
}

impl EntryDecoder {
    /// The next entry. When the bytes end inside of it, `Malformed` says so; a caller that has more tries again with them.
    pub fn next(&mut self, take: &mut Take<'_>) -> Taken<Entry> {
        let shared = take.varint()? as usize;
        let rest = take.bytes()?;
        let Some(kept) = self.previous.get(..shared) else {
            return Err(Malformed("a path shares more than there is"));
        };
        if shared + rest.len() > PATH_MAX {
            return Err(Malformed("a path is too long"));
        }
        let path = [kept, rest].concat();
        if !valid_path(&path) {
            return Err(Malformed("a path climbs or has empty parts"));
        }
        if !self.previous.is_empty() && compare(&self.previous, &path) != Ordering::Less {
            return Err(Malformed("paths are not sorted"));
        }
        let folder = parent(&path);
        let known = folder.is_empty() || (lies_in(&self.previous, folder) && (self.previous != folder || self.folder));
        if !known {
            return Err(Malformed("a path lies below something that is no folder"));
        }
        let entry = take_rest(path, take)?;
        if let Node::HardLink(to) = &entry.node
            && (!valid_path(to) || compare(to, &entry.path) != Ordering::Less)
        {
            return Err(Malformed("a hard link names nothing that stands before it"));
        }
        self.previous.clone_from(&entry.path);
        self.folder = entry.node == Node::Folder;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(path: &str) -> Entry {
        Entry { path: path.into(), attributes: Attributes::default(), node: Node::Folder }
    }

    fn read(entries: &[Entry]) -> Taken<Vec<Entry>> {
        let (mut bytes, mut previous) = (Vec::new(), Vec::new());
        for entry in entries {
            put(entry, &previous, &mut bytes);
            previous.clone_from(&entry.path);
        }
        let (mut take, mut decoder, mut out) = (Take::new(&bytes), EntryDecoder::default(), Vec::new());
        while !take.is_empty() {
            out.push(decoder.next(&mut take)?);
        }
        Ok(out)
    }

    #[test]
    fn a_tree_comes_back() {
        let mut entries: Vec<Entry> = ["s", "s/a", "s/a/b", "s/a!", "s/\u{e9}", "t"].map(folder).to_vec();
        entries[4].node = Node::Symlink(b"../x".to_vec());
        entries[2].attributes.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
        entries[2].node = Node::File(Content {
            len: 5,
            digest: Hash([3; 32]),
            list: List { layers: vec![crate::extent::Layer { stored: true, bytes: vec![1, 2] }] },
            torn: true,
        });
        assert_eq!(read(&entries).unwrap(), entries);
    }

    #[test]
    fn paths_that_lie_are_refused() {
        for bad in ["../x", "/etc", "a//b", "a/", ".", "a/./b", "a/../b", "", "a\0b", "a/b"] {
            assert!(read(&[folder(bad)]).is_err(), "{bad:?}");
        }
        assert!(read(&[folder("b"), folder("a")]).is_err());
        assert!(read(&[folder("a"), folder("a")]).is_err());
        assert!(read(&[folder("a"), folder("b"), folder("a/c")]).is_err());
        let file = Entry { node: Node::Fifo, ..folder("a") };
        assert!(read(&[file, folder("a/b")]).is_err());
        let link = Entry { node: Node::Symlink(b"/".to_vec()), ..folder("a") };
        assert!(read(&[link, folder("a/b")]).is_err());
        assert!(read(&[folder("a"), folder("a/b"), folder("a/bb/c")]).is_err());
    }

    proptest! {
        #[test]
        fn order_is_that_of_a_walk(a in prop::collection::vec("[ab!]{1,2}", 1..4), b in prop::collection::vec("[ab!]{1,2}", 1..4)) {
            prop_assert_eq!(compare(a.join("/").as_bytes(), b.join("/").as_bytes()), a.cmp(&b));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let (mut take, mut decoder) = (Take::new(&bytes), EntryDecoder::default());
            while decoder.next(&mut take).is_ok() && !take.is_empty() {}
        }
    }
}
