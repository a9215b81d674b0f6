//! What status says of addresses and names is what others see, whatever the node meant to bring about.

use crate::moving::{ADDRESS, ADDRESS_6, Moving, at, ip, link, moving};
use crate::scene::{LIMIT, Scene};
use serde_json::Value;
use tests::wait::until;

/// Waits until a node says this of an address, and that it agrees with its exit status and its metrics; the sentence.
#[track_caller]
fn address(scene: &Scene, node: &str, (state, word): (&str, &str), more: impl Fn(&Value) -> bool) -> String {
    let found = until(LIMIT, &format!("{ADDRESS} to be {state} and {word} for {node}"), || {
        let ran = scene.cluster.run(node, "importer", &["status", "--json"]);
        let (status, host) = (ran.status, ran.json());
        assert_eq!(status, i32::from(host["word"] != "ok"), "{host:#}");
        let all = host["addresses"].as_array().unwrap();
        let one = all.iter().find(|one| one["address"] == ADDRESS).unwrap().clone();
        let agrees = word == "ok" || host["word"] != "ok";
        if one["state"] == state && one["word"] == word && more(&one) && agrees { Ok(one) } else { Err(format!("{one:#} {}", host["why"])) }
    });
    let expected = format!("resilient_vip_state{{address=\"{ADDRESS}\",interface=\"eth0\",state=\"{state}\"}} 1");
    metric(scene, node, &expected);
    found["why"].as_str().unwrap().to_owned()
}

#[track_caller]
fn metric(scene: &Scene, node: &str, expected: &str) {
    until(LIMIT, expected, || {
        let metrics = scene.ask(node, "/metrics").map(|(_, body)| body).unwrap_or_default();
        if metrics.contains(&format!("{expected}\n")) { Ok(()) } else { Err(metrics) }
    });
}

#[track_caller]
fn domain(scene: &Scene, node: &str, (state, word): (&str, &str), more: impl Fn(&Value) -> bool) -> String {
    let found = until(LIMIT, &format!("the domain to be {state} and {word} for {node}"), || {
        let host = scene.cluster.run(node, "importer", &["status", "--json"]).json();
        let one = host["domains"][0].clone();
        let agrees = word == "ok" || host["word"] != "ok";
        if one["state"] == state && one["word"] == word && more(&one) && agrees { Ok(one) } else { Err(format!("{one:#}")) }
    });
    metric(scene, node, &format!("resilient_dns_state{{domain=\"example.org\",state=\"{state}\"}} 1"));
    found["why"].as_str().unwrap().to_owned()
}

#[test]
fn status_says_where_addresses_and_names_are_seen_and_not_where_they_should_be() {
    let (mut scene, mut servers) = moving(2, "", "");
    let (first, foreign) = (link(&scene, "web1"), link(&scene, "customer"));
    well(&scene, &first);
    contested(&scene, &first, &foreign);
    elsewhere(&scene, &first);
    pointed(&scene, &mut servers);
    // What was seen by a process that is dead is said with its age, and of others it is seen that nobody has the address.
    scene.cluster.kill("web1", "importer");
    let why = address(&scene, "web2", ("nobody", "late"), |_| true);
    assert!(why.contains("nobody is reached by it"), "{why}");
    until(LIMIT, "the arbiter not to say of web1 what was so long ago", || {
        let said = scene.cluster.run("backup", "pull-backup", &["status", "--json"]).json();
        let reigning = &said["arbiters"][0]["reigning"];
        let unknown = ["vip", "dns"]
            .iter()
            .flat_map(|of| reigning[of].as_object())
            .flatten()
            .all(|(_, word)| word == "unknown");
        if unknown && reigning["standing"] == "unknown" { Ok(()) } else { Err(format!("{reigning:#}")) }
    });
    scene.cluster.start("web1", "importer");
    at(&scene, "web1");
    address(&scene, "web1", ("here", "ok"), |_| true);
    scene.cluster.stop();
}

/// All is as it should be, and each says what it sees.
fn well(scene: &Scene, first: &str) {
    let why = address(scene, "web1", ("here", "ok"), |one| {
        let by = &one["seen_by"][0];
        one["left_seconds"].as_u64().is_some_and(|left| left <= 6) && by["node"] == "web2" && by["holders"][0] == first
    });
    assert_eq!(why, "it is here; web2 sees it here");
    address(scene, "web2", ("elsewhere", "ok"), |one| one["holders"][0] == first && one["left_seconds"].is_null());
    domain(scene, "web1", ("here", "ok"), |one| one["well"] == 2 && one["servers"].as_array().unwrap().len() == 2);
    domain(scene, "web2", ("node", "ok"), |one| one["node"] == "web1");
    // Whoever looks at the whole cluster sees what members see.
    until(LIMIT, "the arbiter to know what web2 sees", || {
        let said = scene.cluster.run("backup", "pull-backup", &["status", "--json"]).json();
        let member = said["arbiters"][0]["members"].as_array()?.iter().find(|member| member["node"] == "web2")?.clone();
        (member["vip"][ADDRESS] == first && member["vip"][ADDRESS_6] == first && member["dns"]["example.org"] == "web1").then_some(())
    });
    until(LIMIT, "the arbiter to know what web1 sees", || {
        let said = scene.cluster.run("backup", "pull-backup", &["status", "--json"]).json();
        let reigning = &said["arbiters"][0]["reigning"];
        let whole = reigning["node"] == "web1" && reigning["standing"] == "active" && reigning["seen_seconds"].as_u64()? < 10;
        let sees = reigning["vip"][ADDRESS] == "here" && reigning["vip"][ADDRESS_6] == "here" && reigning["dns"]["example.org"] == "here";
        (whole && sees).then_some(())
    });
    let table = scene.cluster.run("backup", "pull-backup", &["status"]);
    assert!(table.text().contains("VIP") && table.text().contains("example.org web1"), "{}", table.text());
    let row = table
        .text()
        .lines()
        .find(|line| line.starts_with("web1 ") && line.contains(ADDRESS))
        .unwrap_or_default();
    assert!(row.contains(&format!("{ADDRESS} here")) && row.contains("example.org here"), "{}", table.text());
    let cluster: Value = serde_json::from_str(&scene.ask("web1", "/cluster").unwrap().1).unwrap();
    assert_eq!((&cluster["vip"][ADDRESS], &cluster["dns"]["example.org"]), (&"here".into(), &"here".into()));
}

/// A host that is none of the cluster's says that it has the address, too.
fn contested(scene: &Scene, first: &str, foreign: &str) {
    ip(scene, "customer", &format!("route del {ADDRESS} dev eth0"));
    ip(scene, "customer", &format!("addr add {ADDRESS}/32 dev eth0"));
    for node in ["web1", "web2"] {
        let why = address(scene, node, ("conflict", "failing"), |one| one["holders"].as_array().unwrap().len() == 2);
        assert!(why.contains(first) && why.contains(foreign) && why.contains("importer vip watch"), "{why}");
        let text = scene.cluster.run(node, "importer", &["status"]).ended(1);
        assert!(text.text().contains("contested") && text.text().contains(foreign), "{}", text.text());
    }
    ip(scene, "customer", &format!("addr del {ADDRESS}/32 dev eth0"));
    ip(scene, "customer", &format!("route add {ADDRESS} dev eth0"));
    address(scene, "web1", ("here", "ok"), |_| true);
}

/// The active node has it, and cannot be reached by it; one that stands by has it.
fn elsewhere(scene: &Scene, first: &str) {
    // Others are answered by web2 alone.
    let ignore = |node: &str, value: &str| {
        scene
            .cluster
            .within(node, || std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", value).unwrap());
    };
    ip(scene, "web1", "link set eth0 arp off");
    let why = address(scene, "web1", ("unknown", "failing"), |_| true);
    assert!(why.contains("has no neighbours"), "{why}");
    ip(scene, "web1", "link set eth0 arp on");
    address(scene, "web1", ("here", "ok"), |_| true);
    ignore("web1", "8");
    ip(scene, "web2", &format!("addr add {ADDRESS}/32 dev eth0"));
    let why = address(scene, "web2", ("here", "failing"), |_| true);
    assert!(why.contains("stands by, and has it"), "{why}");
    let why = address(scene, "web1", ("conflict", "failing"), |_| true);
    assert!(why.contains(&link(scene, "web2")) && why.contains(first), "{why}");
    ip(scene, "web2", &format!("addr del {ADDRESS}/32 dev eth0"));
    // It has it, and nobody hears of that.
    let none = |one: &Value| one["seen_by"][0]["holders"].as_array().is_some_and(Vec::is_empty);
    let why = address(scene, "web1", ("here", "failing"), none);
    assert!(why.contains("web2 sees nobody have it"), "{why}");
    ignore("web1", "0");
    address(scene, "web1", ("here", "ok"), |_| true);
}

/// A name server that is dead, and names that point elsewhere.
fn pointed(scene: &Scene, servers: &mut Moving) {
    servers.kill_secondary();
    let why = domain(scene, "web1", ("differ", "failing"), |one| one["well"] == 1 && one["servers"][1]["says"]["silent"].is_string());
    assert!(why.starts_with("1 of 2 servers point here") && why.contains("is silent"), "{why}");
    let text = scene.cluster.run("web1", "importer", &["status"]).ended(1);
    assert!(text.text().contains("1 of 2"), "{}", text.text());
    metric(scene, "web1", "resilient_dns_servers_alike{domain=\"example.org\"} 1");
    let why = domain(scene, "web2", ("differ", "failing"), |_| true);
    assert!(why.starts_with("1 of 2 servers point to web1"), "{why}");
    servers.revive_secondary(scene);
    domain(scene, "web1", ("here", "ok"), |_| true);
    scene.cluster.run("web1", "importer", &["dns", "failover", "--to", "web2"]).ended(0);
    let why = domain(scene, "web1", ("node", "failing"), |one| one["node"] == "web2" && one["well"] == 0);
    assert!(why.contains("this node is active") && why.contains("importer dns restore --domain example.org"), "{why}");
    let why = domain(scene, "web2", ("here", "failing"), |_| true);
    assert!(why.contains("this node stands by"), "{why}");
    scene.cluster.run("web1", "importer", &["dns", "restore"]).ended(0);
    domain(scene, "web1", ("here", "ok"), |_| true);
}
