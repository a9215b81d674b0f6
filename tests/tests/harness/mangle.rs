//! The same acts around any reader and writer.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tests::chance::noise;
use tests::proxy::{Act, Mangle, Plan, Way};

const PATIENCE: Duration = Duration::from_millis(50);

/// A mangled end, and the other one.
fn pair(plan: &Arc<Plan>) -> (Mangle<UnixStream>, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    (Mangle::new(one, plan, Way::Up, PATIENCE), other)
}

/// What is read of these bytes at the mangled end.
fn read_of(plan: &Arc<Plan>, bytes: &[u8]) -> (Vec<u8>, std::io::Result<()>) {
    let (mut mangled, mut other) = pair(plan);
    other.write_all(bytes).unwrap();
    drop(other);
    let mut came = Vec::new();
    let end = mangled.read_to_end(&mut came).map(drop);
    (came, end)
}

/// What of these bytes, written at the mangled end, comes to the other.
fn written_of(plan: &Arc<Plan>, bytes: &[u8]) -> (Vec<u8>, std::io::Result<()>) {
    let (mut mangled, mut other) = pair(plan);
    let end = mangled.write_all(bytes);
    drop(mangled);
    let mut came = Vec::new();
    other.read_to_end(&mut came).unwrap();
    (came, end)
}

#[test]
fn it_mangles_what_is_read_and_what_is_written() {
    let bytes = noise(1, 50_000);
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    type Pass = fn(&Arc<Plan>, &[u8]) -> (Vec<u8>, std::io::Result<()>);
    for (way, pass) in [(Way::Down, read_of as Pass), (Way::Up, written_of)] {
        let plan = Plan::new();
        assert!(pass(&plan, &bytes).0 == bytes);
        plan.set(way, Act::Flip { at: 40_001 });
        assert!(pass(&plan, &bytes).0 == flipped(40_001));
        plan.set(way, Act::Skip { at: 10, len: 20_000 });
        let (came, end) = pass(&plan, &bytes);
        assert!(came == [&bytes[..10], &bytes[20_010..]].concat() && end.is_ok());
        plan.set(way, Act::Stall { after: 17_000 });
        let (came, end) = pass(&plan, &bytes);
        assert!(came == bytes[..17_000] && end.unwrap_err().kind() == ErrorKind::TimedOut);
        plan.set(way, Act::Reset { after: 17_000 });
        let (came, end) = pass(&plan, &bytes);
        assert!(came == bytes[..17_000] && end.unwrap_err().kind() == ErrorKind::ConnectionReset);
        plan.set(way, Act::Trickle(Duration::from_micros(1)));
        assert!(pass(&plan, &bytes[..100]).0 == bytes[..100]);
        let counts = plan.counts();
        assert_eq!((counts.connections, counts.struck >= 4), (6, true), "{counts:?}");
        assert_eq!(counts.passed(way), 50_000 + 50_000 + 30_000 + 17_000 + 17_000 + 100);
    }
}

#[test]
fn an_end_is_an_end_to_the_reader_and_a_broken_pipe_to_the_writer() {
    let plan = Plan::new();
    plan.set(Way::Down, Act::End { after: 7 });
    plan.set(Way::Up, Act::End { after: 7 });
    let (came, end) = read_of(&plan, &noise(2, 100));
    assert!(came == noise(2, 100)[..7] && end.is_ok());
    let (came, end) = written_of(&plan, &noise(2, 100));
    assert!(came == noise(2, 100)[..7] && end.unwrap_err().kind() == ErrorKind::BrokenPipe);
}
