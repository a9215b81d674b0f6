//! Repositories made by an enemy who holds a valid signing key, and stores by one who holds none: refused or harmless, bounded, nothing written outside.

mod bombs;
mod extents;
mod forged;
mod paths;
mod positions;
mod races;

/// Asserts that a message cannot steer a terminal.
fn assert_harmless(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?} could steer a terminal");
}
