//! The cases of SlapOS's signature file: what is signed is what is there, and what differs from it is not imported.

use super::Stack;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tests::chance::noise;
use tests::cluster::snapshots;

impl Stack {
    /// What an export says, and how many states are kept then.
    #[track_caller]
    fn signed(&self, says: &str, kept: usize) {
        let ran = self.run(0, "exporter", &["run", "--wait"]).ended(0);
        assert!(ran.text().contains(says), "{}", ran.text());
        assert_eq!(self.kept().len(), kept);
        self.import(1);
        assert_eq!(self.hosts[1].data(), self.hosts[0].data());
        // The same signature at each hop, and none of it among the data.
        let newest = |repository: &Path| snapshots(repository).pop().unwrap();
        assert_eq!(newest(&self.repository(0)), newest(&self.archive()));
        assert_eq!(newest(&self.repository(1)), newest(&self.archive()));
        assert_eq!(tests::cluster::files(&self.hosts[1].database("srv/backup/postgres")), self.hosts[0].data());
        let archive = self.archive();
        self.cluster
            .run("backup", "pull-backup", &["check", "--read", "--repository", archive.to_str().unwrap()])
            .ended(0);
    }
}

#[test]
fn what_is_signed_is_what_is_there_at_the_first_time_unchanged_changed_added_and_removed() {
    let mut stack = Stack::new(173, 1);
    let page = stack.hosts[0].www("page");
    fs::write(&page, "Some test data").unwrap();
    stack.hosts[0].write("test file", "Some test data");
    stack.signed("snapshot", 1);
    stack.signed("unchanged", 1);
    // The folder by another spelling is the same folder.
    let config = stack.cluster.path("host0.toml");
    let text = fs::read_to_string(&config).unwrap();
    let slashes = text.replace("slappart0\"", "slappart0//\"").replace("srv/www\"", "srv/www//\"");
    assert_ne!(text, slashes);
    fs::write(&config, slashes).unwrap();
    stack.signed("unchanged", 1);
    stack.hosts[0].write("test file", "Other test data");
    stack.signed("snapshot", 2);
    // A change that hides: of the same length, and with a time from before the last signature.
    fs::write(&page, "Evil test data").unwrap();
    File::options()
        .append(true)
        .open(&page)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_secs(1))
        .unwrap();
    stack.signed("snapshot", 3);
    assert_eq!(fs::read_to_string(stack.hosts[1].www("page")).unwrap(), "Evil test data");
    stack.hosts[0].write("test other file", "Other test data");
    stack.signed("snapshot", 4);
    fs::remove_file(stack.hosts[0].database("srv/data/test other file")).unwrap();
    stack.signed("snapshot", 5);
    stack.cluster.stop();
}

/// A position that nothing has.
const EXTRA: &str = "00000000000000ff";

/// Where something is other than it was signed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Archive,
    Mirror,
}

/// What is other.
#[derive(Clone, Copy, Debug)]
enum Differs {
    Flipped,
    Empty,
    Missing,
    Swapped,
    /// The newest stands under the name of one that would be newer still as well.
    Extra,
}

/// What comes of it, and what is said.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// The data is what it was.
    Refused(&'static str),
    /// What was signed was to be had all the same.
    New(&'static str),
}

/// Files of a kind, the newest first.
fn newest(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).collect();
    files.sort_by_key(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.file_name()));
    files.into_iter().rev().map(|entry| entry.path()).collect()
}

fn differ(repository: &Path, kind: &str, differs: Differs) {
    let files = newest(&repository.join(kind));
    let mut bytes = fs::read(&files[0]).unwrap();
    match differs {
        Differs::Flipped => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Differs::Empty => bytes.clear(),
        Differs::Missing => return fs::remove_file(&files[0]).unwrap(),
        Differs::Swapped => {
            fs::write(&files[0], fs::read(&files[1]).unwrap()).unwrap();
            return fs::write(&files[1], bytes).unwrap();
        }
        Differs::Extra => {
            let name = files[0].file_name().unwrap().to_str().unwrap();
            let (position, id) = name.rsplit_once('-').unwrap();
            let (epoch, _) = position.split_once('-').unwrap();
            return fs::write(files[0].with_file_name(format!("{epoch}-{EXTRA}-{id}")), bytes).unwrap();
        }
    }
    fs::write(&files[0], bytes).unwrap();
}

#[test]
fn what_differs_from_what_was_signed_is_not_imported_and_the_last_good_stays() {
    use At::{Archive, Mirror};
    use Comes::{New, Refused};
    use Differs::{Empty, Extra, Flipped, Missing, Swapped};
    let mut stack = Stack::new(174, 1);
    let other = "not those that were signed";
    let table = [
        (Archive, "packs", Flipped, Refused(other)),
        (Archive, "packs", Missing, Refused("not to be had")),
        (Archive, "packs", Swapped, Refused(other)),
        (Archive, "snapshots", Empty, Refused("it ends too early")),
        (Archive, "snapshots", Missing, Refused("nothing new")),
        (Archive, "snapshots", Extra, New("another snapshot than its name says")),
        (Mirror, "packs", Flipped, Refused(other)),
        (Mirror, "packs", Missing, Refused("is not there")),
        (Mirror, "packs", Swapped, Refused(other)),
        (Mirror, "snapshots", Missing, New("is in the mirror")),
    ];
    stack.hosts[0].write("large", noise(0, 1_200_000));
    stack.carry();
    for (round, (at, kind, differs, comes)) in table.into_iter().enumerate() {
        let (case, good) = (format!("{at:?} {kind} {differs:?}"), stack.hosts[1].data());
        stack.hosts[0].write("large", noise(1 + 2 * round as u64, 1_200_000));
        stack.export();
        if at == Mirror {
            // It arrives whole, and is not imported yet.
            let role = stack.cluster.path("host1-state/role");
            let text = fs::read(&role).unwrap();
            fs::remove_file(&role).unwrap();
            stack.import(1);
            fs::write(&role, text).unwrap();
        }
        let repository = if at == Archive { stack.archive() } else { stack.repository(1) };
        differ(&repository, kind, differs);
        let ran = stack.run(1, "importer", &["sync"]);
        let (words, expected) = match comes {
            Refused(words) => (words, good),
            New(words) => (words, stack.hosts[0].data()),
        };
        assert!(stack.hosts[1].data() == expected && ran.err.contains(words), "{case}: {ran:?}");
        // Where the archive does not even know that there was something, nothing failed.
        let unknown = ["nothing new", "is in the mirror"].contains(&words);
        assert_eq!(ran.status, i32::from(!unknown), "{case}: {ran:?}");
        // The next one comes, whatever lies beside it; what claims to be above it a person takes away.
        let claims = newest(&repository.join("snapshots"))
            .into_iter()
            .find(|path| path.to_string_lossy().contains(EXTRA));
        claims.into_iter().for_each(|path| fs::remove_file(path).unwrap());
        stack.hosts[0].write("large", noise(2 + 2 * round as u64, 1_200_000));
        stack.carry();
    }
    let archive = stack.archive();
    let checked = stack
        .cluster
        .run("backup", "pull-backup", &["check", "--read", "--repository", archive.to_str().unwrap()])
        .ended(1);
    assert!(checked.text().contains(other) && checked.err.contains("--heal"), "{checked:?}");
    stack.cluster.stop();
}
