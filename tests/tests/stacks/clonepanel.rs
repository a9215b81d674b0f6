//! A web site whose names follow it: recipes/stacks/clonepanel, with a primary and a secondary on hosts of their own.

use crate::nameservers::{self, Bind, ZONE, dig, records};
use crate::scene::{LIMIT, Scene, request, till};
use crate::shipped::fitted;
use rusqlite::Connection;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::cluster::Cluster;
use tests::wait::until;

const NODE: &str = include_str!("../../../recipes/stacks/clonepanel/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/clonepanel/pull-backup.toml");
const POLICY: &str = "grant move name example.org A AAAA; grant move name www.example.org A AAAA;";
const NAMES: [&str; 2] = ["example.org", "www.example.org"];

fn shipped_actions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/stacks/clonepanel/example.org")
}

struct Site {
    bind: Bind,
    scene: Scene,
    actions: PathBuf,
    folder: tempfile::TempDir,
}

impl Site {
    /// The name servers, and nodes that have their files; nothing runs on these.
    fn named(zone: &str, words: &[(&str, &str)]) -> Site {
        let mut cluster = Cluster::apart(6);
        ["web1", "web2", "ns1", "ns2", "visitor"].into_iter().for_each(|host| cluster.guest(host));
        let folder = tempfile::tempdir().unwrap();
        let zone = zone.replace("192.0.2.1\t", "HOME\t").replace("192.0.2.1\n", "HOME\n");
        let zone = zone.replace("HOME", &cluster.address_of("web1"));
        let bind = nameservers::serve(&cluster, folder.path(), POLICY, &zone);
        let actions = folder.path().join("actions");
        std::fs::create_dir(&actions).unwrap();
        for file in std::fs::read_dir(shipped_actions()).unwrap().flatten() {
            std::fs::copy(file.path(), actions.join(file.file_name())).unwrap();
        }
        let mut site = Site { bind, scene: Scene::of(cluster, vec!["web1", "web2"]), actions, folder };
        for node in ["web1", "web2"] {
            site.node(node, words);
        }
        site
    }

    /// The shipped file, for a host of this test.
    fn node(&mut self, node: &str, words: &[(&str, &str)]) {
        let cluster = &mut self.scene.cluster;
        let place = cluster.path(node);
        std::fs::create_dir_all(place.join("public")).unwrap();
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let shipped = fitted(NODE, "[[dataset]]", words);
        let datasets = fitted(
            &shipped,
            "[[dataset]]",
            &[
                ("/var/www/site/site.db", &text(place.join("shop.db"))),
                ("/var/www/site/public", &text(place.join("public"))),
                ("services  = [\"apache2.service\"]\n", ""),
                ("every = \"5s\"", "every = \"2s\""),
                ("192.0.2.53", &cluster.address_of("ns1")),
                ("/etc/resilient/dns.key", &text(self.folder.path().join("move.key"))),
                ("/etc/resilient/example.org", &text(self.actions.clone())),
                ("203.0.113.1", &cluster.address_of("web1")),
                ("198.51.100.7", &cluster.address_of("web2")),
            ],
        );
        let of_node = format!("identity = {:?}\nrun = {:?}\n", cluster.path("identity"), place.join("run"));
        cluster.node(node, &of_node, &format!("{datasets}\n{}", till(&place.join("shop.db"), 80)));
    }

    /// The whole site: web1 is active, web2 ready.
    fn begun(words: &[(&str, &str)]) -> Site {
        let mut site = Site::named(ZONE, words);
        let cluster = &mut site.scene.cluster;
        cluster.keeper("backup", &fitted(KEEPER, "[cluster.site]", &[("[cluster.site]", "[cluster.shop]\nprofile = \"fast\"")]));
        cluster.join("backup", "web1", &["--active"]);
        cluster.join("backup", "web2", &["--standby"]);
        let database = Connection::open(site.scene.database("web1")).unwrap();
        database
            .execute_batch("pragma journal_mode = wal; create table orders (id integer primary key, text)")
            .unwrap();
        drop(database);
        std::fs::write(site.scene.cluster.path("web1/public/index.html"), "welcome").unwrap();
        site.scene.start("web1");
        site.scene.start("web2");
        site.scene.importer("web1", &["activate", "--adopt"]);
        site.scene.exported("web1");
        site.scene.becomes("web2", "ready");
        site
    }

    /// What both servers say of both names, each as TTL and host.
    fn said(&self) -> Vec<String> {
        let hosts = ["web1", "web2"].map(|node| (self.scene.cluster.address_of(node), node));
        let one = |at, name| {
            let mut said = self.scene.cluster.within("visitor", || dig(at, name, "A")).join(" and ");
            for (address, node) in &hosts {
                said = said.replace(address, node);
            }
            said
        };
        let mut all: Vec<String> = [self.bind.primary, self.bind.secondary]
            .into_iter()
            .flat_map(|at| NAMES.map(|name| one(at, name)))
            .collect();
        all.dedup();
        all
    }

    #[track_caller]
    fn points(&self, expected: &str) {
        until(LIMIT, &format!("every server to say {expected} of every name"), || {
            let said = self.said();
            if said == [expected] { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }

    /// What nobody declared, as each server has it.
    fn others(&self) -> [Vec<String>; 2] {
        let declared = |line: &String| NAMES.iter().any(|name| line.starts_with(&format!("{name}.")) && line.contains("\tA\t"));
        [self.bind.primary, self.bind.secondary].map(|at| {
            let all = self.scene.cluster.within("visitor", || records(at));
            all.into_iter().filter(|line| !declared(line)).collect()
        })
    }

    /// A visitor who goes by the name, as the secondary tells it, writes something.
    #[track_caller]
    fn writes(&self, number: i64, at: &str) {
        let address = self.scene.cluster.address_of(at);
        until(LIMIT, &format!("{at} to take what visitor {number} wrote"), || {
            let said = self.scene.cluster.within("visitor", || {
                let found = dig(self.bind.secondary, "www.example.org", "A").pop()?;
                let found = found.rsplit(' ').next()?.to_owned();
                let place: SocketAddr = format!("{found}:80").parse().ok()?;
                Some((found, request(place, "POST", &format!("/order/{number}"), Duration::from_secs(2))))
            });
            match said {
                Some((found, Some((200, _)))) if found == address => Ok(()),
                said => Err(format!("{said:?}")),
            }
        });
    }

    /// The colours of a node's checks.
    fn colours(&self, node: &str) -> Vec<String> {
        let body = self.scene.ask(node, "/cluster").map(|(_, body)| body).unwrap_or_default();
        let stands: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let checks = stands["checks"].as_object().cloned().unwrap_or_default();
        checks.values().filter_map(|colour| colour.as_str().map(str::to_owned)).collect()
    }
}

#[test]
fn prepare_changes_only_the_ttl_failover_the_target_and_restore_is_the_exact_inverse() {
    let site = Site::named(ZONE, &[]);
    let (before, all) = (site.others(), site.scene.cluster.within("visitor", || records(site.bind.primary)));
    assert!(before[0].len() > 4 && before[0] == before[1], "{before:?}");
    site.points("14400 web1");
    for (action, expected) in
        [("prepare", "900 web1"), ("failover", "900 web2"), ("failover", "900 web2"), ("restore", "14400 web1"), ("restore", "14400 web1")]
    {
        let dry = site.scene.importer("web2", &["dns", action, "--dry-run"]);
        let shown = if site.said() == [expected] { "would change 0 lines" } else { "would change 4 lines" };
        assert!(dry.contains(shown), "{action}: {dry}");
        let said = site.scene.importer("web2", &["dns", action]);
        assert!(said.contains("2 of 2 authoritative servers have it"), "{action}: {said}");
        assert_eq!(site.said(), [expected], "{action}");
        assert_eq!(site.others(), before, "{action}: what no file declares stays as it was");
    }
    for at in [site.bind.primary, site.bind.secondary] {
        assert_eq!(site.scene.cluster.within("visitor", || records(at)), all, "as it was before anything");
    }
}

#[test]
fn every_name_server_is_asked_and_one_that_is_silent_is_named() {
    let mut site = Site::named(ZONE, &[]);
    site.scene.importer("web2", &["dns", "failover"]);
    let said = site.scene.importer("web2", &["dns", "verify"]);
    assert!(said.contains("2 of 2 authoritative servers have it"), "{said}");
    site.bind.end_secondary();
    let partly = site.scene.cluster.run("web2", "importer", &["dns", "restore"]).ended(4);
    let silent = format!("{} is silent", site.bind.secondary);
    assert!(partly.text().contains("1 of 2") && partly.text().contains(&silent), "{partly:?}");
}

#[test]
fn mail_that_would_follow_the_site_is_told_before() {
    const TRAP: &str = "mail for example.org. goes to example.org., which moves";
    let lint = |site: &Site| site.scene.cluster.run("web2", "importer", &["dns", "lint"]).ended(4).text().to_owned();
    let site = Site::named(&ZONE.replace("MX\t10 mail", "MX\t10 @"), &[]);
    let said = lint(&site);
    assert!(said.contains(TRAP) && said.contains("let MX point to a name that stays"), "{said}");
    // The first way out: only www moves.
    for action in ["PREPARE", "FAILOVER", "RESTORE"] {
        let file = site.actions.join(format!("{action}.ov"));
        let text = std::fs::read_to_string(&file).unwrap();
        let rest: String = text.split_inclusive('\n').filter(|line| !line.starts_with("DOMAIN.")).collect();
        assert_ne!(rest, text);
        std::fs::write(&file, rest).unwrap();
    }
    let said = lint(&site);
    assert!(!said.contains(TRAP) && said.contains("www.example.org. moves and example.org. does not"), "{said}");
    // The other: mail has a name that stays.
    let site = Site::named(ZONE, &[]);
    assert!(!lint(&site).contains("mail"), "nothing of mail");
}

#[test]
fn with_all_switches_on_site_database_and_names_go_over_and_come_home() {
    let mut site = Site::begun(&[]);
    site.writes(1, "web1");
    site.scene.exported("web1");
    site.scene.kill_host("web1");
    site.scene.wait_for_active(&["web2"]);
    site.points("900 web2");
    site.writes(2, "web2");
    assert_eq!(site.scene.orders("web2"), [1, 2]);
    assert_eq!(std::fs::read(site.scene.cluster.path("web2/public/index.html")).unwrap(), b"welcome");
    // What visitors write on the slave is not lost, and nobody merges anything.
    site.scene.start("web1");
    site.scene.importer("web1", &["failback"]);
    site.points("14400 web1");
    site.writes(3, "web1");
    assert_eq!(site.scene.orders("web1"), [1, 2, 3]);
    site.scene.cluster.stop();
}

#[test]
fn one_switch_alone_never_acts() {
    const OF_DOMAIN: (&str, &str) =
        ("automatic = true                         # the domain's", "automatic = false                        # the domain's");
    const OF_CLUSTER: (&str, &str) =
        ("automatic = true                           # the cluster's", "automatic = false                          # the cluster's");
    let mut site = Site::begun(&[OF_DOMAIN]);
    site.scene.importer("web1", &["switchover", "--to", "web2"]);
    site.scene.becomes("web2", "active");
    // Far longer than it would take.
    site.scene.becomes("web1", "ready");
    let verified = site.scene.cluster.run("web2", "importer", &["dns", "verify", "--json"]).json();
    assert!(verified[0]["last"].is_null(), "nothing was done: {verified}");
    assert_eq!(site.said(), ["14400 web1"]);
    site.scene.importer("web2", &["dns", "failover"]);
    site.points("900 web2");
    // The other one alone; the node says so when it begins.
    site.node("web1", &[OF_CLUSTER]);
    site.scene.cluster.kill("web1", "importer");
    site.scene.cluster.start("web1", "importer");
    site.scene
        .cluster
        .daemon("web1", "importer")
        .says(LIMIT, "example.org is not pointed by itself: [takeover] is not automatic");
    site.scene.importer("web1", &["failback"]);
    site.scene.becomes("web1", "active");
    site.scene.becomes("web2", "ready");
    assert_eq!(site.said(), ["900 web2"]);
    site.scene.importer("web1", &["dns", "restore"]);
    site.points("14400 web1");
    site.scene.cluster.stop();
}

#[test]
fn a_check_is_amber_when_it_fails_red_when_it_fell_and_cyan_when_it_recovered() {
    let mut site = Site::begun(&[]);
    let turns = |colour: &str| {
        until(LIMIT, &format!("the check to be {colour}"), || {
            let now = site.colours("web1");
            if now == [colour] { Ok(()) } else { Err(format!("{now:?}")) }
        });
    };
    turns("green");
    site.scene.kill_service("web1");
    ["amber", "red", "cyan"].into_iter().for_each(turns);
    assert_eq!(site.scene.standing("web1"), "active", "it was started again here");
    site.writes(1, "web1");
    site.scene.cluster.stop();
}
