//! The daemon is killed between any two steps of an election, and begun anew: no number is given twice, and none before the lease that may live is over by anyone's clock.

use crate::reigning::fast;
use crate::scene::{LIMIT, Scene, serves};
use election::{Epoch, Message};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::wait::until;

/// When it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The member was told this.
    Told(&'static str),
    /// The member is about to claim; the claim is never sent.
    BeforeClaim,
    /// It is being sent: whether it was granted, nobody knows.
    Claim,
}

fn killed(number: u8, at: At) {
    let mut scene = Scene::new(number, "automatic = true\n");
    let claims = Arc::new(AtomicBool::new(false));
    let meets = {
        let claims = claims.clone();
        move |envelope: &election::Envelope| {
            let is_claim = matches!(envelope.message, Message::Claim { .. });
            let first = is_claim && !claims.swap(true, Ordering::SeqCst);
            !(first && at == At::BeforeClaim)
        }
    };
    let (first, second) = scene.begins(meets);
    drop(first.dies());
    until(LIMIT, "the moment", || {
        let reached = match at {
            At::Told(what) => second.seen().told.contains(&what),
            At::BeforeClaim | At::Claim => claims.load(Ordering::SeqCst),
        };
        reached.then_some(()).ok_or(format!("{:?}", second.seen()))
    });
    scene.cluster.kill("backup", "pull-backup");
    let before = scene.record().unwrap();
    let killed_at = link::boot::now();
    scene.cluster.start("backup", "pull-backup");
    let (granted, at_ms) = until(LIMIT, "somebody serves", || {
        let record = scene.record().unwrap();
        assert!(record.granted >= before.granted, "{at:?}: a number is forgotten");
        let is_new = record.granted > before.granted;
        let serves = second.serves().is_some_and(|epoch| epoch > Epoch(1));
        (is_new || serves)
            .then(|| (record.granted, link::boot::now()))
            .ok_or(format!("{record:?} {:?}", second.seen()))
    });
    if granted > before.granted {
        let waited = at_ms.since(killed_at);
        assert!(waited >= fast().over(), "{at:?}: granted {granted} after {waited:?}, before anybody could know that no lease lives");
    }
    let served = until(LIMIT, "the takeover", || second.serves().filter(|epoch| *epoch > Epoch(1)));
    let record = scene.record().unwrap();
    assert_eq!(record.ledger.iter().filter(|entry| entry.reign.epoch == served).count(), 1, "{at:?}: {record:?}");
    assert_eq!(record.epoch, served);
    serves(&second, served.0, "it serves on");
    second.dies();
    scene.cluster.stop();
}

#[test]
fn killed_after_the_poll() {
    killed(41, At::Told("poll"));
}

#[test]
fn killed_after_the_offer() {
    killed(42, At::Told("offer"));
}

#[test]
fn killed_before_the_claim() {
    killed(43, At::BeforeClaim);
}

#[test]
fn killed_at_the_claim() {
    killed(44, At::Claim);
}

#[test]
fn killed_after_the_grant() {
    killed(45, At::Told("granted"));
}
