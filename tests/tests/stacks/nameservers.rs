//! Name servers of a stack: the same BIND that the act is tested with, its primary and its secondary each on a host of its own.

#[path = "../../../recipes/tests/dns/bind.rs"]
#[allow(dead_code, reason = "the act's tests use more of it")]
mod bind;

pub use bind::{Bind, ZONE, dig};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tests::cluster::Cluster;

pub const HOSTS: [&str; 2] = ["ns1", "ns2"];

/// On the hosts of these names, with what may be changed by the key `FOLDER/move.key`.
pub fn serve(cluster: &Cluster, folder: &Path, policy: &str, zone: &str) -> Bind {
    let at = HOSTS.map(|host| SocketAddr::new(cluster.address_of(host).parse().unwrap(), 53));
    let bind = cluster.within(HOSTS[0], || Bind::between(folder, at, &format!("update-policy {{ {policy} }};"), zone));
    cluster.within(HOSTS[1], || bind.with_secondary())
}

/// All that a server has of the zone, but for its SOA, line by line.
pub fn records(at: SocketAddr) -> Vec<String> {
    let server = format!("@{}", at.ip());
    let said = Command::new("dig").args([&server, "example.org", "AXFR", "+noall", "+answer"]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with(';') && !line.contains("\tSOA\t"));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[track_caller]
fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    tests::wait::until(crate::scene::LIMIT, what, look)
}
