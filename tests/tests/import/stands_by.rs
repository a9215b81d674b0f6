//! A shop in SQLite and a folder of uploads on one host, standing by on two others.

use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;
use tests::cluster::{Cluster, files, snapshots};
use tests::wait::until;

pub const LIMIT: Duration = Duration::from_secs(60);

fn datasets(folder: &Path) -> String {
    format!(
        "[[dataset]]\nname = \"shop\"\nevery = \"24h\"\n\
         [[dataset.source]]\nrecipe = \"sqlite\"\npath = {:?}\n\
         [[dataset.source]]\nname = \"uploads\"\nrecipe = \"files\"\npaths = [{:?}]\n",
        folder.join("shop.db"),
        folder.join("uploads")
    )
}

/// Where a node keeps its own copy of the data.
fn elsewhere(folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    format!("source.shop.sqlite.path = {:?}\nsource.shop.uploads.paths = [{:?}]", folder.join("shop.db"), folder.join("uploads"))
}

pub fn order(database: &Path, item: &str) {
    let database = Connection::open(database).unwrap();
    database.execute_batch("create table if not exists orders (item text)").unwrap();
    database.execute("insert into orders values (?1)", [item]).unwrap();
}

pub fn orders(database: &Path) -> Vec<String> {
    let Ok(database) = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY) else { return vec![] };
    let Ok(mut rows) = database.prepare("select item from orders order by rowid") else { return vec![] };
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

pub struct Shop(pub Cluster);

impl Shop {
    pub fn new(number: u8) -> Shop {
        let mut cluster = Cluster::new(number);
        cluster.keeper("keeper", "");
        let data = cluster.path("web1");
        std::fs::create_dir_all(data.join("uploads")).unwrap();
        std::fs::write(data.join("uploads/one"), "one").unwrap();
        order(&data.join("shop.db"), "tea");
        cluster.node("web1", "", &datasets(&data));
        cluster.join("keeper", "web1", &["--active"]);
        Shop(cluster)
    }

    fn standby(&mut self, name: &str, more: &str) {
        let keeper = format!("{}:8025", self.0.address_of("keeper"));
        self.standby_by(name, more, &keeper);
    }

    /// A node that stands by, and reaches the pull-backup at this address.
    pub fn standby_by(&mut self, name: &str, more: &str, address: &str) {
        let (data, own) = (self.0.path("web1"), elsewhere(&self.0.path(name)));
        self.0.node(name, &format!("{own}\n{more}"), &datasets(&data));
        self.0.join("keeper", name, &["--standby", "--address", address]);
    }

    pub fn identity(&self) -> String {
        format!("identity = {:?}", self.0.path("identity"))
    }

    pub fn same(&self, name: &str) -> Result<(), String> {
        let (here, there) = (self.0.path("web1"), self.0.path(name));
        let (ours, theirs) = (orders(&here.join("shop.db")), orders(&there.join("shop.db")));
        let uploads = files(&here.join("uploads")) == files(&there.join("uploads"));
        if ours == theirs && uploads { Ok(()) } else { Err(format!("orders {theirs:?}, not {ours:?}; uploads the same: {uploads}")) }
    }
}

#[test]
fn what_is_exported_is_the_data_of_those_that_stand_by() {
    let mut shop = Shop::new(31);
    let identity = shop.identity();
    shop.standby("web2", &identity);
    shop.standby("web3", "");
    shop.0.start("web1", "exporter");
    shop.0.start("web2", "importer");
    shop.0.start("web3", "importer");
    for round in 0..3 {
        let data = shop.0.path("web1");
        order(&data.join("shop.db"), &format!("item {round}"));
        std::fs::write(data.join("uploads").join(format!("file{round}")), vec![round; 300_000]).unwrap();
        if round == 2 {
            std::fs::remove_file(data.join("uploads/one")).unwrap();
        }
        shop.0.run("web1", "exporter", &["run"]).ended(0);
        until(LIMIT, "the data on web2", || shop.same("web2"));
        let newest = snapshots(&shop.0.of_node("web1", "shop")).pop().unwrap();
        until(LIMIT, "the mirror of web3", || snapshots(&shop.0.of_node("web3", "shop")).contains(&newest).then_some(()));
    }
    assert!(!shop.0.path("web3/shop.db").exists(), "a node without identity imports nothing");
    let newest = snapshots(&shop.0.of_node("web1", "shop")).pop().unwrap();
    let archive = shop.0.of_keeper("keeper", "shop");
    until(LIMIT, "evidence of the import in the archive", || {
        let records = std::fs::read_dir(archive.join("records")).into_iter().flatten().flatten();
        let names: Vec<String> = records.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let (_, id) = newest.rsplit_once('-').unwrap();
        // One of each node: the last takes the place of those before.
        if matches!(&*names, [one] if one.starts_with(id)) { Ok(()) } else { Err(format!("{names:?}, newest is {newest}")) }
    });
    shop.0.stop();
}

#[test]
fn one_that_hangs_or_is_dead_delays_nobody() {
    let mut shop = Shop::new(34);
    let identity = shop.identity();
    for name in ["web2", "web3", "web4"] {
        shop.standby(name, &identity);
        shop.0.start(name, "importer");
    }
    shop.0.start("web1", "exporter");
    shop.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
    for name in ["web2", "web3", "web4"] {
        until(LIMIT, "the data everywhere", || shop.same(name));
    }
    shop.0.daemon("web3", "importer").freeze();
    shop.0.kill("web4", "importer");
    for round in 0..3 {
        order(&shop.0.path("web1/shop.db"), &format!("item {round}"));
        shop.0.run("web1", "exporter", &["run", "--wait"]).ended(0);
        // Well below any deadline of a connection.
        until(Duration::from_secs(8), "the data on web2", || shop.same("web2"));
    }
    shop.0.daemon("web3", "importer").thaw();
    shop.0.start("web4", "importer");
    for name in ["web3", "web4"] {
        until(LIMIT, "them to catch up", || shop.same(name));
    }
    shop.0.stop();
}

#[test]
fn once_is_enough_from_cron_and_again_finds_nothing_new() {
    let mut shop = Shop::new(32);
    let identity = shop.identity();
    shop.standby("web2", &identity);
    shop.0.start("web1", "exporter");
    shop.0.run("web1", "exporter", &["run"]).ended(0);
    let newest = snapshots(&shop.0.of_node("web1", "shop")).pop().unwrap();
    until(LIMIT, "the archive", || snapshots(&shop.0.of_keeper("keeper", "shop")).contains(&newest).then_some(()));
    shop.0.run("web2", "importer", &["sync"]).ended(0);
    assert_eq!(shop.same("web2"), Ok(()));
    let again = shop.0.run("web2", "importer", &["sync", "shop"]).ended(0);
    assert!(again.err.contains("nothing new"), "{}", again.err);
    let wrong = shop.0.run("web2", "importer", &["sync", "shopp"]).ended(2);
    assert!(wrong.err.contains("it has: shop"), "{}", wrong.err);
}

#[test]
fn an_import_that_cannot_be_finished_leaves_all_sources_as_they_were() {
    let mut shop = Shop::new(33);
    let identity = shop.identity();
    shop.standby("web2", &identity);
    shop.0.start("web1", "exporter");
    shop.0.run("web1", "exporter", &["run"]).ended(0);
    let newest = snapshots(&shop.0.of_node("web1", "shop")).pop().unwrap();
    until(LIMIT, "the archive", || snapshots(&shop.0.of_keeper("keeper", "shop")).contains(&newest).then_some(()));
    shop.0.run("web2", "importer", &["sync"]).ended(0);
    let before = (orders(&shop.0.path("web2/shop.db")), files(&shop.0.path("web2/uploads")));
    // The next snapshot's segments are damaged in the mirror before they are imported.
    order(&shop.0.path("web1/shop.db"), "coffee");
    std::fs::write(shop.0.path("web1/uploads/two"), tests::chance::noise(5, 2_000_000)).unwrap();
    shop.0.run("web1", "exporter", &["run"]).ended(0);
    let newest = snapshots(&shop.0.of_node("web1", "shop")).pop().unwrap();
    until(LIMIT, "the archive", || snapshots(&shop.0.of_keeper("keeper", "shop")).contains(&newest).then_some(()));
    let path = shop.0.path("web2-state/role");
    let role = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mirrored = shop.0.run("web2", "importer", &["sync"]).ended(0);
    assert!(mirrored.err.contains("no role"), "{}", mirrored.err);
    std::fs::write(&path, role).unwrap();
    let packs = std::fs::read_dir(shop.0.of_node("web2", "shop").join("packs")).unwrap();
    let newest = packs
        .map(Result::unwrap)
        .max_by_key(|entry| entry.metadata().unwrap().modified().unwrap())
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let failed = shop.0.run("web2", "importer", &["sync"]).ended(1);
    assert!(failed.err.contains("could not be written") && failed.err.contains("damaged"), "{}", failed.err);
    assert_eq!((orders(&shop.0.path("web2/shop.db")), files(&shop.0.path("web2/uploads"))), before);
}
