//! What is done after everything else: attributes of folders, for making what is in them changes their times; and hard links.
//!
//! Both are kept as they stand in an index, each path by what it shares with the one before, so that they take no more memory than the index that named them.
//! A hard link is made only to a file that the snapshot has before it: not to whatever the target happens to have under that path. When a part is restored and
//! the file that a link names lies outside of it, the first such link becomes the file.

use super::{Restore, last_part};
use crate::encode::{Put, Take};
use crate::entry::{self, Attributes, Entry, EntryDecoder, Node};
use crate::error::{Error, Result};
use crate::read::open::OpenSnapshot;
use crate::read::segments::Recent;
use crate::read::tree;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Folders that were made or found, in order.
#[derive(Default)]
pub(super) struct Folders {
    bytes: Vec<u8>,
    previous: Vec<u8>,
}

/// Hears of a hard link's path and of what it leads to.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Hard links, in order.
#[derive(Default)]
pub(super) struct Links {
    bytes: Vec<u8>,
    previous: Vec<u8>,
}

impl Folders {
    pub fn push(&mut self, folder: &Entry) {
        entry::put(folder, &self.previous, &mut self.bytes);
        self.previous.clone_from(&folder.path);
    }
}

impl Links {
    pub fn push(&mut self, path: &[u8], to: &[u8]) {
        let shared = path.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        self.bytes.varint(shared as u64);
        self.bytes.bytes(&path[shared..]);
        self.bytes.bytes(to);
        self.previous.truncate(shared);
        self.previous.extend_from_slice(&path[shared..]);
    }

    /// Calls `each` with the path of each link and what it leads to.
    fn each(&self, each: Each<'_>) -> Result<()> {
        let (mut take, mut path) = (Take::new(&self.bytes), Vec::new());
        let bad = |_| Error::damaged("the list of hard links", "it was written otherwise");
        while !take.is_empty() {
            path.truncate(take.varint().map_err(bad)? as usize);
            path.extend_from_slice(take.bytes().map_err(bad)?);
            each(&path, take.bytes().map_err(bad)?)?;
        }
        Ok(())
    }
}

/// What a hard link leads to.
enum Target {
    /// A file that was restored under its own path.
    Here,
    /// A file outside of the part that is restored.
    Apart(Box<Entry>),
    /// The link that became that file.
    Under(Vec<u8>),
}

impl Restore<'_> {
    /// Gives folders their attributes, those within before those around them.
    pub(super) fn finish_folders(&mut self) -> Result<()> {
        let folders = std::mem::take(&mut self.folders);
        let (mut take, mut decoder) = (Take::new(&folders.bytes), EntryDecoder::default());
        let mut path: Vec<u8> = Vec::new();
        let mut around: Vec<(usize, Attributes)> = Vec::new();
        while !take.is_empty() {
            let folder = decoder.next(&mut take).map_err(|why| Error::damaged("the list of folders", why))?;
            while let Some((len, attributes)) = around.pop_if(|(len, _)| !entry::lies_in(&folder.path, &path[..*len])) {
                self.finish_folder(&path[..len], &attributes);
            }
            self.bounded()?;
            around.push((folder.path.len(), folder.attributes));
            path = folder.path;
        }
        while let Some((len, attributes)) = around.pop() {
            self.finish_folder(&path[..len], &attributes);
        }
        if let Some(attributes) = self.top.take() {
            self.finish_folder(b"", &attributes);
        }
        Ok(())
    }

    fn finish_folder(&mut self, path: &[u8], attributes: &Attributes) {
        let set = self.tree.folder(path).and_then(|fd| {
            tree::drop_xattrs(fd.as_fd(), &attributes.xattrs)?;
            tree::set_attributes(fd.as_fd(), attributes, self.owners)
        });
        if let Err(error) = set {
            self.problem(path, error);
        }
    }

    /// Makes the hard links.
    pub(super) fn finish_links(&mut self, snapshot: &OpenSnapshot<'_>, recent: &mut Recent<'_>) -> Result<()> {
        let links = std::mem::take(&mut self.links);
        if links.bytes.is_empty() {
            return Ok(());
        }
        let mut targets = self.targets(&links, snapshot)?;
        // Files first: the content of one that a link becomes is written with others, later than it is begun.
        links.each(&mut |path, to| {
            if let Some(target @ Target::Apart(_)) = targets.get_mut(to) {
                let Target::Apart(file) = std::mem::replace(target, Target::Under(path.to_vec())) else { unreachable!("it was looked at") };
                self.stand_in(Entry { path: path.to_vec(), ..*file }, recent)?;
            }
            Ok(())
        })?;
        self.window.finish()?;
        let mut failed = self.shared.failed();
        failed.extend(self.report.problems.iter().map(|problem| problem.path.clone()));
        links.each(&mut |path, to| {
            let link = |first: &[u8]| match failed.contains(first) {
                true => Err(io::Error::other("that could not be restored")),
                false => self.link(path, first),
            };
            let made = match targets.get(to) {
                Some(Target::Here) => link(to),
                Some(Target::Under(first)) if first == path => Ok(()),
                Some(Target::Under(first)) => link(first),
                Some(Target::Apart(_)) | None => Err(io::Error::other("the snapshot has no such file")),
            };
            if let Err(error) = made {
                self.problem(path, format!("hard link to {}: {error}", entry::display(to)));
            }
            self.bounded()
        })
    }

    /// The files that the links lead to.
    fn targets(&self, links: &Links, snapshot: &OpenSnapshot<'_>) -> Result<HashMap<Vec<u8>, Target>> {
        let mut named: Vec<Vec<u8>> = Vec::new();
        links.each(&mut |_, to| {
            named.push(to.to_vec());
            Ok(())
        })?;
        named.sort_unstable();
        named.dedup();
        let mut targets = HashMap::new();
        let paths = &self.options.paths;
        self.options.entries(snapshot, &mut |entry| {
            if matches!(entry.node, Node::File(_)) && named.binary_search(&entry.path).is_ok() {
                let here = paths.is_empty() || paths.iter().any(|path| entry::lies_in(&entry.path, path));
                targets.insert(entry.path.clone(), if here { Target::Here } else { Target::Apart(Box::new(entry)) });
            }
            Ok(())
        })?;
        Ok(targets)
    }

    fn stand_in(&mut self, file: Entry, recent: &mut Recent<'_>) -> Result<()> {
        match self.tree.folder(entry::parent(&file.path)) {
            Ok(fd) => self
                .levels
                .push(super::Level { path: entry::parent(&file.path).to_vec(), fd: Some(fd), seen: vec![], new: false }),
            Err(error) => {
                self.problem(&file.path, error);
                return Ok(());
            }
        }
        let done = self.file(file, recent);
        self.levels.pop();
        done
    }

    fn link(&self, path: &[u8], to: &[u8]) -> io::Result<()> {
        let (from_folder, to_folder) = (self.tree.folder(entry::parent(to))?, self.tree.folder(entry::parent(path))?);
        let name = last_part(path);
        let there = tree::look(to_folder.as_fd(), name)?;
        if there.is_some() {
            if inode(&from_folder, last_part(to))? == inode(&to_folder, name)? {
                return Ok(());
            }
            self.make_way_in(to_folder.as_fd(), name, there.map(|found| found.kind))?;
        }
        Ok(rustix::fs::linkat(&from_folder, last_part(to), &to_folder, name, rustix::fs::AtFlags::empty())?)
    }
}

fn inode(folder: &OwnedFd, name: &[u8]) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}
