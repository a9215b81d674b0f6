//! An epoch ends while the pull-backup is in the middle of fetching what was exported in it.

use crate::scene::{LIMIT, Scene};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tests::chance::noise;
use tests::cluster::snapshots;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::until;

/// Where exporters serve.
const EXPORTER: u16 = 8023;
const BULK: usize = 3 << 20;

impl Scene {
    /// From now on the pull-backup reaches this node's exporter only through what stands between.
    fn between(&mut self, node: &str) -> Proxy {
        let address: IpAddr = self.cluster.address_of(node).parse().unwrap();
        let proxy = self
            .cluster
            .within(node, || Proxy::start_at(address, SocketAddr::new(address, EXPORTER), Plan::new()));
        self.cluster.daemon("backup", "pull-backup").stop(LIMIT);
        let known = self.cluster.path(&format!("backup-state/members/shop.{node}.toml"));
        let text = std::fs::read_to_string(&known).unwrap();
        let port = |port: u16| format!("exporter = {port}\n");
        assert!(text.contains(&port(EXPORTER)), "{text}");
        std::fs::write(&known, text.replace(&port(EXPORTER), &port(proxy.address().port()))).unwrap();
        self.cluster.start("backup", "pull-backup");
        proxy
    }
}

/// Scenario 18.
#[test]
fn what_arrives_after_its_epoch_was_sealed_goes_to_quarantine() {
    let mut scene = Scene::new(2, "automatic = true\n", "");
    let proxy = scene.between("web1");
    let (spool, archive) = (scene.cluster.of_node("web1", "shop"), scene.cluster.of_keeper("backup", "shop"));
    scene.write("web1", 1_000_001, "published");
    scene.has("web2", 1_000_001, "published");
    // Slowly, so that there is a middle.
    let before = proxy.plan().counts().down;
    proxy.plan().set(Way::Down, Act::Delay(Duration::from_millis(30)));
    scene.write("web1", 1_000_002, &archive::id::hex(&noise(u64::from(std::process::id()), BULK)));
    proxy.plan().wait_passed(LIMIT, Way::Down, before + (1 << 20));
    proxy.plan().set(Way::Down, Act::Stall { after: 0 });
    let held: HashSet<String> = snapshots(&archive).into_iter().collect();
    let fetched: Vec<String> = snapshots(&spool).into_iter().filter(|name| !held.contains(name)).collect();
    let began = proxy.plan().counts();
    assert!(!fetched.is_empty(), "it is in the middle of fetching");
    // The role passes on; what the exporter has it still offers.
    scene.cluster.kill("web1", "importer");
    let epoch = scene.epoch();
    scene.wait_for_active(&["web2"]);
    assert_eq!(scene.epoch(), epoch + 1);
    scene.write("web2", 1_000_003, "of the next epoch");
    until(LIMIT, "an export of the next epoch", || scene.archived().iter().any(|found| found.epoch > epoch).then_some(()));
    proxy.plan().clear();
    until(LIMIT, "what was on its way to be in quarantine", || {
        let list = scene.cluster.run("backup", "pull-backup", &["quarantine", "list"]).ended(0);
        if scene.quarantined().contains(&1_000_002) { Ok(()) } else { Err(list.text().to_owned()) }
    });
    println!("{:?} {:?}", began, proxy.plan().counts());
    let published: HashSet<String> = snapshots(&archive).into_iter().collect();
    assert!(fetched.iter().all(|name| !published.contains(name)), "{fetched:?} is no history");
    assert!(scene.text("web2", 1_000_002).is_none(), "nor anybody's data");
    // The old active comes back to the history.
    scene.cluster.start("web1", "importer");
    scene.has("web1", 1_000_003, "of the next epoch");
    scene.becomes("web1", "ready");
    assert!(scene.text("web1", 1_000_002).is_none());
    scene.cluster.stop();
}
