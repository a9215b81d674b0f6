//! Scenarios of the systems that this one replaces, each a test named after what its users lived through. What needs a takeover comes with it.

mod oak;
mod slapos;
mod yunohost;

use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::cluster::{Cluster, snapshots};
use tests::program::{Ran, program};
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);

/// A pull-backup, a node that works and one that stands by with the means to import; a dataset of one source, files.
struct Trio(Cluster);

/// A dataset of one source, with these lines in the source besides.
fn dataset(data: &Path, more: &str) -> String {
    format!("[[dataset]]\nname = \"files\"\nevery = \"24h\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{data:?}]\n{more}")
}

impl Trio {
    fn new(number: u8, more: &str) -> Trio {
        let mut cluster = Cluster::new(number);
        cluster.keeper("keeper", "");
        let data = cluster.path("web1");
        std::fs::create_dir_all(&data).unwrap();
        cluster.node("web1", "", &dataset(&data, more));
        cluster.join("keeper", "web1", &["--active"]);
        let own = cluster.path("web2");
        let node = format!("identity = {:?}\nsource.files.files.paths = [{own:?}]", cluster.path("identity"));
        cluster.node("web2", &node, &dataset(&data, more));
        cluster.join("keeper", "web2", &["--standby"]);
        Trio(cluster)
    }

    fn data(&self) -> PathBuf {
        self.0.path("web1")
    }

    fn spool(&self) -> PathBuf {
        self.0.of_node("web1", "files")
    }

    fn archive(&self) -> PathBuf {
        self.0.of_keeper("keeper", "files")
    }

    /// Exports, and waits until the archive holds it.
    fn export(&self) {
        self.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
    }

    fn import(&self) {
        self.0.run("web2", "importer", &["sync"]).ended(0);
    }

    /// Restores from the archive, by whatever names a snapshot.
    fn restore(&self, at: &str) -> tempfile::TempDir {
        let target = tempfile::tempdir().unwrap();
        let (repository, to) = (self.archive(), target.path().to_str().unwrap().to_owned());
        let ran: Ran = program("pull-backup")
            .args(["restore", "--at", at, "--repository", repository.to_str().unwrap(), "--to", &to])
            .arg("--identity")
            .arg(self.0.path("identity"))
            .output()
            .unwrap()
            .into();
        ran.ended(0);
        target
    }

    fn newest_is_in(&self, repository: &Path) {
        let newest = snapshots(&self.spool()).pop().expect("something was exported");
        until(LIMIT, "the newest snapshot to arrive", || snapshots(repository).contains(&newest).then_some(()));
    }
}

/// Bytes below a folder.
fn size(folder: &Path) -> u64 {
    tests::cluster::files(folder).values().map(|bytes| bytes.len() as u64).sum()
}
