//! Programs that fail, hang, fork, say too much or too little: each fails its run, says why, and leaves nothing running.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recipes::data::conform::{Collect, Kind, Taken, import, write_tree};
use recipes::data::{Body, Item, Level, Sink, Stamp};
use recipes::{Command, Data, Error, Stop, command};

struct Stand {
    folder: tempfile::TempDir,
    stream: bool,
    timeout: Duration,
}

impl Stand {
    fn new(stream: bool) -> Stand {
        Stand { folder: tempfile::tempdir().unwrap(), stream, timeout: Duration::from_secs(60) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `$1` is the stand's folder.
    fn recipe(&self, export: &str, import: &str) -> Command {
        let words = |script: &str| -> Option<Vec<OsString>> {
            Some(["/bin/sh".into(), "-uc".into(), script.into(), "sh".into(), self.folder.path().as_os_str().to_owned()].to_vec())
        };
        let settings = command::Settings::new("erp5", self.at("scratch"));
        let (stream, timeout, dataset) = (self.stream, self.timeout, "shop".into());
        let (export, import) = (words(export), words(import));
        Command::new(command::Settings { export, import, stream, timeout, dataset, ..settings }).unwrap()
    }

    /// How an export ended; the stream is read to its end.
    fn export(&self, script: &str) -> Result<Vec<u8>, String> {
        let mut sink = Reading { content: Ok(Vec::new()) };
        match self.recipe(script, "").export(&mut sink) {
            Ok(()) => sink.content,
            Err(error) => Err(told(&error)),
        }
    }
}

/// A program that was started by somebody else.
struct Sleeping(std::process::Child);

impl Sleeping {
    fn on(input: fs::File) -> Sleeping {
        Sleeping(std::process::Command::new("/bin/sleep").arg("1000").stdin(input).spawn().unwrap())
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn told(error: &Error) -> String {
    let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{source}")
}

struct Reading {
    content: Result<Vec<u8>, String>,
}

impl Sink for Reading {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        if let Body::Stream(mut stream) = item.body {
            let mut content = Vec::new();
            self.content = stream.read_to_end(&mut content).map(|_| content).map_err(|error| error.to_string());
        }
        Ok(())
    }

    fn trouble(&mut self, _: &[u8], error: std::io::Error) {
        panic!("{error}");
    }
}

/// Whether a process of that number runs.
fn runs(pid: &str) -> bool {
    // One that was killed and not yet reaped by whoever inherited it is a zombie.
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// Waits until it ended; it was killed already, which takes the kernel a moment.
fn ends(pid: &str) -> bool {
    (0..1_000_000).any(|_| {
        std::thread::yield_now();
        !runs(pid)
    })
}

const BOTH: [bool; 2] = [false, true];

#[test]
fn one_that_fails_late_fails_the_run_with_its_last_words() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        let script = "echo content | tee \"${RESILIENT_DIR-$1}/file\"; echo 'table is' >&2; printf 'broken\\033[2J\\n' >&2; exit 3";
        let said = stand.export(script).unwrap_err();
        assert!(said.starts_with("/bin/sh failed: it ended with exit status: 3; it said:"), "{said}");
        assert!(said.contains("table is | broken[2J") && !said.contains('\x1b'), "{said}");
        assert!(!stand.at("scratch/export").exists(), "what it wrote is not kept");
    }
}

#[test]
fn one_that_writes_nothing_fails_the_run() {
    for (stream, what) in [(false, "it wrote nothing into RESILIENT_DIR"), (true, "it wrote nothing; it said: no data")] {
        let said = Stand::new(stream).export("echo no data >&2").unwrap_err();
        assert_eq!(said, format!("/bin/sh failed: {what}"));
    }
}

#[test]
fn one_that_hangs_is_ended_with_all_its_children() {
    for stream in BOTH {
        let timeout = Duration::from_millis(300);
        let stand = Stand { timeout, ..Stand::new(stream) };
        let script = "echo begun; sleep 1000 & echo $! > \"$1/child\"; echo $$ > \"$1/self\"; wait";
        let said = stand.export(script).unwrap_err();
        assert!(said.starts_with("/bin/sh failed: it was not done after 0.3 s and was ended"), "{said}");
        for name in ["self", "child"] {
            assert!(ends(&fs::read_to_string(stand.at(name)).unwrap()), "{name}");
        }
    }
}

#[test]
fn one_that_will_not_end_is_killed() {
    let stand = Stand { timeout: Duration::from_millis(300), ..Stand::new(true) };
    let said = stand.export("trap '' TERM; echo $$ > \"$1/self\"; while :; do sleep 1; done").unwrap_err();
    assert!(said.contains("it was not done after 0.3 s"), "{said}");
    assert!(ends(&fs::read_to_string(stand.at("self")).unwrap()));
}

/// A run ends when nobody can write any more; who can is waited for, who only lingers is ended.
#[test]
fn children_that_still_write_are_waited_for_and_others_are_ended() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        let file = if stream { "/proc/self/fd/1" } else { "$RESILIENT_DIR/file" };
        let script = format!("echo first > {file}; (while ! [ -e \"$1/go\" ]; do sleep 0.01; done; echo rest >> {file}) &");
        let stand = &stand;
        let content = std::thread::scope(|scope| {
            let export = scope.spawn(move || {
                let data = stand.recipe(&script, "");
                Collect::of(&data).taken
            });
            fs::write(stand.at("go"), "").unwrap();
            export.join().unwrap()
        });
        let Kind::File(content) = &content[1].kind else { panic!() };
        assert_eq!(content, b"first\nrest\n");
        let lingering = "sleep 1000 > /dev/null 2>&1 & echo $! > \"$1/child\"; echo x | tee \"${RESILIENT_DIR-$1}/file\"";
        stand.export(lingering).unwrap();
        assert!(ends(&fs::read_to_string(stand.at("child")).unwrap()));
    }
}

#[test]
fn huge_words_are_bounded_and_block_nobody() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        let noise = "yes 'a line of many words that nobody reads' | head -c 3000000 >&2; echo the last of them >&2; exit 1";
        let said = stand.export(noise).unwrap_err();
        assert!(said.len() < 4096 && said.ends_with("the last of them") && said.contains("; it said: … "), "{said}");
    }
    let content = Stand::new(true).export("yes noise | head -c 3000000 >&2; yes data | head -c 3000000").unwrap();
    assert_eq!(content.len(), 3_000_000);
}

#[test]
fn a_stream_that_nobody_reads_on_ends_its_program() {
    struct Dropping;
    impl Sink for Dropping {
        fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
            Ok(false)
        }
        fn item(&mut self, item: Item) -> Result<(), Stop> {
            let Body::Stream(mut stream) = item.body else { return Ok(()) };
            stream.read_exact(&mut [0; 10]).unwrap();
            Err(Stop)
        }
        fn trouble(&mut self, _: &[u8], _: std::io::Error) {}
    }
    let stand = Stand::new(true);
    let stopped = stand.recipe("echo $$ > \"$1/self\"; exec yes", "").export(&mut Dropping);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert!(ends(&fs::read_to_string(stand.at("self")).unwrap()));
    assert_eq!(stand.export("echo again").unwrap(), b"again\n");
}

#[test]
fn a_program_that_outlives_its_export_is_not_joined_by_another() {
    let stand = Stand::new(false);
    // As if the one that started it had been killed: it has the lock, as its standard input.
    fs::create_dir(stand.at("scratch")).unwrap();
    let lock = fs::File::create(stand.at("scratch/export.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let program = Sleeping::on(lock);
    let refused = stand.recipe("echo x > file", "").export(&mut Collect::default()).unwrap_err();
    assert!(matches!(refused, Error::StillExporting { .. }), "{refused:?}");
    drop(program);
    // A program that another test is starting may hold a copy of the descriptor for a moment more.
    let free = fs::File::open(stand.at("scratch/export.lock")).unwrap();
    rustix::fs::flock(&free, rustix::fs::FlockOperation::LockExclusive).unwrap();
    rustix::fs::flock(&free, rustix::fs::FlockOperation::Unlock).unwrap();
    stand.export("echo x > file").unwrap();
}

#[test]
fn what_is_written_anew_each_time_is_the_same_each_time() {
    let stand = Stand::new(false);
    let data = stand.recipe("mkdir sub; echo x > sub/new; touch -d 2001-02-03 old", "");
    let first = Collect::of(&data);
    assert_eq!(Collect::of(&data).taken, first.taken);
    assert!(first.asked.is_empty(), "stamps of a folder that is written anew say nothing");
    assert_eq!(first.get(b"sub/new").unwrap().attributes.mtime.seconds, 0);
    assert_eq!(first.get(b"old").unwrap().attributes.mtime.seconds / 86_400, 11_356, "a time that the program set is kept");
    assert!(!stand.at("scratch/export").exists(), "all of it was read");
}

/// What an export sends that writes this.
fn sent(text: &str, stream: bool) -> Vec<Taken> {
    let script = format!("echo {text} | tee \"${{RESILIENT_DIR-$1}}/file\"");
    Collect::of(&Stand::new(stream).recipe(&script, "")).taken
}

const TAKE: &str = "cat ${RESILIENT_DIR:+\"$RESILIENT_DIR/file\"} > \"$1/new\" && mv \"$1/new\" \"$1/data\"";

fn data(stand: &Stand) -> String {
    fs::read_to_string(stand.at("data")).unwrap().trim().to_owned()
}

#[test]
fn imports_and_rollbacks() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        let recipe = stand.recipe("", TAKE);
        assert!(matches!(recipe.rollback(), Err(Error::TakeBack { .. })));
        import(&recipe, &sent("one", stream));
        assert!(matches!(recipe.rollback(), Err(Error::TakeBack { .. })), "what was before the first is not known");
        import(&recipe, &sent("two", stream));
        import(&recipe, &sent("three", stream));
        recipe.rollback().unwrap();
        assert_eq!(data(&stand), "two");
        recipe.rollback().unwrap();
        assert_eq!(data(&stand), "three");
        // An importer that fails leaves what was kept, and nothing of what it was given.
        let failing = stand.recipe("", "echo the disk is full >&2; exit 1");
        let staging = failing.stage().unwrap();
        write_tree(&sent("four", stream), &staging.places()[0]);
        let refused = staging.commit(&mut |_| true).unwrap_err();
        assert!(told(&refused).ends_with("it ended with exit status: 1; it said: the disk is full"), "{refused:?}");
        assert!(failing.rollback().is_err());
        assert!(!stand.at("scratch/import/new").exists());
        recipe.rollback().unwrap();
        assert_eq!(data(&stand), "two", "it was still kept");
    }
}

#[test]
fn nothing_is_imported_from_nothing() {
    for (stream, reason) in [(false, "is nothing at all"), (true, "holds no stream")] {
        let stand = Stand::new(stream);
        let staging = stand.recipe("", "touch \"$1/ran\"").stage().unwrap();
        let refused = staging.commit(&mut |_| true).unwrap_err();
        assert!(refused.to_string().ends_with(reason), "{refused}");
        assert!(!stand.at("ran").exists());
    }
}

/// As a kill leaves it: started, and its end unknown.
fn interrupted(stand: &Stand, text: &str) {
    let new = stand.at("scratch/import/new");
    fs::create_dir_all(new.join("tree")).unwrap();
    let name = if stand.stream { "tree/stream" } else { "tree/file" };
    fs::write(new.join(name), text).unwrap();
    fs::write(new.join("running"), "").unwrap();
}

#[test]
fn an_interrupted_import_is_made_again_before_the_next() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        let recipe = stand.recipe("", TAKE);
        import(&recipe, &sent("one", stream));
        interrupted(&stand, "two");
        fs::write(stand.at("data"), "half of tw").unwrap();
        assert!(recipe.check().unwrap().iter().any(|finding| finding.what.contains("did not end")));
        drop(recipe.stage().unwrap());
        assert_eq!(data(&stand), "two");
        recipe.rollback().unwrap();
        assert_eq!(data(&stand), "one");
        // One that can never be finished does not bar the way.
        interrupted(&stand, "bad");
        drop(stand.recipe("", "exit 1").stage().unwrap());
        assert!(!stand.at("scratch/import/new").exists());
        import(&recipe, &sent("three", stream));
        assert_eq!(data(&stand), "three");
    }
}

#[test]
fn an_importer_that_is_still_at_work_is_not_joined_by_another() {
    for stream in BOTH {
        let stand = Stand::new(stream);
        interrupted(&stand, "two");
        let held = stand.at(if stream { "scratch/import/new/tree/stream" } else { "scratch/import.lock" });
        let lock = fs::File::options().append(true).create(true).open(held).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        let program = Sleeping::on(lock);
        assert!(matches!(stand.recipe("", TAKE).stage().err(), Some(Error::Busy { .. })));
        assert!(stand.at("scratch/import/new/running").exists() && !stand.at("data").exists());
        drop(program);
        drop(stand.recipe("", TAKE).stage().unwrap());
        assert_eq!(data(&stand), "two");
    }
}

#[test]
fn an_importer_that_changes_what_it_is_given_is_found_out() {
    let stand = Stand::new(false);
    import(&stand.recipe("", TAKE), &sent("one", false));
    let moving = stand.recipe("", "mv file \"$1/data\"");
    let staging = moving.stage().unwrap();
    write_tree(&sent("two", false), &staging.places()[0]);
    let found = staging.commit(&mut |_| true).unwrap();
    assert!(found.len() == 1 && found[0].level == Level::Warning && found[0].what.contains("changed what it was given"), "{found:?}");
    assert_eq!(data(&stand), "two");
}

/// No shell, no environment but what is documented, and the names are the contract.
#[test]
fn programs_are_found_by_name_in_a_clean_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/usr/bin/env", folder.path().join("erp5-exporter")).unwrap();
    let settings = command::Settings::new("erp5", folder.path().join("scratch"));
    let settings =
        command::Settings { folder: folder.path().into(), stream: true, dataset: "shop".into(), source: "erp".into(), ..settings };
    let data = Command::new(settings.clone()).unwrap();
    let found = data.check().unwrap();
    assert!(found.len() == 1 && found[0].level == Level::Warning && found[0].what.contains("erp5-importer cannot be found"), "{found:?}");
    let taken = Collect::of(&data).taken;
    let Kind::File(content) = &taken[1].kind else { panic!() };
    let mut lines: Vec<&str> = std::str::from_utf8(content).unwrap().lines().filter(|line| !line.starts_with("HOME=")).collect();
    lines.sort();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let wanted = ["LANG=C.UTF-8", path, "RESILIENT_ACT=export", "RESILIENT_DATASET=shop", "RESILIENT_SOURCE=erp"];
    assert_eq!(lines, wanted);
    let absent = Command::new(command::Settings { name: "odoo".into(), ..settings.clone() }).unwrap();
    let refused = absent.export(&mut Collect::default()).unwrap_err();
    assert!(matches!(&refused, Error::Start { program, .. } if program == &folder.path().join("odoo-exporter")), "{refused:?}");
    for name in ["", "../erp5", "a/b"] {
        assert!(matches!(Command::new(command::Settings { name: name.into(), ..settings.clone() }), Err(Error::Settings { .. })));
    }
    let relative = command::Settings { export: Some(vec!["dump".into()]), ..settings };
    assert!(matches!(Command::new(relative), Err(Error::Settings { .. })));
    assert!(Path::new(command::FOLDER).is_absolute());
}
