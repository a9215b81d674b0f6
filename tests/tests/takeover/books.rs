//! What was taken, and where it is now: orders and their texts on nodes, snapshots in the archive, and what quarantine holds.

use crate::scene::{LIMIT, Scene, Taken};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use std::collections::HashSet;
use tests::wait::until;

/// A snapshot in the archive.
#[derive(Clone, Debug)]
pub struct Archived {
    pub epoch: u64,
    pub node: String,
    pub stored: u64,
    pub content: u64,
}

impl Scene {
    /// Written past the till, as by a program beside it.
    pub fn write(&self, node: &str, number: i64, text: &str) {
        let database = Connection::open(self.database(node)).unwrap();
        database.busy_timeout(LIMIT).unwrap();
        database.execute("insert into orders (id, text) values (?1, ?2)", (number, text)).unwrap();
    }

    pub fn text(&self, node: &str, number: i64) -> Option<String> {
        let database = Connection::open(self.database(node)).unwrap();
        database.busy_timeout(LIMIT).unwrap();
        let row = database.query_row("select text from orders where id = ?1", [number], |row| row.get(0));
        row.optional().unwrap()
    }

    /// The snapshot that a node holds, or was the last to export: epoch and sequence.
    pub fn position(&self, node: &str) -> Option<(u64, u64)> {
        let said: Value = serde_json::from_str(&self.ask(node, "/cluster")?.1).ok()?;
        let (epoch, sequence) = said["position"]["shop"].as_str()?.split_once('/')?;
        Some((epoch.parse().ok()?, sequence.parse().ok()?))
    }

    /// Waits until a node has what this says is there.
    #[track_caller]
    pub fn has(&self, node: &str, number: i64, text: &str) {
        until(LIMIT, &format!("{node} to have {number}"), || {
            let found = self.text(node, number);
            if found.as_deref() == Some(text) { Ok(()) } else { Err(format!("{:?}", self.position(node))) }
        });
    }

    /// What is in the archive, oldest first.
    pub fn archived(&self) -> Vec<Archived> {
        let list = self.cluster.run("backup", "pull-backup", &["snapshots", "--json"]).ended(0).json();
        let number = |snapshot: &Value, field: &str| snapshot[field].as_u64().unwrap();
        let snapshots = list["snapshots"].as_array().unwrap().iter();
        snapshots
            .map(|snapshot| Archived {
                epoch: number(snapshot, "epoch"),
                node: snapshot["node"].as_str().unwrap().to_owned(),
                stored: number(snapshot, "stored_bytes"),
                content: number(snapshot, "content_bytes"),
            })
            .collect()
    }

    /// The epoch that is current.
    pub fn epoch(&self) -> u64 {
        let shown = self.cluster.run("backup", "pull-backup", &["epoch", "show", "--json"]).ended(0).json();
        shown["clusters"][0]["epoch"].as_u64().unwrap()
    }

    /// Orders of the shop that are in quarantine, of whatever node and epoch.
    pub fn quarantined(&self) -> HashSet<i64> {
        let identity = self.cluster.path("identity").display().to_string();
        let list = self.cluster.run("backup", "pull-backup", &["quarantine", "list", "--json"]).ended(0).json();
        // One that is being taken has no snapshot yet.
        let kept = list["quarantine"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|kept| kept["dataset"] == "shop" && kept["snapshots"] != 0);
        let names = kept.map(|kept| kept["name"].as_str().unwrap().to_owned());
        names.flat_map(|name| self.restored(&name, &identity)).collect()
    }

    fn restored(&self, name: &str, identity: &str) -> Vec<i64> {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("to").display().to_string();
        let restore = ["quarantine", "restore", name, "--to", &to, "--identity", identity];
        self.cluster.run("backup", "pull-backup", &restore).ended(0);
        let mut files = walkdir::WalkDir::new(&to).into_iter().filter_map(Result::ok);
        let database = files
            .find(|file| file.file_type().is_file())
            .unwrap_or_else(|| panic!("{name} restores a database"));
        numbers(&Connection::open(database.path()).unwrap())
    }

    /// What was acknowledged and is neither on this node nor in quarantine.
    pub fn lost(&self, node: &str, taken: &[Taken]) -> Vec<Taken> {
        let (there, aside) = (self.orders(node).into_iter().collect::<HashSet<i64>>(), self.quarantined());
        let lost = taken.iter().filter(|taken| !there.contains(&taken.number) && !aside.contains(&taken.number));
        lost.cloned().collect()
    }
}

pub fn numbers(database: &Connection) -> Vec<i64> {
    let mut statement = database.prepare("select id from orders order by id").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Who answered, one after the other: a node stands there again only when another answered in between.
pub fn reigns(taken: &[Taken]) -> Vec<&'static str> {
    let mut reigns: Vec<&str> = taken.iter().map(|taken| taken.by).collect();
    reigns.dedup();
    reigns
}
