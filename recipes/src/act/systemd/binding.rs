//! Units bound to `resilient-active.target`, so that none of them starts before this host was granted its role: a target of our
//! own, and a drop-in for each unit.
//!
//! `Requisite=` and not `Requires=` or `BindsTo=`: with those an enabled unit would start the target at boot. With it, a unit that
//! starts while the target is not there fails at once. `PartOf=` stops it with the target. The condition stands beside, on a file
//! that a reboot forgets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::data::{Finding, Level};
use crate::replace::replace;

pub const TARGET: &str = "resilient-active.target";
/// Where an administrator's own units and drop-ins lie.
pub const FOLDER: &str = "/etc/systemd/system";
const DROP_IN: &str = "50-resilient.conf";

/// What binds units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub folder: PathBuf,
    pub target: String,
    /// The file that says that this host may be active.
    pub granted: PathBuf,
}

impl Default for Binding {
    fn default() -> Binding {
        Binding { folder: FOLDER.into(), target: TARGET.into(), granted: super::super::granted::FILE.into() }
    }
}

impl Binding {
    pub(super) fn drop_in(&self, unit: &str) -> PathBuf {
        self.folder.join(format!("{unit}.d")).join(DROP_IN)
    }

    fn files(&self, units: &[String]) -> Vec<(PathBuf, String)> {
        let (target, granted) = (&self.target, self.granted.display());
        let head = "# Written by Resilient; changes are overwritten.\n[Unit]\n";
        let whole = format!("{head}Description=This host is the active one\nConditionPathExists={granted}\n");
        let part = format!("{head}Requisite={target}\nAfter={target}\nPartOf={target}\nConditionPathExists={granted}\n");
        let mut files = vec![(self.folder.join(target), whole)];
        files.extend(units.iter().map(|unit| (self.drop_in(unit), part.clone())));
        files
    }

    /// Writes the target and the drop-ins, where they are not so. Systemd has to reload then.
    pub fn write(&self, units: &[String]) -> Result<(), Error> {
        for (path, text) in self.files(units) {
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)
                .and_then(|()| replace(&path, text.as_bytes()))
                .map_err(|error| Error::io("write", &path, error))?;
        }
        Ok(())
    }

    /// Takes the drop-in of a unit away, which then starts at boot as it did before.
    pub fn remove(&self, unit: &str) -> Result<(), Error> {
        let path = self.drop_in(unit);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// What of the files is not as it should be.
    pub fn check(&self, units: &[String]) -> Vec<Finding> {
        let mut found = Vec::new();
        for (path, text) in self.files(units) {
            let what = match fs::read(&path) {
                Ok(there) if there == text.as_bytes() => continue,
                Ok(_) => format!("{} was changed", path.display()),
                Err(error) => format!("{} cannot be read: {error}", path.display()),
            };
            let hint = "bind the units anew: unbound, they may start at boot before this host was granted its role";
            found.push(Finding::new(Level::Fault, what).hint(hint));
        }
        found
    }
}
