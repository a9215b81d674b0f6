//! Pauses between attempts.

use std::time::Duration;

/// Waits before something is tried again.
pub fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what was tried is tried again after a while, and nothing tells when it would work")]
    std::thread::sleep(time);
}
