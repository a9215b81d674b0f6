//! Where an import goes, and what lies beside it.
//!
//! Beside the database NAME lies at most one folder `.NAME.resilient-new`, while an import is under way, and at most one
//! `.NAME.resilient-previous` with a copy of what was before the last import. Both have names that `files` leaves out.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::copy;
use crate::data::{Finding, Level};
use crate::files::exclude::{NEW, PREVIOUS};

pub(crate) struct Target {
    /// Without symlinks.
    pub path: PathBuf,
    parent: PathBuf,
    pub new: PathBuf,
    previous: PathBuf,
}

/// What an import writes down before it touches the live database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// There was a database; `was` is a copy of it.
    Existed,
    /// There was none.
    Absent,
}

const RECORD: &str = "record";
const FILE: &str = "database.sqlite";

impl Target {
    pub fn new(path: PathBuf) -> Target {
        let parent = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let beside = |ending: &str| {
            let mut name = std::ffi::OsString::from(".");
            name.push(path.file_name().unwrap_or_default());
            name.push(ending);
            parent.join(name)
        };
        let (new, previous) = (beside(NEW), beside(PREVIOUS));
        Target { path, parent, new, previous }
    }

    pub fn tree(&self) -> PathBuf {
        self.new.join("tree")
    }

    /// The file that arrives.
    pub fn arriving(&self) -> PathBuf {
        self.tree().join(FILE)
    }

    /// The copy of what was there before, while the import is under way.
    pub fn was(&self) -> PathBuf {
        self.new.join("was")
    }

    /// The copy of what was before the last import.
    pub fn kept(&self) -> PathBuf {
        self.previous.join(FILE)
    }

    pub fn exists(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_file() => Ok(true),
            Ok(_) => Err(io::Error::other("it is no regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn begin(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        builder.create(&self.new)?;
        builder.create(self.tree())
    }

    pub fn begun(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.new) {
            Ok(found) if found.is_dir() => Ok(true),
            Ok(_) => Err(io::Error::other("something else has the name of an import")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn write_record(&self, record: Record) -> io::Result<()> {
        let draft = self.new.join("draft");
        copy::remove(&draft)?;
        let mut file = File::create_new(&draft)?;
        file.write_all(match record {
            Record::Existed => b"existed\n",
            Record::Absent => b"absent\n",
        })?;
        file.sync_all()?;
        fs::rename(&draft, self.new.join(RECORD))?;
        sync(&self.new)?;
        sync(&self.parent)
    }

    pub fn record(&self) -> io::Result<Option<Record>> {
        match fs::read(self.new.join(RECORD)) {
            Ok(bytes) if bytes == b"existed\n" => Ok(Some(Record::Existed)),
            Ok(bytes) if bytes == b"absent\n" => Ok(Some(Record::Absent)),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the record of an import is damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An empty file, with owner and mode of what arrived. SQLite drops a WAL or journal that it finds beside an empty one.
    pub fn create(&self) -> io::Result<()> {
        let found = fs::metadata(self.arriving())?;
        drop(File::options().write(true).create_new(true).mode(0o600).open(&self.path)?);
        let owner = fs::metadata(&self.path)?;
        if (owner.uid(), owner.gid()) != (found.uid(), found.gid()) {
            std::os::unix::fs::chown(&self.path, Some(found.uid()), Some(found.gid()))?;
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(found.mode() & 0o777))?;
        sync(&self.parent)
    }

    /// Makes `was` what a rollback goes back to.
    pub fn keep(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.previous) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !fs::symlink_metadata(&self.previous)?.is_dir() {
            return Err(io::Error::other("something else has the name of what was before"));
        }
        fs::rename(self.was(), self.kept())?;
        sync(&self.previous)?;
        sync(&self.parent)
    }

    /// Ends the import, or what is left of one. The record goes first: without it nothing here concerns the database.
    pub fn clear(&self) -> io::Result<()> {
        copy::remove(&self.new.join(RECORD))?;
        sync(&self.new)?;
        fs::remove_dir_all(&self.new)?;
        sync(&self.parent)
    }
}

/// Never of the live database: closing it would drop this process's locks on it.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether two files, neither of them live, hold the same.
pub(crate) fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    loop {
        let length = one.read(&mut a)?;
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(&mut b[..length])?;
        if a[..length] != b[..length] {
            return Ok(false);
        }
    }
}

/// What a check says of a target. Creates nothing.
pub(crate) fn check(path: &Path) -> Vec<Finding> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let target = Target::new(path);
    match target.begun() {
        Ok(false) => Vec::new(),
        _ => {
            let what = format!("an import into {} did not end", target.path.display());
            vec![Finding::new(Level::Warning, what).hint("import again: that finishes it or undoes it first")]
        }
    }
}
