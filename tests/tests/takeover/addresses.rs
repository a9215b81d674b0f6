//! An address that clients know the service by: it is where the role is, as others on the segment see it.

use crate::scene::{LIMIT, PORT, Scene, judge, request};
use recipes::act::vip::seen;
use std::process::Command;
use std::time::Duration;
use tests::wait::until;

const ADDRESS: &str = "192.0.2.80";
const ADDRESS_6: &str = "fd00:80::80";
const SECOND: Duration = Duration::from_secs(1);

fn addresses() -> String {
    [ADDRESS, ADDRESS_6]
        .map(|address| format!("[[takeover.vip]]\naddress = \"{address}\"\ninterface = \"eth0\"\n"))
        .concat()
}

fn scene(many: usize, of_cluster: &str, of_node: &str) -> Scene {
    let scene = Scene::new(many, of_cluster, &format!("{of_node}{}", addresses()));
    ip(&scene, "customer", &format!("route add {ADDRESS} dev eth0"));
    ip(&scene, "customer", &format!("-6 route add {ADDRESS_6} dev eth0"));
    scene
}

#[track_caller]
fn ip(scene: &Scene, host: &str, arguments: &str) -> String {
    let said = scene.cluster.within(host, || Command::new("ip").args(arguments.split(' ')).output()).unwrap();
    assert!(said.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn link(scene: &Scene, host: &str) -> String {
    let said = ip(scene, host, "-o link show dev eth0");
    said.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
}

/// Both are there as the customer sees it, and the service is behind one.
#[track_caller]
fn at(scene: &Scene, node: &str) {
    let link = link(scene, node);
    for address in [ADDRESS, ADDRESS_6] {
        until(LIMIT, &format!("{address} to be at {node}"), || {
            let seen = scene.cluster.within("customer", || seen("eth0", address.parse().unwrap(), SECOND));
            let seen = seen.unwrap().map(|mac| mac.to_string());
            if seen.as_ref() == Some(&link) { Ok(()) } else { Err(format!("{seen:?}, and {link} is its own")) }
        });
    }
    until(LIMIT, "the service to answer by its address", || {
        let at = format!("{ADDRESS}:{PORT}").parse().unwrap();
        let answer = scene.cluster.within("customer", || request(at, "GET", "/", SECOND));
        if matches!(answer, Some((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

#[track_caller]
fn has_none(scene: &Scene, node: &str) {
    let said = ip(scene, node, "addr show dev eth0");
    assert!(!said.contains(ADDRESS) && !said.contains(ADDRESS_6), "{node}: {said}");
}

#[test]
fn an_address_goes_with_the_role_and_comes_back_with_it() {
    let mut scene = scene(2, "", "");
    at(&scene, "web1");
    has_none(&scene, "web2");
    scene.cluster.run("web1", "importer", &["switchover", "--to", "web2"]).ended(0);
    at(&scene, "web2");
    has_none(&scene, "web1");
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
    scene.cluster.stop();
}

/// Scenario 11, for the address.
#[test]
fn timed_an_address_of_a_stopped_process_is_ended_by_the_kernel_before_another_has_it() {
    let mut scene = scene(2, "automatic = true\n", "");
    at(&scene, "web1");
    let customer = scene.customer();
    customer.more(20, "web1");
    scene.cluster.daemon("web1", "importer").freeze();
    let next = scene.wait_for_active(&["web2"]);
    has_none(&scene, "web1");
    at(&scene, next);
    scene.cluster.daemon("web1", "importer").thaw();
    scene.becomes("web1", "ready");
    has_none(&scene, "web1");
    at(&scene, next);
    judge(&customer.end());
    scene.cluster.stop();
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
    scene.kill_host("web1");
    let next = scene.wait_for_active(&["web2", "web3"]);
    assert_eq!(next, "web3");
    at(&scene, "web3");
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
