//! A web application with PostgreSQL: recipes/stacks/lapp.

use crate::postgres::Server;
use tests::cluster::{Cluster, files, snapshots};

const NODE: &str = include_str!("../../../recipes/stacks/lapp/node.toml");
const KEEPER: &str = include_str!("../../../recipes/stacks/lapp/pull-backup.toml");

/// The shipped file's datasets, for a host of this test.
fn datasets(server: &Server, uploads: &std::path::Path) -> String {
    let (_, shipped) = NODE.split_once("[[dataset]]").expect("it has a dataset");
    let text = shipped.replace("/var/run/postgresql", server.host().to_str().expect("it is text"));
    let hba = server.data().join("pg_hba.conf");
    let text = text.replace("/etc/postgresql/15/main/pg_hba.conf", hba.to_str().expect("it is text"));
    format!("[[dataset]]{}", text.replace("/var/www/shop/uploads", uploads.to_str().expect("it is text")))
}

fn order(web: &Server, number: usize) {
    web.sql("shop", &format!("INSERT INTO orders VALUES ({number}, 'order {number}')"));
}

const COUNT: &str = "SELECT count(*) FROM orders";

#[test]
fn a_web_application_and_its_database_stand_by_as_one_and_come_back_by_date() {
    let (web1, web2) = (Server::start(), Server::start());
    let mut cluster = Cluster::new(120);
    let (_, retain) = KEEPER.split_once("[retain]").expect("it has rules");
    cluster.keeper("keeper", &format!("[retain]\nlast = 100{retain}"));
    web1.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'app'");
    web1.sql("postgres", "CREATE DATABASE shop OWNER app");
    web1.sql("shop", "CREATE TABLE orders (id int PRIMARY KEY, what text); ALTER TABLE orders OWNER TO app");
    let uploads = [cluster.path("uploads1"), cluster.path("uploads2")];
    uploads.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    std::fs::create_dir(uploads[0].join("cache")).unwrap();
    std::fs::write(uploads[0].join("cache/page"), "made anew").unwrap();
    cluster.node("web1", "", &datasets(&web1, &uploads[0]));
    cluster.join("keeper", "web1", &["--active"]);
    cluster.node("web2", &format!("identity = {:?}", cluster.path("identity")), &datasets(&web2, &uploads[1]));
    cluster.join("keeper", "web2", &["--standby"]);
    for hour in 1..=3 {
        order(&web1, hour);
        std::fs::write(uploads[0].join(format!("photo{hour}")), format!("of order {hour}")).unwrap();
        cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
        cluster.run("web2", "importer", &["sync"]).ended(0);
        assert_eq!(web2.sql("shop", COUNT), format!("{hour}\n"));
        assert_eq!(files(&uploads[1]).len(), hour, "as many photos as orders, and no cache");
    }
    assert_eq!(web1.dump("shop"), web2.dump("shop"));
    assert_eq!(web2.sql("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'"), "f\n");
    let reads = |who: &str, text: &str| web2.try_sql_as(who, "shop", text);
    assert_eq!(reads("reports", COUNT).unwrap(), "3\n");
    assert!(reads("reports", "INSERT INTO orders VALUES (9, 'mine')").is_err());
    assert!(reads("app", COUNT).is_err(), "who could write does not get in");
    // An hour in which nothing happens is no snapshot.
    let archive = cluster.of_keeper("keeper", "shop");
    let before = snapshots(&archive);
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    assert_eq!(snapshots(&archive), before);
    // By date: the second hour's state, database and uploads as one.
    let listed = cluster.run("web2", "importer", &["snapshots", "shop", "--json"]).ended(0).json();
    let second = listed["snapshots"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|snapshot| snapshot["sequence"] == 2)
        .expect("it is kept");
    let to = cluster.path("back");
    let captured = second["captured"].as_str().expect("a time").to_owned();
    cluster
        .run("web2", "importer", &["restore", "shop", "--at", &captured, "--to", to.to_str().unwrap()])
        .ended(0);
    assert_eq!(files(&to.join("uploads")).len(), 2);
    let rows = std::fs::read_to_string(to.join("database/databases/shop/tables/public/orders/00000000")).unwrap();
    assert_eq!(rows, "1\torder 1\n2\torder 2\n");
    beside(&cluster, &web2, &captured);
    // The last import taken back, and brought again by what comes next.
    cluster.run("web2", "importer", &["rollback", "shop"]).ended(0);
    assert_eq!((web2.sql("shop", COUNT).as_str(), files(&uploads[1]).len()), ("2\n", 2), "database and uploads are of one hour");
    cluster.run("web2", "importer", &["sync"]).ended(0);
    assert_eq!(web2.sql("shop", COUNT), "2\n", "what was taken back does not come by itself");
    let status = cluster.run("web2", "importer", &["status"]);
    assert!(status.status == 1 && status.text().contains("was taken back"), "{status:?}");
    order(&web1, 4);
    cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    cluster.run("web2", "importer", &["sync"]).ended(0);
    assert_eq!((web2.sql("shop", COUNT).as_str(), files(&uploads[1]).len()), ("4\n", 3));
    cluster.stop();
}

/// What is done beside the data, and the guard.
fn beside(cluster: &Cluster, web2: &Server, captured: &str) {
    // One table of it, beside the live database; and a rehearsal of the newest.
    let part = ["restore", "shop", "--at", captured, "--table", "orders", "--into", "shop_then"];
    cluster.run("web2", "importer", &part).ended(0);
    assert_eq!(web2.sql("shop_then", COUNT), "2\n");
    let drill = cluster.run("web2", "importer", &["drill", "shop"]).ended(0);
    assert!(drill.text().contains("the database shop is whole: 1 tables with 3 rows"), "{drill:?}");
    let status = cluster.run("web2", "importer", &["status"]);
    assert!(status.text().contains("drill of shop: good"), "{status:?}");
    // Guarded by the server's own file as well, before anybody could connect.
    web2.kill();
    cluster.run("web2", "importer", &["guard"]).ended(0);
    web2.up();
    let reads = |who: &str| web2.try_sql_as(who, "shop", COUNT);
    assert!(reads("app").unwrap_err().contains("pg_hba.conf rejects"));
    assert_eq!(reads("reports").unwrap(), "3\n");
}
