//! Sources of one snapshot: when the last of them cannot be switched, those before it are as they were.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tests::cluster::{Cluster, files};
use tests::program::Ran;

fn program(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Files, and then an application whose importer refuses when it is told to.
fn datasets(cluster: &Cluster, uploads: &Path) -> String {
    format!(
        "[[dataset]]\nname = \"shop\"\n[[dataset.source]]\nname = \"uploads\"\nrecipe = \"files\"\npaths = [{uploads:?}]\n\
         [[dataset.source]]\nname = \"app\"\nrecipe = \"app\"\nstream = true\nexport = [{:?}]\nimport = [{:?}]\n",
        cluster.path("app-exporter"),
        cluster.path("app-importer"),
    )
}

/// An active node, one that stands by, and an application whose importer does as it is told.
struct Pair {
    cluster: Cluster,
    data: PathBuf,
    own: PathBuf,
    app: PathBuf,
}

impl Pair {
    /// `first` is what the importer does before anything else.
    fn start(net: u8, first: impl Fn(&Cluster, &Path) -> String) -> Pair {
        let mut cluster = Cluster::new(net);
        cluster.keeper("keeper", "");
        let (data, own, app) = (cluster.path("web1"), cluster.path("web2"), cluster.path("app"));
        for folder in [&data, &own] {
            std::fs::create_dir_all(folder.join("uploads")).unwrap();
        }
        program(&cluster.path("app-exporter"), &format!("cat {}", cluster.path("state-of-the-app").display()));
        program(&cluster.path("app-importer"), &format!("{}\ncat > {}", first(&cluster, &app), app.display()));
        let text = datasets(&cluster, &data.join("uploads"));
        cluster.node("web1", "", &text);
        cluster.join("keeper", "web1", &["--active"]);
        let more = format!("identity = {:?}\nsource.shop.uploads.paths = [{:?}]", cluster.path("identity"), own.join("uploads"));
        cluster.node("web2", &more, &text);
        cluster.join("keeper", "web2", &["--standby"]);
        Pair { cluster, data, own, app }
    }

    fn export(&self, words: &str) {
        std::fs::write(self.data.join("uploads/file"), words).unwrap();
        std::fs::write(self.cluster.path("state-of-the-app"), words).unwrap();
        self.cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    }

    fn sync(&self) -> Ran {
        self.cluster.run("web2", "importer", &["sync"])
    }

    /// What the files and the application hold.
    fn held(&self) -> (String, String) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(files(&self.own.join("uploads"))["file"].clone()), text(std::fs::read(&self.app).unwrap()))
    }
}

fn both(words: &str) -> (String, String) {
    (words.into(), words.into())
}

#[test]
fn a_source_that_cannot_be_switched_takes_the_others_back() {
    let pair = Pair::start(36, |cluster, _| format!("test ! -e {}", cluster.path("refuse").display()));
    pair.export("first");
    pair.sync().ended(0);
    assert_eq!(pair.held(), both("first"));
    pair.export("second");
    std::fs::write(pair.cluster.path("refuse"), "").unwrap();
    let failed = pair.sync().ended(1);
    assert!(failed.err.contains("source app"), "{}", failed.err);
    assert_eq!(pair.held(), both("first"), "the files were switched, and are back");
    std::fs::remove_file(pair.cluster.path("refuse")).unwrap();
    pair.sync().ended(0);
    assert_eq!(pair.held(), both("second"));
}

#[test]
fn a_rollback_that_is_killed_in_the_middle_is_known_and_mended_by_the_next_import() {
    // It kills the importer when it has done its part, once.
    let pair = Pair::start(37, |cluster, app| {
        let kill = cluster.path("kill").display().to_string();
        format!("if test -e {kill}; then cat > {}; rm {kill}; kill -9 $PPID; exit 1; fi", app.display())
    });
    for words in ["first", "second"] {
        pair.export(words);
        pair.sync().ended(0);
    }
    std::fs::write(pair.cluster.path("kill"), "").unwrap();
    let killed = pair.cluster.run("web2", "importer", &["rollback", "shop"]);
    assert_eq!(killed.status, -1, "{killed:?}");
    assert_eq!(pair.held(), ("second".into(), "first".into()), "two snapshots are mixed");
    let status = pair.cluster.run("web2", "importer", &["status"]);
    assert!(status.status == 1 && status.text().contains("an import ended in the middle"), "{status:?}");
    let refused = pair.cluster.run("web2", "importer", &["rollback", "shop"]).ended(3);
    assert!(refused.err.contains("an import was interrupted"), "{}", refused.err);
    pair.sync().ended(0);
    assert_eq!(pair.held(), both("second"));
    // What was before that is a mixture.
    let refused = pair.cluster.run("web2", "importer", &["rollback", "shop"]).ended(3);
    assert!(refused.err.contains("two snapshots were mixed"), "{}", refused.err);
    assert_eq!(pair.held(), both("second"));
    pair.export("third");
    pair.sync().ended(0);
    assert_eq!(pair.held(), both("third"));
    pair.cluster.run("web2", "importer", &["rollback", "shop"]).ended(0);
    assert_eq!(pair.held(), both("second"));
}

#[test]
fn a_rollback_waits_for_an_import_that_is_at_work() {
    let pair = Pair::start(38, |_, _| "true".into());
    for words in ["first", "second"] {
        pair.export(words);
        pair.sync().ended(0);
    }
    let lock = pair.cluster.path("web2-state/datasets/shop/import.lock");
    let importing = File::options().write(true).open(lock).unwrap();
    flock(&importing, FlockOperation::LockExclusive).unwrap();
    let mut rollback = pair
        .cluster
        .command("web2", "importer", &["rollback", "shop"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(rollback.stderr.take().unwrap()).lines();
    let waits = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("another import of it is at work")));
    assert!(waits.is_some(), "it ended without waiting: {:?}", rollback.wait());
    drop(importing);
    assert!(rollback.wait().unwrap().success());
    assert_eq!(pair.held().0, "first");
}
