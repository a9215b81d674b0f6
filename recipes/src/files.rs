//! The `files` recipe: folders and files as they lie on disk.
//!
//! One path that is a folder: its content lies directly under the source's root. One that is a file: it lies there under
//! its own name. Several: each under its own name, and the root is made up (mtime 0), so that what arrives tells a lone
//! file from a folder.
//!
//! Bytes, not strings: names may be anything that the kernel takes. Sockets are left out, and so are the leavings of
//! imports (`.NAME.resilient-new`, `.NAME.resilient-previous`, `NAME.resilient-kept-N`). What excludes match is no business of
//! this recipe: it is not exported, and imports neither touch nor delete it.
//!
//! Left out on purpose: a consistent point in time over several files (a file that changes while it is read shows by its
//! stamp), flags such as immutable, access times, and locks against those who write into the folders meanwhile.

mod carry;
mod commit;
pub(crate) mod exclude;
mod export;
mod folder;
mod names;
mod open;
mod record;
mod remove;
mod stage;
mod target;
mod walk;
mod xattr;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::{Attributes, Body, Data, Finding, Item, Level, Sink, Staging};
use crate::{Error, Stop};
use exclude::Excludes;
use export::Export;
use folder::{Folder, Handles, Identity};
pub(crate) use target::real;
use walk::Bounds;

/// What a source with this recipe is made of.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Absolute. Folders or regular files.
    pub paths: Vec<PathBuf>,
    /// In gitignore's syntax, relative to each path.
    pub exclude: Vec<String>,
    /// Folders that are never entered: the node's own state.
    pub skip: Vec<PathBuf>,
    /// Do not enter folders on which another file system is mounted.
    pub one_file_system: bool,
}

/// The recipe. Clones share what they are made of.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

/// Called with the name of each step of an import before it is made.
type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

struct Inner {
    roots: Vec<Root>,
    excludes: Excludes,
    skip: Vec<PathBuf>,
    one_file_system: bool,
    hook: Option<Hook>,
}

/// One of the paths.
struct Root {
    path: PathBuf,
    /// Its last name, which is also its name in the source unless it is the only one and a folder.
    name: Vec<u8>,
}

/// A root that is there.
struct Opened {
    folder: Arc<Folder>,
    /// The name in `folder` of a root that is a file.
    file: Option<Vec<u8>>,
}

impl Files {
    pub fn new(settings: Settings) -> Result<Files, Error> {
        let refuse = |reason: String| Err(Error::Settings { reason });
        if settings.paths.is_empty() {
            return refuse("a source of files needs at least one path".into());
        }
        let mut roots: Vec<Root> = Vec::new();
        for path in settings.paths {
            let shown = path.display();
            let name = path.file_name().map(|name| name.as_bytes().to_vec());
            if !path.is_absolute() || name.is_none() && path != Path::new("/") {
                return refuse(format!("{shown} is not an absolute path that ends in a name"));
            }
            let name = name.unwrap_or_default();
            if let Some(other) = roots.iter().find(|other| other.name == name) {
                let other = other.path.display();
                return refuse(format!("{other} and {shown} have the same last name: make two sources of them"));
            }
            roots.push(Root { path, name });
        }
        if roots.len() > 1 && roots.iter().any(|root| root.name.is_empty()) {
            return refuse("/ can only be the only path of its source".into());
        }
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        let excludes = Excludes::new(&settings.exclude)?;
        let (skip, one_file_system) = (settings.skip, settings.one_file_system);
        Ok(Files { inner: Arc::new(Inner { roots, excludes, skip, one_file_system, hook: None }) })
    }

    /// For tests that stop an import between two steps.
    #[doc(hidden)]
    pub fn with_hook(settings: Settings, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Result<Files, Error> {
        let files = Files::new(settings)?;
        let Some(mut inner) = Arc::into_inner(files.inner) else {
            return Err(Error::Thread);
        };
        inner.hook = Some(Box::new(hook));
        Ok(Files { inner: Arc::new(inner) })
    }
}

impl Inner {
    fn step(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
    }

    fn single(&self) -> bool {
        self.roots.len() == 1
    }

    /// The skipped folders that there are.
    fn skipped(&self) -> Vec<Identity> {
        let found = self.skip.iter().filter_map(|path| fs::metadata(path).ok());
        found.map(|found| Identity { device: found.dev(), inode: found.ino() }).collect()
    }

    fn bounds<'a>(&'a self, skip: &'a [Identity], root: Identity) -> Bounds<'a> {
        let device = self.one_file_system.then_some(root.device);
        Bounds { excludes: &self.excludes, skip, device, leavings: true }
    }

    fn open(&self, root: &Root, handles: &Arc<Handles>) -> Result<Opened, Error> {
        let path = &root.path;
        let missing = |source| Error::Missing { path: path.clone(), source };
        let real = fs::canonicalize(path).map_err(missing)?;
        let kind = fs::symlink_metadata(&real).map_err(missing)?.file_type();
        if self.skip.iter().any(|skip| fs::canonicalize(skip).is_ok_and(|skip| real.starts_with(skip))) {
            return Err(Error::Settings { reason: format!("{} lies in a folder that is skipped", path.display()) });
        }
        let (at, file) = match (kind.is_dir(), kind.is_file(), real.parent(), real.file_name()) {
            (true, ..) => (real.as_path(), None),
            (_, true, Some(parent), Some(name)) => (parent, Some(name.as_bytes().to_vec())),
            _ => return Err(Error::io("read", path, io::Error::other(unfit(kind)))),
        };
        let folder = Folder::root(at, handles).map_err(|error| Error::io("open", path, error))?;
        Ok(Opened { folder, file })
    }
}

fn unfit(kind: fs::FileType) -> &'static str {
    if kind.is_socket() { "a socket cannot be a source" } else { "it is neither a folder nor a regular file" }
}

impl Data for Files {
    fn check(&self) -> Result<Vec<Finding>, Error> {
        let (inner, mut found) = (&self.inner, Vec::new());
        let handles = Handles::new();
        for root in &inner.roots {
            match inner.open(root, &handles) {
                Ok(_) => {}
                Err(error @ Error::Settings { .. }) => return Err(error),
                Err(error) => found.push(error.finding()),
            }
            for other in inner.roots.iter().filter(|other| other.path != root.path && other.path.starts_with(&root.path)) {
                let what = format!("{} lies in {}: it is captured twice", other.path.display(), root.path.display());
                found.push(Finding::new(Level::Warning, what));
            }
            found.extend(target::check(inner, root));
        }
        Ok(found)
    }

    fn export(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        let inner = &*self.inner;
        let handles = Handles::new();
        // All are opened before anything is sent: a missing one fails the whole source.
        let opened: Vec<Opened> = inner.roots.iter().map(|root| inner.open(root, &handles)).collect::<Result<_, _>>()?;
        let skip = inner.skipped();
        let mut export = Export::new(sink);
        let lone_folder = inner.single() && opened.iter().all(|root| root.file.is_none());
        if !lone_folder {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let attributes = Attributes { mode: 0o755, uid, gid, ..Attributes::default() };
            export.item(Item { path: Vec::new(), attributes, stamp: None, body: Body::Folder })?;
        }
        for (root, opened) in inner.roots.iter().zip(&opened) {
            let folder = &opened.folder;
            export.at(if lone_folder { b"" } else { &root.name });
            if let Some(name) = &opened.file {
                export::file(folder, name, &mut export)?;
                continue;
            }
            let found = folder.fd().and_then(|fd| Ok(folder::stat_fd(&fd)?));
            let found = found.map_err(|error| Error::io("look at", &root.path, error))?;
            export.entry(folder, c"", &found, Some(folder)).map_err(|Stop| Error::Stopped)?;
            export::tree(folder, inner.bounds(&skip, folder.identity), &mut export)?;
        }
        Ok(())
    }

    fn stage(&self) -> Result<Box<dyn Staging>, Error> {
        stage::stage(&self.inner)
    }

    fn rollback(&self) -> Result<Vec<Finding>, Error> {
        stage::rollback(&self.inner)
    }
}
