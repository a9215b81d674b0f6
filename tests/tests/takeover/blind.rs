//! A node that holds no identity: it mirrors what it cannot open, and serves only when a person brings what opens it.

use crate::scene::{LIMIT, Scene};
use archive::identity::protect;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::wait::until;

const PHRASE: &str = "nine words that no disk of this host ever held";

/// The node file without its identity, and the daemon begun anew.
fn blinded(scene: &mut Scene, node: &'static str) {
    let path = scene.cluster.path(&format!("{node}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("identity = ")).collect();
    assert!(without.len() < text.lines().count(), "{text}");
    std::fs::write(&path, without.join("\n") + "\n").unwrap();
    scene.cluster.kill(node, "importer");
    scene.cluster.start(node, "importer");
}

/// Every file below that holds one of these words.
fn holding(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&entry.path(), words));
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            let holds = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
            found.extend(words.iter().any(holds).then(|| entry.path().display().to_string()));
        }
    }
    found
}

#[test]
fn a_blind_node_is_elected_by_nobody_and_serves_when_a_person_brings_the_identity() {
    let mut scene = Scene::new(2, "automatic = true\n", "");
    blinded(&mut scene, "web2");
    let customer = scene.customer();
    customer.more(20, "web1");
    let taken = customer.end();
    scene.cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    let newest = |node: &str| tests::cluster::snapshots(&scene.cluster.of_node(node, "shop")).pop();
    until(LIMIT, "the last snapshot in the mirror", || (newest("web1") == newest("web2")).then_some(()));
    assert!(scene.orders("web2").len() < taken.len(), "it imported what it cannot open");
    // While another has the role it is refused, and what was brought is forgotten.
    let early = scene
        .cluster
        .run("web2", "importer", &["activate", "--identity", scene.cluster.path("identity").to_str().unwrap()]);
    assert!(early.ended(3).err.contains("web1 holds the role"));
    let refused = scene.cluster.run("web2", "importer", &["activate"]).ended(3);
    assert!(refused.err.contains("has no identity"), "{}", refused.err);
    scene.kill_host("web1");
    until(LIMIT, "nobody to be eligible", || {
        let plan = scene.cluster.run("backup", "pull-backup", &["takeover", "plan"]);
        let said = plan.text().to_owned();
        if said.contains("cannot open what it mirrors") { Ok(()) } else { Err(said) }
    });
    let refused = scene.cluster.run("web2", "importer", &["activate"]).ended(3);
    assert!(refused.err.contains("has no identity") && refused.err.contains("--identity FILE"), "{}", refused.err);
    let (stick, phrase) = (scene.cluster.path("stick"), scene.cluster.path("phrase"));
    let opened = std::fs::read_to_string(scene.cluster.path("identity")).unwrap();
    std::fs::write(&stick, protect(&opened, PHRASE)).unwrap();
    std::fs::write(&phrase, "another one\n").unwrap();
    std::fs::set_permissions(&phrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let line = ["activate", "--identity", stick.to_str().unwrap(), "--passphrase-file", phrase.to_str().unwrap()];
    let wrong = scene.cluster.run("web2", "importer", &line);
    assert!(wrong.err.contains("passphrase") && scene.standing("web2") != "active", "{}", wrong.err);
    std::fs::write(&phrase, format!("{PHRASE}\n")).unwrap();
    until(LIMIT, "the lease to be over", || {
        let ran = scene.cluster.run("web2", "importer", &line);
        if ran.text().contains("is active") { Ok(()) } else { Err(ran.err.clone()) }
    });
    // The only copy that the host ever sees is in memory.
    std::fs::remove_file(&stick).unwrap();
    let orders = scene.orders("web2");
    assert!(taken.iter().all(|taken| orders.contains(&taken.number)), "what was acknowledged is there");
    let own = [PHRASE, opened.trim()];
    for folder in ["web2-state", "web2"] {
        assert_eq!(holding(&scene.cluster.path(folder), &own), Vec::<String>::new());
    }
    scene.cluster.stop();
}
