//! The moment of a kill.

use std::process::{Command, Stdio};
use std::time::Duration;
use tests::chance::Chance;

/// Moments within the time that a program takes. How long that is depends on the host, so it is learned: kills that came too late make it shorter, others longer.
pub struct Moments {
    limit_us: usize,
    pub killed: usize,
}

impl Moments {
    pub fn new() -> Moments {
        Moments { limit_us: 60_000, killed: 0 }
    }

    /// Begins a program and kills it at some moment.
    pub fn kill(&mut self, command: &mut Command, chance: &mut Chance) {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the point, not something waited for")]
        std::thread::sleep(Duration::from_micros(chance.below(self.limit_us) as u64));
        child.kill().expect("our own child is killed");
        let killed = child.wait().expect("it ends").code().is_none();
        self.killed += usize::from(killed);
        self.limit_us = if killed { self.limit_us * 21 / 20 } else { self.limit_us * 4 / 5 }.clamp(2_000, 5_000_000);
    }
}
