//! Accounts come with their rights in the databases, follow the source, and never have more.

use super::import::data;
use super::server::Server;
use recipes::data::conform::{Collect, write_tree};
use recipes::data::{Data, Finding};

fn import(from: &Server, to: &Server) -> Vec<Finding> {
    let (taken, target) = (Collect::of(&data(from, &["my_app"])).taken, data(to, &["my_app"]));
    let staging = target.stage().unwrap();
    staging.places().iter().for_each(|place| write_tree(&taken, place));
    staging.commit(&mut |_| false).unwrap()
}

const SOURCE: &str = "CREATE DATABASE my_app; CREATE TABLE my_app.t (a INT, b INT); CREATE DATABASE other; \
    CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT SELECT, INSERT ON my_app.* TO app@'%'; GRANT SELECT (a) ON my_app.t TO app@'%'; GRANT SELECT ON other.* TO app@'%'; \
    CREATE USER 'bo`ss'@localhost IDENTIFIED BY 'x'; GRANT ALL ON *.* TO 'bo`ss'@localhost WITH GRANT OPTION; GRANT ALL ON my_app.* TO 'bo`ss'@localhost; \
    CREATE ROLE team; GRANT UPDATE ON my_app.* TO team; CREATE USER member@'%'; GRANT team TO member@'%'; SET DEFAULT ROLE team FOR member@'%'; \
    CREATE USER stranger@'%'; GRANT SELECT ON other.* TO stranger@'%'; CREATE USER twin@'%' IDENTIFIED BY 'theirs'; GRANT SELECT ON my_app.* TO twin@'%'";

const ACCOUNTS: &str = "SELECT User, Host FROM mysql.user WHERE User IN ('app', 'bo`ss', 'team', 'member', 'stranger', 'twin') ORDER BY 1";

fn logs_in(server: &Server, user: &str, password: &str, sql: &str) -> bool {
    let mut client = std::process::Command::new("mariadb");
    client.args(["--no-defaults", &format!("--user={user}"), &format!("--password={password}"), "-e", sql]);
    client.arg(format!("--socket={}", server.socket().display()));
    client.output().unwrap().status.success()
}

#[test]
fn accounts_come_with_their_rights_here_and_no_others() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.sql(SOURCE);
    to.sql("CREATE USER twin@'%' IDENTIFIED BY 'ours'");
    let found = import(&from, &to);
    let told = |part: &str| found.iter().any(|finding| finding.what.contains(part));
    assert!(told("`bo``ss`@`localhost` has rights elsewhere") && found.len() == 2, "{found:?}");
    assert_eq!(to.sql(ACCOUNTS), "app\t%\nbo`ss\tlocalhost\nmember\t%\nteam\t\ntwin\t%\n");
    let grants = |server: &Server, of: &str| server.sql(&format!("SHOW GRANTS FOR {of}"));
    let wanted = "SELECT, INSERT ON `my\\\\_app`.* TO `app`@`%`";
    assert!(grants(&to, "app@'%'").contains(wanted) && grants(&to, "app@'%'").contains("(`a`)"), "{}", grants(&to, "app@'%'"));
    assert!(!grants(&to, "app@'%'").contains("other"));
    assert!(
        !grants(&to, "'bo`ss'@localhost").contains("ALL PRIVILEGES ON *.*") && !grants(&to, "'bo`ss'@localhost").contains("GRANT OPTION")
    );
    assert_eq!(grants(&to, "member@'%'"), grants(&from, "member@'%'"));
    assert!(logs_in(&to, "app", "secret", "SELECT * FROM my_app.t") && logs_in(&to, "twin", "ours", "SELECT 1"));
    assert!(!logs_in(&to, "twin", "theirs", "SELECT 1"), "one that was here before is left alone");
    // They follow the source.
    from.sql(
        "ALTER USER app@'%' IDENTIFIED BY 'changed'; REVOKE INSERT ON my_app.* FROM app@'%'; DROP USER 'bo`ss'@localhost; DROP ROLE team",
    );
    import(&from, &to);
    assert!(logs_in(&to, "app", "changed", "SELECT * FROM my_app.t") && !logs_in(&to, "app", "secret", "SELECT 1"));
    assert!(!grants(&to, "app@'%'").contains("INSERT"));
    assert_eq!(to.sql(ACCOUNTS), "app\t%\ntwin\t%\n", "who has nothing here any more is gone");
    // Writing is for nobody while the node stands by.
    to.sql("SET GLOBAL read_only = 1");
    assert!(!logs_in(&to, "twin", "ours", "CREATE TABLE my_app.mine (x INT)"));
}
