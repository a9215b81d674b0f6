//! Restoring a snapshot, whole or in part, into a folder that may hold something already.
//!
//! Entries come in order. Folders, links and devices are made at once; files are gathered into windows, and each window's segments are decoded once and scattered to where their pieces
//! belong (`window`). A file that is there already with the right length and time is checked by its digest and left alone, so an interrupted restore
//! is repeated cheaply. A file that differs is written beside the old one and renamed over it. Where a tree that was restored before is about to go, what it has
//! as it should be is taken from it (`like`). What cannot be restored is named in the report, the rest goes on.
//!
//! It does not decide what is restored where: that is for the caller.

mod batch;
mod file;
mod later;
mod like;
mod options;
mod scatter;
mod slots;
mod window;

use super::open::OpenSnapshot;
use super::segments::Recent;
use super::tree::{self, Owners, Tree};
use crate::entry::{self, Attributes, Entry, Node};
use crate::error::{Error, Result};
use crate::extent::Extent;
use batch::{Batch, Shared};
use later::{Folders, Links};
use like::Like;
pub use options::{Problem, RestoreOptions, RestoreReport};
use rustix::fs::{FileType, Mode};
use scatter::Scatter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use window::{Window, Writer};

/// Folders that were reached, and what was seen in them.
struct Level {
    path: Vec<u8>,
    /// Closed while much deeper ones are written: nobody may have as many files open as a tree is deep.
    fd: Option<OwnedFd>,
    seen: Vec<Vec<u8>>,
    /// Made by this restore, so nothing is in it yet but what came before in order.
    new: bool,
}

struct Restore<'a> {
    tree: &'a Tree,
    options: &'a RestoreOptions<'a>,
    owners: Owners,
    levels: Vec<Level>,
    /// The folder that was made last.
    made: Vec<u8>,
    folders: Folders,
    links: Links,
    /// Of the target itself, when the snapshot has an entry for it.
    top: Option<Attributes>,
    shared: &'a Shared<'a>,
    window: Window<'a>,
    report: RestoreReport,
    /// Bytes of paths and reasons that the report has so far.
    named: usize,
    /// Whether anything matched the wanted paths.
    matched: bool,
}

/// Folders above the one that is written which stay open.
const OPEN_MAX: usize = 100;

/// What a report takes in memory: a snapshot of nothing but lies is not told to its end.
const NAMED_MAX: usize = 32 << 20;

/// Restores a snapshot below `target`.
pub fn restore(snapshot: &OpenSnapshot<'_>, target: &Path, options: &RestoreOptions<'_>) -> Result<RestoreReport> {
    let tree = Tree::open(target).map_err(Error::file("open", target))?;
    let owners = Owners(rustix::process::geteuid().is_root());
    let top = tree.folder(b"").map_err(Error::file("open", target))?;
    let shared = Shared::new(snapshot, &tree, options, owners);
    let like = options.like.map(Like::new).transpose().map_err(Error::file("open what is kept beside", target))?;
    std::thread::scope(|scope| {
        let (to, gathered) = mpsc::sync_channel::<Batch>(1);
        let (written, from) = mpsc::sync_channel(1);
        let shared = &shared;
        scope.spawn(move || {
            for batch in gathered {
                Scatter { shared, batch: &batch }.all();
                if written.send(batch).is_err() {
                    break;
                }
            }
        });
        let mut restore = Restore {
            tree: &tree,
            options,
            owners,
            levels: vec![Level { path: vec![], fd: Some(top), seen: vec![], new: false }],
            made: vec![],
            folders: Folders::default(),
            links: Links::default(),
            top: None,
            shared,
            window: Window::new(shared, Writer { to, from }, like),
            report: RestoreReport::default(),
            named: 0,
            matched: options.paths.is_empty(),
        };
        let mut recent = Recent::new(snapshot, 4);
        options.entries(snapshot, &mut |entry| restore.entry(entry, &mut recent))?;
        restore.finish(target, snapshot, &mut recent)
    })
}

/// The last part of a path.
pub(crate) fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

impl Restore<'_> {
    fn wanted(&mut self, entry: &Entry) -> bool {
        let inside = self.options.wants(&entry.path);
        self.matched |= inside;
        inside || (entry.node == Node::Folder && self.options.paths.iter().any(|path| entry::lies_in(path, &entry.path)))
    }

    /// Ends it when more is to be named than there is room for.
    fn bounded(&self) -> Result<()> {
        if self.named > NAMED_MAX || (self.report.entries.is_multiple_of(1000) && self.shared.named() > NAMED_MAX) {
            return Err(Error::refused("the snapshot", "more of it cannot be restored than can be named"));
        }
        Ok(())
    }

    fn problem(&mut self, path: &[u8], why: impl std::fmt::Display) {
        let why = why.to_string();
        self.named += path.len() + why.len();
        self.report.problems.push(Problem { path: path.to_vec(), why });
    }

    fn entry(&mut self, entry: Entry, recent: &mut Recent<'_>) -> Result<()> {
        if !self.wanted(&entry) {
            return Ok(());
        }
        self.report.entries += 1;
        self.bounded()?;
        if entry.path.is_empty() {
            return self.itself(entry);
        }
        if !self.enter(entry::parent(&entry.path))? {
            // Whoever keeps it from us may let go of it: what lies in it may be made, and comes after it.
            if entry.node == Node::Folder {
                self.folders.push(&entry);
            }
            let why = "the folder that it belongs in could not be made";
            self.problem(&entry.path, why);
            return Ok(());
        }
        if self.options.delete.is_some() {
            let level = self.levels.last_mut().expect("the target is always there");
            level.seen.push(last_part(&entry.path).to_vec());
        }
        let made = match &entry.node {
            Node::Folder => self.folder(&entry),
            Node::File(content) => {
                if content.torn {
                    self.named += entry.path.len();
                    self.report.torn.push(entry.path.clone());
                }
                self.file(entry, recent)?;
                return Ok(());
            }
            Node::HardLink(to) => {
                self.links.push(&entry.path, to);
                Ok(())
            }
            _ => self.special(&entry),
        };
        if let Err(error) = made {
            self.problem(&entry.path, error);
        }
        if entry.node == Node::Folder {
            self.folders.push(&entry);
        }
        Ok(())
    }

    /// The entry that is the target itself; of a part of it nothing is said about the whole.
    fn itself(&mut self, entry: Entry) -> Result<()> {
        match entry.node {
            Node::Folder if self.options.paths.is_empty() => self.top = Some(entry.attributes),
            Node::Folder => {}
            _ => self.problem(&self.options.within.clone(), "it is no folder, so nothing lies in it"),
        }
        Ok(())
    }

    /// Goes to a folder that was made before; leaves those that are done. `false` when it is not to be had.
    fn enter(&mut self, path: &[u8]) -> Result<bool> {
        while !entry::lies_in(path, &self.levels.last().expect("the target stays").path) {
            let level = self.levels.pop().expect("the target is never left, everything lies below it");
            self.leave(level);
        }
        let level = self.levels.last_mut().expect("the target stays");
        let fd = match level.fd.take().map_or_else(|| self.tree.folder(&level.path), Ok) {
            Ok(fd) => level.fd.insert(fd),
            Err(_) => return Ok(false),
        };
        if level.path == path {
            return Ok(true);
        }
        let rest = if level.path.is_empty() { path } else { &path[level.path.len() + 1..] };
        match tree::open_folder(fd.as_fd(), rest) {
            Ok(fd) => {
                let new = self.made == path;
                self.levels.push(Level { path: path.to_vec(), fd: Some(fd), seen: vec![], new });
                if let Some(above) = self.levels.len().checked_sub(OPEN_MAX) {
                    self.levels[above].fd = None;
                }
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Removes what is in a folder and not in the snapshot.
    fn leave(&mut self, level: Level) {
        let Some(keep) = self.options.delete else { return };
        if !self.options.wants(&level.path) {
            return;
        }
        let fd = level.fd.map_or_else(|| self.tree.folder(&level.path), Ok);
        let (fd, names) = match fd.and_then(|fd| tree::names(fd.as_fd()).map(|names| (fd, names))) {
            Ok(found) => found,
            Err(error) => return self.problem(&level.path, error),
        };
        let mut seen = level.seen;
        seen.sort_unstable();
        for name in names.iter().filter(|name| seen.binary_search(name).is_err()) {
            let path = join(&level.path, name);
            if keep(&path) {
                continue;
            }
            match tree::remove(fd.as_fd(), name) {
                Ok(()) => self.report.removed += 1,
                Err(error) => self.problem(&path, format!("it should be removed: {error}")),
            }
        }
    }

    fn here(&self) -> &OwnedFd {
        self.levels.last().and_then(|level| level.fd.as_ref()).expect("the folder that was entered is open")
    }

    /// What is at a name in the folder that was entered.
    fn look(&self, name: &[u8]) -> io::Result<Option<tree::Found>> {
        let level = self.levels.last().expect("the target stays");
        if level.new { Ok(None) } else { tree::look(self.here().as_fd(), name) }
    }

    /// Makes way for something of another kind, if that is allowed.
    fn make_way(&self, name: &[u8], found: FileType) -> io::Result<()> {
        self.make_way_in(self.here().as_fd(), name, Some(found))
    }

    fn make_way_in(&self, folder: BorrowedFd<'_>, name: &[u8], found: Option<FileType>) -> io::Result<()> {
        if found == Some(FileType::Directory) && self.options.delete.is_none() {
            return Err(io::Error::other("a folder is in its place; it is replaced only when deleting is asked for"));
        }
        tree::remove(folder, name)
    }

    fn folder(&mut self, entry: &Entry) -> io::Result<()> {
        let name = last_part(&entry.path);
        match self.look(name)? {
            Some(found) if found.kind == FileType::Directory => return Ok(()),
            Some(found) => self.make_way(name, found.kind)?,
            None => {}
        }
        rustix::fs::mkdirat(self.here(), name, Mode::from_raw_mode(0o700))?;
        self.made.clone_from(&entry.path);
        Ok(())
    }

    fn special(&mut self, entry: &Entry) -> io::Result<()> {
        let (name, here) = (last_part(&entry.path), self.here());
        if let Some(found) = self.look(name)? {
            self.make_way(name, found.kind)?;
        }
        let mode = Mode::from_raw_mode(0o600);
        let node = |kind, major, minor| rustix::fs::mknodat(here, name, kind, mode, rustix::fs::makedev(major, minor));
        match &entry.node {
            Node::Symlink(to) => rustix::fs::symlinkat(to.as_slice(), here, name)?,
            Node::Fifo => node(FileType::Fifo, 0, 0)?,
            Node::CharDevice { major, minor } => node(FileType::CharacterDevice, *major, *minor)?,
            Node::BlockDevice { major, minor } => node(FileType::BlockDevice, *major, *minor)?,
            Node::Folder | Node::File(_) | Node::HardLink(_) => unreachable!("these are made elsewhere"),
        }
        tree::set_attributes_at(here.as_fd(), name, &entry.attributes, self.owners, matches!(entry.node, Node::Symlink(_)))
    }

    fn file(&mut self, entry: Entry, recent: &mut Recent<'_>) -> Result<()> {
        let name = last_part(&entry.path);
        let found = match self.look(name) {
            Ok(Some(found)) if found.kind != FileType::RegularFile => match self.make_way(name, found.kind) {
                Ok(()) => None,
                Err(error) => {
                    self.problem(&entry.path, error);
                    return Ok(());
                }
            },
            Ok(found) => found,
            Err(error) => {
                self.problem(&entry.path, error);
                return Ok(());
            }
        };
        let path = entry.path.clone();
        if found.is_some() && self.options.delete.is_some() {
            let level = self.levels.last_mut().expect("the target is always there");
            level.seen.push(file::beside(name));
        }
        let folder = self
            .levels
            .last()
            .and_then(|level| level.fd.as_ref())
            .expect("the folder that was entered is open")
            .as_fd();
        match self.window.begin(entry, found, folder) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                self.problem(&path, error);
                return Ok(());
            }
        }
        let list = self.window.list();
        let window = &mut self.window;
        let read = super::list::walk(&list, recent, &mut |_| (), &mut |extent: Extent| window.extent(extent));
        let ended = read.and_then(|()| self.window.end());
        match ended {
            Err(error) if error.kind() == crate::Kind::Retry => Err(error),
            Err(error) => self.window.give_up(&error),
            Ok(()) => Ok(()),
        }
    }

    fn finish(mut self, target: &Path, snapshot: &OpenSnapshot<'_>, recent: &mut Recent<'_>) -> Result<RestoreReport> {
        self.window.finish()?;
        while let Some(level) = self.levels.pop() {
            self.leave(level);
        }
        self.finish_links(snapshot, recent)?;
        self.shared.report_into(&mut self.report);
        self.report.files_kept = self.window.kept;
        self.finish_folders()?;
        self.tree.sync().map_err(Error::file("write", target))?;
        if !self.matched {
            let paths: Vec<String> = self.options.paths.iter().map(|path| entry::display(path)).collect();
            return Err(Error::refused(paths.join(", "), "the snapshot has no such path; `ls` lists what it has"));
        }
        Ok(self.report)
    }
}

/// A path in a folder.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}
