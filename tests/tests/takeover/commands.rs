//! What commands refuse, and what they say to do.

use crate::scene::Scene;

#[test]
fn nobody_is_activated_while_a_lease_lives_and_twice_is_once() {
    let mut scene = Scene::new(2, "", "");
    let refused = scene.cluster.run("web2", "importer", &["activate"]).ended(3);
    assert!(refused.err.contains("web1 holds the role"), "{}", refused.err);
    assert!(refused.err.contains("importer switchover"), "{}", refused.err);
    scene.cluster.run("web1", "importer", &["activate"]).ended(0);
    let refused = scene.cluster.run("web2", "importer", &["switchover", "--to", "web1"]).ended(3);
    assert!(refused.err.contains("run it on the active node"), "{}", refused.err);
    assert_eq!(scene.ask("web1", "/primary").map(|(status, _)| status), Some(200));
    assert_eq!(scene.ask("web2", "/primary").map(|(status, _)| status), Some(503));
    assert_eq!(scene.ask("web2", "/standby").map(|(status, _)| status), Some(200));
    assert_eq!(scene.ask("web2", "/standby?lag=10m").map(|(status, _)| status), Some(200));
    scene.cluster.stop();
}
