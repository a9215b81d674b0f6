//! What imports of the `sqlite` recipe do to a live database, its readers, and what lies beside it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use recipes::data::conform::{Collect, Kind, Taken, import, write_tree};
use recipes::data::{Finding, Level};
use recipes::{Data, Error, Sqlite, sqlite};
use rusqlite::Connection;

struct Stand {
    folder: tempfile::TempDir,
}

impl Stand {
    fn new() -> Stand {
        Stand { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self) -> Sqlite {
        let settings = sqlite::Settings::new(self.at("app.db"), self.at("scratch"));
        Sqlite::new(sqlite::Settings { patience: Duration::from_millis(50), ..settings }).unwrap()
    }

    fn connect(&self) -> Connection {
        Connection::open(self.at("app.db")).unwrap()
    }
}

fn version(connection: &Connection) -> String {
    connection
        .query_row("SELECT group_concat(DISTINCT version) FROM item", [], |row| row.get(0))
        .unwrap()
}

fn fill(connection: &Connection, pragmas: &str, version: &str) {
    let batch = format!(
        "{pragmas} DROP TABLE IF EXISTS item; CREATE TABLE item (id INTEGER PRIMARY KEY, version TEXT, filler TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO item SELECT i, '{version}', hex(zeroblob(300)) FROM n;"
    );
    connection.execute_batch(&batch).unwrap();
}

const WAL: &str = "PRAGMA journal_mode = wal;";

/// What a source with such a database sends.
fn sent(pragmas: &str, version: &str) -> Vec<Taken> {
    let source = Stand::new();
    fill(&source.connect(), pragmas, version);
    Collect::of(&source.recipe()).taken
}

/// All steps, with what the import says.
fn commit(data: &Sqlite, taken: &[Taken]) -> Result<Vec<Finding>, Error> {
    let staging = data.stage().unwrap();
    write_tree(taken, &staging.places()[0]);
    staging.commit(&mut |_| true)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn open_readers_keep_what_they_see_and_then_see_the_new_data() {
    let stand = Stand::new();
    fill(&stand.connect(), WAL, "old");
    let (within, beside) = (stand.connect(), stand.connect());
    within.execute_batch("BEGIN").unwrap();
    assert_eq!((version(&within), version(&beside)), ("old".into(), "old".into()));
    let inode = fs::metadata(stand.at("app.db")).unwrap().ino();
    let found = commit(&stand.recipe(), &sent(WAL, "new")).unwrap();
    assert_eq!(version(&within), "old", "its transaction goes on");
    assert_eq!(version(&beside), "new");
    within.execute_batch("COMMIT").unwrap();
    assert_eq!(version(&within), "new");
    within.execute_batch("UPDATE item SET version = 'written'").unwrap();
    assert_eq!(version(&beside), "written");
    assert_eq!(fs::metadata(stand.at("app.db")).unwrap().ino(), inode, "the file is the same");
    assert!(
        found
            .iter()
            .any(|finding| finding.level == Level::Note && finding.what.contains("pages of 4096 bytes")),
        "{found:?}"
    );
}

#[test]
fn a_reader_that_blocks_a_journaled_database_fails_the_import_and_nothing_else() {
    let stand = Stand::new();
    fill(&stand.connect(), "", "old");
    let reader = stand.connect();
    reader.execute_batch("BEGIN; SELECT count(*) FROM item;").unwrap();
    let arriving = sent("", "new");
    let mut rows = reader.prepare("SELECT version FROM item").unwrap();
    let mut rows = rows.query([]).unwrap();
    rows.next().unwrap().unwrap();
    let refused = commit(&stand.recipe(), &arriving).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    drop(rows);
    assert_eq!(version(&reader), "old");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(names(stand.folder.path()), ["app.db", "scratch"], "what did not happen leaves nothing");
    commit(&stand.recipe(), &arriving).unwrap();
    assert_eq!(version(&reader), "new");
}

#[test]
fn a_missing_target_is_made_with_owner_and_mode_of_what_arrived() {
    let stand = Stand::new();
    let settings = sqlite::Settings::new(stand.at("not/yet/there.db"), stand.at("scratch"));
    let data = Sqlite::new(settings).unwrap();
    let mut arriving = sent(WAL, "new");
    arriving.iter_mut().find(|taken| taken.path == sqlite::NAME).unwrap().attributes.mode = 0o640;
    import(&data, &arriving);
    assert_eq!(version(&Connection::open(stand.at("not/yet/there.db")).unwrap()), "new");
    assert_eq!(fs::metadata(stand.at("not/yet/there.db")).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(matches!(data.rollback(), Err(Error::TakeBack { .. })), "there was nothing before");
    assert_eq!(names(&stand.at("not/yet")), ["there.db"]);
}

/// A WAL that belongs to another file of the same name: SQLite would fold it into whatever file stands there.
#[test]
fn a_stale_wal_or_journal_spoils_nothing() {
    for pragmas in [WAL, ""] {
        let stand = Stand::new();
        let connection = stand.connect();
        fill(&connection, WAL, "stale");
        let wal = fs::read(stand.at("app.db-wal")).unwrap();
        assert!(wal.len() > 100_000);
        drop(connection);
        fs::remove_file(stand.at("app.db")).unwrap();
        fs::write(stand.at("app.db-wal"), &wal).unwrap();
        fs::write(stand.at("app.db-journal"), &wal).unwrap();
        import(&stand.recipe(), &sent(pragmas, "new"));
        let connection = stand.connect();
        assert_eq!(version(&connection), "new");
        let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok");
    }
}

/// The state of a killed application: its WAL is the newest data, and is what a rollback goes back to.
#[test]
fn what_only_the_wal_of_a_killed_application_has_is_kept() {
    let killed = Stand::new();
    let connection = killed.connect();
    fill(&connection, WAL, "main");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.execute_batch("UPDATE item SET version = 'only in the wal'").unwrap();
    let stand = Stand::new();
    for name in ["app.db", "app.db-wal"] {
        fs::copy(killed.at(name), stand.at(name)).unwrap();
    }
    import(&stand.recipe(), &sent(WAL, "new"));
    assert_eq!(version(&stand.connect()), "new");
    stand.recipe().rollback().unwrap();
    assert_eq!(version(&stand.connect()), "only in the wal");
    stand.recipe().rollback().unwrap();
    assert_eq!(version(&stand.connect()), "new", "taken back twice, it is as it was");
}

#[test]
fn pages_of_another_size_and_other_journal_modes_arrive() {
    let modes = [WAL, "", "PRAGMA page_size = 1024;", "PRAGMA page_size = 16384; PRAGMA journal_mode = wal;"];
    for before in modes {
        for after in modes {
            let stand = Stand::new();
            fill(&stand.connect(), before, "old");
            let reader = stand.connect();
            assert_eq!(version(&reader), "old");
            let arriving = sent(after, "new");
            let outcome = commit(&stand.recipe(), &arriving);
            if let Err(error) = &outcome {
                assert!(before.contains("wal") && matches!(error, Error::InUse { .. }), "{before:?} {after:?} {error:?}");
                assert_eq!(version(&reader), "old");
            }
            drop(reader);
            commit(&stand.recipe(), &arriving).unwrap_or_else(|error| panic!("{before:?} {after:?} {error:?}"));
            assert_eq!(version(&stand.connect()), "new", "{before:?} {after:?}");
            let Kind::File(there) = Collect::of(&stand.recipe()).get(sqlite::NAME).unwrap().kind.clone() else { panic!() };
            let Kind::File(wanted) = arriving.iter().find(|taken| taken.path == sqlite::NAME).unwrap().kind.clone() else { panic!() };
            assert_eq!(there.len(), wanted.len(), "{before:?} {after:?}");
        }
    }
}

fn spoiled(spoil: impl Fn(&mut Vec<u8>)) -> Vec<Taken> {
    let mut arriving = sent(WAL, "new");
    let taken = arriving.iter_mut().find(|taken| taken.path == sqlite::NAME).unwrap();
    let Kind::File(content) = &mut taken.kind else { panic!() };
    spoil(content);
    arriving
}

#[test]
fn what_arrives_damaged_never_comes_near_the_live_database() {
    let stand = Stand::new();
    fill(&stand.connect(), WAL, "old");
    let beside = |ending: &str| {
        let mut arriving = sent(WAL, "new");
        let mut wal = arriving.iter().find(|taken| taken.path == sqlite::NAME).unwrap().clone();
        wal.path.extend_from_slice(ending.as_bytes());
        arriving.push(wal);
        arriving
    };
    let cases = [
        ("is damaged", spoiled(|content| content[4096 * 5..4096 * 9].fill(0xa5))),
        ("", spoiled(|content| content.truncate(4096 * 7))),
        ("is no SQLite database, or an encrypted one", spoiled(|content| content[..100].fill(7))),
        ("holds no database.sqlite", sent(WAL, "new")[..1].to_vec()),
        ("has a -wal beside the database", beside("-wal")),
        ("has a -journal beside the database", beside("-journal")),
    ];
    for (reason, arriving) in cases {
        let refused = commit(&stand.recipe(), &arriving).unwrap_err();
        assert!(matches!(refused, Error::Arrived { .. }), "{refused:?}");
        assert!(refused.to_string().contains(reason), "{refused}");
        assert_eq!(version(&stand.connect()), "old");
        assert_eq!(names(stand.folder.path()), ["app.db", "scratch"]);
    }
}

#[test]
fn rows_that_point_nowhere_are_told_and_imported() {
    let source = Stand::new();
    fill(&source.connect(), WAL, "new");
    source
        .connect()
        .execute_batch(
            "PRAGMA foreign_keys = off; CREATE TABLE part (of INTEGER REFERENCES item(id)); INSERT INTO part VALUES (1), (7000);",
        )
        .unwrap();
    let stand = Stand::new();
    let found = commit(&stand.recipe(), &Collect::of(&source.recipe()).taken).unwrap();
    let told: Vec<_> = found.iter().filter(|finding| finding.level == Level::Warning).collect();
    assert!(told.len() == 1 && told[0].what.contains("1 rows point at rows that are not there: part → item"), "{found:?}");
    assert_eq!(version(&stand.connect()), "new");
}

#[test]
fn a_live_file_that_is_no_database_is_refused_with_a_way_out() {
    let stand = Stand::new();
    fs::write(stand.at("app.db"), "not a database at all".repeat(100)).unwrap();
    let refused = commit(&stand.recipe(), &sent(WAL, "new")).unwrap_err();
    assert!(matches!(refused, Error::NotSqlite { .. }), "{refused:?}");
    assert!(refused.hint().unwrap().contains("move it away"));
    assert_eq!(fs::read(stand.at("app.db")).unwrap().len(), 2100);
    fs::remove_file(stand.at("app.db")).unwrap();
    commit(&stand.recipe(), &sent(WAL, "new")).unwrap();
}

#[test]
fn one_import_at_a_time() {
    let stand = Stand::new();
    let staging = stand.recipe().stage().unwrap();
    assert!(matches!(stand.recipe().stage().err(), Some(Error::Busy { .. })));
    assert!(matches!(stand.recipe().rollback().err(), Some(Error::Busy { .. })));
    drop(staging);
    drop(stand.recipe().stage().unwrap());
    assert_eq!(names(stand.folder.path()), ["scratch"]);
}

#[test]
fn the_live_database_answers_and_is_not_changed() {
    let stand = Stand::new();
    let writer = stand.connect();
    fill(&writer, WAL, "v1");
    let ask = |question| stand.recipe().ask(None, question).unwrap();
    ask("SELECT count(*) = 500 FROM item").unwrap();
    writer.execute("DELETE FROM item WHERE id = 1", []).unwrap();
    let error = ask("SELECT count(*) = 500 FROM item").unwrap_err().to_string();
    assert!(error.contains("was answered by a row that begins with \"0\""), "{error}");
    assert!(ask("DELETE FROM item RETURNING 1").is_err(), "a question changes nothing");
    ask("SELECT count(*) = 499 FROM item").unwrap();
}
