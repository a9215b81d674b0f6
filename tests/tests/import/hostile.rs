//! The way from the archive to a node that stands by, over a network that lies, cuts and stalls: what was imported stays whole, the failure is seen, and the next
//! clean round converges, also when the source moved on meanwhile.

use crate::stands_by::{LIMIT, Shop, order, orders};
use std::net::SocketAddr;
use std::time::Duration;
use tests::chance::{budget, noise};
use tests::cluster::snapshots;
use tests::proxy::{Act, Plan, Proxy, Way};
use tests::wait::until;

#[test]
fn a_hostile_network_before_a_node_that_stands_by_costs_time_and_no_data() {
    let mut shop = Shop::new(35);
    let keeper: SocketAddr = format!("{}:8025", shop.0.address_of("keeper")).parse().unwrap();
    let plan = Plan::new();
    let proxy = Proxy::start_at("127.0.0.1".parse().unwrap(), keeper, plan.clone());
    let identity = shop.identity();
    shop.standby_by("web2", &identity, &proxy.address().to_string());
    shop.0.start("web1", "exporter");
    shop.0.start("web2", "importer");
    shop.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
    until(LIMIT, "the first import", || shop.same("web2"));
    let mut faults = vec![
        Act::Skip { at: 400, len: 1 },
        Act::Flip { at: 560 },
        Act::Flip { at: 575 },
        Act::Flip { at: 150_000 },
        Act::End { after: 100_000 },
        Act::Reset { after: 100_000 },
    ];
    if budget(1) > 1 {
        // These are found out by deadlines of half a minute and more.
        faults.extend([Act::Stall { after: 100_000 }, Act::Swallow, Act::Trickle(Duration::from_millis(50))]);
    }
    for (round, fault) in faults.into_iter().enumerate() {
        let what = format!("{fault:?}");
        let (before, struck) = (orders(&shop.0.path("web2/shop.db")), plan.counts().struck);
        let mirror = snapshots(&shop.0.of_node("web2", "shop"));
        plan.set(Way::Down, fault);
        proxy.reset_all();
        order(&shop.0.path("web1/shop.db"), &what);
        std::fs::write(shop.0.path("web1/uploads/large"), noise(round as u64, 400_000)).unwrap();
        shop.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
        plan.wait(LIMIT, &what, |counts| counts.struck > struck);
        let peers = shop.0.path("web2-state/importer.peers.toml");
        until(LIMIT * 2, &format!("{what}: a failure that can be seen"), || {
            std::fs::read_to_string(&peers).is_ok_and(|text| text.contains("trouble = ")).then_some(())
        });
        assert_eq!(orders(&shop.0.path("web2/shop.db")), before, "{what}: what was imported stays what it was");
        // What is old may go meanwhile.
        let new: Vec<String> = snapshots(&shop.0.of_node("web2", "shop"))
            .into_iter()
            .filter(|held| !mirror.contains(held))
            .collect();
        assert!(new.is_empty(), "{what}: nothing was published: {new:?}");
        // The source moves on.
        order(&shop.0.path("web1/shop.db"), "one more");
        shop.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
        plan.clear();
        proxy.reset_all();
        until(LIMIT * 2, &format!("{what}, then a clean round"), || shop.same("web2"));
    }
    shop.0.stop();
}
