//! A node's own tail in its spool, when it works again: what everybody holds goes, and what it alone has stays.

use crate::scene::{export, tree};
use console::node_file::NodeFile;
use link::identity::{Pin, signing_key};
use link::membership::{Membership, NODE_KEY, PullBackup, Reign};
use link::node::{Receiver, Receivers};
use link::repositories::{Layout, Repositories};
use link::state_file;
use std::path::Path;
use std::sync::Arc;
use tests::trial::{CLUSTER, DATASET, START_MS, Trial};

/// Twenty snapshots of a later reign come after the tail of an older one, and a pull-backup holds the newest.
fn spool(state: &Path, receiver: impl FnOnce(&[String]) -> Receiver) -> Vec<String> {
    let folder = state.join("datasets").join(DATASET).join("repository");
    std::fs::create_dir_all(&folder).unwrap();
    let mut trial = Trial::with(Arc::new(archive::store::FolderStore::open(&folder).unwrap()), false);
    trial.options.signer = Arc::new(signing_key(state, NODE_KEY).unwrap());
    for number in 0..22 {
        trial.options.epoch = if number < 2 { 1 } else { 3 };
        export(&trial, &tree(number));
    }
    let names: Vec<String> = trial.repository.snapshots().unwrap().into_iter().map(|known| known.name).collect();
    let pin = Pin([4; 32]);
    let receivers = Receivers { receiver: [(pin.to_string(), receiver(&names))].into() };
    state_file::say(&Receivers::path(state, DATASET), &receivers).unwrap();
    let known = PullBackup { cluster: CLUSTER.into(), address: "127.0.0.1:1".into(), pin, receipt: String::new() };
    state_file::say(&Membership::path(state), &Membership { pull_backups: vec![known] }).unwrap();
    Reign::given(3, true).keep(state).unwrap();
    names
}

fn tidied(state: &Path) -> Vec<String> {
    let text = format!(
        "cluster = {CLUSTER:?}\n[node]\nname = \"web1\"\nstate = {state:?}\n[seal]\noff = true\n[[dataset]]\nname = {DATASET:?}\nevery = \"1h\"\nsource = [{{ recipe = \"files\", \
         paths = [\"/srv\"] }}]\n"
    );
    let file = NodeFile::parse(&text, Path::new("node.toml")).unwrap();
    let layout = Layout::Node { state: state.into(), cluster: CLUSTER.into() };
    let repositories = Repositories::new(layout, Arc::new(|| START_MS));
    let spool = exporter::spool::tidy(&file, &file.datasets[0], &repositories, START_MS + 86_400_000).unwrap();
    assert!(spool.is_some(), "nobody else is at work in it");
    tests::cluster::snapshots(&state.join("datasets").join(DATASET).join("repository"))
        .into_iter()
        .map(|name| format!("snapshots/{name}"))
        .collect()
}

#[test]
fn what_is_nowhere_else_stays_whatever_its_place_in_the_order() {
    let state = tempfile::tempdir().unwrap();
    let told = |names: &[String]| Receiver { held: names.last().cloned(), sealed: vec![names[0].clone()], ..Receiver::default() };
    let names = spool(state.path(), told);
    assert_eq!(tidied(state.path()), [names[1].clone(), names[21].clone()], "the tail of epoch 1, and the newest");
}

#[test]
fn what_is_in_quarantine_by_now_may_go() {
    let state = tempfile::tempdir().unwrap();
    let told = |names: &[String]| Receiver {
        held: names.last().cloned(),
        sealed: vec![names[0].clone()],
        quarantined: vec![names[1].clone()],
        ..Receiver::default()
    };
    let names = spool(state.path(), told);
    assert_eq!(tidied(state.path()), [names[21].clone()]);
}
