//! What a person says to the arbiter, and what it answers.

use crate::scene::{LIMIT, Scene};
use tests::program::Ran;
use tests::wait::until;

fn says(scene: &Scene, words: &[&str], status: i32) -> Ran {
    scene.cluster.run("backup", "pull-backup", words).ended(status)
}

fn refused(scene: &Scene, words: &[&str], why: &str) {
    let ran = says(scene, words, 3);
    assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
}

#[test]
fn commands_refuse_what_is_unsafe_and_say_what_to_do() {
    let mut scene = Scene::new(47, "");
    refused(&scene, &["elect"], "no cluster has an arbiter here");
    refused(&scene, &["attest", "--off", "web1"], "--off web1 --yes web1");
    let (first, second) = scene.begins(|_| true);
    refused(&scene, &["elect", "bank"], "there is no arbiter of cluster bank");
    refused(&scene, &["elect"], "the lease of web1 lives, or may live");
    refused(&scene, &["attest", "--off", "web2", "--yes", "web2"], "nothing of that kind");
    refused(&scene, &["expel", "web1"], "web1 is the active node");
    let plan = until(LIMIT, "a plan", || {
        let plan = says(&scene, &["takeover", "plan", "--json"], 0).json();
        (plan["candidates"][0]["node"] == "web2").then_some(plan.clone()).ok_or(plan.to_string())
    });
    assert_eq!((&plan["holder"], &plan["epoch"]), (&"web1".into(), &1.into()));
    assert!(plan["forbidden"].as_str().unwrap().contains("automatic = true"), "{plan}");
    let dry = says(&scene, &["elect", "--dry-run"], 0);
    assert!(dry.text().contains("first: web2, which has all that is kept here"), "{}", dry.text());
    says(&scene, &["pause", "--for", "1h"], 0);
    refused(&scene, &["pause", "--for", "1h"], "there is a pause already");
    until(LIMIT, "the active takes it up", || scene.record()?.pause?.acknowledged.then_some(()));
    says(&scene, &["resume"], 0);
    until(LIMIT, "it ended", || scene.record()?.pause.is_none().then_some(()));
    refused(&scene, &["resume"], "nothing of that kind");
    says(&scene, &["ack", "shop"], 0);
    let status = until(LIMIT, "status", || {
        let status = scene.cluster.run("backup", "pull-backup", &["status"]);
        status
            .text()
            .contains("arbiter of shop: leased: epoch 1 of web1")
            .then(|| status.text().to_owned())
            .ok_or(status.text().to_owned())
    });
    assert!(!status.contains("blocked"), "{status}");
    drop(first.dies());
    until(LIMIT, "it is blocked, since nobody switched it on", || {
        let json = scene.cluster.run("backup", "pull-backup", &["status", "--json"]).json();
        let why = json["arbiters"][0]["blocked"]["why"].as_str().unwrap_or_default().to_owned();
        why.contains("takeover by itself is off").then_some(()).ok_or(json.to_string())
    });
    let elected = says(&scene, &["elect", "--json"], 0).json();
    assert_eq!((&elected["node"], &elected["epoch"]), (&"web2".into(), &2.into()));
    until(LIMIT, "it serves", || second.serves());
    second.dies();
    scene.cluster.kill("backup", "pull-backup");
    refused(&scene, &["elect"], "start `pull-backup serve`");
    let status = scene.cluster.run("backup", "pull-backup", &["status"]);
    assert!(status.text().contains("arbiter of shop: unknown: epoch 2 of web2"), "{}", status.text());
    scene.cluster.stop();
}
