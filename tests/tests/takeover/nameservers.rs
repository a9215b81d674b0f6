//! The BIND that the act is tested with.

#[path = "../../../recipes/tests/dns/bind.rs"]
#[allow(dead_code, reason = "the act's tests use more of it")]
mod bind;

pub use bind::{Bind, ZONE, dig};
use std::path::Path;

fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[track_caller]
fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    tests::wait::until(crate::scene::LIMIT, what, look)
}
