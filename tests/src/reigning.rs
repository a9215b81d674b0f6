//! An epoch given as a person gives it: for tests that are about what follows from it.

use archive::sign::PublicKey;
use link::reigns::{Claim, Holder, Reigns, Tops};
use pull_backup::reigns::Ledger;

/// Seals the current epoch where the archive is, and gives another one to a node.
#[track_caller]
pub fn grant(ledger: &Ledger, cluster: &str, seal: u64, epoch: u64, (node, key): (&str, PublicKey)) -> Reigns {
    let held = ledger.hold(cluster).unwrap();
    let before = ledger.open(cluster).unwrap().map_or(0, |reigns| reigns.epoch);
    assert_eq!(before, seal, "the epoch that ends");
    let claim = Claim { epoch, since_ms: 2, dismissed: false, holder: Holder::new(node, key) };
    let heads = ledger.heads(cluster).unwrap();
    ledger.settle(cluster, &held, &claim, heads, Tops::new(), 2).unwrap()
}
