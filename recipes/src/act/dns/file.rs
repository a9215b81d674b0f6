//! The means *zone file*: BIND's own file on this host, edited in its place, and `rndc reload`.
//!
//! BIND itself reads the text before and after (`named-checkzone`, which writes a zone out record by record): unless the difference is exactly the intended one, nothing is
//! written. The file is exchanged in one step with what was prepared beside it, and what came out is compared with what was read: an edit that somebody saved meanwhile
//! comes back, and all begins anew. When the server does not take the file, the old one is put back.
//!
//! Zones that take updates, are frozen or signed elsewhere are refused, and so is a server that is not their primary: it would go on with what it has.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::fault::Fault;
use super::name::Name;
use super::set::{Kind, Set};
use super::zone::{Written, Zone, is_newer, next_serial};
use crate::act::budget::Budget;
use crate::act::program::{answer, answer_up_to, unnamed};
use crate::lock::{Lock, make_folder};

/// So often somebody may save the file while it is edited here.
const ATTEMPTS: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_millis(20);
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The same as BIND writes it out, each record with all its parts.
const WRITTEN_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Clone)]
pub struct ZoneFile {
    pub path: PathBuf,
    /// `named-checkzone`, by its path or its name.
    pub check: PathBuf,
    /// `rndc`, with what it needs to find the server.
    pub rndc: Vec<OsString>,
}

/// The text of a zone, as it is and as it will be.
struct Prepared {
    path: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
    serial: u32,
}

fn failed(action: &str, path: &Path) -> impl Fn(io::Error) -> Fault {
    let path = path.display().to_string();
    move |error| Fault::again(format!("cannot {action} {path}: {error}"))
}

impl ZoneFile {
    fn text(&self) -> Result<(PathBuf, Vec<u8>), Fault> {
        // A link stays a link: what it points to is exchanged.
        let path = fs::canonicalize(&self.path).map_err(failed("find", &self.path))?;
        let size = fs::metadata(&path).map_err(failed("read", &path))?.len();
        if size > FILE_BYTES_MAX {
            return Err(Fault::stop(format!("{} has {size} bytes: no zone is so large", path.display())));
        }
        let text = fs::read(&path).map_err(failed("read", &path))?;
        Ok((path, text))
    }

    /// Has BIND read a text, and write out what it means. One that it does not take is somebody's who may be saving it just now, or ours.
    fn written(&self, text: &[u8], zone: &Name, budget: &Budget, wrong: fn(String) -> Fault) -> Result<Written, Fault> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let wrong = |what| if budget.is_over() { Fault::again(what) } else { wrong(what) };
        let wrong = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Fault::stop(format!("cannot find {}", self.check.display())).with("install the package bind9-utils"),
            _ => wrong(format!("BIND does not take the zone {zone} from {}: {error}", self.path.display())),
        };
        let mut command = program(&self.check);
        command.args(["-i", "local", "-D", "-o", "-", &zone.plain(), "/dev/stdin"]).current_dir(folder);
        command.stdin(unnamed(text).map_err(wrong)?);
        Ok(Written::read(&answer_up_to(WRITTEN_BYTES_MAX, command, budget.left()).map_err(wrong)?))
    }

    pub(super) fn look(&self, zone: &Name, of: &[(Name, Kind)], budget: &Budget) -> Result<Vec<Set>, Fault> {
        let written = self.written(&self.text()?.1, zone, budget, Fault::again)?;
        of.iter().map(|(name, kind)| written.set(name, *kind).map_err(Fault::stop)).collect()
    }

    /// What would be written, compared with what is: the lines that go and come.
    pub(super) fn difference(&self, zone: &Name, now: &[Set], want: &[Set], budget: &Budget) -> Result<Vec<String>, Fault> {
        let Prepared { old, new, .. } = self.prepare(zone, now, want, None, budget)?;
        let split = |text: &[u8]| String::from_utf8_lossy(text).lines().map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (split(&old), split(&new));
        let (before, after): (HashSet<&String>, HashSet<&String>) = (old.iter().collect(), new.iter().collect());
        let gone = old.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
        Ok(gone
            .chain(new.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}")))
            .collect())
    }

    /// Makes `want` of `now`, under a serial above the file's and the last one. That it tells as soon as the server may see it. The zone's lock lies in `locks`.
    pub(super) fn change(
        &self,
        zone: &Name,
        (now, want): (&[Set], &[Set]),
        serial: &mut Option<u32>,
        locks: &Path,
        budget: &Budget,
    ) -> Result<(), Fault> {
        let _lock = lock(zone, locks, budget)?;
        self.admitted(zone, budget)?;
        for _ in 0..ATTEMPTS {
            let prepared = self.prepare(zone, now, want, *serial, budget)?;
            let Some(beside) = prepared.exchange()? else { continue };
            *serial = Some(prepared.serial);
            if let Err(fault) = self.reload(zone, budget) {
                return Err(prepared.put_back(&beside, fault));
            }
            fs::remove_file(&beside).map_err(failed("remove", &beside))?;
            return Ok(());
        }
        Err(Fault::again(format!("somebody else goes on changing {}: nothing was changed here", self.path.display())))
    }

    fn prepare(&self, zone: &Name, now: &[Set], want: &[Set], above: Option<u32>, budget: &Budget) -> Result<Prepared, Fault> {
        let (path, old) = self.text()?;
        let parsed = Zone::parse(&old, zone).map_err(|wrong| Fault::again(format!("{}: {wrong}", path.display())))?;
        let refuse = |what: String| Fault::stop(format!("{}: {what}", path.display()));
        let before = self.written(&old, zone, budget, Fault::again)?;
        if before.is_signed() {
            let what = "the file has signatures, which a change would break".to_owned();
            return Err(refuse(what).with("have BIND sign the zone by itself (dnssec-policy), and use means = \"update\""));
        }
        for set in now {
            let is = before.set(&set.name, set.kind).map_err(refuse)?;
            if is != *set {
                return Err(Fault::again(format!("{}: somebody changed it meanwhile: {is}; nothing was changed here", path.display())));
            }
        }
        let last = parsed.serial().map_err(refuse)?;
        let serial = next_serial(above.filter(|above| is_newer(*above, last)).unwrap_or(last));
        let new = parsed.edited(now, want, serial).map_err(refuse)?;
        let after = self.written(&new, zone, budget, Fault::stop)?;
        let strange = [before.beyond(&after, want, zone), after.beyond(&before, want, zone)].concat();
        if !strange.is_empty() || before.authority(zone) != after.authority(zone) {
            return Err(refuse(format!("the change would touch others, so nothing was changed: {}", strange.join("; ")))
                .with("write `$TTL` at the top of the zone file, so that no record has its TTL from the one before it"));
        }
        for set in want {
            let is = after.set(&set.name, set.kind).map_err(refuse)?;
            if is != *set {
                return Err(refuse(format!("the change would not bring about {set} but {is}, so nothing was changed")));
            }
        }
        Ok(Prepared { path, old, new, serial })
    }

    fn rndc(&self, words: &[&str], zone: &Name, budget: &Budget) -> Result<String, Fault> {
        let Some((first, rest)) = self.rndc.split_first() else { return Err(Fault::stop("no rndc is named")) };
        let mut command = program(Path::new(first));
        command.args(rest).args(words).arg(zone.plain()).stdin(std::process::Stdio::null());
        answer(command, budget.left()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::stop(format!("cannot find {}", first.display())).with("install the package bind9"),
            _ => Fault::again(format!("`rndc {} {}` failed: {error}", words.join(" "), zone.plain())),
        })
    }

    /// Whether the server takes this zone from its file, and only from there.
    pub(super) fn admitted(&self, zone: &Name, budget: &Budget) -> Result<(), Fault> {
        let said = self.rndc(&["zonestatus"], zone, budget)?;
        let is = |line: &str| said.lines().any(|said| said.trim() == line);
        let refuse =
            |why: &str, hint: &'static str| Err(Fault::stop(format!("the zone {zone} {why}, so its file must not be edited")).with(hint));
        if is("frozen: yes") {
            return refuse(
                "takes dynamic updates and is frozen",
                "thaw it (`rndc thaw ZONE`), and use means = \"update\" with a key for it",
            );
        }
        if is("dynamic: yes") {
            return refuse("takes dynamic updates", "use means = \"update\" with a key for it, or take `allow-update` out of named.conf");
        }
        if !is("type: primary") && !is("type: master") {
            return refuse("does not come from this server", "use means = \"update\" with the address of its primary");
        }
        Ok(())
    }

    /// Has the server read the file anew.
    pub(super) fn reload(&self, zone: &Name, budget: &Budget) -> Result<(), Fault> {
        self.rndc(&["reload"], zone, budget).map(drop)
    }
}

/// One at a time edits a zone, whatever domains are in it.
fn lock(zone: &Name, folder: &Path, budget: &Budget) -> Result<Lock, Fault> {
    let path = folder.join(format!("zone-{}.lock", zone.plain().replace('/', "_")));
    make_folder(folder).map_err(failed("make", folder))?;
    loop {
        match Lock::take(&path) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !budget.is_over() => {
                budget.pause(TRY_AGAIN).map_err(failed("lock", &path))?;
            }
            Err(error) => return Err(failed("lock", &path)(error)),
        }
    }
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    let known = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{known}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin")).env("LC_ALL", "C");
    command
}

impl Prepared {
    /// The file with the new text; nothing when another text was there than the one read. What was there lies beside it.
    fn exchange(&self) -> Result<Option<PathBuf>, Fault> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.path.with_file_name(format!(".{name}.resilient"));
        // What a killed process left may be what somebody saved: it is kept.
        match fs::rename(&beside, beside.with_extension("resilient-left")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("put aside", &beside)(error)),
            _ => self.write(&beside).map_err(|error| {
                // A part of it is of no use, and takes the place that is lacking.
                let _ = fs::remove_file(&beside);
                failed("write", &beside)(error)
            })?,
        }
        self.swap(&beside).map_err(failed("replace", &self.path))?;
        if fs::read(&beside).map_err(failed("read", &beside))? != self.old {
            self.back(&beside).map_err(failed("replace", &self.path))?;
            return Ok(None);
        }
        self.sync().map_err(failed("write", &self.path))?;
        Ok(Some(beside))
    }

    /// With the owner and the rights of the one it replaces.
    fn write(&self, beside: &Path) -> io::Result<()> {
        let like = fs::metadata(&self.path)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(beside)?;
        let owner = file.metadata()?;
        if (owner.uid(), owner.gid()) != (like.uid(), like.gid()) {
            std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(like.permissions())?;
        file.write_all(&self.new)?;
        file.sync_all()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn swap(&self, beside: &Path) -> io::Result<()> {
        Ok(renameat_with(CWD, beside, CWD, &self.path, RenameFlags::EXCHANGE)?)
    }

    /// Puts in place again what lies beside, unless somebody saved the file meanwhile: that stays. Whether nobody did.
    fn back(&self, beside: &Path) -> io::Result<bool> {
        self.swap(beside)?;
        let is_own = fs::read(beside)? == self.new;
        if !is_own {
            self.swap(beside)?;
        }
        fs::remove_file(beside)?;
        self.sync()?;
        Ok(is_own)
    }

    fn put_back(&self, beside: &Path, fault: Fault) -> Fault {
        match self.back(beside) {
            Ok(true) => Fault::again(format!("{fault}; the zone's file is as it was")),
            Ok(false) => Fault::again(format!("{fault}; somebody saved the zone's file meanwhile, and it stays as it was saved")),
            Err(error) => Fault::again(format!("{fault}; and its file could not be put back from {}: {error}", beside.display())),
        }
    }
}
