//! Nodes behind NAT as real processes: nobody can connect to them, and what the one exports is with the other all the same, whoever is killed.

use crate::{ARCHIVE, Hosts, KEEPS, SPOOL, STANDS_BY, WORKS};
use tests::chance::Chance;

#[test]
fn nodes_that_nobody_can_reach_are_pulled_and_stand_by() {
    let mut hosts = Hosts::with(4, "dial = \"out\"\n");
    let members: Vec<String> = ["web1", "web2"]
        .iter()
        .map(|name| std::fs::read_to_string(hosts.path(&format!("keeper/members/shop.{name}.toml"))).unwrap())
        .collect();
    assert!(members.iter().all(|member| !member.contains("exporter =") && !member.contains("importer =")), "no port is known: {members:?}");
    let mut chance = Chance::new(20_261_122);
    for (round, victim) in [KEEPS, WORKS, STANDS_BY].into_iter().enumerate() {
        std::fs::write(hosts.path("data").join(format!("file{round}")), chance.noise(1_000_000)).unwrap();
        hosts.run(WORKS, &["run"]).ended(0);
        hosts.kill(victim);
        std::fs::write(hosts.path("data").join("late"), chance.noise(1000)).unwrap();
        hosts.run(WORKS, &["run"]).ended(0);
        hosts.start(victim);
        hosts.converge(&format!("round {round}"));
    }
    let archive = hosts.snapshots(ARCHIVE);
    assert!(hosts.snapshots(SPOOL).iter().all(|name| archive.contains(name)), "all is in the archive: {archive:?}");
}
