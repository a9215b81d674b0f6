//! Looking into snapshots without restoring them: `ls`, `find`, `diff`, one file to a writer.

use super::assemble;
use super::list::{collect, other_length, walk};
use super::open::OpenSnapshot;
use super::segments::Recent;
use crate::digest::Digester;
use crate::entry::{self, Content, Entry, Node};
use crate::error::{Error, Result};
use crate::extent::Extent;
use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;

/// Calls `each` for the entries at `path` and below it, at most `depth` parts deeper.
pub fn ls(snapshot: &OpenSnapshot<'_>, path: &[u8], depth: Option<usize>, each: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<bool> {
    let parts = |path: &[u8]| if path.is_empty() { 0 } else { 1 + path.iter().filter(|&&byte| byte == b'/').count() };
    let limit = depth.map(|depth| parts(path) + depth);
    let mut found = path.is_empty();
    snapshot.entries(crate::threads(), &mut |entry| {
        if entry::lies_in(&entry.path, path) {
            found = true;
            if limit.is_none_or(|limit| parts(&entry.path) <= limit) {
                each(&entry)?;
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Whether a name matches a pattern with `*` and `?`.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Calls `each` for entries whose last part, or whose whole path if the pattern has a `/`, matches.
pub fn find(snapshot: &OpenSnapshot<'_>, pattern: &[u8], each: &mut dyn FnMut(&Entry) -> Result<()>) -> Result<()> {
    let whole = pattern.contains(&b'/');
    snapshot.entries(crate::threads(), &mut |entry| {
        let subject = if whole { &entry.path[..] } else { super::restore::last_part(&entry.path) };
        if matches(pattern, subject) { each(&entry) } else { Ok(()) }
    })
}

/// How an entry differs between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// Content, or what kind of thing it is.
    Content,
    /// Mode, owner, times or extended attributes only.
    Attributes,
}

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub change: Change,
    pub path: Vec<u8>,
    pub len_before: Option<u64>,
    pub len_after: Option<u64>,
}

fn len(entry: &Entry) -> Option<u64> {
    match &entry.node {
        Node::File(content) => Some(content.len),
        _ => None,
    }
}

fn same_content(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::File(a), Node::File(b)) => a.len == b.len && a.digest == b.digest,
        _ => a == b,
    }
}

/// Compares two snapshots. Needs memory for the index of the first.
pub fn diff(before: &OpenSnapshot<'_>, after: &OpenSnapshot<'_>, each: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let mut old = Vec::new();
    before.entries(crate::threads(), &mut |mut entry| {
        if let Node::File(content) = &mut entry.node {
            content.list = Default::default();
        }
        old.push(entry);
        Ok(())
    })?;
    let mut old = old.into_iter().peekable();
    let removed = |entry: &Entry| Difference { change: Change::Removed, path: entry.path.clone(), len_before: len(entry), len_after: None };
    after.entries(crate::threads(), &mut |new| {
        while let Some(gone) = old.next_if(|entry| entry::compare(&entry.path, &new.path) == Ordering::Less) {
            each(removed(&gone))?;
        }
        let change = match old.next_if(|entry| entry.path == new.path) {
            None => Some((Change::Added, None)),
            Some(entry) if !same_content(&entry.node, &new.node) => Some((Change::Content, len(&entry))),
            Some(entry) if entry.attributes != new.attributes => Some((Change::Attributes, len(&entry))),
            Some(_) => None,
        };
        match change {
            Some((change, len_before)) => each(Difference { change, len_after: len(&new), path: new.path, len_before }),
            None => Ok(()),
        }
    })?;
    for gone in old {
        each(removed(&gone))?;
    }
    Ok(())
}

/// The entry at a path.
pub fn entry_at(snapshot: &OpenSnapshot<'_>, path: &[u8]) -> Result<Option<Entry>> {
    let mut found = None;
    snapshot.entries(crate::threads(), &mut |entry| {
        if entry.path == path {
            found = Some(entry);
        }
        Ok(())
    })?;
    Ok(found)
}

/// A file of fewer extents than this is read in order, with a few segments kept decoded.
const ORDERLY: usize = 64;

/// Writes the content of a file in order, and checks its digest. Scattered content goes through a scratch file in `scratch`.
pub fn cat(snapshot: &OpenSnapshot<'_>, content: &Content, scratch: &Path, out: &mut dyn Write) -> Result<()> {
    let failed = |source| Error::Store { operation: "write", name: "the content".into(), source };
    let mut recent = Recent::new(snapshot, 8);
    let mut digester = Digester::default();
    let mut each = |bytes: &[u8]| {
        digester.update(bytes);
        out.write_all(bytes).map_err(failed)
    };
    let Some(extents) = collect(&content.list, &mut recent, content.len)? else {
        return cat_long(snapshot, content, out);
    };
    let ordered = extents.len() < ORDERLY || extents.len() as u64 * (256 << 10) < content.len;
    if ordered {
        for extent in &extents {
            write_extent(extent, &mut recent, &mut each)?;
        }
    } else {
        let file = assemble::to_scratch(snapshot, &extents, scratch, crate::threads())?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < content.len {
            let part = (content.len - at).min(buffer.len() as u64) as usize;
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer[..part], at)
                .map_err(Error::file("read scratch file in", scratch))?;
            each(&buffer[..part])?;
            at += part as u64;
        }
    }
    if content.len > 0 && digester.finish() != content.digest {
        return Err(Error::damaged("the file", "its content has another digest than the snapshot says"));
    }
    Ok(())
}

/// The content of a file in more pieces than are held in memory: in order, however often that decodes a segment.
fn cat_long(snapshot: &OpenSnapshot<'_>, content: &Content, out: &mut dyn Write) -> Result<()> {
    let failed = |source| Error::Store { operation: "write", name: "the content".into(), source };
    let (mut digester, mut left) = (Digester::default(), content.len);
    let (mut lists, mut recent) = (Recent::new(snapshot, 4), Recent::new(snapshot, 32));
    walk(&content.list, &mut lists, &mut |_| (), &mut |extent| {
        left = left.checked_sub(extent.len).ok_or_else(other_length)?;
        write_extent(&extent, &mut recent, &mut |bytes| {
            digester.update(bytes);
            out.write_all(bytes).map_err(failed)
        })
    })?;
    if left > 0 || digester.finish() != content.digest {
        return Err(Error::damaged("the file", "its content has another digest than the snapshot says"));
    }
    Ok(())
}

fn write_extent(extent: &Extent, recent: &mut Recent<'_>, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match extent.place {
        Some(place) => each(recent.extent(place, extent.len)?),
        None => {
            let zeros = [0; 64 << 10];
            let mut left = extent.len;
            while left > 0 {
                let part = left.min(zeros.len() as u64);
                each(&zeros[..part as usize])?;
                left -= part;
            }
            Ok(())
        }
    }
}

/// All extents of a file, holes included.
pub fn extents(snapshot: &OpenSnapshot<'_>, content: &Content, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
    walk(&content.list, &mut Recent::new(snapshot, 8), &mut |_| (), each)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txtx", false),
            ("a?c", "abc", true),
            ("*", "", true),
            ("a*b*c", "aXbYbc", true),
            ("a*b", "ac", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
