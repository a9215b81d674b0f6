//! `exporter run` on sources that are databases and programs, and what a restore gives back.

use std::fs;
use std::path::{Path, PathBuf};
use tests::program::{Ran, finish, program};

struct Host {
    folder: tempfile::TempDir,
    sources: String,
}

impl Host {
    /// `sources` are tables of the node file; `{}` in them is the host's folder.
    fn new(sources: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let sources = sources.replace("{}", at);
        let text = format!(
            "cluster = \"shop\"\n[node]\nname = \"web1\"\nstate = \"{at}/state\"\n[seal]\noff = true\n[[dataset]]\nname = \"shop\"\n{sources}"
        );
        fs::write(folder.path().join("node.toml"), text).unwrap();
        Host { folder, sources }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sqlite(&self, script: &str) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path("shop.db")).unwrap();
        connection.execute_batch(script).unwrap();
        connection
    }

    fn run(&self) -> Ran {
        finish(program("exporter").args(["--json", "run", "--config"]).arg(self.path("node.toml")))
    }

    fn snapshots(&self) -> usize {
        fs::read_dir(self.path("state/datasets/shop/repository/snapshots")).map_or(0, |entries| entries.count())
    }

    fn restore(&self, to: &Path) {
        let mut command = program("pull-backup");
        command.args(["restore", "--at", "latest", "--to"]).arg(to);
        finish(command.arg("--repository").arg(self.path("state/datasets/shop/repository"))).ended(0);
    }
}

const SQLITE: &str = "[[dataset.source]]\nname = \"db\"\nrecipe = \"sqlite\"\npath = \"{}/shop.db\"\n";
const FILL: &str = "PRAGMA journal_mode = wal; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) INSERT INTO item SELECT i, hex(i * 7919) FROM n;";

fn rows(path: &Path) -> Vec<(i64, String)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
    let mut rows = connection.prepare("SELECT id, name FROM item ORDER BY id").unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_database_that_is_in_use_is_exported_page_by_page_and_restored() {
    let host = Host::new(SQLITE);
    let application = host.sqlite(FILL);
    let first = host.run().ended(0).json();
    let again = host.run().ended(0).json();
    assert_eq!((again["changed"].as_bool(), &again["snapshot"]), (Some(false), &first["snapshot"]), "nothing changed");
    application.execute_batch("UPDATE item SET name = 'changed' WHERE id % 10000 = 0").unwrap();
    let second = host.run().ended(0).json();
    let (content, stored) = (second["content_bytes"].as_u64().unwrap(), second["stored_bytes"].as_u64().unwrap());
    assert!(content > 700_000 && stored < 40_000, "five rows changed: {stored} of {content}");
    let to = host.path("restored");
    host.restore(&to);
    let restored = rows(&to.join("db/database.sqlite"));
    assert_eq!((restored.len(), restored[9_999].1.as_str()), (50_000, "changed"));
    assert_eq!(restored, rows(&host.path("shop.db")));
    drop(application);
    assert!(!host.path("state/datasets/shop/scratch/db/copy").exists());
}

#[test]
fn a_database_that_did_not_change_for_a_while_is_not_even_copied() {
    let host = Host::new(SQLITE);
    let _application = host.sqlite(FILL);
    let read = (0..10_000)
        .map(|_| host.run().ended(0).json()["read_bytes"].as_u64().unwrap())
        .find(|read| *read < 100_000);
    assert!(read.is_some(), "its times are old enough at last, and prove that it is the same");
}

#[test]
fn sources_that_fail_publish_nothing() {
    let script = |text: &str| {
        format!(
            "[[dataset.source]]\nrecipe = \"erp5\"\nstream = true\nexport = [\"/bin/sh\", \"-c\", {text:?}]\nimport = [\"/bin/true\"]\n"
        )
    };
    let host =
        Host::new(&script("if [ -e {}/bad ]; then yes half | head -c 5000000; echo lost the connection >&2; exit 4; fi; echo whole"));
    assert!(host.sources.contains("lost the connection"));
    host.run().ended(0);
    assert_eq!(host.snapshots(), 1);
    fs::write(host.path("bad"), "").unwrap();
    let failed = host.run().ended(1);
    assert!(failed.err.contains("/bin/sh failed: it ended with exit status: 4; it said: lost the connection"), "{}", failed.err);
    assert_eq!(host.snapshots(), 1, "half of a stream is no snapshot");
    fs::remove_file(host.path("bad")).unwrap();
    let whole = host.run().ended(0).json();
    assert_eq!(whole["changed"].as_bool(), Some(false), "what is written anew and is the same is no change");
    host.restore(&host.path("restored"));
    assert_eq!(fs::read(host.path("restored/erp5/stream")).unwrap(), b"whole\n");
    let missing = Host::new(SQLITE);
    let failed = missing.run().ended(1);
    assert!(failed.err.contains("source db: cannot find the source"), "{}", failed.err);
    assert_eq!(missing.snapshots(), 0);
}

#[test]
fn a_program_that_fills_a_folder_is_exported_and_restored() {
    let write = "mkdir sub; for i in $(seq 300); do echo $i > sub/$i; done; head -c 3000000 /dev/zero | tr '\\\\0' x > large";
    let host = Host::new(&format!("[[dataset.source]]\nrecipe = \"erp5\"\nexport = [\"/bin/sh\", \"-c\", \"{write}\"]\n"));
    host.run().ended(0);
    assert_eq!(host.run().ended(0).json()["changed"].as_bool(), Some(false), "the same dump again");
    let to = host.path("restored");
    host.restore(&to);
    assert_eq!(fs::read_dir(to.join("erp5/sub")).unwrap().count(), 300);
    assert_eq!(fs::read_to_string(to.join("erp5/sub/300")).unwrap(), "300\n");
    assert_eq!(fs::read(to.join("erp5/large")).unwrap(), vec![b'x'; 3_000_000]);
    assert!(!host.path("state/datasets/shop/scratch/erp5/export").exists(), "the dump is gone when it was read");
}

/// A limit on the size of files stands for a full disk.
#[test]
fn no_room_for_the_copy_fails_the_run_and_leaves_nothing() {
    let host = Host::new(SQLITE);
    drop(host.sqlite(FILL));
    let exporter = program("exporter").get_program().to_owned();
    let mut limited = std::process::Command::new("/bin/sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" run --config \"$1\""])
        .arg(exporter)
        .arg(host.path("node.toml"));
    let failed = finish(&mut limited).ended(1);
    assert!(failed.err.contains("source db: cannot"), "{}", failed.err);
    assert_eq!(host.snapshots(), 0);
    assert!(!host.path("state/datasets/shop/scratch/db/copy").exists());
    host.run().ended(0);
}
