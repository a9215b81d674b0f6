//! Two trees take turns in being the data, and of each only what changed is written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tests::chance::{Chance, budget, noise};
use tests::cluster::{Cluster, files};
use tests::wait::within;

/// A host with two folders of files, and one that stands by.
struct Pair {
    cluster: Cluster,
    own: PathBuf,
    folders: &'static [&'static str],
}

impl Pair {
    fn start(net: u8, folders: &'static [&'static str]) -> Pair {
        let mut cluster = Cluster::new(net);
        cluster.keeper("keeper", "");
        let (data, own) = (cluster.path("web1"), cluster.path("web2"));
        let paths = |of: &Path| folders.iter().map(|name| of.join(name)).collect::<Vec<PathBuf>>();
        paths(&data).into_iter().for_each(|path| fs::create_dir_all(path.join("sub")).unwrap());
        fs::create_dir_all(&own).unwrap();
        let text =
            format!("[[dataset]]\nname = \"shop\"\n[[dataset.source]]\nname = \"www\"\nrecipe = \"files\"\npaths = {:?}\n", paths(&data));
        cluster.node("web1", "", &text);
        cluster.join("keeper", "web1", &["--active"]);
        let more = format!("identity = {:?}\nsource.shop.www.paths = {:?}", cluster.path("identity"), paths(&own));
        cluster.node("web2", &more, &text);
        cluster.join("keeper", "web2", &["--standby"]);
        let pair = Pair { cluster, own, folders };
        (0..20).for_each(|n| pair.write(&format!("sub/{n:02}"), &noise(n, 40_000)));
        pair
    }

    fn write(&self, name: &str, content: &[u8]) {
        let folders = self.folders.iter().map(|folder| self.cluster.path("web1").join(folder));
        folders.for_each(|folder| fs::write(folder.join(name), content).unwrap());
    }

    fn export(&self) {
        self.cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    }

    fn brings(&self) {
        self.export();
        self.cluster.run("web2", "importer", &["sync"]).ended(0);
        self.is_right();
    }

    fn at_source(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.cluster.path("web1"))
    }

    /// The data is what is at the source, and nothing of it is anywhere else.
    #[track_caller]
    fn is_right(&self) {
        assert!(self.live() == self.at_source());
        for folder in self.folders {
            let names = |name: &String| fs::symlink_metadata(self.own.join(folder).join(name)).unwrap().nlink();
            let shared = files(&self.own.join(folder)).into_keys().find(|name| names(name) != 1);
            assert!(shared.is_none(), "{shared:?} of {folder} has another name");
        }
    }

    fn live(&self) -> BTreeMap<String, Vec<u8>> {
        self.folders
            .iter()
            .flat_map(|folder| {
                files(&self.own.join(folder))
                    .into_iter()
                    .map(move |(name, content)| (format!("{folder}/{name}"), content))
            })
            .collect()
    }

    /// What is kept of before.
    fn kept(&self, folder: &str) -> PathBuf {
        self.own.join(format!(".{folder}.resilient-previous/tree/{folder}"))
    }

    /// The files whose inodes the data of now and what was kept before have in common.
    fn taken(&self, folder: &str, kept: &BTreeMap<String, u64>) -> Vec<String> {
        let live = inodes(&self.own.join(folder));
        kept.iter()
            .filter(|(name, inode)| live.get(*name) == Some(inode))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn inodes(folder: &Path) -> BTreeMap<String, u64> {
    files(folder)
        .into_keys()
        .map(|name| (name.clone(), fs::symlink_metadata(folder.join(name)).unwrap().ino()))
        .collect()
}

fn takes_turns(pair: &Pair) {
    pair.brings();
    pair.write("sub/00", b"second");
    pair.brings();
    for round in 0..4 {
        let kept: Vec<_> = pair.folders.iter().map(|folder| (*folder, inodes(&pair.kept(folder)))).collect();
        pair.write("sub/01", format!("round {round}").as_bytes());
        pair.write(&format!("new{round}"), b"new");
        pair.brings();
        // Of what is kept of two imports ago all is taken but what changed since, and what came since is not in it.
        let written = if round == 0 { &["sub/00", "sub/01"][..] } else { &["sub/01"] };
        for (folder, kept) in kept {
            let expected: Vec<String> = kept.keys().filter(|name| !written.contains(&name.as_str())).cloned().collect();
            assert_eq!(pair.taken(folder, &kept), expected, "round {round} of {folder}");
        }
    }
}

#[test]
fn only_what_changed_is_written() {
    let pair = Pair::start(39, &["www"]);
    takes_turns(&pair);
    // Somebody writes into the data here, and gives the file the time and the length that it had.
    let (path, before) = (pair.own.join("www/sub/07"), fs::metadata(pair.own.join("www/sub/07")).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
    for round in 0..3 {
        pair.write("sub/02", format!("again {round}").as_bytes());
        pair.brings();
    }
}

#[test]
fn a_rollback_changes_whose_turn_it_is() {
    let pair = Pair::start(40, &["www"]);
    takes_turns(&pair);
    let newest = pair.live();
    pair.write("sub/02", b"newer");
    pair.brings();
    pair.cluster.run("web2", "importer", &["rollback", "shop"]).ended(0);
    assert!(pair.live() == newest);
    let kept = inodes(&pair.kept("www"));
    pair.write("sub/03", b"newer than that");
    pair.brings();
    let expected: Vec<String> = kept.keys().filter(|name| *name != "sub/03").cloned().collect();
    assert_eq!(pair.taken("www", &kept), expected, "taken from what was taken back");
}

/// What is kept of before stays then, so nothing may be taken from it.
#[test]
fn data_that_went_away_is_written_anew() {
    let pair = Pair::start(43, &["www", "mail"]);
    takes_turns(&pair);
    let kept = inodes(&pair.kept("www"));
    fs::remove_dir_all(pair.own.join("www")).unwrap();
    pair.write("sub/02", b"newer");
    pair.brings();
    assert_eq!(pair.taken("www", &kept), [""; 0]);
    assert_eq!(inodes(&pair.kept("www")), kept, "it is kept");
    (0..3).for_each(|round| {
        pair.write("sub/02", format!("newer than {round}").as_bytes());
        pair.brings();
    });
}

#[test]
fn of_several_folders_each_has_its_turns() {
    takes_turns(&Pair::start(41, &["www", "mail"]));
}

#[test]
fn imports_that_are_killed_leave_the_data_right_or_are_mended() {
    let pair = Pair::start(42, &["www", "mail"]);
    pair.brings();
    let (mut chance, mut killed) = (Chance::new(21), 0);
    let mut before = pair.live();
    for round in 0..budget(8) {
        pair.write(&format!("sub/{:02}", chance.below(20)), &noise(round as u64, 1 + chance.below(40_000)));
        pair.write(&format!("new{}", chance.below(6)), b"new");
        pair.export();
        let mut sync = pair.cluster.command("web2", "importer", &["sync"]);
        let mut sync = sync.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Any moment will do: whatever it meets must be well.
        let _ = within(Duration::from_millis(chance.below(200) as u64), || None::<()>);
        sync.kill().unwrap();
        killed += usize::from(!sync.wait().unwrap().success());
        let (now, live) = (pair.at_source(), pair.live());
        for (name, content) in &live {
            assert!([before.get(name), now.get(name)].contains(&Some(content)), "round {round}: {name} is of neither");
        }
        if chance.below(2) == 0 {
            pair.brings();
        }
        before = pair.live();
    }
    assert!(killed > 0, "none was killed in time");
    (0..3).for_each(|round| {
        pair.write("sub/04", format!("at last {round}").as_bytes());
        pair.brings();
    });
}
