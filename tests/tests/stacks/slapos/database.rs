//! The scripts around a real PostgreSQL, as the recipes of the LAPP stack have them: a dump in the custom format, restored over what is there.

use super::{Stack, name};
use crate::postgres::Server;
use tests::chance::noise;
use tests::cluster::snapshots;
use tests::wait::until;

const DUMP: &str = "#!/bin/sh\numask 077\nexec pg_dump --host=SOCKET --username=postgres --format=custom --file=PARTITION/srv/backup/postgres/database.dump slapos\n";
const RESTORE: &str = "#!/bin/sh\nexec pg_restore --host=SOCKET --username=postgres --dbname=slapos --clean --if-exists --no-owner --no-acl PARTITION/srv/backup/postgres/database.dump\n";
const KEYS: &str = "SELECT string_agg(text, ' ' ORDER BY id) FROM keys";

#[test]
fn a_random_key_in_a_real_database_survives_a_takeover_by_the_scripts_alone() {
    let mut stack = Stack::new(172, 1);
    let servers = [Server::start(), Server::start()];
    for (at, server) in servers.iter().enumerate() {
        server.sql("postgres", "CREATE DATABASE slapos");
        let partition = stack.hosts[at].database("").to_str().unwrap().trim_end_matches('/').to_owned();
        for (script, text) in [("postgres-exporter", DUMP), ("resilient-importer", RESTORE)] {
            let text = text.replace("PARTITION", &partition).replace("SOCKET", server.host().to_str().unwrap());
            stack.hosts[at].install(&format!("slappart0/bin/{script}"), &text);
        }
        // By the name that the LAPP stack gives it.
        std::fs::remove_file(stack.hosts[at].database("bin/postgres-importer")).unwrap();
    }
    let keys: Vec<String> = (0..2).map(|seed| archive::id::hex(&noise(u64::from(std::process::id()) + seed, 32))).collect();
    servers[0].sql("slapos", &format!("CREATE TABLE keys (id int PRIMARY KEY, text text); INSERT INTO keys VALUES (1, '{}')", keys[0]));
    stack.export();
    for _ in 0..2 {
        stack.import(1);
        assert_eq!(servers[1].sql("slapos", KEYS).trim(), keys[0]);
    }
    stack.run(1, "importer", &["activate", "--old-active-off", "host0"]).ended(0);
    servers[1].sql("slapos", &format!("INSERT INTO keys VALUES (2, '{}')", keys[1]));
    stack.cluster.start(&name(1), "exporter");
    stack.run(1, "exporter", &["run"]).ended(0);
    let keeper = |words: &[&str]| stack.cluster.run("backup", "pull-backup", words);
    until(super::LIMIT, "the claim to be seen", || {
        let shown = keeper(&["epoch", "show"]);
        if shown.text().contains("claimed") { Ok(()) } else { Err(shown.text().to_owned()) }
    });
    keeper(&["epoch", "resolve", "shop", "--keep", "host1"]).ended(0);
    let own = snapshots(&stack.repository(1)).pop().unwrap();
    until(super::LIMIT, "what it exports to be published", || stack.kept().contains(&own).then_some(()));
    // Both are in the backup, for whoever comes next.
    let to = stack.cluster.path("back");
    let identity = stack.cluster.path("identity");
    let words = ["restore", "instance", "--at", "latest", "--to", to.to_str().unwrap(), "--identity", identity.to_str().unwrap()];
    keeper(&words).ended(0);
    servers[0].sql("postgres", "CREATE DATABASE again");
    let restored = std::process::Command::new("pg_restore")
        .args(["--username=postgres", "--dbname=again", "--no-owner", "--host"])
        .arg(servers[0].host())
        .arg(to.join("database/database.dump"))
        .status();
    assert!(restored.unwrap().success());
    assert_eq!(servers[0].sql("again", KEYS).trim(), keys.join(" "));
    stack.cluster.stop();
}
