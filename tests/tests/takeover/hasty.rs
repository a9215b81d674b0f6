//! `importer activate` given by two people at once, twice, again after a kill, and on data that must not be taken over with.

use crate::books::reigns;
use crate::scene::{LIMIT, Scene, judge};
use std::path::PathBuf;
use std::time::Duration;
use tests::chance::budget;
use tests::program::{Ran, finish};
use tests::wait::{until, within};

impl Scene {
    fn activate(&self, node: &str) -> Ran {
        let ran = self.cluster.run(node, "importer", &["activate"]);
        assert!(ran.status == 0 || ran.err.contains("hint:"), "it says what to do: {}", ran.err);
        ran
    }

    /// The host of the active is dead, and a person swore to it: nobody waits for the lease.
    fn gone(&mut self, node: &str) {
        self.kill_host(node);
        self.cluster
            .run("backup", "pull-backup", &["attest", "shop", "--off", node, "--yes", node])
            .ended(0);
    }

    /// Who says that it is active, and is believed by load balancers.
    pub fn serving(&self) -> Vec<&'static str> {
        let serves = |node: &&str| self.ask(node, "/primary").is_some_and(|(status, _)| status == 200);
        self.nodes.iter().copied().filter(serves).collect()
    }

    #[track_caller]
    fn activated(&self, node: &str) {
        until(LIMIT, &format!("{node} to be activated"), || {
            let ran = self.activate(node);
            if ran.status == 0 { Ok(()) } else { Err(ran.err) }
        });
    }
}

#[test]
fn of_two_that_are_activated_at_once_one_becomes_active_and_the_other_is_told_what_to_do() {
    let mut scene = Scene::new(3, "", "activation = \"20s\"\n");
    let customer = scene.customer();
    customer.more(5, "web1");
    scene.kill_host("web1");
    let others = ["web2", "web3"];
    let (won, lost) = until(LIMIT, "one of two to be activated", || {
        let ran: Vec<Ran> = std::thread::scope(|scope| {
            let asked = others.map(|node| scope.spawn(|| scene.activate(node)));
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..2).filter(|at| ran[*at].status == 0).collect();
        match won.as_slice() {
            [] => Err(format!("{ran:?}")),
            [only] => {
                let other = &ran[1 - only];
                assert_eq!(other.status, 3, "refused, since it would be unsafe: {}", other.err);
                Ok((others[*only], others[1 - only]))
            }
            _ => panic!("both say that they are active: {ran:?}"),
        }
    });
    assert_eq!(scene.serving(), [won]);
    // Twice is once, and the other is refused as long as the lease lives.
    let again = scene.activate(won).ended(0);
    assert!(again.err.contains("active already"), "{}", again.err);
    let refused = scene.activate(lost).ended(3);
    assert!(refused.err.contains(&format!("{won} holds the role")) && refused.err.contains("importer switchover"), "{}", refused.err);
    customer.more(5, won);
    let taken = customer.end();
    assert_eq!(reigns(&taken), ["web1", won]);
    scene.cluster.stop();
}

/// The daemon dies at moments of an activation, which is then asked for again.
#[test]
fn an_activation_that_is_killed_and_repeated_ends_with_one_that_has_everything() {
    let mut scene = Scene::new(2, "", "activation = \"30s\"\n");
    let customer = scene.customer();
    let (mut from, mut to) = ("web1", "web2");
    let moments_ms = [0, 15, 25, 35, 45, 70, 100, 200];
    let rounds = budget(4);
    for round in 0..rounds {
        customer.more(20, from);
        scene.gone(from);
        let moment = Duration::from_millis(moments_ms[round * moments_ms.len() / rounds]);
        let mut command = scene.cluster.command(to, "importer", &["activate"]);
        let asked = std::thread::spawn(move || finish(&mut command));
        // Any moment will do: whatever it meets must be well.
        let _ = within(moment, || None::<()>);
        scene.cluster.kill(to, "importer");
        let broken = asked.join().unwrap();
        assert!(broken.status == 0 || broken.err.contains("hint:"), "{}", broken.err);
        println!("killed after {moment:?}: {} {}", broken.status, broken.err.lines().last().unwrap_or_default());
        scene.cluster.start(to, "importer");
        scene.activated(to);
        assert_eq!(scene.serving(), [to]);
        customer.more(20, to);
        scene.forget_boot(from);
        scene.start(from);
        scene.becomes(from, "ready");
        assert_eq!(scene.serving(), [to]);
        (from, to) = (to, from);
    }
    let taken = customer.end();
    assert_eq!(reigns(&taken).len(), rounds + 1, "one after the other: {:?}", reigns(&taken));
    let lost = scene.lost(from, &taken);
    assert!(lost.is_empty(), "acknowledged, and neither there nor in quarantine: {lost:?}");
    scene.cluster.stop();
}

/// An import is killed in the middle, and could not be mended yet.
#[test]
fn nobody_serves_with_data_that_is_half_imported() {
    let mut scene = Scene::new(2, "", "activation = \"12s\"\n");
    scene.write("web1", 1_000_001, "whole");
    scene.has("web2", 1_000_001, "whole");
    let customer = scene.customer();
    customer.more(20, "web1");
    let imported = scene.cluster.path("web2-state/datasets/shop/imported.toml");
    let half = || std::fs::read_to_string(&imported).is_ok_and(|text| text.contains("begun = "));
    // Its database is locked: the import that comes next stands still where it would write.
    let database = rusqlite::Connection::open(scene.database("web2")).unwrap();
    database.busy_timeout(LIMIT).unwrap();
    database.execute_batch("begin exclusive").unwrap();
    scene.write("web1", 1_000_002, "newer");
    until(LIMIT, "an import to be under way", || half().then_some(()));
    scene.cluster.kill("web2", "importer");
    assert!(half(), "it was killed in the middle");
    let importing = scene.hold_imports("web2");
    database.execute_batch("rollback").unwrap();
    drop(database);
    scene.cluster.start("web2", "importer");
    scene.gone("web1");
    let before = customer.count();
    let failed = scene.activate("web2");
    assert_ne!(failed.status, 0, "{}", failed.err);
    assert!(half() && scene.serving().is_empty() && customer.count() == before, "nobody serves: {}", failed.err);
    drop(importing);
    scene.activated("web2");
    customer.more(20, "web2");
    assert!(!half());
    assert_eq!(scene.text("web2", 1_000_001).as_deref(), Some("whole"));
    judge(&customer.end());
    scene.cluster.stop();
}

/// What was imported is not valid, by the administrator's own word; and then valid, and never tried out.
#[test]
fn nobody_is_activated_with_data_that_is_not_valid_nor_by_itself_with_data_that_was_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let valid: PathBuf = folder.path().join("valid");
    std::fs::write(&valid, "").unwrap();
    let of_node = format!("valid = [\"/usr/bin/test\", \"-e\", {valid:?}]\ndrill_within = \"1d\"\n");
    let mut scene = Scene::new(2, "automatic = true\n", &of_node);
    let customer = scene.customer();
    customer.more(20, "web1");
    std::fs::remove_file(&valid).unwrap();
    until(LIMIT, "what is not valid to be seen", || {
        let plan = scene.cluster.run("backup", "pull-backup", &["takeover", "plan"]);
        if plan.text().contains("its own check") { Ok(()) } else { Err(plan.text().to_owned()) }
    });
    scene.gone("web1");
    let before = customer.count();
    let refused = scene.activate("web2").ended(3);
    assert!(refused.err.contains("nobody can take over") && refused.err.contains("pull-backup takeover plan"), "{}", refused.err);
    assert!(scene.serving().is_empty() && customer.count() == before, "nobody serves");
    std::fs::write(&valid, "").unwrap();
    until(LIMIT, "what was not tried to be seen", || {
        let plan = scene.cluster.run("backup", "pull-backup", &["takeover", "plan"]);
        if plan.text().contains("no good drill") { Ok(()) } else { Err(plan.text().to_owned()) }
    });
    assert!(scene.serving().is_empty() && customer.count() == before, "nobody serves");
    scene.cluster.run("web2", "importer", &["drill", "shop"]).ended(0);
    scene.becomes("web2", "active");
    customer.more(20, "web2");
    judge(&customer.end());
    scene.cluster.stop();
}
