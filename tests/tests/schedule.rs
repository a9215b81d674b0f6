//! What the configuration accepts, the daemons can run: two crates of one floor judge the same words, each by itself.

use std::path::Path;
use std::time::Duration;

use console::node_file::{NodeFile, Schedule as Written};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use watch::deliver::{ByMail, TIME_DEFAULT};
use watch::{Schedule, mail};

fn node(dataset: &str, alert: &str) -> Result<NodeFile, console::Error> {
    let text = format!(
        "cluster = \"shop\"\nnode.name = \"web1\"\nseal.off = true\n{alert}\n[[dataset]]\nname = \"shop\"\n{dataset}\n\
         source = [{{ recipe = \"files\", paths = [\"/srv\"] }}]\n"
    );
    NodeFile::parse(&text, Path::new("node.toml"))
}

fn written(line: &str) -> Result<Written, console::Error> {
    node(line, "").map(|file| file.datasets[0].schedule.clone())
}

fn field() -> impl Strategy<Value = String> {
    let one = prop_oneof![4 => Just("*".to_owned()), 4 => (0..70_u8).prop_map(|n| n.to_string()), 1 => (0..9_u8, 0..9_u8).prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (0..9_u8).prop_map(|n| format!("*/{n}")), 1 => prop::sample::select(vec!["MON", "feb", "L", "1W", "5#2", "?", "1,2", ",", "-", "#", "9L"]).prop_map(str::to_owned)];
    one
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn cron_expressions_are_judged_alike(fields in prop::collection::vec(field(), 5)) {
        let text = fields.join(" ");
        let accepted = written(&format!("at = \"{text}\""));
        let runs = Schedule::at(&text, TimeZone::UTC);
        prop_assert_eq!(accepted.is_ok(), runs.is_ok(), "{}: {:?} but {:?}", text, accepted, runs.err());
    }
}

#[test]
fn intervals_are_judged_alike() {
    for seconds in [1, 4, 5, 6, 3_600, 86_399, 86_400, 86_401, 100_000] {
        let accepted = written(&format!("every = \"{seconds}s\"")).is_ok();
        assert_eq!(accepted, Schedule::every(Duration::from_secs(seconds)).is_ok(), "{seconds}");
    }
    let Written::Every(default) = written("").unwrap() else { panic!("an interval") };
    assert!(Schedule::every(default).is_ok());
}

#[test]
fn mail_addresses_are_judged_alike() {
    for address in ["ops@example.org", "root", "a+b@c.d", "a b", "a@b@c", "@", "a@", "-f@x", "a@b,c@d", "ä@b", "a'b@c", "x@y_z", "a!b"] {
        let accepted = node("", &format!("alert.mail = \"{address}\"")).is_ok();
        assert_eq!(accepted, ByMail::new(address, mail::SENDMAIL, TIME_DEFAULT).is_ok(), "{address}");
    }
}
