//! A telephone exchange with a virtual address: recipes/stacks/xivo. The till stands for Asterisk, its orders for registrations.

use crate::postgres::Server;
use crate::scene::{LIMIT, Scene, request, till};
use crate::shipped::fitted;
use recipes::act::vip::seen;
use rusqlite::Connection;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::cluster::Cluster;
use tests::wait::until;

const NODE: &str = include_str!("../../../recipes/stacks/xivo/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/xivo/pull-backup.toml");
const NODES: [&str; 2] = ["xivo1", "xivo2"];
const VOIP: &str = "192.0.2.10";
const DATA: &str = "198.51.100.10";
const SECOND: Duration = Duration::from_secs(1);

struct Exchange {
    scene: Scene,
    servers: [Server; 2],
}

impl Exchange {
    /// Nodes that have their files; nothing runs there.
    fn named() -> Exchange {
        let mut cluster = Cluster::apart(5);
        ["xivo1", "xivo2", "phone", "trunk"].into_iter().for_each(|host| cluster.guest(host));
        let mut exchange = Exchange { scene: Scene::of(cluster, NODES.to_vec()), servers: [Server::start(), Server::start()] };
        for at in 0..NODES.len() {
            exchange.node(at);
        }
        for address in [VOIP, DATA] {
            exchange.ip("phone", &format!("route add {address} dev eth0"));
        }
        exchange
    }

    /// The shipped file, for a host of this test.
    fn node(&mut self, at: usize) {
        let (cluster, node) = (&mut self.scene.cluster, NODES[at]);
        let place = cluster.path(node);
        for folder in ["etc", "sounds"] {
            std::fs::create_dir_all(place.join(folder)).unwrap();
        }
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let datasets = fitted(
            NODE,
            "[[dataset]]",
            &[
                ("/etc/postgresql/15/main/pg_hba.conf", &text(self.servers[at].data().join("pg_hba.conf"))),
                ("/var/run/postgresql", &text(self.servers[at].host().to_owned())),
                ("/var/lib/asterisk/astdb.sqlite3", &text(place.join("shop.db"))),
                ("/var/lib/asterisk/sounds", &text(place.join("sounds"))),
                ("/etc/asterisk", &text(place.join("etc"))),
                ("services  = [\"asterisk.service\"]", ""),
                ("every = \"5s\"", "every = \"1s\""),
                ("every = \"2m\"", "every = \"5s\""),
                ("eth1", "eth0"),
                ("198.51.100.1\"", &format!("{}\"", cluster.address_of("trunk"))),
            ],
        );
        // After the shipped file's last word, which is a comment.
        let datasets = format!("{datasets}\n{}", till(&place.join("shop.db"), 5060));
        let of_node = format!("identity = {:?}\nrun = {:?}\n", cluster.path("identity"), place.join("run"));
        cluster.node(node, &of_node, &datasets);
    }

    /// xivo1 is active, xivo2 ready.
    fn begun() -> Exchange {
        let mut exchange = Exchange::named();
        exchange.begin();
        exchange
    }

    fn begin(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        let cluster = &mut self.scene.cluster;
        let tell = cluster.path("tell");
        std::fs::write(&tell, format!("#!/bin/sh\n(cat; echo) >> {}\n", cluster.path("told").display())).unwrap();
        std::fs::set_permissions(&tell, std::fs::Permissions::from_mode(0o700)).unwrap();
        let keeper = fitted(
            KEEPER,
            "[cluster.xivo]",
            &[
                ("[cluster.xivo]", "[cluster.shop]\nprofile = \"fast\""),
                ("/usr/local/bin/tell", tell.to_str().unwrap()),
                ("confirm = \"60s\"", "confirm = \"1s\""),
            ],
        );
        cluster.keeper("backup", &keeper);
        cluster.join("backup", "xivo1", &["--active"]);
        cluster.join("backup", "xivo2", &["--standby"]);
        let registrations = Connection::open(self.scene.database("xivo1")).unwrap();
        registrations
            .execute_batch("pragma journal_mode = wal; create table orders (id integer primary key, text)")
            .unwrap();
        drop(registrations);
        self.servers[0].sql("postgres", "CREATE ROLE asterisk LOGIN");
        self.servers[0].sql("postgres", "CREATE DATABASE asterisk OWNER asterisk");
        self.servers[0].sql("asterisk", "CREATE TABLE users (id int PRIMARY KEY); ALTER TABLE users OWNER TO asterisk");
        NODES.into_iter().for_each(|node| self.scene.start(node));
        self.scene.importer("xivo1", &["activate", "--adopt"]);
        self.scene.exported("xivo1");
        self.scene.becomes("xivo2", "ready");
    }

    #[track_caller]
    fn ip(&self, host: &str, words: &str) -> String {
        let said = self.scene.cluster.within(host, || Command::new("ip").args(words.split(' ')).output()).unwrap();
        assert!(said.status.success(), "ip {words}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// Addresses, routes and rules of a host.
    fn network(&self, host: &str) -> String {
        ["-4 -o addr", "-4 route show table all", "-4 rule"].map(|words| self.ip(host, words)).concat()
    }

    /// A telephone registers at the virtual address.
    #[track_caller]
    fn registers(&self, number: i64) {
        until(LIMIT, &format!("telephone {number} to be registered"), || {
            let place = format!("{VOIP}:5060").parse().unwrap();
            let answer = self.scene.cluster.within("phone", || request(place, "POST", &format!("/order/{number}"), SECOND));
            if matches!(answer, Some((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    /// Both addresses are at this node, as others on the segment see it, and the routes are there.
    #[track_caller]
    fn addresses_are_at(&self, node: &str) {
        let link = self.ip(node, "-o link show dev eth0");
        let link = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
        for address in [VOIP, DATA] {
            until(LIMIT, &format!("{address} to be at {node}"), || {
                let seen = self.scene.cluster.within("phone", || seen("eth0", address.parse().unwrap(), SECOND));
                let seen = seen.unwrap().map(|mac| mac.to_string());
                if seen.as_deref() == Some(link) { Ok(()) } else { Err(format!("{seen:?}, and {link} is its own")) }
            });
        }
        let way = self.ip(node, &format!("route get 203.0.113.9 from {DATA}"));
        let trunk = self.scene.cluster.address_of("trunk");
        assert!(way.contains(&format!("via {trunk} ")) && way.contains("table 77"), "{way}");
    }

    /// What the pull-backup told about the registrations as a host holds them.
    fn told(&self, peer: &str, hop: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.scene.cluster.path("told")).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events
            .filter(|event| event["peer"] == peer && event["hop"] == hop && event["dataset"] == "registrations")
            .filter_map(|event| event["event"].as_str().map(str::to_owned))
            .collect()
    }

    #[track_caller]
    fn is_told(&self, expected: &[&str]) {
        until(LIMIT, &format!("{expected:?} to be told of xivo2"), || {
            let told = self.told("xivo2", "mirror");
            if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }
}

#[test]
fn enabling_and_disabling_can_be_repeated_and_undoes_itself() {
    let mut exchange = Exchange::named();
    let before = exchange.network("xivo1");
    for _ in 0..2 {
        exchange.scene.importer("xivo1", &["vip", "take", "--for", "60s"]);
        exchange.addresses_are_at("xivo1");
    }
    for _ in 0..2 {
        exchange.scene.importer("xivo1", &["vip", "release"]);
        assert_eq!(exchange.network("xivo1"), before, "as it was before a rehearsal");
    }
    exchange.begin();
    for _ in 0..2 {
        exchange.addresses_are_at("xivo1");
        exchange.registers(1);
        exchange.scene.importer("xivo1", &["close"]);
        assert!(exchange.scene.importer("xivo1", &["close"]).contains("closed already"));
        until(LIMIT, "the host to be as it was", || {
            let now = exchange.network("xivo1");
            if now == before { Ok(()) } else { Err(now) }
        });
        exchange.scene.importer("xivo1", &["failback"]);
        assert!(exchange.scene.importer("xivo1", &["failback"]).contains("active already"));
    }
    exchange.scene.cluster.stop();
}

#[test]
fn row_and_file_appear_on_the_standby_and_a_later_row_is_gone_with_an_older_snapshot() {
    let mut exchange = Exchange::begun();
    let add = |exchange: &Exchange, number: u32| {
        exchange.servers[0].sql("asterisk", &format!("INSERT INTO users VALUES ({number})"));
        std::fs::write(exchange.scene.cluster.path("xivo1/etc/users.conf"), format!("up to {number}")).unwrap();
        exchange.scene.exported("xivo1");
    };
    let has = |exchange: &Exchange, numbers: &str, number: u32| {
        until(LIMIT, &format!("xivo2 to have up to {number}"), || {
            let rows = exchange.servers[1].try_sql_as("postgres", "asterisk", "SELECT string_agg(id::text, ' ' ORDER BY id) FROM users")?;
            let file = std::fs::read_to_string(exchange.scene.cluster.path("xivo2/etc/users.conf")).map_err(|error| error.to_string())?;
            if rows.trim() == numbers && file == format!("up to {number}") { Ok(()) } else { Err(format!("{rows} {file}")) }
        });
    };
    add(&exchange, 1);
    has(&exchange, "1", 1);
    add(&exchange, 2);
    has(&exchange, "1 2", 2);
    exchange.scene.importer("xivo2", &["rollback", "pbx"]);
    has(&exchange, "1", 1);
    add(&exchange, 3);
    has(&exchange, "1 2 3", 3);
    exchange.scene.cluster.stop();
}

#[test]
fn an_unreachable_slave_is_one_alert_and_one_more_when_it_is_back() {
    let mut exchange = Exchange::begun();
    exchange.scene.cluster.hosts_of(|hosts, number| hosts.isolate(number), "xivo2");
    exchange.is_told(&["opened"]);
    exchange.scene.together();
    exchange.is_told(&["opened", "closed"]);
    assert_eq!(exchange.scene.standing("xivo1"), "active");
    exchange.addresses_are_at("xivo1");
    exchange.scene.cluster.stop();
}

#[test]
fn a_master_that_returns_waits_takes_the_newest_registrations_and_gets_the_address_by_switchover() {
    let mut exchange = Exchange::begun();
    exchange.addresses_are_at("xivo1");
    exchange.registers(1);
    exchange.scene.exported("xivo1");
    exchange.scene.kill_host("xivo1");
    exchange.scene.wait_for_active(&["xivo2"]);
    exchange.addresses_are_at("xivo2");
    exchange.registers(2);
    assert_eq!(exchange.scene.orders("xivo2"), [1, 2]);
    // What is configured on the slave comes along, too.
    exchange.servers[1].sql("asterisk", "INSERT INTO users VALUES (7)");
    exchange.scene.start("xivo1");
    exchange.scene.exported("xivo2");
    until(LIMIT, "the master to have the newest registrations", || {
        let there = exchange.scene.orders("xivo1");
        if there == [1, 2] { Ok(()) } else { Err(format!("{there:?}")) }
    });
    exchange.scene.becomes("xivo1", "ready");
    exchange.addresses_are_at("xivo2");
    exchange.registers(3);
    exchange.scene.importer("xivo2", &["switchover", "--to", "xivo1"]);
    exchange.addresses_are_at("xivo1");
    exchange.registers(4);
    assert_eq!(exchange.scene.orders("xivo1"), [1, 2, 3, 4]);
    assert_eq!(exchange.servers[0].sql("asterisk", "SELECT id FROM users"), "7\n");
    let left = exchange.network("xivo2");
    assert!(!left.contains(VOIP) && !left.contains(DATA) && !left.contains("203.0.113"), "{left}");
    exchange.scene.cluster.stop();
}
