//! What `exporter run` makes durable, and in which order, as the kernel saw it: strace tells every call, and what a power loss could take is asserted to need nothing that is
//! not on disk. It does not show that the disk keeps its promise.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::chance::Chance;
use tests::program::{Ran, program};

const CALLS: &str = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,fsync,fdatasync";

/// A call that succeeded: when it began and ended, counted in lines.
struct Call {
    name: String,
    arguments: String,
    begin: usize,
    end: usize,
}

/// Reads what `strace -f -y` wrote. A call that another thread interrupted stands in two lines.
fn calls(text: &str) -> Vec<Call> {
    let mut open: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (whole, begin) = if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (head.to_owned(), at));
            continue;
        } else if let Some(tail) = rest.strip_prefix("<... ") {
            let (head, begin) = open.remove(thread).expect("it was begun");
            (head + tail.split_once(" resumed>").expect("it says so").1, begin)
        } else {
            (rest.to_owned(), at)
        };
        let Some((call, result)) = whole.rsplit_once(" = ") else { continue };
        let (Some((name, arguments)), false) = (call.split_once('('), result.starts_with('-')) else { continue };
        calls.push(Call { name: name.to_owned(), arguments: arguments.to_owned(), begin, end: at });
    }
    calls
}

impl Call {
    /// The file of the descriptor that is the first argument.
    fn file(&self) -> PathBuf {
        let (_, rest) = self.arguments.split_once('<').expect("strace -y says what a descriptor is");
        let path = rest.split_once('>').expect("it ends").0;
        path.trim_end_matches("(deleted)").into()
    }

    /// Paths in quotes. All of ours are absolute.
    fn paths(&self) -> Vec<PathBuf> {
        self.arguments.split('"').skip(1).step_by(2).map(PathBuf::from).collect()
    }
}

/// What the kernel was asked to do below a folder.
#[derive(Default)]
struct Trace {
    /// When a file was last written, and when an fsync of it ended, by the path that it had then.
    written: BTreeMap<PathBuf, Vec<usize>>,
    synced: BTreeMap<PathBuf, Vec<(usize, usize)>>,
    /// Names that appeared: when, under which name before, and what.
    appeared: Vec<(usize, usize, Option<PathBuf>, PathBuf)>,
}

impl Trace {
    fn read(text: &str, below: &Path) -> Trace {
        let mut trace = Trace::default();
        for call in calls(text) {
            let (begin, end) = (call.begin, call.end);
            match call.name.as_str() {
                "fsync" | "fdatasync" => trace.synced.entry(call.file()).or_default().push((begin, end)),
                "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                    let paths = call.paths();
                    trace.appeared.push((begin, end, Some(paths[0].clone()), paths[1].clone()));
                }
                "mkdir" | "mkdirat" => trace.appeared.push((begin, end, None, call.paths().remove(0))),
                "open" | "openat" | "creat" => {}
                _ => trace.written.entry(call.file()).or_default().push(end),
            }
        }
        // The chunk table and the cache are hints: whatever a power loss makes of them is noticed when they are used.
        let hint = |path: &Path| {
            path.components()
                .any(|part| [OsStr::new("chunks"), OsStr::new("cache")].contains(&part.as_os_str()))
        };
        trace.appeared.retain(|(.., path)| path.starts_with(below) && !hint(path));
        trace
    }

    /// When what was written to a file before `begin` was surely on disk, if it was by then.
    fn content_synced(&self, draft: &Path, begin: usize) -> bool {
        let last = self.written.get(draft).into_iter().flatten().filter(|at| **at < begin).max().copied();
        let after = |(began, ended): &(usize, usize)| last.is_none_or(|last| *began > last) && *ended < begin;
        self.synced.get(draft).into_iter().flatten().any(after)
    }

    /// When the name that appeared at `end` was surely on disk.
    fn name_synced(&self, path: &Path, end: usize) -> Option<usize> {
        let folder = path.parent().expect("it lies below one");
        self.synced
            .get(folder)
            .into_iter()
            .flatten()
            .filter(|(began, _)| *began > end)
            .map(|(_, ended)| *ended)
            .min()
    }

    /// What is wrong with the order, in words.
    fn faults(&self, repository: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        let inside = |path: &Path, folder: &str| path.starts_with(repository.join(folder));
        for (begin, end, draft, path) in &self.appeared {
            if let Some(draft) = draft
                && !self.content_synced(draft, *begin)
            {
                faults.push(format!("{} appeared before its content was on disk", path.display()));
            }
            if inside(path, "") && self.written.get(path).is_some_and(|written| written.iter().any(|at| at > end)) {
                faults.push(format!("{} was written to after it appeared", path.display()));
            }
            if self.name_synced(path, *end).is_none() {
                faults.push(format!("the name {} was never on disk", path.display()));
            }
        }
        for (begin, _, _, later) in self.appeared.iter().filter(|(_, _, draft, _)| draft.is_some()) {
            let needed = |path: &Path| match () {
                () if inside(later, "snapshots") => path.parent() != later.parent(),
                () if inside(later, "runs") => inside(path, "packs") || path == repository,
                () => false,
            };
            for (_, end, _, path) in self.appeared.iter().filter(|(_, end, _, path)| end < begin && needed(path)) {
                if self.name_synced(path, *end).is_none_or(|at| at > *begin) {
                    faults.push(format!("{} appeared before the name {} was on disk", later.display(), path.display()));
                }
            }
        }
        faults
    }

    fn count(&self, folder: &Path) -> usize {
        self.appeared
            .iter()
            .filter(|(.., draft, path)| draft.is_some() && path.parent() == Some(folder))
            .count()
    }
}

/// Runs an export under strace and gives what it did.
fn traced(folder: &Path, number: usize) -> String {
    let exporter = program("exporter");
    let log = folder.join(format!("trace{number}"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"]).arg(&log);
    strace.arg(exporter.get_program()).arg("run").arg("--config").arg(folder.join("node.toml"));
    Ran::from(strace.output().expect("strace runs; it is in Debian's package of that name")).ended(0);
    std::fs::read_to_string(log).expect("strace wrote it")
}

/// The first export makes folders, packs and a run of their own; the second is small and is one object; the third has packs again, over what is there.
#[test]
fn nothing_is_visible_before_what_it_needs_is_on_disk() {
    let temporary = tempfile::tempdir().expect("a folder for the test");
    let folder = temporary.path().canonicalize().expect("it is there");
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("the data folder is made");
    let (private, public) = archive::identity::generate();
    std::fs::write(folder.join("identity"), private).expect("the identity is written");
    // State lies in a folder that is not there yet.
    let state = folder.join("a/state");
    let text = format!(
        "cluster = \"shop\"\n[node]\nname = \"web1\"\nstate = {state:?}\n[seal]\nrecipients = [\"{public}\"]\n[[dataset]]\nname = \"shop\"\nevery = \"60m\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{data:?}]\n"
    );
    std::fs::write(folder.join("node.toml"), text).expect("the node file is written");
    let repository = state.join("datasets/shop/repository");
    let mut chance = Chance::new(3);
    for (number, (len, packs)) in [(40_000_000, true), (1_000, false), (3_000_000, true)].into_iter().enumerate() {
        std::fs::write(data.join(format!("file {number}")), chance.noise(len)).expect("the data is written");
        let trace = Trace::read(&traced(&folder, number), &state);
        assert_eq!(trace.faults(&repository), Vec::<String>::new(), "export {number}");
        assert_eq!(trace.count(&repository.join("snapshots")), 1, "export {number}");
        let written: BTreeSet<_> = ["packs", "runs"].into_iter().filter(|name| trace.count(&repository.join(name)) > 0).collect();
        assert_eq!(written.len(), if packs { 2 } else { 0 }, "export {number}: {written:?}");
    }
}

/// The judge itself: a trace that is right has no faults, and without any one of its fsyncs it has.
#[test]
fn an_fsync_left_out_is_seen() {
    let lines = [
        r#"1 mkdir("/r/packs", 0777) = 0"#,
        r#"1 fsync(3</r>) = 0"#,
        r#"1 write(4</r/.draft-1>, ""..., 9 <unfinished ...>"#,
        r#"2 write(5</r/other>, ""..., 9) = 9"#,
        r#"1 <... write resumed>) = 9"#,
        r#"1 fsync(4</r/.draft-1>) = 0"#,
        r#"1 linkat(AT_FDCWD</>, "/r/.draft-1", AT_FDCWD</>, "/r/packs/a", 0) = 0"#,
        r#"1 fsync(3</r/packs>) = 0"#,
        r#"1 mkdir("/r/runs", 0777) = 0"#,
        r#"1 fsync(3</r>) = 0"#,
        r#"1 write(4</r/.draft-2>, ""..., 9) = 9"#,
        r#"1 fsync(4</r/.draft-2>) = 0"#,
        r#"1 linkat(AT_FDCWD</>, "/r/.draft-2", AT_FDCWD</>, "/r/runs/a", 0) = 0"#,
        r#"1 fsync(3</r/runs>) = 0"#,
        r#"1 mkdir("/r/snapshots", 0777) = 0"#,
        r#"1 fsync(3</r>) = 0"#,
        r#"1 write(4</r/.draft-3>, ""..., 9) = 9"#,
        r#"1 fsync(4</r/.draft-3>) = 0"#,
        r#"1 linkat(AT_FDCWD</>, "/r/.draft-3", AT_FDCWD</>, "/r/snapshots/a", 0) = 0"#,
        r#"1 fsync(3</r/snapshots>) = 0"#,
    ];
    let faults = |lines: &[&str]| Trace::read(&lines.join("\n"), Path::new("/r")).faults(Path::new("/r"));
    assert_eq!(faults(&lines), Vec::<String>::new());
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("fsync")) {
        let mut without = lines.to_vec();
        without.remove(at);
        // An earlier folder's name is on disk with the next fsync of the same folder, if that still comes before the snapshot.
        let covered = line.contains("</r>)") && at < 15;
        assert_eq!(faults(&without).is_empty(), covered, "without line {at}: {line}");
        let mut late = without.clone();
        late.insert(late.len(), line);
        assert_eq!(faults(&late).is_empty(), covered || at == lines.len() - 1, "line {at} late: {line}");
    }
}
