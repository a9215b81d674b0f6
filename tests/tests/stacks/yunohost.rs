//! A YunoHost server and its fallback: recipes/stacks/yunohost, over a stand-in for YunoHost's program.

use archive::identity::protect;
use console::node_file::NodeFile;
use console::pull_backup_file::PullBackupFile;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::chance::noise;
use tests::cluster::{Cluster, files, snapshots};
use tests::program::{Ran, program};
use tests::wait::until;

const NODE: &str = include_str!("../../../recipes/stacks/yunohost/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/yunohost/pull-backup.toml");
const EXPORTER: &str = include_str!("../../../recipes/stacks/yunohost/yunohost-exporter");
const IMPORTER: &str = include_str!("../../../recipes/stacks/yunohost/yunohost-importer");
const STAND_IN: &str = include_str!("yunohost/yunohost");

const LIMIT: Duration = Duration::from_secs(60);
const PHRASE: &str = "nine words that no disk of this host ever held";

/// A host's YunoHost, with the shipped programs and the stand-in.
struct Server(PathBuf);

impl Server {
    fn new(root: PathBuf) -> Server {
        let server = Server(root);
        for folder in ["bin", "apps", "system", "archives"] {
            std::fs::create_dir_all(server.0.join(folder)).unwrap();
        }
        server.install("yunohost", STAND_IN);
        for (name, text) in [("yunohost-exporter", EXPORTER), ("yunohost-importer", IMPORTER)] {
            let lines = text.lines().map(|line| match line.split_once('=') {
                Some(("archives", _)) => format!("archives={0}/archives\nPATH={0}/bin:$PATH\n", server.0.display()),
                _ => format!("{line}\n"),
            });
            server.install(name, &lines.collect::<String>());
        }
        server
    }

    /// Another process writes what is run: this one's threads may be beginning others, which would hold the file open.
    fn install(&self, name: &str, text: &str) {
        let from = self.0.join(name);
        std::fs::write(&from, text).unwrap();
        let installed = Command::new("install").arg("-m755").arg(&from).arg(self.0.join("bin").join(name)).status();
        assert!(installed.unwrap().success());
    }

    /// A file of a part.
    fn at(&self, part: &str, name: &str) -> PathBuf {
        let folder = if part == "system" { self.0.join("system") } else { self.0.join("apps").join(part) };
        folder.join(name)
    }

    fn write(&self, part: &str, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(part, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, part: &str, name: &str) -> String {
        std::fs::read_to_string(self.at(part, name)).unwrap_or_default()
    }

    /// What is here was written long before the night.
    fn aged(&self) {
        let aged = Command::new("find")
            .arg(&self.0)
            .args(["-exec", "touch", "-h", "-d", "2026-01-01", "{}", "+"])
            .status();
        assert!(aged.unwrap().success());
    }

    fn mark(&self, what: &str, parts: &str) {
        std::fs::write(self.0.join(what), parts).unwrap();
    }

    fn archives(&self) -> Vec<String> {
        files(&self.0.join("archives")).into_keys().collect()
    }

    /// The shipped file's datasets, for this host.
    fn datasets(&self) -> String {
        let (_, shipped) = NODE.split_once("[[dataset]]").expect("it has a dataset");
        let (shipped, _) = shipped.split_once("[takeover]").expect("it has a takeover");
        let bin = self.0.join("bin");
        let text = shipped.replace("/etc/resilient/recipes", bin.to_str().expect("it is text"));
        let import = format!("import = [{:?}]\n  timeout", bin.join("yunohost-importer"));
        format!("[[dataset]]{}", text.replace("timeout", &import))
    }

    /// The shipped file's takeover, where no such units are.
    fn takeover() -> String {
        let (_, shipped) = NODE.split_once("[takeover]").expect("it has a takeover");
        let lines = shipped.lines().filter(|line| !line.starts_with("services") && !line.starts_with("activation"));
        format!("[takeover]{}\nactivation = \"30s\"\n", lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The server, its fallback, and the host that keeps the history.
struct Pair {
    cluster: Cluster,
    main: Server,
    fallback: Server,
}

impl Pair {
    fn on(mut cluster: Cluster, takeover: &str, blind: bool) -> Pair {
        let (_, of_keeper) = KEEPER.split_once("[retain]").expect("it has rules");
        let (of_keeper, _) = of_keeper.split_once("[alert]").expect("it alerts");
        cluster.keeper("backup", &format!("[retain]{}", of_keeper.replace("[cluster.yunohost]", "[cluster.shop]\nprofile = \"fast\"")));
        let identity = format!("identity = {:?}\n", cluster.path("identity"));
        let server = |name: &str| Server::new(cluster.path(&format!("{name}-server")));
        let (main, fallback) = (server("main"), server("fallback"));
        for (name, server, role) in [("main", &main, "--active"), ("fallback", &fallback, "--standby")] {
            let more = format!("run = {:?}\n{}", server.0.join("run"), if blind && name == "fallback" { "" } else { &identity });
            cluster.node(name, &more, &format!("{}{takeover}", server.datasets()));
            cluster.join("backup", name, &[role]);
        }
        main.write("system", "users", "ada\n");
        main.write("wordpress", "posts", "the first\n");
        main.write("wordpress__2", "posts", "of the second instance\n");
        Pair { cluster, main, fallback }
    }

    /// On loopback, without daemons of the nodes, and the fallback can open what it keeps.
    fn seeing(number: u8) -> Pair {
        Pair::on(Cluster::new(number), "", false)
    }

    /// As shipped: on hosts of their own, the fallback blind, everything running, and one night over.
    fn blind() -> Pair {
        let mut pair = Pair::on(Cluster::apart(3), &Server::takeover(), true);
        for node in ["main", "fallback"] {
            pair.cluster.start(node, "exporter");
            pair.cluster.start(node, "importer");
        }
        pair.cluster.run("main", "importer", &["activate", "--adopt"]).ended(0);
        pair.night();
        let newest = |node: &str| snapshots(&pair.cluster.of_node(node, "server")).pop();
        until(LIMIT, "the night in the fallback's mirror", || (newest("main") == newest("fallback")).then_some(()));
        pair
    }

    fn night(&self) {
        self.cluster.run("main", "exporter", &["run", "--wait"]).ended(0);
    }

    fn archive(&self) -> PathBuf {
        self.cluster.of_keeper("backup", "server")
    }

    /// What a person brings: the identity under a passphrase, and a file with that.
    fn stick(&self, phrase: &str) -> [PathBuf; 2] {
        let [stick, file] = ["stick", "phrase"].map(|name| self.cluster.path(name));
        let opened = std::fs::read_to_string(self.cluster.path("identity")).unwrap();
        std::fs::write(&stick, protect(&opened, PHRASE)).unwrap();
        std::fs::write(&file, format!("{phrase}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        [stick, file]
    }

    fn activate(&self, phrase: &str) -> Ran {
        let [stick, file] = self.stick(phrase);
        let line = ["activate", "--identity", stick.to_str().unwrap(), "--passphrase-file", file.to_str().unwrap()];
        self.cluster.run("fallback", "importer", &line)
    }

    /// `deploy_fallback`, as soon as the lease of the dead server is over.
    fn deploy(&self) {
        until(LIMIT, "the lease to be over", || {
            let ran = self.activate(PHRASE);
            if ran.text().contains("is active") { Ok(()) } else { Err(ran.err) }
        });
        self.stick(PHRASE).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    fn restore(&self, at: &str) -> tempfile::TempDir {
        let target = tempfile::tempdir().unwrap();
        let ran: Ran = program("pull-backup")
            .args(["restore", "--at", at, "--repository"])
            .arg(self.archive())
            .arg("--to")
            .arg(target.path())
            .arg("--identity")
            .arg(self.cluster.path("identity"))
            .output()
            .unwrap()
            .into();
        ran.ended(0);
        target
    }
}

/// Bytes below a folder.
fn size(folder: &Path) -> usize {
    files(folder).values().map(Vec::len).sum()
}

#[test]
fn the_shipped_files_of_yunohost_say_what_is_meant() {
    let text = NODE.replace("age1...", &archive::identity::generate().1);
    let node = NodeFile::parse(&text, Path::new("node.toml")).unwrap();
    let keeper = PullBackupFile::parse(KEEPER, Path::new("pull-backup.toml")).unwrap();
    assert!(node.takeover.is_some_and(|takeover| !takeover.automatic && takeover.services.len() == 3));
    assert!(
        keeper
            .clusters
            .get(&node.cluster)
            .is_some_and(|cluster| cluster.delay == Some(Duration::from_secs(3600)))
    );
}

#[test]
fn the_round_trip_of_activate_write_close_and_update_from_fallback_finds_each_write_again() {
    let mut pair = Pair::blind();
    assert_eq!(pair.fallback.read("wordpress", "posts"), "", "nothing is deployed before somebody says so");
    pair.cluster.kill_host("main");
    pair.main.write("wordpress", "drafts", "written after the last night\n");
    pair.deploy();
    assert_eq!(pair.fallback.read("wordpress", "posts"), "the first\n");
    assert_eq!(pair.fallback.read("wordpress__2", "posts"), "of the second instance\n");
    assert_eq!(pair.fallback.read("system", "users"), "ada\n");
    pair.fallback.write("wordpress", "posts", "the first\nof the fallback\n");
    pair.fallback.write("system", "users", "ada\ngrace\n");
    pair.cluster.run("fallback", "importer", &["close"]).ended(0);
    assert_eq!(pair.fallback.read("wordpress", "posts"), "the first\n", "as if nothing had happened here");
    assert_eq!(pair.fallback.read("system", "users"), "ada\n");

    for daemon in ["exporter", "importer"] {
        pair.cluster.start("main", daemon);
    }
    pair.cluster.run("main", "importer", &["update-from-fallback"]).ended(0);
    assert_eq!(pair.main.read("wordpress", "posts"), "the first\nof the fallback\n");
    assert_eq!(pair.main.read("wordpress__2", "posts"), "of the second instance\n");
    assert_eq!(pair.main.read("system", "users"), "ada\ngrace\n");
    // Nothing is lost that only the main server had, and each restoration was preceded by a backup.
    until(LIMIT, "what only the main server had in quarantine", || {
        let aside = pair.cluster.run("backup", "pull-backup", &["quarantine", "list"]).ended(0);
        if aside.text().contains("main") { Ok(()) } else { Err(aside.text().to_owned()) }
    });
    let archives = pair.main.archives();
    let before = |part: &str| archives.iter().any(|name| name.starts_with("before-") && name.ends_with(&format!("-{part}.tar")));
    assert!(before("system") && before("wordpress") && before("wordpress__2"), "{archives:?}");
    pair.cluster.stop();
}

#[test]
fn a_pull_backup_without_a_key_is_opened_only_at_activation_with_a_passphrase() {
    let mut pair = Pair::blind();
    let secret = "the-secret-of-the-customers";
    pair.main.write("wordpress", "secret-name", secret);
    pair.night();
    let newest = |node: &str| snapshots(&pair.cluster.of_node(node, "server")).pop();
    until(LIMIT, "the night in the fallback's mirror", || (newest("main") == newest("fallback")).then_some(()));
    for folder in ["backup-archive", "backup-state", "fallback-state", "fallback-server"] {
        for (name, bytes) in files(&pair.cluster.path(folder)) {
            for word in [secret, "secret-name", PHRASE] {
                assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{folder}/{name} holds {word}");
            }
        }
    }
    pair.cluster.kill_host("main");
    let refused = pair.cluster.run("fallback", "importer", &["activate"]).ended(3);
    assert!(refused.err.contains("has no identity"), "{}", refused.err);
    let wrong = pair.activate("another one");
    assert!(wrong.status != 0 && wrong.err.contains("passphrase"), "{}", wrong.err);
    assert_eq!(pair.fallback.read("wordpress", "secret-name"), "");
    pair.deploy();
    assert_eq!(pair.fallback.read("wordpress", "secret-name"), secret);
    pair.cluster.stop();
}

#[test]
fn an_unchanged_night_transfers_almost_nothing() {
    let mut pair = Pair::seeing(140);
    pair.main.write("wordpress", "uploads/photo", noise(1, 2_000_000));
    pair.main.aged();
    pair.night();
    let (before, there) = (size(&pair.archive()), snapshots(&pair.archive()));
    pair.night();
    assert_eq!(snapshots(&pair.archive()), there, "no second snapshot of the same");
    let grown = size(&pair.archive()).saturating_sub(before);
    assert!(grown < 4096, "the night cost {grown} bytes");
    // A changed night costs what changed.
    pair.main.write("wordpress", "posts", "the first\nthe second\n");
    pair.night();
    let grown = size(&pair.archive()).saturating_sub(before);
    assert!(snapshots(&pair.archive()).len() == there.len() + 1 && grown < 50_000, "the night cost {grown} bytes");
    pair.cluster.stop();
}

#[test]
fn a_night_that_changed_and_failed_is_tried_again() {
    let mut pair = Pair::seeing(141);
    pair.night();
    let there = snapshots(&pair.archive());
    pair.main.write("wordpress", "posts", "changed\n");
    pair.main.mark("broken", "wordpress\n");
    for _ in 0..2 {
        let failed = pair.cluster.run("main", "exporter", &["run", "--wait"]).ended(1);
        assert!(failed.err.contains("the backup of wordpress is not whole"), "{}", failed.err);
    }
    assert_eq!(snapshots(&pair.archive()), there, "a backup by half is none");
    let status = pair.cluster.run("main", "exporter", &["status"]);
    assert!(status.status == 1 && status.text().contains("failing"), "{}", status.text());
    pair.main.mark("broken", "");
    pair.night();
    let back = pair.restore("latest");
    let posts = back.path().join("yunohost/wordpress/apps/wordpress/posts");
    assert_eq!(std::fs::read_to_string(posts).unwrap(), "changed\n");
    assert_eq!(pair.main.archives(), Vec::<String>::new(), "archives are not left behind");
    pair.cluster.stop();
}

#[test]
fn apps_are_selected_and_one_that_was_removed_goes_from_the_next_snapshot_and_not_from_history() {
    let mut pair = Pair::seeing(142);
    pair.main.write("nextcloud", "file", "not on the list\n");
    pair.night();
    let with = snapshots(&pair.archive()).pop().unwrap();
    let parts = |back: &Path| -> Vec<String> {
        let found = std::fs::read_dir(back.join("yunohost")).unwrap();
        let mut names: Vec<String> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(parts(pair.restore("latest").path()), ["system", "wordpress", "wordpress__2"]);
    std::fs::remove_dir_all(pair.main.at("wordpress__2", "")).unwrap();
    pair.night();
    assert_eq!(parts(pair.restore("latest").path()), ["system", "wordpress"]);
    let back = pair.restore(with.rsplit_once('-').unwrap().1);
    assert_eq!(parts(back.path()), ["system", "wordpress", "wordpress__2"]);
    // By hand it comes back, and so does nothing else.
    pair.main.write("wordpress", "posts", "newer\n");
    for part in ["system", "wordpress"] {
        std::fs::remove_dir_all(back.path().join("yunohost").join(part)).unwrap();
    }
    let imported = Command::new(pair.main.0.join("bin/yunohost-importer"))
        .env("RESILIENT_DIR", back.path().join("yunohost"))
        .status();
    assert!(imported.unwrap().success());
    assert_eq!(pair.main.read("wordpress__2", "posts"), "of the second instance\n");
    assert_eq!(pair.main.read("wordpress", "posts"), "newer\n");
    pair.cluster.stop();
}

#[test]
fn an_app_that_cannot_be_restored_leaves_what_was_here() {
    let mut pair = Pair::seeing(143);
    let sync = |pair: &Pair| pair.cluster.run("fallback", "importer", &["sync"]);
    pair.night();
    // What was not here is not here afterwards either.
    pair.fallback.mark("unrestorable", "wordpress__2\n");
    let failed = sync(&pair).ended(1);
    assert!(failed.err.contains("wordpress__2 was not restored") && !failed.err.contains("is not what it was"), "{}", failed.err);
    assert!(!pair.fallback.at("wordpress", "").exists(), "it came back by half");
    pair.fallback.mark("unrestorable", "");
    sync(&pair).ended(0);
    let before = pair.fallback.read("wordpress", "posts");
    assert_eq!(before, "the first\n");
    pair.main.write("wordpress", "posts", "newer\n");
    pair.main.write("system", "users", "ada\ngrace\n");
    pair.night();
    pair.fallback.mark("unrestorable", "wordpress\n");
    let failed = sync(&pair);
    assert!(failed.status == 1 && failed.err.contains("wordpress was not restored"), "{failed:?}");
    assert_eq!(pair.fallback.read("wordpress", "posts"), before);
    assert_eq!(pair.fallback.read("system", "users"), "ada\n", "all of it is of one night");
    pair.fallback.mark("unrestorable", "");
    sync(&pair).ended(0);
    assert_eq!(pair.fallback.read("wordpress", "posts"), "newer\n");
    assert_eq!(pair.fallback.read("system", "users"), "ada\ngrace\n");
    pair.cluster.stop();
}
