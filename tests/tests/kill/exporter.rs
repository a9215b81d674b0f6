//! `exporter run`, killed at any moment and left without room.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::chance::{Chance, budget};
use tests::program::{finish, program, run};

use crate::moments::Moments;

struct Host {
    folder: tempfile::TempDir,
    state: PathBuf,
}

impl Host {
    fn new(state: Option<PathBuf>) -> Host {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let state = state.unwrap_or_else(|| folder.path().join("state"));
        let (private, public) = archive::identity::generate();
        std::fs::write(folder.path().join("identity"), private).expect("the identity is written");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("the data folder is made");
        let text = format!(
            "cluster = \"shop\"\n[node]\nname = \"web1\"\nstate = {state:?}\n[seal]\nrecipients = [\"{public}\"]\n[[dataset]]\nname = \"shop\"\nevery = \"60m\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{data:?}]\n"
        );
        std::fs::write(folder.path().join("node.toml"), text).expect("the node file is written");
        Host { folder, state }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn repository(&self) -> PathBuf {
        self.state.join("datasets/shop/repository")
    }

    fn exporter(&self) -> Command {
        let mut command = program("exporter");
        command.arg("run").arg("--config").arg(self.folder.path().join("node.toml"));
        command
    }

    /// Restores a snapshot and compares it with a tree on disk.
    fn assert_restores(&self, at: &str, expected: &Path) {
        let target = tempfile::tempdir().expect("a folder to restore to");
        let identity = self.folder.path().join("identity");
        let arguments = ["restore", "--repository"].map(Into::into).into_iter();
        let rest = [
            self.repository().into_os_string(),
            "--at".into(),
            at.into(),
            "--to".into(),
            target.path().into(),
            "--identity".into(),
            identity.into(),
        ];
        run("pull-backup", arguments.chain(rest)).ended(0);
        let same = Command::new("diff")
            .arg("-r")
            .arg(expected)
            .arg(target.path().join("files"))
            .stdout(Stdio::null())
            .status();
        assert!(same.expect("diff runs").success(), "the restored tree differs");
    }
}

/// Changes some of the data; files are replaced, as a careful program does, and some are changed in place.
fn change(data: &Path, chance: &mut Chance) {
    for _ in 0..6 {
        let name = data.join(format!("file{}", chance.below(40)));
        let len = if chance.below(6) == 0 { 3_000_000 } else { 20_000 };
        let mut bytes = std::fs::read(&name).unwrap_or_default();
        if bytes.len() > 1000 && chance.below(3) > 0 {
            let at = chance.below(bytes.len() - 500);
            bytes[at..at + 500].copy_from_slice(&chance.noise(500));
        } else {
            bytes = chance.noise(len);
        }
        std::fs::write(&name, bytes).expect("the data is written");
    }
}

#[test]
fn an_exporter_killed_at_any_moment_loses_nothing_and_the_next_completes() {
    let rounds = budget(40);
    let host = Host::new(None);
    let mut chance = Chance::new(20_261_121);
    change(&host.data(), &mut chance);
    let mut moments = Moments::new();
    for round in 0..rounds {
        change(&host.data(), &mut chance);
        moments.kill(&mut host.exporter(), &mut chance);
        if round % 8 == 7 {
            finish(&mut host.exporter()).ended(0);
            host.assert_restores("latest", &host.data());
            let repository = host.repository();
            run("pull-backup", [std::ffi::OsStr::new("check"), "--read".as_ref(), "--repository".as_ref(), repository.as_os_str()])
                .ended(0);
        }
    }
    assert!(moments.killed > rounds / 4, "only {} in {rounds} rounds were killed in time: the moments are wrong", moments.killed);
}

/// A file system of a few megabytes, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> SmallDisk {
        let folder = tempfile::tempdir().expect("a folder for the mount");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(mounted.expect("mount runs").success(), "this test mounts a small tmpfs: run it as root");
        SmallDisk(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_loses_nothing_and_is_forgotten_when_there_is_room() {
    let disk = SmallDisk::new(24);
    let host = Host::new(Some(disk.0.path().join("state")));
    let mut chance = Chance::new(7);
    std::fs::write(host.data().join("first"), chance.noise(2_000_000)).unwrap();
    finish(&mut host.exporter()).ended(0);
    let before = tempfile::tempdir().unwrap();
    std::fs::copy(host.data().join("first"), before.path().join("first")).unwrap();
    // Fill the disk to different degrees, so that it is full at different moments of an export.
    for spare_kb in [0, 4, 40, 200, 700, 1500, 3000] {
        std::fs::write(host.data().join("second"), chance.noise(6_000_000)).unwrap();
        let filler = disk.0.path().join("filler");
        fill(&filler, spare_kb);
        let ran = finish(&mut host.exporter());
        assert_eq!(ran.status, 1, "spare {spare_kb} kB: {}", ran.err);
        assert!(ran.err.contains("No space left") && ran.err.contains("make room"), "{}", ran.err);
        host.assert_restores("latest", before.path());
        std::fs::remove_file(filler).unwrap();
    }
    finish(&mut host.exporter()).ended(0);
    host.assert_restores("latest", &host.data());
}

/// Takes all room but so much.
fn fill(path: &Path, spare_kb: usize) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(spare_kb as u64 * 1024)).unwrap();
}
