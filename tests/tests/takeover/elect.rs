//! `recipes/elect/elect`, as cron runs it.

use crate::scene::{LIMIT, Scene};
use std::path::Path;
use std::process::Command;
use tests::program::{finish, program};
use tests::wait::until;

/// What a line of cron's does: whether it was well, and what cron would send.
fn minute(scene: &Scene, ask: &str) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/elect/elect");
    let (bin, config) = (program("pull-backup").get_program().to_owned(), scene.cluster.path("backup.toml"));
    let mut command = Command::new("sh");
    command
        .arg(script)
        .args(["shop", "the till"])
        .env("ASK", ask)
        .env("STATE", scene.cluster.path("cron"));
    command.env("PULL_BACKUP", bin).env("RESILIENT_CONFIG", config);
    let ran = scene.cluster.within("backup", || finish(&mut command));
    (Some(ran.status), ran.text().to_owned() + &ran.err)
}

#[test]
fn the_election_from_cron_is_quiet_while_all_is_well_and_acts_when_a_site_stays_down() {
    let mut scene = Scene::new(2, "", "");
    std::fs::create_dir(scene.cluster.path("cron")).unwrap();
    assert_eq!(minute(&scene, "true"), (Some(0), String::new()));
    assert_eq!(minute(&scene, "false"), (Some(0), String::new()));
    assert_eq!(minute(&scene, "true"), (Some(0), String::new()), "once is not three times");
    for _ in 0..2 {
        assert_eq!(minute(&scene, "false"), (Some(0), String::new()));
    }
    let (status, said) = minute(&scene, "false");
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("the till failed 3 times in a row") && said.contains("the lease of web1 lives"), "{said}");
    let customer = scene.customer();
    customer.more(10, "web1");
    let taken = customer.end();
    scene.cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    scene.kill_host("web1");
    until(LIMIT, "the election", || {
        let (status, said) = minute(&scene, "false");
        if status == Some(0) { Ok(()) } else { Err(said) }
    });
    scene.becomes("web2", "active");
    let orders = scene.orders("web2");
    assert!(taken.iter().all(|taken| orders.contains(&taken.number)));
    scene.cluster.stop();
}
