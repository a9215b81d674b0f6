//! Who may connect at all, told by addresses.

use super::{Store, datasets};
use tests::cluster::Cluster;

#[test]
fn fifteen_address_ranges_serve_whom_they_name_and_nobody_else() {
    // Hosts with addresses of their own: on loopback a caller could have any.
    let mut cluster = Cluster::apart(3);
    cluster.keeper("archive", "");
    let [primary, standby] = ["primary", "standby"].map(|name| Store::new(cluster.path(&format!("{name}-oak"))));
    cluster.node("primary", "", &datasets(&primary.0));
    cluster.join("archive", "primary", &["--active"]);
    cluster.node("standby", &format!("identity = {:?}", cluster.path("identity")), &datasets(&standby.0));
    cluster.join("archive", "standby", &["--standby"]);
    primary.append(0, 1000);
    cluster.run("primary", "exporter", &["run", "--wait"]).ended(0);
    let own = cluster.address_of("standby");
    let (net, _) = own.rsplit_once('.').unwrap();
    let cases = [
        (format!("[\"{own}\"]"), true),
        (format!("[\"{own}/32\"]"), true),
        (format!("[\"{net}.0/24\"]"), true),
        ("[\"10.0.0.0/8\"]".into(), true),
        ("[\"0.0.0.0/0\"]".into(), true),
        (format!("[\"{own}-{own}\"]"), true),
        (format!("[\"{net}.1-{net}.9\"]"), true),
        (format!("[\"192.0.2.1\", \"{own}\"]"), true),
        (format!("[\"::ffff:{own}\"]"), true),
        ("[\"localhost\"]".into(), false),
        (format!("[\"{net}.2\"]"), false),
        (format!("[\"{net}.4-{net}.9\"]"), false),
        ("[\"::/0\"]".into(), false),
        (format!("[\"{net}.0/31\"]"), false),
        ("[\"192.0.2.0/24\", \"198.51.100.1\"]".into(), false),
    ];
    let plain = std::fs::read_to_string(cluster.path("archive.toml")).unwrap();
    for (allow, served) in cases {
        cluster.kill("archive", "pull-backup");
        std::fs::write(cluster.path("archive.toml"), format!("allow = {allow}\n{plain}")).unwrap();
        cluster.start("archive", "pull-backup");
        let ran = cluster.run("standby", "importer", &["sync"]);
        assert_eq!(ran.status, i32::from(!served), "{allow}: {ran:?}");
    }
    assert_eq!(standby.head(), 1);
    cluster.stop();
}
