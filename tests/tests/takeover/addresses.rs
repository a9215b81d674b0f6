//! An address that clients know the service by: it is where the role is, as others on the segment see it.

use crate::moving::{ADDRESS, ADDRESS_6, addresses, at, has_none, ip, link, moving, reach};
use crate::scene::{LIMIT, Scene};
use serde_json::Value;
use tests::running::Running;
use tests::wait::until;

fn scene(many: usize, of_cluster: &str, of_node: &str) -> Scene {
    let scene = Scene::new(many, of_cluster, &format!("{of_node}{}", addresses()));
    reach(&scene);
    scene
}

#[test]
fn an_address_goes_with_the_role_and_comes_back_with_it() {
    let mut scene = scene(2, "", "");
    at(&scene, "web1");
    has_none(&scene, "web2");
    let watched = watch(&scene, "web1");
    scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(0);
    at(&scene, "web2");
    has_none(&scene, "web1");
    heard(&scene, &watched, "web2");
    scene.cluster.run("web2", "importer", &["switchover", "--to", "web1"]).ended(0);
    at(&scene, "web1");
    // What a person may ask of it meanwhile.
    let checked = scene.cluster.run("web2", "importer", &["vip", "check"]);
    assert!(checked.ended(0).text().contains(&format!("not here on eth0; {} has it", link(&scene, "web1"))));
    assert!(
        scene
            .cluster
            .run("web2", "importer", &["vip", "take", ADDRESS])
            .ended(1)
            .err
            .contains(&link(&scene, "web1"))
    );
    scene.cluster.run("web1", "importer", &["vip", "release"]).ended(3);
    scene.cluster.run("web1", "importer", &["close"]).ended(0);
    until(LIMIT, "the addresses to go", || {
        let said = ip(&scene, "web1", "addr show dev eth0");
        if said.contains(ADDRESS) || said.contains(ADDRESS_6) { Err(said) } else { Ok(()) }
    });
    shown(&scene);
    scene.cluster.stop();
}

/// `vip watch` on a host, as it is left to run.
fn watch(scene: &Scene, node: &str) -> Running {
    let command = scene.cluster.command(node, "importer", &["vip", "watch", "--json"]);
    let folder = scene.cluster.path("watch");
    std::fs::create_dir(&folder).unwrap();
    let mut watched = scene.cluster.within(node, || Running::start("watch", command, &folder));
    [ADDRESS, ADDRESS_6]
        .into_iter()
        .for_each(|address| watched.says(LIMIT, &format!("listening on eth0 for {address}")));
    watched
}

/// It says of each address who probed for it and who announces it.
#[track_caller]
fn heard(scene: &Scene, watched: &Running, by: &str) {
    let link = link(scene, by);
    // It is announced each minute for as long as it is there; in between there are the customer's questions.
    until(LIMIT, "what is said of the addresses", || {
        let mut missing: Vec<(&str, &str)> = [ADDRESS, ADDRESS_6]
            .into_iter()
            .flat_map(|address| [(address, "probes for"), (address, "announces")])
            .collect();
        let said = watched.out();
        // Of the last line there may be the beginning.
        for line in said.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let one: Value = serde_json::from_str(line).unwrap();
            assert!(one["mac"].is_string() && one.as_object().unwrap().len() == 3, "{one}");
            missing.retain(|(address, claim)| one["mac"] != *link || one["address"] != *address || one["claim"] != *claim);
        }
        if missing.is_empty() { Ok(()) } else { Err(format!("not heard: {missing:?}")) }
    });
}

/// What commands say as JSON, while nobody has the addresses.
fn shown(scene: &Scene) {
    let run = |words: &[&str]| scene.cluster.run("web2", "importer", &[&["vip"], words, &["--json"]].concat());
    let checked = run(&["check"]).ended(0).json();
    let all = checked.as_array().unwrap();
    assert_eq!((all.len(), &all[0]["address"], &all[0]["interface"]), (2, &ADDRESS.into(), &"eth0".into()));
    assert!(
        all.iter()
            .all(|one| one["holds"] == "no" && one["holder"].is_null() && one["left_seconds"].is_null()),
        "{checked}"
    );
    let taken = run(&["take", ADDRESS, "--for", "20s"]).ended(0).json();
    assert_eq!((taken[0]["holds"].as_str(), taken[0]["holder"].as_str()), (Some("yes"), Some(link(scene, "web2").as_str())), "{taken}");
    assert!(taken[0]["left_seconds"].as_u64().is_some_and(|left| (10..=20).contains(&left)), "{taken}");
    let other = scene.cluster.run("web1", "importer", &["vip", "check", ADDRESS, "--json"]).ended(0).json();
    let finding = &other[0]["findings"][0];
    assert_eq!((other[0]["holder"].as_str(), finding["level"].as_str()), (Some(link(scene, "web2").as_str()), Some("warning")), "{other}");
    let released = run(&["release", ADDRESS]).ended(0).json();
    assert_eq!((released[0]["holds"].as_str(), released[0]["holder"].is_null()), (Some("no"), true), "{released}");
    let quiet = scene.cluster.run("web2", "importer", &["vip", "watch", ADDRESS, "--for", "1s"]).ended(0);
    assert!(quiet.text().lines().all(|line| line.ends_with(ADDRESS)), "{}", quiet.text());
    let unknown = run(&["check", "192.0.2.99"]).ended(2);
    assert!(unknown.err.contains("it has: 192.0.2.80, fd00:80::80"), "{}", unknown.err);
}

/// Scenarios 22 and 26: the first candidate cannot have it.
#[test]
fn where_an_address_cannot_be_the_next_one_takes_over() {
    let mut scene = scene(3, "automatic = true\npriority = { web2 = 10 }\n", "activation = \"20s\"\n");
    at(&scene, "web1");
    // Somebody put it there, where it is of no use to others, and it does not answer for it.
    scene
        .cluster
        .within("web2", || std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").unwrap());
    ip(&scene, "web2", &format!("addr add {ADDRESS} dev lo"));
    let checked = scene.cluster.run("web2", "importer", &["vip", "check"]).ended(1);
    for said in [&format!("{ADDRESS} is here on eth0 in part"), "not by us", &format!("{ADDRESS_6} is not here")] {
        assert!(checked.text().contains(said), "{said}: {}{}", checked.text(), checked.err);
    }
    scene.kill_host("web1");
    let next = scene.wait_for_active(&["web2", "web3"]);
    assert_eq!(next, "web3");
    at(&scene, "web3");
    scene.cluster.stop();
}

/// Scenario 26: a host that is none of the cluster's has it.
#[test]
fn what_another_host_has_is_not_taken_and_that_host_is_named() {
    let (mut scene, moving) = moving(2, "", "activation = \"15s\"\n");
    let clients = moving.clients(&scene);
    clients.reach("web1");
    scene.kill_host("web1");
    until(LIMIT, "the address to have gone from web1", || (!ip(&scene, "web1", "addr show dev eth0").contains(ADDRESS)).then_some(()));
    ip(&scene, "ns2", &format!("addr add {ADDRESS}/32 dev eth0"));
    let refused = until(LIMIT, "the lease to be over", || {
        let ran = scene.cluster.run("web2", "importer", &["activate"]);
        if ran.err.contains(&link(&scene, "ns2")) { Ok(ran) } else { Err(ran.err) }
    });
    assert_ne!(refused.status, 0);
    assert_ne!(scene.standing("web2"), "active");
    has_none(&scene, "web2");
    let seen = scene.cluster.run("web2", "importer", &["status"]).ended(1);
    assert!(seen.text().contains(&link(&scene, "ns2")), "{}", seen.text());
    ip(&scene, "ns2", &format!("addr del {ADDRESS}/32 dev eth0"));
    until(LIMIT, "web2 to be activated", || {
        let ran = scene.cluster.run("web2", "importer", &["activate"]);
        if ran.status == 0 { Ok(()) } else { Err(ran.err) }
    });
    clients.reach("web2");
    assert_eq!(clients.end().by, ["web1", "web2"]);
    scene.cluster.stop();
}

/// What is found out too late: the next one takes over, without waiting for the lease.
#[test]
fn where_an_address_fails_behind_an_open_gate_the_node_steps_down() {
    let routes = "[[takeover.vip]]\naddress = \"192.0.2.81\"\ninterface = \"eth0\"\nroutes = [\"203.0.113.0/24\"]\n";
    let mut scene = Scene::new(3, "automatic = true\npriority = { web3 = 10 }\n", routes);
    ip(&scene, "web2", "route add 203.0.113.0/24 dev eth0");
    scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(0);
    let next = scene.wait_for_active(&["web1", "web3"]);
    assert_eq!(next, "web3");
    let said = ip(&scene, "web2", "addr show dev eth0");
    assert!(!said.contains("192.0.2.81"), "{said}");
    assert!(ip(&scene, "web2", "route show 203.0.113.0/24").contains("eth0"), "somebody else's route stays");
    scene.cluster.stop();
}
