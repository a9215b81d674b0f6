//! Figures of the way between hosts, for PERFORMANCE.md: `hops WHAT FOLDER`, WHAT being one of
//!
//! - `sync MB`: a spool of that size into an archive, beside a plain TLS copy of the same bytes, and rsync over ssh where both are there;
//! - `notice ROUNDS`: from a snapshot in the spool to the same in the archive, and to its import on two nodes that stand by;
//! - `many MB`: one importer, then eight;
//! - `idle SECONDS`: a hundred datasets that do not change, polled each 5 s;
//! - `append MB SECONDS`: a store of that size that grows by 1 MB each 5 s, with one that stands by;
//! - `arbiters SECONDS`: fifty clusters of three members at rest, whose arbiters are all one daemon's;
//! - `soak SECONDS`: exports each 5 s with two that stand by, and what the daemons' memory does.
//!
//! Real daemons of the same build run on loopback. FOLDER belongs on a tmpfs.

mod arbiters;
mod copy;
mod measure;

use measure::{Stand, Watched, median};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::chance::noise;
use tests::cluster::snapshots;

const MB: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| arguments.get(index).map_or(default, |text| text.parse().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some("sync") => sync(number(1, 1000)),
        Some("notice") => notice(number(1, 40)),
        Some("many") => many(number(1, 200)),
        Some("idle") => idle(number(1, 60)),
        Some("append") => append(number(1, 2000), number(2, 60)),
        Some("arbiters") => arbiters::arbiters(number(1, 30)),
        Some("soak") => soak(number(1, 3600)),
        _ => {
            eprintln!("usage: hops sync|notice|many|idle|append|arbiters|soak [NUMBER ...]");
            std::process::exit(2);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn since(begin: Instant) -> Duration {
    begin.elapsed()
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark waits for its next round")]
    std::thread::sleep(time);
}

/// Waits, looking each millisecond.
fn until(mut there: impl FnMut() -> bool) {
    let begin = now();
    while !there() {
        assert!(since(begin) < Duration::from_secs(600), "it never came");
        pause(Duration::from_millis(1));
    }
}

fn fill(folder: &Path, mb: u64) {
    for part in 0..mb.div_ceil(10) {
        let len = (mb - part * 10).min(10) * MB;
        std::fs::write(folder.join(format!("part{part}")), noise(part + 1, len as usize)).expect("the data is written");
    }
}

/// Bytes below a folder.
fn size(folder: &Path) -> u64 {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|found| found.is_file())
        .map(|found| found.len())
        .sum()
}

fn sync(mb: u64) {
    let mut stand = Stand::new("24h", 0);
    fill(&stand.data(), mb);
    stand.kill("keeper", "pull-backup");
    stand.run("web1", "exporter", &["run", "--for", "1s"]);
    stand.start("web1", "exporter");
    let (spool, archive) = (stand.cluster.of_node("web1", "data"), stand.cluster.of_keeper("keeper", "data"));
    let newest = snapshots(&spool).pop().expect("it was exported");
    let begin = now();
    stand.start("keeper", "pull-backup");
    until(|| snapshots(&archive).contains(&newest));
    let ours = since(begin).as_secs_f64();
    let bytes = size(&spool.join("packs"));
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    println!("sync: {:.0} MB in {ours:.2} s, {:.0} MB/s", bytes as f64 / 1e6, rate(ours));
    stand.memory();
    let plain = copy::over_tls(&spool.join("packs"), &stand.cluster.path("copied"));
    println!("plain TLS copy of the same bytes: {plain:.2} s, {:.0} MB/s; ours is {:.2} times as fast", rate(plain), plain / ours);
    match copy::over_ssh(&spool.join("packs"), &stand.cluster.path("rsynced")) {
        Some(rsync) => println!("rsync over ssh: {rsync:.2} s, {:.0} MB/s; ours is {:.2} times as fast", rate(rsync), rsync / ours),
        None => println!("rsync over ssh: sshd, ssh or rsync is not here"),
    }
}

fn notice(rounds: u64) {
    let mut stand = Stand::new("24h", 2);
    fill(&stand.data(), 20);
    stand.start_all();
    stand.run("web1", "exporter", &["run", "--wait"]);
    let (spool, archive) = (stand.cluster.of_node("web1", "data"), stand.cluster.of_keeper("keeper", "data"));
    let (mut archived, mut imported) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let name = format!("small{round}");
        std::fs::write(stand.data().join(&name), noise(round, 1000)).expect("the data is written");
        let before = snapshots(&spool).len();
        let mut run = stand.cluster.command("web1", "exporter", &["run"]);
        let mut run = run.stdout(std::process::Stdio::null()).spawn().expect("it runs");
        until(|| snapshots(&spool).len() > before || run.try_wait().expect("it is ours").is_some());
        let begin = now();
        let newest = snapshots(&spool).pop().expect("it was exported");
        until(|| snapshots(&archive).contains(&newest));
        archived.push(since(begin).as_secs_f64() * 1000.0);
        until(|| stand.standbys().iter().all(|folder| folder.join(&name).exists()));
        imported.push(since(begin).as_secs_f64() * 1000.0);
        run.wait().expect("it is ours");
    }
    println!(
        "from the spool to the archive: median {:.0} ms of {rounds}, worst {:.0}",
        median(&mut archived),
        archived[archived.len() - 1]
    );
    println!("to both that stand by, imported: median {:.0} ms, worst {:.0}", median(&mut imported), imported[imported.len() - 1]);
    stand.memory();
}

fn many(mb: u64) {
    let (mut mirrored, mut last, mut small) = (Vec::new(), Vec::new(), Vec::new());
    for importers in [1, 8] {
        let mut stand = Stand::new("24h", importers);
        fill(&stand.data(), mb);
        stand.start("web1", "exporter");
        stand.run("web1", "exporter", &["run", "--wait"]);
        let begin = now();
        stand.start_standbys();
        let newest = snapshots(&stand.cluster.of_node("web1", "data")).pop().expect("it was exported");
        let mirrors: Vec<_> = (0..importers).map(|number| stand.cluster.of_node(&format!("standby{number}"), "data")).collect();
        until(|| mirrors.iter().all(|mirror| snapshots(mirror).contains(&newest)));
        mirrored.push(since(begin).as_secs_f64());
        let name = format!("part{}", mb.div_ceil(10) - 1);
        until(|| stand.standbys().iter().all(|folder| folder.join(&name).exists()));
        last.push(since(begin).as_secs_f64());
        let (held, imported) = (mirrored[mirrored.len() - 1], last[last.len() - 1]);
        println!("{importers} importers of {mb} MB: the last holds it after {held:.2} s and has imported it after {imported:.2} s");
        small.push(one_change(&stand));
        stand.memory();
    }
    println!(
        "after a change of 1 MB the last of one has it imported after {:.2} s, of eight after {:.2} s, {:.2} times",
        small[0],
        small[1],
        small[1] / small[0]
    );
    println!("eight take {:.2} times as long as one to hold it, {:.2} times to import it", mirrored[1] / mirrored[0], last[1] / last[0]);
}

/// Seconds from a change of 1 MB in the spool to the last import of it; the median of several.
fn one_change(stand: &Stand) -> f64 {
    let spool = stand.cluster.of_node("web1", "data");
    let mut all = Vec::new();
    for round in 0..9 {
        let name = format!("change{round}");
        std::fs::write(stand.data().join(&name), noise(round, MB as usize)).expect("the data is written");
        let before = snapshots(&spool).len();
        let mut run = stand.cluster.command("web1", "exporter", &["run"]);
        let mut run = run.stdout(std::process::Stdio::null()).spawn().expect("it runs");
        until(|| snapshots(&spool).len() > before || run.try_wait().expect("it is ours").is_some());
        let begin = now();
        until(|| stand.standbys().iter().all(|folder| folder.join(&name).exists()));
        all.push(since(begin).as_secs_f64());
        run.wait().expect("it is ours");
    }
    median(&mut all)
}

fn idle(seconds: u64) {
    let mut stand = Stand::of_many(100);
    stand.start("web1", "exporter");
    stand.run("web1", "exporter", &["run", "--wait"]);
    // What comes after a start is not idleness.
    pause(Duration::from_secs(15));
    let before = stand.cpu();
    pause(Duration::from_secs(seconds));
    let after = stand.cpu();
    for (name, used) in &after {
        let spent = used - before[name];
        println!("{name}: {:.2} % of a core over {seconds} s", spent / seconds as f64 * 100.0);
    }
    stand.memory();
}

fn append(mb: u64, seconds: u64) {
    let mut stand = Stand::new("5s", 1);
    fill(&stand.data(), mb);
    stand.start("web1", "exporter");
    stand.run("web1", "exporter", &["run", "--wait"]);
    stand.start_standbys();
    let more = |stand: &Stand, name: String, seed: u64| {
        std::fs::write(stand.data().join(&name), noise(seed, MB as usize)).expect("the data is written");
        name
    };
    // Two trees take turns in being the data of one that stands by: each is written whole once.
    for round in 0..3 {
        let name = more(&stand, format!("first{round}"), 900 + round);
        until(|| stand.standbys().iter().all(|folder| folder.join(&name).exists()));
    }
    let archive = stand.cluster.of_keeper("keeper", "data");
    let (stored, cpu, rounds) = (size(&archive), stand.cpu(), seconds / 5);
    for round in 0..rounds {
        more(&stand, format!("more{round}"), 1000 + round);
        pause(Duration::from_secs(5));
    }
    stand.run("web1", "exporter", &["run", "--wait"]);
    let (grown, appended) = (size(&archive) - stored, rounds * MB);
    println!(
        "{mb} MB, to which {:.1} MB were appended: the archive grew by {:.1} MB, {:.2} times that",
        appended as f64 / 1e6,
        grown as f64 / 1e6,
        grown as f64 / appended as f64
    );
    for (name, used) in stand.cpu() {
        println!("{name}: {:.1} % of a core", (used - cpu[&name]) / seconds as f64 * 100.0);
    }
    stand.memory();
}

fn soak(seconds: u64) {
    let mut stand = Stand::new("5s", 2);
    fill(&stand.data(), 50);
    stand.start_all();
    let mut watched = Watched::default();
    let (begin, mut round) = (now(), 0_u64);
    while since(begin) < Duration::from_secs(seconds) {
        round += 1;
        std::fs::write(stand.data().join(format!("file{}", round % 20)), noise(round, 200_000)).expect("the data is written");
        pause(Duration::from_secs(2));
        if round.is_multiple_of(30) {
            watched.note(since(begin).as_secs(), stand.resident());
        }
    }
    stand.run("web1", "exporter", &["run", "--wait"]);
    let archive = stand.cluster.of_keeper("keeper", "data");
    println!("{} snapshots in the archive after {seconds} s", snapshots(&archive).len());
    watched.say();
    stand.memory();
}
