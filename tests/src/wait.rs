//! Waiting for what a test expects, with a bound, and a message that says what was awaited and what was seen last.
//!
//! Here is the one clock of the tests that concern several processes: what they wait for lies in other processes and sockets, so
//! it is asked for again and again, first at once, then less often. Where a condition can be signalled (the proxy's counts) it is
//! waited for without asking. Bounds are for what fails: they may be generous, since what succeeds does not use them up.

use std::fmt::Display;
use std::time::{Duration, Instant};

const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MOST: Duration = Duration::from_millis(50);

/// When waiting ends.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "waiting for other processes is measured on the real clock")]
    pub fn after(limit: Duration) -> Deadline {
        Deadline(Instant::now() + limit)
    }

    /// What is left of it; nothing once it has passed.
    #[expect(clippy::disallowed_methods, reason = "waiting for other processes is measured on the real clock")]
    pub fn left(&self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// What one look gave: the thing, or what was seen in its place.
pub trait Look<T> {
    fn seen(self) -> Result<T, String>;
}

impl<T> Look<T> for Option<T> {
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".into())
    }
}

impl<T, E: Display> Look<T> for Result<T, E> {
    fn seen(self) -> Result<T, String> {
        self.map_err(|seen| seen.to_string())
    }
}

/// Looks until there is something, and gives it; panics at the limit. A look gives an `Option`, or a `Result` whose error says what
/// was seen.
#[track_caller]
pub fn until<T, L: Look<T>>(limit: Duration, what: &str, look: impl FnMut() -> L) -> T {
    match within(limit, look) {
        Ok(found) => found,
        Err(seen) => panic!("waited {limit:?} for {what}; seen last: {seen}"),
    }
}

/// The same, for whom not finding it is an answer: what was seen last.
pub fn within<T, L: Look<T>>(limit: Duration, mut look: impl FnMut() -> L) -> Result<T, String> {
    let deadline = Deadline::after(limit);
    let mut pause = PAUSE_FIRST;
    loop {
        // Asked before the look: what comes true during a slow last look is found, too.
        let left = deadline.left();
        let seen = match look().seen() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        let Some(left) = left else { return Err(seen) };
        nap(pause.min(left));
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where tests pause between two looks")]
fn nap(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use std::sync::mpsc::channel;

    #[test]
    fn what_comes_later_is_found() {
        let (sender, receiver) = channel();
        let mut looks = 0;
        let found = until(Duration::from_secs(60), "a number", || {
            looks += 1;
            if looks == 5 {
                sender.send(7).unwrap();
            }
            receiver.try_recv().ok()
        });
        assert_eq!((found, looks), (7, 5));
    }

    #[test]
    fn what_never_comes_is_told_with_what_was_seen_last() {
        let mut looks = 0;
        let seen = within(Duration::from_millis(30), || {
            looks += 1;
            Err::<(), _>(format!("look {looks}"))
        });
        assert_eq!(seen, Err(format!("look {looks}")));
        assert!(looks > 2, "it looked again: {looks}");
        let panic = catch_unwind(|| until(Duration::from_millis(1), "rain", || None::<()>)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "waited 1ms for rain; seen last: nothing");
    }

    #[test]
    fn there_is_one_look_at_least() {
        assert_eq!(within(Duration::ZERO, || Some(1)), Ok(1));
        assert!(Deadline::after(Duration::ZERO).left().is_none());
    }
}
