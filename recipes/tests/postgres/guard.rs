//! The guard holds before anybody can connect: it stands in the server's own file.

use super::all::full;
use super::server::Server;
use recipes::data::Data;
use recipes::data::conform::{Collect, import};
use recipes::{Postgres, postgres};

#[test]
fn a_server_that_is_started_lets_nobody_in_but_us_and_the_reader() {
    let (from, to) = (full(), Server::start());
    let hba = to.data().join("pg_hba.conf");
    let original = std::fs::read_to_string(&hba).unwrap();
    let settings = postgres::Settings {
        databases: vec!["shop".into()],
        reader: Some("reports".into()),
        hba_file: Some(hba.clone()),
        ..to.settings()
    };
    let recipe = Postgres::new(settings).unwrap();
    let served = recipe.served().expect("it is a server");
    import(&recipe, &Collect::of(&from.recipe()).taken);
    to.sql("postgres", "CREATE DATABASE other");
    let enters = |role: &str, database: &str| to.try_sql_as(role, database, "SELECT 1");
    served.lift().expect("it is lifted");
    assert!(enters("app", "shop").is_ok(), "the node is active");
    // Its power fails, and it comes back when others have taken over.
    to.kill();
    let found = served.guard().expect("its file is there");
    assert!(found[0].what.contains("does not run"), "{found:?}");
    to.up();
    let refused = enters("app", "shop").unwrap_err();
    assert!(refused.contains("pg_hba.conf rejects"), "{refused}");
    assert!(enters("reports", "shop").is_ok() && enters("postgres", "shop").is_ok());
    assert!(enters("app", "other").is_ok(), "what is not of this source is not guarded");
    let guarded = std::fs::read_to_string(&hba).unwrap();
    served.guard().expect("a second time does no more");
    assert_eq!(std::fs::read_to_string(&hba).unwrap(), guarded);
    assert!(guarded.ends_with(&original), "what was there stays below");
    served.lift().expect("it is lifted");
    assert_eq!(std::fs::read_to_string(&hba).unwrap(), original);
    assert!(enters("app", "shop").is_ok());
    // Who was refused before is refused by the block as well.
    std::fs::write(&hba, format!("local all reports reject\n{original}")).unwrap();
    served.guard().expect("it is guarded");
    assert!(enters("reports", "shop").is_err() && enters("postgres", "shop").is_ok());
    served.lift().expect("it is lifted");
    // Without the file's name, a server that does not run cannot be guarded, and that is said.
    to.kill();
    let error = to.recipe().served().expect("it is a server").guard().unwrap_err().to_string();
    assert!(error.contains("as `hba_file` in the node file"), "{error}");
    to.up();
    // A file that would lock us out is not written.
    std::fs::write(&hba, "local all app trust\n").unwrap();
    let error = served.guard().unwrap_err().to_string();
    assert!(error.contains("no line of it lets the role postgres in"), "{error}");
    assert_eq!(std::fs::read_to_string(&hba).unwrap(), "local all app trust\n");
}
