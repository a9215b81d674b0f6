//! How this node's data stands, as the member tells it: what is imported and verified, or exported where this node is active.

use crate::drilled::Drilled;
use crate::import::Imports;
use crate::imported::Imported;
use crate::takeover::kept::Reigned;
use archive::name;
use console::node_file::{NodeFile, Takeover};
use election::message::{Outside, Readiness};
use election::{Dataset, Epoch, Point, Position, SnapshotId};
use link::membership::Reign;
use link::message::snapshot_of;
use link::node::Receivers;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A first guess, before one was measured.
const ACTIVATION: Duration = Duration::from_secs(30);

/// How long activations took here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub activation_ms: u64,
}

impl Measured {
    pub fn open(state: &Path) -> Measured {
        state_file::read(&state.join("measured.toml")).ok().flatten().unwrap_or_default()
    }

    /// A figure that is lost is measured again.
    pub fn keep(self, state: &Path) {
        let _ = state_file::say_lightly(&state.join("measured.toml"), &self);
    }
}

pub fn point(snapshot: &str) -> Option<Point> {
    let (at, id) = snapshot_of(snapshot)?;
    Some(Point { epoch: Epoch(at.epoch), sequence: at.sequence, id: SnapshotId(id.to_string()) })
}

/// The newest in the node's own repositories, by name: of an active node, what it exported. What a pull-backup keeps aside is no part of any history: whoever waited for
/// that to be published would wait in vain.
pub fn exported(file: &NodeFile) -> Position {
    newest(file, &|receivers, name| !receivers.keep_aside(name))
}

/// The newest that was ever here, kept aside or not: no epoch of it may be given again.
pub fn seen(file: &NodeFile) -> Position {
    newest(file, &|_, _| true)
}

fn newest(file: &NodeFile, counts: &dyn Fn(&Receivers, &str) -> bool) -> Position {
    let newest = |dataset: &str| {
        let snapshots = file.node.state.join("datasets").join(dataset).join("repository").join(name::SNAPSHOTS);
        let names = std::fs::read_dir(snapshots).ok()?.flatten();
        let names = names.filter_map(|entry| Some(format!("{}/{}", name::SNAPSHOTS, entry.file_name().to_str()?)));
        let receivers = Receivers::open(&file.node.state, dataset).unwrap_or_default();
        let names = names.filter(|name| counts(&receivers, name));
        point(&names.filter_map(|name| Some((name::parse_snapshot(&name)?, name))).max()?.1)
    };
    let known = file
        .datasets
        .iter()
        .filter_map(|dataset| Some((Dataset(dataset.name.clone()), newest(&dataset.name)?)));
    Position(known.collect())
}

/// What is imported whole, and whether that is so of every dataset that anything is known of.
pub fn imported(file: &NodeFile) -> (Position, bool) {
    let mut position = Position::default();
    let mut whole = true;
    for dataset in &file.datasets {
        let imported = Imported::open(&file.node.state, &dataset.name);
        let Ok(imported) = imported else {
            whole = false;
            continue;
        };
        whole &= imported.begun.is_none();
        match imported.snapshot.as_deref().and_then(point) {
            Some(point) => drop(position.0.insert(Dataset(dataset.name.clone()), point)),
            // Of a dataset that was never exported there is nothing to have.
            None => whole &= !holds_any(file, &dataset.name),
        }
    }
    (position, whole)
}

fn holds_any(file: &NodeFile, dataset: &str) -> bool {
    let folder = file.node.state.join("datasets").join(dataset).join("repository").join("snapshots");
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether the last drill of each dataset was good, and is not too long ago. Of one that was never exported there is nothing to try.
fn is_drilled(file: &NodeFile, within: Duration, now_ms: u64) -> bool {
    let good = |drilled: &Drilled| drilled.trouble.is_none() && Duration::from_millis(now_ms.saturating_sub(drilled.good_ms)) <= within;
    let known = |name: &str| Drilled::open(&file.node.state, name).ok().flatten();
    let mut datasets = file.datasets.iter().filter(|dataset| holds_any(file, &dataset.name));
    datasets.all(|dataset| known(&dataset.name).as_ref().is_some_and(good))
}

/// What differs from look to look, and what does not.
pub struct Looking<'a> {
    pub imports: &'a Imports,
    pub takeover: &'a Takeover,
    pub guarded: bool,
    pub outside: Outside,
}

impl Looking<'_> {
    pub fn readiness(&self) -> Readiness {
        let file = &self.imports.file;
        let state = &file.node.state;
        // What was written long ago is no reign of now.
        let works = Reign::open(state).ok().flatten().is_some_and(|reign| reign.active);
        let pending = !matches!(Reigned::open(state), Ok(None));
        let (position, whole) = if works || pending { (exported(file), true) } else { imported(file) };
        let begun =
            |dataset: &console::node_file::Dataset| Imported::open(state, &dataset.name).is_ok_and(|imported| imported.begun.is_some());
        let measured = Measured::open(state);
        Readiness {
            position,
            importing: !works && file.datasets.iter().any(begun),
            // What a node wrote and nobody has stands in the way of everything.
            verified: whole && !pending,
            valid: self.is_valid(),
            automatic: self.takeover.automatic,
            blind: self.imports.is_blind(),
            guarded: self.guarded,
            undrilled: self.takeover.drill_within.is_some_and(|within| !is_drilled(file, within, (self.imports.clock)())),
            activation: match measured.activation_ms {
                0 => ACTIVATION,
                ms => Duration::from_millis(ms),
            },
            outside: self.outside.clone(),
        }
    }

    fn is_valid(&self) -> bool {
        let Some(words) = &self.takeover.valid else { return true };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_was_tried_lately_and_of_what_was_never_exported_no_drill_is_asked() {
        let state = tempfile::tempdir().unwrap();
        let dataset = |name: &str| {
            let source = format!("source = [{{ recipe = \"files\", paths = [\"/srv/{name}\"] }}]");
            format!("[[dataset]]\nname = \"{name}\"\nevery = \"1h\"\n{source}\n")
        };
        let node = format!("cluster = \"shop\"\nnode.name = \"web2\"\nnode.state = {:?}\nseal.off = true\n", state.path());
        let file = NodeFile::parse(&[node, dataset("orders"), dataset("later")].concat(), Path::new("node.toml")).unwrap();
        let (day, now_ms) = (Duration::from_secs(86_400), 1_795_262_400_000);
        let holds = |name: &str| {
            let snapshots = state.path().join("datasets").join(name).join("repository/snapshots");
            std::fs::create_dir_all(&snapshots).unwrap();
            std::fs::write(snapshots.join("one"), "").unwrap();
        };
        holds("orders");
        assert!(!is_drilled(&file, day, now_ms));
        let good = Drilled { good_ms: now_ms, ..Drilled::default() };
        good.keep(state.path(), "orders").unwrap();
        assert!(is_drilled(&file, day, now_ms), "of the other there is nothing to try");
        assert!(!is_drilled(&file, day, now_ms + 86_400_001), "that is long ago");
        Drilled { trouble: Some("no".into()), ..good.clone() }.keep(state.path(), "orders").unwrap();
        assert!(!is_drilled(&file, day, now_ms), "the last one failed");
        good.keep(state.path(), "orders").unwrap();
        holds("later");
        assert!(!is_drilled(&file, day, now_ms), "now there is something to try");
    }
}
