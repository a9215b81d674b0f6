//! The rule: what a cluster's reigns mean for one snapshot. Pure.
//!
//! Published is what the holder of the current epoch signed, above the head; whether its lease ended is no matter, only whether its epoch did. The first snapshot of an epoch follows
//! the sealed head: whoever took over without the last that was published does not get to say what comes next. That is asked only for the first, since a pull-backup that was
//! behind, or whose archive was rolled back, would wait for ever for what others dropped since; for the same reason what lies in a sealed epoch up to its head, by its holder, is published where it is lacking.
//! Everything else is put aside and lost nowhere: it was validly signed by a member, and somebody's data is in it.
//!
//! Epoch 0 is that of clusters without roles: nobody reigns in it, and the rule says nothing of it.

use archive::name::{Position, SEQUENCE_MAX};
use archive::repository::Known;
use archive::sync::{Offer, Verdict};
use link::reigns::{At, Reigns};

/// Whether a snapshot that is not above the head is worth a look, by its name: what lies in a reign up to where that was sealed is history that was dropped.
pub fn concerns(reigns: &Reigns, dataset: &str, known: &Known) -> bool {
    match known.at.epoch {
        0 => false,
        epoch if epoch == reigns.epoch => false,
        epoch => match reigns.seal_of(epoch).and_then(|sealed| sealed.heads.get(dataset)) {
            Some(head) => known.at > head.position() || known.at == head.position() && !head.is(known.id),
            None => true,
        },
    }
}

pub fn judge(reigns: &Reigns, dataset: &str, offer: &Offer<'_>) -> Verdict {
    let at = offer.known.at;
    let aside = |why: String| Verdict::Aside(why);
    if at.epoch == 0 {
        return Verdict::AsWithout;
    }
    if let Some((one, two)) = reigns.conflict() {
        return aside(format!(
            "CONFLICT: {} and {} both reign in epoch {}, and nothing is published until a person says which counts (`pull-backup epoch resolve`)",
            one.holder.node, two.holder.node, one.epoch
        ));
    }
    if at.sequence >= SEQUENCE_MAX {
        return aside("its sequence leaves no number for what comes after it".into());
    }
    if offer.rival {
        return aside(format!("position {at} is taken by another snapshot"));
    }
    match at.epoch.cmp(&reigns.epoch) {
        std::cmp::Ordering::Greater => aside(format!("nobody granted epoch {}; the current one is {}", at.epoch, reigns.epoch)),
        std::cmp::Ordering::Less => sealed(reigns, dataset, offer),
        std::cmp::Ordering::Equal => current(reigns, dataset, offer),
    }
}

/// Of an epoch that ended only what was published in it.
fn sealed(reigns: &Reigns, dataset: &str, offer: &Offer<'_>) -> Verdict {
    let at = offer.known.at;
    let Some(seal) = reigns.seal_of(at.epoch) else { return Verdict::Aside(format!("epoch {} was never granted", at.epoch)) };
    let within = seal
        .heads
        .get(dataset)
        .is_some_and(|head| at < head.position() || at == head.position() && head.is(offer.known.id));
    match within && seal.holder.signed(&offer.snapshot.signer) {
        true if offer.history || is_above(at, offer) => Verdict::Publish,
        _ if within => Verdict::Aside(format!("{} held epoch {}, and another node signed it", seal.holder.node, at.epoch)),
        _ => {
            let head = seal
                .heads
                .get(dataset)
                .map_or("before it held anything".to_owned(), |head| format!("at {}", head.position()));
            Verdict::Aside(format!("epoch {} was sealed {head}, and epoch {} is current", at.epoch, reigns.epoch))
        }
    }
}

fn current(reigns: &Reigns, dataset: &str, offer: &Offer<'_>) -> Verdict {
    let at = offer.known.at;
    let signer = &offer.snapshot.signer;
    let holder = &reigns.holder;
    if !(holder.signs(signer) || holder.signed(signer) && (offer.history || reigns.told)) {
        return Verdict::Aside(format!("{} holds epoch {}, and another key signed it", holder.node, at.epoch));
    }
    if !offer.history && !is_above(at, offer) {
        return Verdict::Aside(format!("position {at} is not above the head"));
    }
    match (reigns.begun.get(dataset), reigns.base(dataset)) {
        (None, Some(base)) => first(offer, base),
        (Some(begun), Some(_)) if at < begun.position() || at == begun.position() && !begun.is(offer.known.id) => {
            Verdict::Aside(format!("epoch {} began with {} here", at.epoch, begun.position()))
        }
        _ => Verdict::Publish,
    }
}

/// The first of an epoch follows the sealed head.
fn first(offer: &Offer<'_>, base: &At) -> Verdict {
    let (at, previous) = (offer.known.at, offer.snapshot.body.previous);
    if !base.is(previous) {
        return Verdict::Aside(format!("it is the first of epoch {} and does not follow the sealed head {}", at.epoch, base.position()));
    }
    if at.sequence <= base.sequence {
        return Verdict::Aside(format!("its sequence is not above that of the sealed head {}", base.position()));
    }
    Verdict::Publish
}

fn is_above(at: Position, offer: &Offer<'_>) -> bool {
    offer.head.is_none_or(|(head, _)| at > head)
}

/// Whether this is the first of the current reign, which is noted before it is published.
pub fn begins(reigns: &Reigns, dataset: &str, known: &Known) -> bool {
    known.at.epoch == reigns.epoch && reigns.base(dataset).is_some() && !reigns.begun.contains_key(dataset)
}
