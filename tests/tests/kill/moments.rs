//! The moment of a kill.

use std::process::{Command, Stdio};
use std::time::Duration;
use tests::chance::Chance;

/// Begins a program and kills it at some moment below so many microseconds. Says whether the kill came before its end.
pub fn killed_within(command: &mut Command, limit_us: usize, chance: &mut Chance) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the point, not something waited for")]
    std::thread::sleep(Duration::from_micros(chance.below(limit_us) as u64));
    child.kill().expect("our own child is killed");
    child.wait().expect("it ends").code().is_none()
}

/// How long a program takes to its end, in microseconds, with a little more. It must end well.
pub fn length_us(command: &mut Command) -> usize {
    #[expect(clippy::disallowed_methods, reason = "kills are spread over the time that the program takes on this host")]
    let now = std::time::Instant::now;
    let begin = now();
    tests::program::Ran::from(command.output().expect("it runs")).ended(0);
    now().duration_since(begin).as_micros() as usize * 11 / 10
}
