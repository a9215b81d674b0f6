//! The `command` recipe passes the suite of `Data`, with a folder and with a stream.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use recipes::data::conform::{Collect, Subject, suite};
use recipes::{Command, Data, Files, Settings, command};

/// A shell with a script in place of a program of its own.
fn shell(script: &str, argument: &Path) -> Option<Vec<OsString>> {
    Some(["/bin/sh".into(), "-euc".into(), script.into(), "sh".into(), argument.as_os_str().to_owned()].to_vec())
}

struct Folder;

impl Subject for Folder {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        let export = shell("cp -r -d --preserve=mode,links \"$1\"/. \"$RESILIENT_DIR\"", place);
        let import = shell("rm -rf \"$1.new\"; cp -a \"$RESILIENT_DIR\" \"$1.new\"; rm -rf \"$1\"; mv \"$1.new\" \"$1\"", place);
        let settings = command::Settings::new("folders", place.with_extension("scratch"));
        Box::new(Command::new(command::Settings { export, import, ..settings }).unwrap())
    }

    fn fill(&self, place: &Path, content: u32) {
        let _ = fs::remove_dir_all(place);
        fs::create_dir_all(place.join("a/b")).unwrap();
        if content > 0 {
            fs::write(place.join("a.txt"), "beside the folder a").unwrap();
            fs::write(place.join("a/b/deep"), format!("content {content}")).unwrap();
            fs::write(place.join(format!("only-in-{content}")), b"").unwrap();
            fs::hard_link(place.join("a.txt"), place.join("z")).unwrap();
            std::os::unix::fs::symlink("nowhere", place.join("a/link")).unwrap();
        }
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        let files = Files::new(Settings { paths: vec![place.to_path_buf()], ..Settings::default() }).unwrap();
        let taken = Collect::of(&files).taken;
        let entries = taken.iter().map(|taken| (&taken.path, &taken.attributes.mode, &taken.kind));
        format!("{:?}", entries.collect::<Vec<_>>()).into_bytes()
    }

    fn names(&self, place: &Path, names: &[&[u8]]) -> bool {
        for name in names {
            fs::write(place.join(OsStr::from_bytes(name)), name).unwrap();
        }
        true
    }
}

struct Stream;

impl Subject for Stream {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        let export = shell("cat \"$1\"", place);
        let import = shell("cat > \"$1.new\"; mv \"$1.new\" \"$1\"", place);
        let settings = command::Settings::new("streams", place.with_extension("scratch"));
        Box::new(Command::new(command::Settings { export, import, stream: true, ..settings }).unwrap())
    }

    fn fill(&self, place: &Path, content: u32) {
        fs::write(place, format!("content {content}\n").repeat(1 + 100_000 * content as usize)).unwrap();
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        fs::read(place).unwrap()
    }

    fn names(&self, _: &Path, _: &[&[u8]]) -> bool {
        false
    }
}

#[test]
fn programs_that_use_a_folder_conform() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Folder, scratch.path());
}

#[test]
fn programs_that_use_a_stream_conform() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Stream, scratch.path());
}
