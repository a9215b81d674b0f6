//! The `files` recipe passes the suite of `Data`, as a folder, as several paths, and as one file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use recipes::data::conform::{Collect, Subject, suite};
use recipes::{Data, Files, Settings};

fn recipe(paths: Vec<PathBuf>) -> Files {
    Files::new(Settings { paths, exclude: vec!["*.tmp".into()], ..Settings::default() }).unwrap()
}

fn fill_folder(place: &Path, content: u32) {
    if place.exists() {
        fs::remove_dir_all(place).unwrap();
    }
    fs::create_dir_all(place).unwrap();
    if content == 0 {
        return;
    }
    fs::create_dir_all(place.join("a/b")).unwrap();
    fs::create_dir(place.join(format!("only-in-{content}"))).unwrap();
    fs::write(place.join("a.txt"), "beside the folder a").unwrap();
    fs::write(place.join("a/b/deep"), format!("content {content}")).unwrap();
    fs::write(place.join(format!("only-in-{content}/file")), b"").unwrap();
    std::os::unix::fs::symlink("nowhere", place.join("a/link")).unwrap();
    fs::hard_link(place.join("a.txt"), place.join("z")).unwrap();
}

/// Everything but stamps and times of change.
fn read(data: &dyn Data) -> Vec<u8> {
    let taken = Collect::of(data).taken;
    let entries = taken.iter().map(|taken| (&taken.path, &taken.attributes, &taken.kind));
    format!("{:?}", entries.collect::<Vec<_>>()).into_bytes()
}

struct Folder;

impl Subject for Folder {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        Box::new(recipe(vec![place.to_path_buf()]))
    }

    fn fill(&self, place: &Path, content: u32) {
        fill_folder(place, content);
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        read(&*self.data(place))
    }

    fn names(&self, place: &Path, names: &[&[u8]]) -> bool {
        for name in names {
            fs::write(place.join(OsStr::from_bytes(name)), name).unwrap();
            let folder = place.join(OsStr::from_bytes(&[b"folder ", *name].concat()));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
        }
        true
    }
}

/// Two folders and a file.
struct Several;

impl Subject for Several {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        Box::new(recipe(["one", "two", "file"].map(|name| place.join(name)).to_vec()))
    }

    fn fill(&self, place: &Path, content: u32) {
        fill_folder(&place.join("one"), content);
        fill_folder(&place.join("two"), 0);
        fs::write(place.join("file"), format!("file {content}")).unwrap();
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        read(&*self.data(place))
    }

    fn names(&self, place: &Path, names: &[&[u8]]) -> bool {
        Folder.names(&place.join("two"), names)
    }
}

struct LoneFile;

impl Subject for LoneFile {
    fn data(&self, place: &Path) -> Box<dyn Data> {
        // The same last name everywhere, as on the hosts of a cluster.
        Box::new(recipe(vec![place.join("file")]))
    }

    fn fill(&self, place: &Path, content: u32) {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join("file"), format!("content {content}").repeat(content as usize)).unwrap();
    }

    fn read(&self, place: &Path) -> Vec<u8> {
        read(&*self.data(place))
    }

    fn names(&self, _: &Path, _: &[&[u8]]) -> bool {
        false
    }
}

#[test]
fn a_folder_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Folder, scratch.path());
}

#[test]
fn several_paths_conform() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&Several, scratch.path());
}

#[test]
fn a_lone_file_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&LoneFile, scratch.path());
}
