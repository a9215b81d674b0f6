//! Jobs of pg_cron do not come to life on a node that stands by, and are there when it is active.

use super::server::Server;
use recipes::data::Data;
use recipes::data::conform::{Collect, import};

const OPTIONS: &str = "-c shared_preload_libraries=pg_cron -c cron.database_name=shop -c cron.use_background_workers=on";
const JOBS: &str = "SELECT jobid, schedule, command, database, username, active, jobname FROM cron.job ORDER BY 1";
const EXTENSION: &str = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_cron'";

#[test]
fn jobs_of_pg_cron_are_made_when_the_guard_is_lifted_and_not_before() {
    let (from, to) = (Server::with(OPTIONS), Server::with(OPTIONS));
    from.sql("postgres", "CREATE ROLE app LOGIN");
    from.sql("postgres", "CREATE DATABASE shop");
    let content = "CREATE TABLE log (at timestamptz); CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO app; COMMENT ON EXTENSION pg_cron IS 'each night'; \
                   SELECT cron.schedule('nightly', '3 3 * * *', 'DELETE FROM log'), cron.schedule('often', '* * * * *', 'INSERT INTO log VALUES (now())')";
    from.sql("shop", content);
    let recipe = to.recipe();
    for round in 0..3 {
        from.sql("shop", "SELECT cron.schedule('weekly', '3 3 * * 7', 'SELECT 7'); INSERT INTO log VALUES ('2026-01-01')");
        import(&recipe, &Collect::of(&from.recipe()).taken);
        assert_eq!(to.sql("shop", EXTENSION), "0\n", "round {round}");
        let rows = "SELECT count(*) FROM log WHERE at = '2026-01-01'";
        assert_eq!(to.sql("shop", rows), from.sql("shop", rows));
    }
    let served = recipe.served().expect("it is a server");
    let found = served.lift().expect("it is lifted");
    assert!(!found.iter().any(|finding| finding.what.contains("pg_cron")), "{found:?}");
    assert_eq!(to.sql("shop", JOBS), from.sql("shop", JOBS));
    let next = "SELECT last_value, is_called FROM cron.jobid_seq";
    assert_eq!(to.sql("shop", next), from.sql("shop", next));
    assert_eq!(to.sql("shop", "SELECT has_schema_privilege('app', 'cron', 'USAGE')"), "t\n");
    served.lift().expect("a second time does no more");
    assert_eq!(to.sql("shop", JOBS), from.sql("shop", JOBS));
    // What is active is exported like any other.
    assert!(Collect::of(&recipe).troubles.is_empty());
}
