//! An Oak repository and its cold standby: recipes/stacks/oak, over a segment store that only grows.

mod ranges;

use console::node_file::NodeFile;
use console::pull_backup_file::PullBackupFile;
use std::fs::{File, create_dir_all};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::chance::noise;
use tests::cluster::{Cluster, files, snapshots};
use tests::program::Ran;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::until;

const NODE: &str = include_str!("../../../recipes/stacks/oak/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/oak/pull-backup.toml");

const LIMIT: Duration = Duration::from_secs(60);
const HASH: usize = 32;

/// A repository as Oak keeps one: records behind each other in a file, and a journal that names the newest last.
struct Store(PathBuf);

impl Store {
    fn new(root: PathBuf) -> Store {
        for folder in ["segmentstore", "datastore"] {
            create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("segmentstore/repo.lock"), "of this host").unwrap();
        Store(root)
    }

    /// A revision: the record first, then the journal, as Oak does.
    fn append(&self, seed: u64, len: usize) {
        let record = noise(seed, len);
        let open = |name: &str| File::options().create(true).append(true).open(self.0.join("segmentstore").join(name)).unwrap();
        let (mut segments, mut journal) = (open("data00000a.tar"), open("journal.log"));
        let at = segments.metadata().unwrap().len();
        segments.write_all(blake3::hash(&record).as_bytes()).unwrap();
        segments.write_all(&record).unwrap();
        writeln!(journal, "{at} {len}").unwrap();
    }

    /// The newest revision whose record is whole, sought from the journal's end, as Oak does; all before it must be.
    fn head(&self) -> usize {
        let read = |name: &str| std::fs::read(self.0.join("segmentstore").join(name)).unwrap_or_default();
        let (segments, journal) = (read("data00000a.tar"), String::from_utf8(read("journal.log")).unwrap());
        let whole = |line: &str| {
            let (at, len) = line.split_once(' ')?;
            let (at, len): (usize, usize) = (at.parse().ok()?, len.parse().ok()?);
            let record = segments.get(at + HASH..at + HASH + len)?;
            (blake3::hash(record).as_bytes()[..] == segments[at..at + HASH]).then_some(())
        };
        let lines: Vec<&str> = journal.lines().collect();
        let head = lines.iter().rposition(|line| whole(line).is_some()).map_or(0, |last| last + 1);
        assert!(lines[..head].iter().all(|line| whole(line).is_some()), "a revision before the head is lost");
        head
    }

    /// What is to be the same on both hosts.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let folders = ["segmentstore", "datastore"].map(|folder| files(&self.0.join(folder)));
        folders.into_iter().flatten().filter(|(name, _)| name != "repo.lock").collect()
    }
}

/// A primary, the host that keeps the history, a standby, and a bad line between the last two.
struct Stand {
    cluster: Cluster,
    line: Proxy,
    primary: Store,
    standby: Store,
}

/// The shipped file's datasets, for a host of this test.
fn datasets(root: &Path) -> String {
    let (_, shipped) = NODE.split_once("[[dataset]]").expect("it has a dataset");
    format!("[[dataset]]{}", shipped.replace("/opt/oak/repository", root.to_str().expect("it is text")))
}

impl Stand {
    fn new(number: u8) -> Stand {
        let mut cluster = Cluster::new(number);
        let (_, retain) = KEEPER.split_once("[retain]").expect("it has rules");
        cluster.keeper("archive", &format!("[retain]{retain}"));
        let [primary, standby] = ["primary", "standby"].map(|name| Store::new(cluster.path(&format!("{name}-oak"))));
        cluster.node("primary", "", &datasets(&primary.0));
        cluster.join("archive", "primary", &["--active"]);
        // The standby is told that the archive is where the line begins.
        let address = cluster.address_of("archive");
        let target: SocketAddr = format!("{address}:8025").parse().unwrap();
        let line = Proxy::start_at(target.ip(), target, Plan::new());
        let told = format!("address = \"{target}\"");
        rewrite(&cluster, |text| text.replace(&told, &format!("address = \"{}\"", line.address())));
        let identity = format!("identity = {:?}", cluster.path("identity"));
        cluster.node("standby", &identity, &datasets(&standby.0));
        cluster.join("archive", "standby", &["--standby"]);
        let stand = Stand { cluster, line, primary, standby };
        stand.primary.append(0, 100_000);
        stand.export();
        stand.sync().ended(0);
        stand.same();
        stand
    }

    fn export(&self) {
        self.cluster.run("primary", "exporter", &["run", "--wait"]).ended(0);
    }

    fn sync(&self) -> Ran {
        self.cluster.run("standby", "importer", &["sync"])
    }

    fn heads(&self) -> [Option<String>; 2] {
        ["primary", "standby"].map(|node| snapshots(&self.cluster.of_node(node, "repository")).pop())
    }

    /// The standby has what the primary has.
    #[track_caller]
    fn same(&self) {
        let [primary, standby] = self.heads();
        assert_eq!(primary, standby);
        assert!(self.primary.content() == self.standby.content() && self.primary.head() == self.standby.head());
    }

    /// The standby follows by itself.
    #[track_caller]
    fn follows(&self) {
        until(LIMIT, "the standby to have it", || {
            let (here, there) = (self.primary.head(), self.standby.head());
            if here == there { Ok(()) } else { Err(format!("{there} of {here}")) }
        });
    }

    /// One bad round: what arrives is not what was sent, and the standby stays where it was. Then a clean one.
    #[track_caller]
    fn bad_round(&self, seed: u64, act: Act) {
        self.primary.append(seed, 30_000);
        std::fs::write(self.primary.0.join("datastore/large"), noise(seed, 2_000_000)).unwrap();
        self.export();
        let (before, content, struck) = (self.heads(), self.standby.content(), self.line.plan().counts().struck);
        assert_ne!(before[0], before[1]);
        self.line.plan().set(Way::Down, act);
        let bad = self.sync();
        assert!(bad.status == 1 && self.line.plan().counts().struck > struck, "{act:?}: {bad:?}");
        assert_eq!(self.heads(), before, "{act:?}");
        assert!(self.standby.content() == content, "{act:?}: the standby is not what it was");
        // In every other round the source moves on in between.
        if seed.is_multiple_of(2) {
            self.primary.append(seed + 1000, 30_000);
            self.export();
        }
        self.line.plan().clear();
        self.sync().ended(0);
        self.same();
    }
}

fn rewrite(cluster: &Cluster, change: impl FnOnce(String) -> String) {
    let path = cluster.path("archive.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed);
    std::fs::write(path, changed).unwrap();
}

/// A daemon's figures.
fn metrics(at: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The values of a figure, of the lines that hold this.
fn figures(text: &str, name: &str, with: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(with));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

#[test]
fn the_shipped_files_of_oak_say_what_is_meant() {
    let text = NODE.replace("age1...", &archive::identity::generate().1);
    let node = NodeFile::parse(&text, Path::new("node.toml")).unwrap();
    let keeper = PullBackupFile::parse(KEEPER, Path::new("pull-backup.toml")).unwrap();
    assert!(node.node.allow.contains("192.0.2.20".parse().unwrap()) && !node.node.allow.contains("192.0.2.32".parse().unwrap()));
    assert!(keeper.allow.contains("192.0.2.12".parse().unwrap()) && !keeper.allow.contains("192.0.2.13".parse().unwrap()));
}

#[test]
fn a_proxy_that_flips_bytes_leaves_heads_different_and_a_clean_round_makes_them_equal() {
    let mut stand = Stand::new(144);
    for (seed, at) in [0, 150, 220, 560, 575, 150_000].into_iter().enumerate() {
        stand.bad_round(seed as u64 + 1, Act::Flip { at });
    }
    stand.cluster.stop();
}

#[test]
fn a_proxy_that_skips_bytes_leaves_heads_different_and_a_clean_round_makes_them_equal() {
    let mut stand = Stand::new(145);
    for (seed, at) in [100, 400].into_iter().enumerate() {
        stand.bad_round(seed as u64 + 1, Act::Skip { at, len: 1 });
    }
    stand.cluster.stop();
}

#[test]
fn a_delay_beyond_the_deadline_leaves_the_head_and_is_counted_as_a_failure() {
    let mut stand = Stand::new(146);
    stand.cluster.start("primary", "exporter");
    stand.cluster.start("standby", "importer");
    let at = format!("{}:8026", stand.cluster.address_of("standby"));
    stand.primary.append(1, 30_000);
    stand.follows();
    let before = stand.standby.head();
    // A connection must stand within ten seconds.
    stand.line.plan().set(Way::Down, Act::Delay(Duration::from_secs(12)));
    stand.line.reset_all();
    stand.primary.append(2, 30_000);
    until(LIMIT, "the failure to be counted, and the status to say so", || {
        let text = metrics(&at);
        let failures: f64 = figures(&text, "resilient_failures", "mirror").iter().sum();
        let status = stand.cluster.run("standby", "importer", &["status"]);
        if failures >= 1.0 && status.status == 1 { Ok(()) } else { Err(format!("{text}{}", status.text())) }
    });
    assert_eq!(stand.standby.head(), before);
    stand.line.plan().clear();
    stand.line.reset_all();
    stand.follows();
    until(LIMIT, "all to be well again", || {
        let status = stand.cluster.run("standby", "importer", &["status"]);
        if status.status == 0 { Ok(()) } else { Err(status.text().to_owned()) }
    });
    stand.cluster.stop();
}

#[test]
fn an_object_of_more_than_two_gigabytes_arrives() {
    let mut stand = Stand::new(147);
    let file = File::create_new(stand.primary.0.join("datastore/huge")).unwrap();
    let len = (2_u64 << 30) + (300 << 20);
    file.set_len(len).unwrap();
    // Behind 2^31 as well; between them are holes, so that a test need not write it all.
    let pieces = [(1, 0), (2, (1_u64 << 31) - 1000), (3, len - 5000)];
    for (seed, at) in pieces {
        file.write_all_at(&noise(seed, 5000), at).unwrap();
    }
    stand.export();
    stand.sync().ended(0);
    let there = File::open(stand.standby.0.join("datastore/huge")).unwrap();
    assert_eq!(there.metadata().unwrap().len(), len);
    for (seed, at) in pieces {
        let mut read = vec![0; 5000];
        there.read_exact_at(&mut read, at).unwrap();
        assert_eq!(read, noise(seed, 5000), "at {at}");
    }
    stand.cluster.stop();
}

#[test]
fn a_client_that_stops_stays_where_it_was_and_catches_up() {
    let mut stand = Stand::new(148);
    stand.cluster.start("standby", "importer");
    stand.primary.append(1, 30_000);
    stand.export();
    stand.follows();
    stand.cluster.kill("standby", "importer");
    let before = (stand.heads()[1].clone(), stand.standby.content());
    for seed in 2..5 {
        stand.primary.append(seed, 30_000);
        stand.export();
    }
    assert!(stand.heads()[1] == before.0 && stand.standby.content() == before.1, "nobody writes to a host that is down");
    stand.cluster.start("standby", "importer");
    stand.follows();
    until(LIMIT, "its mirror's head", || if stand.heads()[0] == stand.heads()[1] { Ok(()) } else { Err(format!("{:?}", stand.heads())) });
    stand.cluster.stop();
}

#[test]
fn a_mismatch_of_tls_never_syncs() {
    let mut stand = Stand::new(149);
    stand.primary.append(1, 30_000);
    stand.export();
    let before = (stand.heads(), stand.standby.content());
    // Another one answers, with keys of its own; and one that speaks no TLS at all.
    stand.cluster.keeper("other", "");
    let other = stand.cluster.address_of("other");
    for port in [8025, 8028] {
        stand.line.retarget(format!("{other}:{port}").parse().unwrap());
        let refused = stand.sync();
        assert!(refused.status == 1 && !refused.err.is_empty(), "{refused:?}");
        assert!((stand.heads(), stand.standby.content()) == before);
    }
    let own = stand.cluster.address_of("archive");
    stand.line.retarget(format!("{own}:8025").parse().unwrap());
    stand.sync().ended(0);
    stand.same();
    stand.cluster.stop();
}

#[test]
fn growth_of_a_segment_store_polled_each_five_seconds_costs_what_was_appended_and_is_counted() {
    let mut stand = Stand::new(150);
    stand.primary.append(1, 20_000_000);
    stand.export();
    stand.sync().ended(0);
    stand.cluster.start("primary", "exporter");
    stand.cluster.start("standby", "importer");
    let (before, rounds, each) = (stand.line.plan().counts().down, 4, 300_000);
    for round in 0..rounds {
        stand.primary.append(2 + round, each);
        stand.follows();
    }
    let passed = stand.line.plan().counts().down - before;
    let appended = rounds * each as u64;
    println!("{appended} bytes were appended in {rounds} rounds, {passed} passed the line");
    assert!((appended..appended * 2).contains(&passed), "{appended} bytes were appended, {passed} passed the line");
    // What Oak counts: since when, how often it failed, whom it serves and how much.
    let (archive, standby) = (stand.cluster.address_of("archive"), stand.cluster.address_of("standby"));
    until(LIMIT, "the figures", || {
        let (kept, mirrored) = (metrics(&format!("{archive}:8028")), metrics(&format!("{standby}:8026")));
        let bytes: f64 = figures(&mirrored, "resilient_peer_bytes_total", "").iter().sum();
        let given: f64 = figures(&kept, "resilient_peer_given_bytes_total", "\"standby\"").iter().sum();
        let seen = figures(&kept, "resilient_peer_seen_seconds", "\"standby\"");
        let age = figures(&mirrored, "resilient_data_age_seconds", "mirror");
        let failures: f64 = figures(&mirrored, "resilient_failures", "mirror").iter().sum();
        let counted = bytes > appended as f64 && given > appended as f64;
        let good = counted && seen.iter().any(|seen| *seen < 20.0) && age.iter().any(|age| *age < 20.0) && failures == 0.0;
        if good { Ok(()) } else { Err(format!("{kept}\n{mirrored}")) }
    });
    stand.cluster.stop();
}

#[test]
fn the_standby_is_read_only_until_it_is_activated() {
    let mut stand = Stand::new(151);
    stand.cluster.run("standby", "exporter", &["run"]).ended(3);
    let there = snapshots(&stand.cluster.of_keeper("archive", "repository"));
    // What somebody writes there all the same goes nowhere, and is gone with the next import.
    stand.standby.append(7, 1000);
    std::fs::write(stand.standby.0.join("datastore/own"), "x").unwrap();
    assert_eq!(snapshots(&stand.cluster.of_keeper("archive", "repository")), there);
    stand.primary.append(1, 30_000);
    stand.export();
    stand.sync().ended(0);
    stand.same();
    assert_eq!(std::fs::read_to_string(stand.standby.0.join("segmentstore/repo.lock")).unwrap(), "of this host");
    stand.cluster.run("standby", "importer", &["activate", "--old-active-off", "primary"]).ended(0);
    stand.standby.append(8, 1000);
    stand.cluster.start("standby", "exporter");
    let archive = |arguments: &[&str]| stand.cluster.run("archive", "pull-backup", arguments);
    until(LIMIT, "the claim to be seen", || {
        let shown = archive(&["epoch", "show"]);
        if shown.text().contains("claimed") { Ok(()) } else { Err(shown.text().to_owned()) }
    });
    archive(&["epoch", "resolve", "shop", "--keep", "standby"]).ended(0);
    let own = stand.heads()[1].clone().unwrap();
    let kept = stand.cluster.of_keeper("archive", "repository");
    until(LIMIT, "what it exports to be published", || snapshots(&kept).contains(&own).then_some(()));
    stand.cluster.stop();
}
