//! What exports of the `sqlite` recipe send, whatever others do to the database meanwhile.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use recipes::data::conform::{Collect, Kind};
use recipes::data::{Body, Item, Level, Sink, Stamp};
use recipes::{Data, Error, Sqlite, Stop, sqlite};
use rusqlite::Connection;

struct Stand {
    folder: tempfile::TempDir,
}

impl Stand {
    fn new() -> Stand {
        Stand { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    fn settings(&self) -> sqlite::Settings {
        sqlite::Settings::new(self.path(), self.folder.path().join("state/scratch"))
    }

    fn recipe(&self) -> Sqlite {
        Sqlite::new(self.settings()).unwrap()
    }

    fn connect(&self) -> Connection {
        connect(&self.path())
    }

    /// Two accounts of rows in many pages whose sums together stay 0.
    fn accounts(&self, mode: &str) -> Connection {
        let connection = self.connect();
        let batch = format!(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = {mode};
             CREATE TABLE account (id INTEGER PRIMARY KEY, sum INTEGER, filler TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO account SELECT i, 0, hex(zeroblob(500)) FROM n;"
        );
        connection.execute_batch(&batch).unwrap();
        connection
    }

    /// The copy of an export.
    fn export(&self) -> Vec<u8> {
        content(&Collect::of(&self.recipe()))
    }
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    // No test here loses power; writers that wait for the disk would only write less.
    connection.pragma_update(None, "synchronous", "off").unwrap();
    connection
}

fn content(sink: &Collect) -> Vec<u8> {
    let taken = sink.get(sqlite::NAME).expect("the database is sent");
    let Kind::File(content) = &taken.kind else { panic!("{:?}", taken.kind) };
    content.clone()
}

/// Whole, and its sums even out.
fn is_consistent(content: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    fs::write(&path, content).unwrap();
    let copy = connect(&path);
    let said: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
    let sum: i64 = copy.query_row("SELECT sum(sum) FROM account", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 0);
}

/// Writers move sums to and fro while exports run, until each did so often enough.
fn hammered(mode: &str, exports: usize) {
    let stand = Stand::new();
    drop(stand.accounts(mode));
    let done = AtomicBool::new(false);
    let moved = std::thread::scope(|scope| {
        let writers = [3, 7].map(|step| {
            let (connection, done) = (stand.connect(), &done);
            scope.spawn(move || {
                let mut moved = 0;
                while !done.load(Ordering::Relaxed) || moved < 10 {
                    let (from, to) = (1 + moved * step % 1000, 1 + (moved * step + 500) % 1000);
                    let batch = format!(
                        "BEGIN IMMEDIATE; UPDATE account SET sum = sum - {step} WHERE id = {from};
                         UPDATE account SET sum = sum + {step} WHERE id = {to}; COMMIT;"
                    );
                    connection.execute_batch(&batch).unwrap();
                    moved += 1;
                }
                moved
            })
        });
        let copies: Vec<_> = (0..exports).map(|_| std::panic::catch_unwind(|| stand.export())).collect();
        done.store(true, Ordering::Relaxed);
        let mut copies: Vec<Vec<u8>> = copies.into_iter().map(|copy| copy.expect("the export succeeds")).collect();
        copies.iter().for_each(|copy| is_consistent(copy));
        copies.dedup();
        assert!(copies.len() > 1, "it changed meanwhile");
        writers.into_iter().map(|writer| writer.join().unwrap()).sum::<i64>()
    });
    assert!(moved >= 20);
}

#[test]
fn each_copy_is_one_state_while_others_write_in_wal_mode() {
    hammered("wal", 25);
}

#[test]
fn each_copy_is_one_state_while_others_write_with_a_journal() {
    hammered("delete", 10);
}

#[test]
fn an_unchanged_database_gives_the_same_bytes_even_when_its_wal_is_folded_in() {
    let stand = Stand::new();
    let connection = stand.accounts("wal");
    let first = stand.export();
    assert_eq!(first.len() % 4096, 0);
    assert!(fs::metadata(stand.folder.path().join("app.db-wal")).unwrap().len() > 0, "the WAL of others is left alone");
    assert_eq!(stand.export(), first);
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert_eq!(stand.export(), first, "the same content, in other files");
    drop(connection);
    assert_eq!(stand.export(), first);
    let left: Vec<_> = fs::read_dir(stand.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("-wal")), "{left:?}");
    stand.connect().execute_batch("UPDATE account SET sum = 1 WHERE id = 500").unwrap();
    let changed = stand.export();
    let pages = changed.chunks(4096).zip(first.chunks(4096)).filter(|(a, b)| a != b).count();
    assert!(changed.len() == first.len() && (1..=2).contains(&pages), "{pages} pages differ");
}

/// Opens what it is sent only after the export has returned, and says nothing is unchanged.
#[derive(Default)]
struct Later {
    items: Vec<Item>,
    asked: Vec<Stamp>,
}

impl Sink for Later {
    fn unchanged(&mut self, _: &[u8], stamp: &Stamp) -> Result<bool, Stop> {
        self.asked.push(*stamp);
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        self.items.push(item);
        Ok(())
    }

    fn trouble(&mut self, _: &[u8], error: std::io::Error) {
        panic!("{error}");
    }
}

impl Later {
    /// The stamp that was asked about, and the one to remember.
    fn of(recipe: &Sqlite) -> (Stamp, Stamp) {
        let mut later = Later::default();
        recipe.export(&mut later).unwrap();
        let item = later.items.pop().unwrap();
        let Body::File { open, len } = item.body else { panic!("it is a file") };
        let opened = open.open().unwrap();
        assert_eq!((opened.len, opened.stamp.size, opened.contents.stamp().unwrap()), (len, len, opened.stamp));
        let mut all = vec![0; len as usize + 1];
        let mut at = 0;
        while at < len as usize {
            at += opened.contents.read_at(&mut all[at..], at as u64).unwrap();
        }
        is_consistent(&all[..at]);
        (later.asked[0], opened.stamp)
    }
}

/// Looks until a look proves something, which is when the kernel's clock went on for long enough.
fn settled(stand: &Stand) -> Stamp {
    for _ in 0..100_000 {
        let (asked, kept) = Later::of(&stand.recipe());
        if asked == kept {
            return asked;
        }
        assert_ne!(asked.ctime, kept.ctime, "a look that proves nothing leaves a stamp that no look gives");
    }
    panic!("no look ever proves anything");
}

#[test]
fn a_stamp_covers_the_file_and_its_wal_and_is_not_kept_before_it_proves_anything() {
    let stand = Stand::new();
    let connection = stand.accounts("wal");
    let (young, kept) = Later::of(&stand.recipe());
    assert_ne!(young, kept, "a change in this very moment might not show");
    let settled = settled(&stand);
    assert_eq!(settled, young, "nothing changed");
    connection.execute_batch("UPDATE account SET filler = 'another' WHERE id = 1").unwrap();
    let main = fs::metadata(stand.path()).unwrap();
    let (written, _) = Later::of(&stand.recipe());
    assert_ne!(written, settled, "a commit that is only in the WAL shows");
    assert_eq!(fs::metadata(stand.path()).unwrap().modified().unwrap(), main.modified().unwrap());
    drop(connection);
    let (folded, _) = Later::of(&stand.recipe());
    assert_ne!(folded, written);
}

#[test]
fn a_database_that_others_keep_locked_is_an_error_after_a_bounded_wait() {
    let stand = Stand::new();
    let connection = stand.accounts("delete");
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let patience = Duration::from_millis(50);
    let recipe = Sqlite::new(sqlite::Settings { patience, ..stand.settings() }).unwrap();
    let mut sink = Collect::default();
    let refused = recipe.export(&mut sink).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    assert_eq!(refused.to_string(), format!("cannot read {}: others kept it locked for 0.05 s", stand.path().display()));
    assert!(sink.taken.is_empty());
    connection.execute_batch("ROLLBACK").unwrap();
    is_consistent(&stand.export());
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let stand = Stand::new();
    fs::write(stand.path(), "SQLite format 4, which is to come".repeat(1000)).unwrap();
    let refused = stand.recipe().export(&mut Collect::default()).unwrap_err();
    assert!(matches!(refused, Error::NotSqlite { .. }), "{refused:?}");
    let found = stand.recipe().check().unwrap();
    assert_eq!(found[0].level, Level::Fault);
    assert!(found[0].what.contains("no SQLite database, or an encrypted one"), "{}", found[0].what);
    fs::remove_file(stand.path()).unwrap();
    assert_eq!(stand.recipe().check().unwrap()[0].level, Level::Fault);
    assert!(matches!(stand.recipe().export(&mut Collect::default()), Err(Error::Missing { .. })));
    assert!(!stand.path().exists(), "nothing is made where nothing was");
    fs::create_dir(stand.path()).unwrap();
    assert!(stand.recipe().export(&mut Collect::default()).is_err());
    let relative = sqlite::Settings::new("app.db".into(), "/scratch".into());
    assert!(matches!(Sqlite::new(relative), Err(Error::Settings { .. })));
}

#[test]
fn a_check_tells_the_journal_mode_when_writers_would_wait() {
    let stand = Stand::new();
    let connection = stand.accounts("truncate");
    let found = stand.recipe().check().unwrap();
    assert_eq!((found.len(), found[0].level), (1, Level::Note), "{found:?}");
    assert!(found[0].what.ends_with("has journal_mode delete"), "{}", found[0].what);
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).unwrap();
    assert_eq!((mode.as_str(), stand.recipe().check().unwrap()), ("wal", vec![]));
}

/// What a killed application leaves is what its next start would make of it.
#[test]
fn a_journal_that_was_left_is_rolled_back() {
    let stand = Stand::new();
    drop(stand.accounts("delete"));
    let before = stand.export();
    let connection = stand.connect();
    // Spilled to the file before its commit, which never comes.
    connection
        .execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE account SET sum = 5")
        .unwrap();
    let (main, journal) = (stand.path(), stand.folder.path().join("app.db-journal"));
    let crashed = Stand::new();
    fs::copy(&main, crashed.path()).unwrap();
    fs::copy(&journal, crashed.folder.path().join("app.db-journal")).unwrap();
    connection.execute_batch("ROLLBACK").unwrap();
    assert!(fs::metadata(crashed.folder.path().join("app.db-journal")).unwrap().len() > 512, "it is a hot journal");
    assert_eq!(crashed.export(), before);
}

#[test]
fn two_exports_of_one_source_do_not_meet_in_its_scratch_folder() {
    struct Second<'a>(&'a Stand, bool);
    impl Sink for Second<'_> {
        fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
            let refused = self.0.recipe().export(&mut Collect::default());
            self.1 = matches!(refused, Err(Error::StillExporting { .. }));
            Ok(true)
        }
        fn item(&mut self, _: Item) -> Result<(), Stop> {
            Ok(())
        }
        fn trouble(&mut self, _: &[u8], _: std::io::Error) {}
    }
    let stand = Stand::new();
    drop(stand.accounts("wal"));
    let mut second = Second(&stand, false);
    stand.recipe().export(&mut second).unwrap();
    assert!(second.1);
    is_consistent(&stand.export());
}

#[test]
fn nothing_of_a_copy_is_left_in_the_scratch_folder() {
    let stand = Stand::new();
    drop(stand.accounts("wal"));
    let scratch = stand.folder.path().join("state/scratch");
    fs::create_dir_all(&scratch).unwrap();
    fs::write(scratch.join("copy"), "of an export that was killed").unwrap();
    fs::File::create(scratch.join("copy")).unwrap().write_all_at(b"torn", 0).unwrap();
    is_consistent(&stand.export());
    let mut left: Vec<_> = fs::read_dir(scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["export.lock", "now"]);
}
