//! A web application with MariaDB: recipes/stacks/lamp.

use crate::mariadb::Server;
use std::process::Command;
use tests::cluster::{Cluster, files, snapshots};

const NODE: &str = include_str!("../../../recipes/stacks/lamp/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/lamp/pull-backup.toml");

/// The shipped file's datasets, for a host of this test.
fn datasets(server: &Server, uploads: &std::path::Path) -> String {
    let (_, shipped) = NODE.split_once("[[dataset]]").expect("it has a dataset");
    let text = shipped.replace("/run/mysqld/mysqld.sock", server.socket().to_str().expect("it is text"));
    let options = server.folder().join("99-resilient.cnf");
    let text = text.replace("/etc/mysql/mariadb.conf.d/99-resilient.cnf", options.to_str().expect("it is text"));
    format!("[[dataset]]{}", text.replace("/var/www/shop/uploads", uploads.to_str().expect("it is text")))
}

const COUNT: &str = "SELECT COUNT(*) FROM orders";

/// As cron runs its lines: by a shell, with nothing of an environment, and the program found in the path.
fn by_cron(cluster: &Cluster, host: &str) {
    let line = cluster.command(host, "exporter", &["run", "--wait", "--quiet"]);
    let words: Vec<String> = std::iter::once(line.get_program())
        .chain(line.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("it is text")))
        .collect();
    let output = Command::new("/bin/sh")
        .args(["-c", &words.join(" ")])
        .env_clear()
        .envs([("HOME", "/root"), ("LOGNAME", "root"), ("SHELL", "/bin/sh"), ("PATH", "/usr/bin:/bin")])
        .stdin(std::process::Stdio::null())
        .current_dir("/")
        .output()
        .expect("there is a shell");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "cron would send a mail: {}", String::from_utf8_lossy(&said));
}

#[test]
fn a_web_application_with_mariadb_stands_by_and_comes_back_by_date_in_part_and_in_rehearsal() {
    let (web1, web2) = (Server::start(&[]), Server::start(&[]));
    let mut cluster = Cluster::new(121);
    let (_, retain) = KEEPER.split_once("[retain]").expect("it has rules");
    cluster.keeper("keeper", &format!("[retain]\nlast = 100{retain}"));
    web1.sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, what TEXT); CREATE TABLE shop.notes (note TEXT)");
    let uploads = [cluster.path("uploads1"), cluster.path("uploads2")];
    uploads.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    cluster.node("web1", "", &datasets(&web1, &uploads[0]));
    cluster.join("keeper", "web1", &["--active"]);
    cluster.node("web2", &format!("identity = {:?}", cluster.path("identity")), &datasets(&web2, &uploads[1]));
    cluster.join("keeper", "web2", &["--standby"]);
    for hour in 1..=3 {
        web1.sql_in("shop", &format!("INSERT INTO orders VALUES ({hour}, 'order {hour}')"));
        std::fs::write(uploads[0].join(format!("photo{hour}")), format!("of order {hour}")).unwrap();
        by_cron(&cluster, "web1");
        cluster.run("web2", "importer", &["sync"]).ended(0);
        assert_eq!(web2.sql_in("shop", COUNT), format!("{hour}\n"));
        assert_eq!(files(&uploads[1]).len(), hour, "as many photos as orders");
    }
    assert_eq!(web1.dump("shop"), web2.dump("shop"));
    // A host whose power fails is guarded before its server is there.
    cluster.run("web2", "importer", &["guard"]).ended(0);
    assert!(web2.folder().join("99-resilient.cnf").exists());
    assert_eq!(web2.sql("SELECT @@read_only"), "1\n");
    let active = cluster.run("web1", "importer", &["guard"]).ended(0);
    assert!(active.text().contains("active node") && !web1.folder().join("99-resilient.cnf").exists(), "{active:?}");
    // By date, one table of the second hour, beside what is there and as SQL.
    let archive = cluster.of_keeper("keeper", "shop");
    assert_eq!(snapshots(&archive).len(), 3);
    let listed = cluster.run("web2", "importer", &["snapshots", "shop", "--json"]).ended(0).json();
    let listed = listed["snapshots"].as_array().expect("a list");
    let second = listed.iter().find(|snapshot| snapshot["sequence"] == 2).expect("it is kept");
    let at = second["captured"].as_str().expect("a time").to_owned();
    let part = ["restore", "shop", "--at", &at, "--table", "orders"];
    cluster.run("web2", "importer", &[&part[..], &["--into", "shop_then"]].concat()).ended(0);
    assert_eq!(web2.sql("SELECT COUNT(*) FROM shop_then.orders; SHOW TABLES FROM shop_then"), "2\norders\n");
    let again = cluster.run("web2", "importer", &[&part[..], &["--into", "shop_then"]].concat()).ended(3);
    assert!(again.err.contains("is taken"), "{again:?}");
    let sql = cluster.path("orders.sql");
    cluster.run("web2", "importer", &[&part[..], &["--sql", sql.to_str().unwrap()]].concat()).ended(0);
    let again = cluster.run("web2", "importer", &[&part[..], &["--sql", sql.to_str().unwrap()]].concat()).ended(3);
    assert!(again.err.contains("is there already"), "{again:?}");
    web2.sql("CREATE DATABASE loaded");
    web2.sql_in("loaded", &std::fs::read_to_string(&sql).unwrap());
    assert_eq!(web2.sql_in("loaded", COUNT), "2\n");
    cluster.run("web2", "importer", &["restore", "shop", "--at", &at, "--table", "orders"]).ended(2);
    // A rehearsal of the newest, from the mirror, and from the archive; and one that goes wrong.
    let drill = cluster.run("web2", "importer", &["drill", "shop"]).ended(0);
    assert!(drill.text().contains("the database shop is whole: 2 tables with 3 rows") && drill.text().contains("went well"), "{drill:?}");
    cluster
        .run("web2", "importer", &["drill", "shop", "--at", &at, "--from", "archive", "--json"])
        .ended(0);
    let status = cluster.run("web2", "importer", &["status", "--json"]).json();
    assert_eq!((status["drills"][0]["good"].as_bool(), status["drills"][0]["dataset"].as_str()), (Some(true), Some("shop")));
    web1.sql_in("shop", "DELETE FROM orders");
    by_cron(&cluster, "web1");
    cluster.run("web2", "importer", &["sync"]).ended(0);
    let failed = cluster.run("web2", "importer", &["drill", "shop"]);
    assert!(failed.status == 3 && failed.err.contains("was answered by"), "{failed:?}");
    let status = cluster.run("web2", "importer", &["status"]);
    assert!(
        status.status == 1 && status.text().contains("drill of shop: FAILED") && status.text().contains("the last good one was"),
        "{status:?}"
    );
    assert_eq!(web2.sql("SHOW DATABASES LIKE '%\\_new'"), "");
    cluster.stop();
}
