//! How long a large MariaDB database takes, beside the programs that others use: `cargo run --release -p recipes --example mysql_speed [ROWS]`. It starts its own servers.

#[path = "../tests/mysql/server.rs"]
mod server;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use recipes::data::{Body, Item, Sink, Stamp, Stop};
use recipes::{Data, Mysql, mysql};
use server::Server;

/// Writes an export into a folder, or nowhere.
struct Write {
    folder: Option<std::path::PathBuf>,
    bytes: u64,
}

impl Sink for Write {
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let path = self.folder.as_ref().map(|folder| folder.join(String::from_utf8(item.path).unwrap()));
        match (item.body, path) {
            (Body::Folder, Some(path)) => std::fs::create_dir_all(path).unwrap(),
            (Body::Stream(mut stream), Some(path)) => {
                self.bytes += std::io::copy(&mut stream, &mut std::fs::File::create(path).unwrap()).unwrap();
            }
            (Body::Stream(mut stream), None) => self.bytes += std::io::copy(&mut stream, &mut std::io::sink()).unwrap(),
            _ => {}
        }
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        panic!("{path:?}: {error}");
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timed<T>(what: &str, act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = act();
    println!("{what}: {:.2} s", begun.elapsed().as_secs_f32());
    (done, begun.elapsed())
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-r").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}

fn data(server: &Server, verify: mysql::Verify) -> Mysql {
    let mut settings = mysql::Settings::new(server.folder().join("scratch"));
    settings.address = mysql::Address::Socket(server.socket());
    settings.databases = vec!["bench".into()];
    settings.verify = verify;
    Mysql::new(settings).unwrap()
}

/// What is in place already is read, and not loaded.
fn again(to: &Server, tree: &std::path::Path) {
    for verify in [mysql::Verify::Counts, mysql::Verify::Full] {
        let target = data(to, verify);
        let mut staging = target.stage().unwrap();
        copy(tree, &staging.places()[0].folder);
        timed(&format!("the same again ({verify:?})"), || staging.prepare().unwrap());
        staging.commit(&mut |_| true).unwrap();
    }
}

fn main() {
    let rows: u64 = std::env::args().nth(1).map_or(3_000_000, |text| text.parse().expect("how many rows"));
    let flags = ["--innodb-buffer-pool-size=2G", "--innodb-log-file-size=512M", "--innodb-flush-log-at-trx-commit=2"];
    let (from, to) = (Server::start(&flags), Server::start(&flags));
    from.sql(&format!(
        "CREATE DATABASE bench; USE bench; CREATE TABLE bench.accounts (id INT PRIMARY KEY, branch INT, balance INT, filler CHAR(84) NOT NULL, KEY (branch))
         SELECT seq AS id, seq MOD 100 AS branch, seq * 7 AS balance, REPEAT(MD5(seq), 2) AS filler FROM seq_1_to_{rows};
         CREATE TABLE bench.history (n INT, at DATETIME, filler VARCHAR(90)) SELECT seq AS n, NOW() AS at, MD5(seq) AS filler FROM seq_1_to_{rows}"
    ));
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let dump = from
            .program("mariadb-dump")
            .args(["--single-transaction", "--quick", "bench"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        timed("mariadb-dump to a file", || {
            let mut output = dump;
            std::io::copy(&mut output.stdout.take().unwrap(), &mut std::fs::File::create(folder.path().join("dump.sql")).unwrap()).unwrap();
            assert!(output.wait().unwrap().success());
        });
        let socket = from.socket();
        let mydumper = || {
            let mut command = Command::new("mydumper");
            command.args(["--threads=2", "--rows=200000", "--user=root", "--database=bench"]);
            let output = command
                .arg("--socket")
                .arg(&socket)
                .arg("--outputdir")
                .arg(folder.path().join("mydumper"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        timed("mydumper -t 2", mydumper);
        std::fs::remove_dir_all(folder.path().join("mydumper")).unwrap();
        let mut sink = Write { folder: None, bytes: 0 };
        timed("export, read only", || data(&from, mysql::Verify::Full).export(&mut sink).unwrap());
        let mut sink = Write { folder: Some(folder.path().join("tree")), bytes: 0 };
        timed("export to files", || data(&from, mysql::Verify::Full).export(&mut sink).unwrap());
        println!("{} MB of rows", sink.bytes >> 20);
    }
    let sql = folder.path().join("dump.sql");
    to.sql("CREATE DATABASE bench");
    timed("mariadb < dump", || {
        let ended = to.program("mariadb").arg("bench").stdin(std::fs::File::open(sql).unwrap()).status().unwrap();
        assert!(ended.success());
    });
    to.sql("DROP DATABASE bench");
    for verify in [mysql::Verify::Counts, mysql::Verify::Full] {
        let target = data(&to, verify);
        let mut staging = target.stage().unwrap();
        copy(&folder.path().join("tree"), &staging.places()[0].folder);
        timed(&format!("load and verify ({verify:?})"), || staging.prepare().unwrap());
        timed("switch", || staging.commit(&mut |_| true).unwrap());
        if verify == mysql::Verify::Counts {
            // As if nothing had been imported: what did not change would not be loaded again.
            to.sql("DROP DATABASE bench; DROP DATABASE IF EXISTS bench__old");
            std::fs::remove_dir_all(to.folder().join("scratch")).unwrap();
        }
    }
    again(&to, &folder.path().join("tree"));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}
