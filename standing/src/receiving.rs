//! What those who pull here said last, judged against what is here: pull-backups at a node, importers at a pull-backup.
//!
//! A receiver's word is no evidence of more than what is here: its newest snapshot must be one that we have, and its data is no more current than ours. A receiver that says it has more than we have means that we lost something, which is told.

use crate::holding::Holding;
use crate::place::ms;
use link::message::snapshot_of;
use link::node::Receiver;
use watch::Evidence;
use watch::health::Failure;

/// A snapshot that somebody has, until when it was current as he says, and when he said so, against what is here.
pub fn compared(holding: &Holding, has: Option<&str>, current_ms: Option<u64>, said_ms: u64) -> Evidence {
    let mut evidence = Evidence::default();
    let at = has.and_then(snapshot_of);
    (evidence.queued_snapshots, evidence.queued_bytes) = holding.above(at.map(|(at, _)| at));
    let (Some((at, id)), Some(newest)) = (at, &holding.newest) else { return evidence };
    let whole = at == newest.at && id == newest.id;
    let captured = match holding.header(at, id) {
        Some(header) if whole => current_ms
            .map(|current| current.min(holding.captured_ms().unwrap_or(0)).max(header.captured_ms))
            .or(Some(header.captured_ms)),
        Some(header) => Some(header.captured_ms),
        // Older than anything that is kept here: how old is not known, but it is no younger than the oldest.
        None if at < newest.at => {
            let oldest = holding.snapshots.first().and_then(|known| holding.header(known.at, known.id));
            oldest.map(|oldest| oldest.captured_ms)
        }
        None => None,
    };
    evidence.captured_ms = captured.map(ms);
    evidence.verified_ms = captured.map(|_| ms(said_ms));
    if at > newest.at || (at == newest.at && id != newest.id) {
        evidence.wrong.push(format!(
            "it has snapshot {at} ({}), which is not here: something was lost or rolled back here; see that the next export is whole",
            &id.to_string()[..8]
        ));
    }
    evidence
}

/// What a receiver holds of a dataset.
pub fn held(holding: &Holding, receiver: Option<&Receiver>) -> Evidence {
    let Some(receiver) = receiver else { return compared(holding, None, None, 0) };
    let trouble = receiver.trouble.as_ref().filter(|trouble| !trouble.is_empty());
    let mut evidence = compared(holding, receiver.held.as_deref(), receiver.captured_ms, receiver.said_ms);
    match trouble {
        Some(trouble) => {
            evidence.failures = 1;
            evidence.failure = Some(Failure { at_ms: ms(receiver.said_ms), text: trouble.clone() });
        }
        None => evidence.success_ms = Some(ms(receiver.said_ms)),
    }
    if !receiver.lacking.is_empty() {
        let runs = receiver.lacking.len();
        evidence
            .wrong
            .push(format!("it lacks segments of {runs} runs that nobody could give it; the next export writes them anew"));
    }
    evidence
}
