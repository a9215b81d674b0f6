//! SlapOS: a secret outlives takeovers, one after the other, and others import what each new active exports.

use crate::books::{Archived, reigns};
use crate::scene::{LIMIT, Scene, judge};
use tests::chance::noise;
use tests::wait::until;

/// Of a database of some megabytes.
const BULK: usize = 4 << 20;

fn secret(seed: u64) -> String {
    archive::id::hex(&noise(seed, 32))
}

#[test]
fn a_secret_outlives_two_takeovers_and_others_import_from_each_new_active() {
    let mut scene = Scene::new(3, "automatic = true\n", "");
    let (first, second, third) = (secret(u64::from(std::process::id())), secret(2), secret(3));
    scene.write("web1", 2_000_000, &archive::id::hex(&noise(9, BULK / 2)));
    scene.write("web1", 1_000_001, &first);
    for node in ["web2", "web3"] {
        scene.has(node, 1_000_001, &first);
    }
    let customer = scene.customer();
    customer.more(10, "web1");
    let mut standing = vec!["web1", "web2", "web3"];
    let mut active = "web1";
    let mut epochs = vec![scene.epoch()];
    for (number, text) in [(1_000_002, &second), (1_000_003, &third)] {
        scene.kill_host(active);
        standing.retain(|node| *node != active);
        active = scene.wait_for_active(&standing);
        customer.more(10, active);
        scene.write(active, number, text);
        // Those that still stand by import from it.
        for node in standing.iter().filter(|node| **node != active) {
            scene.has(node, number, text);
        }
        epochs.push(first_export(&scene, active, *epochs.last().unwrap()));
        scene.cluster.run("backup", "pull-backup", &["ack"]).ended(0);
    }
    // The dead ones return, and have all of it.
    for node in ["web1", "web2", "web3"].into_iter().filter(|node| *node != active) {
        scene.forget_boot(node);
        scene.start(node);
        scene.has(node, 1_000_003, &third);
        scene.becomes(node, "ready");
    }
    for node in scene.nodes.clone() {
        let texts = [1_000_001, 1_000_002, 1_000_003].map(|number| scene.text(node, number).unwrap());
        assert_eq!(texts, [first.clone(), second.clone(), third.clone()], "{node}");
    }
    let taken = customer.end();
    judge(&taken);
    assert_eq!(reigns(&taken).len(), 3, "{:?}", reigns(&taken));
    let lost = scene.lost(active, &taken);
    assert!(lost.is_empty(), "acknowledged, and neither there nor in quarantine: {lost:?}");
    scene.cluster.stop();
}

/// A reign's first export is held by the archive, and has all that was there. The epoch.
fn first_export(scene: &Scene, active: &str, before: u64) -> u64 {
    let newer = |scene: &Scene| scene.archived().into_iter().find(|archived| archived.epoch > before);
    let Archived { epoch, node, stored, content, .. } = until(LIMIT, "an export of the new reign", || newer(scene));
    assert_eq!(node, active);
    assert!(content > BULK as u64, "it has all: {content} bytes");
    // It builds on what was imported: a few rows were written since.
    assert!(stored < BULK as u64 / 16, "the first export of epoch {epoch} stored {stored} of {content} bytes");
    epoch
}
