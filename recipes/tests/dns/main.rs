//! The act `dns` against real servers: BIND with a secondary, Knot, and a service of dyndns2; each test with its own, in a network of its own.

#[path = "../act/apart.rs"]
mod apart;
mod bind;
mod files;
#[path = "../act/killed.rs"]
mod killed;
mod knot;
mod lies;
mod odd;
mod services;
mod updates;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use recipes::act::dns::{Clock, Means, Settings};

const LIMIT: Duration = Duration::from_secs(20);
pub const HOME: &str = "192.0.2.1";
pub const OTHER: &str = "198.51.100.7";

#[expect(clippy::disallowed_methods, reason = "a test's bound, and signatures have a time")]
fn times() -> (Instant, u64) {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    (Instant::now(), wall.as_secs())
}

pub fn moment(time: Duration) {
    std::thread::park_timeout(time);
}

/// Looks until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = times().0;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(times().0 - begin < LIMIT, "waited for {what}");
        moment(Duration::from_millis(10));
    }
}

/// A clock that goes wrong by so many seconds.
pub fn clock(off: i64) -> Clock {
    Arc::new(move || times().1.saturating_add_signed(off))
}

/// example.org, whose home is web0, and which may fail over to web1.
pub fn settings(place: &Path, means: Means) -> Settings {
    let list = [("web0", HOME), ("web1", OTHER)];
    let address = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    let addresses: BTreeMap<_, _> = list.into_iter().map(|(node, text)| (node.to_owned(), address(text))).collect();
    Settings {
        home: "web0".into(),
        addresses,
        ..Settings::new("example.org", means, place.join("records"), clock(0))
    }
}

/// A script with these lines, executable. Nothing of this process opens it for writing: what is open so cannot be run.
pub fn script(path: &Path, lines: &str) {
    let words = ["-ec", "printf '%s' \"$2\" > \"$1\"; chmod 755 \"$1\"", "sh"];
    let text = format!("#!/bin/sh\n{lines}\n");
    assert!(std::process::Command::new("/bin/sh").args(words).arg(path).arg(text).status().unwrap().success());
}

/// A file that nobody else may read.
pub fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The files that ClonePanel ships.
pub fn clonepanel(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (action, ttl, to) in [("PREPARE", 900, "WEB_MASTER"), ("FAILOVER", 900, "WEB_SLAVE"), ("RESTORE", 14_400, "WEB_MASTER")] {
        let text = format!("DOMAIN.\t\t\t{ttl}\tIN\tA\t{to}\nwww.DOMAIN.\t\t{ttl}\tIN\tA\t{to}\n");
        std::fs::write(folder.join(format!("{action}.ov")), text).unwrap();
    }
}
