//! A reading of both clocks.
//!
//! The wall clock tells people and other hosts when something was; it may be set, back or forward, at any time. The steady
//! clock only ever counts up while a process lives, and means nothing to another process. Who decides about waiting needs
//! both, so they travel together.

/// What both clocks said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since 1970, UTC.
    pub wall_ms: i64,
    /// Milliseconds since some moment that stays the same within one process.
    pub steady_ms: u64,
}

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const MINUTE_MS: i64 = 60 * SECOND_MS;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;
