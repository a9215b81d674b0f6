//! Admission: who receives may judge each snapshot that was proven, before its content comes and once more when it is published.
//!
//! What the rule is this crate does not know: it is the receiver's, and depends on who may be active. Here is only where it is asked. It is asked twice, because content may
//! come for hours: what was right when it began may be past when it ends. The second time the rule itself publishes, so that nothing that would change its word comes
//! between. What is put aside is no refusal: it is reported, whole as it was proven, for whoever called to keep it elsewhere.

use super::Wanted;
use super::proof::Object;
use super::receive::{Failure, Receiver};
use crate::error::Result;
use crate::id::SnapshotId;
use crate::name::Position;
use crate::record::{Signed, Snapshot};
use crate::repository::Known;
use crate::sign::PublicKey;

/// A snapshot whose signature and place were proven.
pub struct Offer<'a> {
    pub known: &'a Known,
    pub snapshot: &'a Signed<Snapshot>,
    /// The newest that is held here and believed.
    pub head: Option<(Position, SnapshotId)>,
    /// Another one with its position is offered as well, or held here.
    pub rival: bool,
    /// What is older than the head is wanted too.
    pub history: bool,
}

/// What becomes of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Publish,
    /// It is not published here, and is not lost: why.
    Aside(String),
    /// The rule has nothing to say of it: it goes as without one.
    AsWithout,
}

/// Decides what is published.
pub trait Admission: Send + Sync {
    /// Whether a snapshot that is not above the head, by its name, is to be judged at all.
    fn concerns(&self, known: &Known) -> bool;

    /// Judges before content comes.
    fn judge(&self, offer: &Offer<'_>) -> Result<Verdict>;

    /// Judges again, and calls `publish` when the verdict is that; nothing that would change it may happen meanwhile.
    fn publish(&self, offer: &Offer<'_>, publish: &mut dyn FnMut() -> Result<()>) -> Result<Verdict>;
}

/// Publishes whatever was proven, two of one position as well: for a place where all is kept.
pub struct Everything;

impl Admission for Everything {
    fn concerns(&self, _: &Known) -> bool {
        true
    }

    fn judge(&self, _: &Offer<'_>) -> Result<Verdict> {
        Ok(Verdict::Publish)
    }

    fn publish(&self, _: &Offer<'_>, publish: &mut dyn FnMut() -> Result<()>) -> Result<Verdict> {
        publish().map(|()| Verdict::Publish)
    }
}

/// A snapshot that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    pub known: Known,
    /// The node that it says it is from.
    pub node: String,
    pub signer: PublicKey,
    pub why: String,
}

impl Receiver<'_> {
    /// Judges what is offered at one position. What is left goes as without a rule; what is to be published comes with its word.
    pub fn admitted(
        &mut self,
        offered: Vec<(Known, Object)>,
        there: &[&Known],
        wanted: &Wanted,
    ) -> Result<(Vec<(Known, Object)>, Vec<(Known, Object)>), Failure> {
        let Some(admission) = self.options.admission.clone() else { return Ok((vec![], offered)) };
        let rival = offered.len() + there.len() > 1;
        let (mut publish, mut as_without) = (Vec::new(), Vec::new());
        for (known, object) in offered {
            match admission.judge(&self.offer(&known, &object, rival, wanted))? {
                Verdict::Publish => publish.push((known, object)),
                Verdict::AsWithout => as_without.push((known, object)),
                Verdict::Aside(why) => self.put_aside(&known, &object, why),
            }
        }
        Ok((publish, as_without))
    }

    pub fn offer<'o>(&self, known: &'o Known, object: &'o Object, rival: bool, wanted: &Wanted) -> Offer<'o> {
        let history = !matches!(wanted, Wanted::Above(_));
        Offer { known, snapshot: &object.snapshot, head: self.newest, rival, history }
    }

    pub fn put_aside(&mut self, known: &Known, object: &Object, why: String) {
        let Signed { signer, body, .. } = &object.snapshot;
        self.report
            .aside
            .push(Aside { known: known.clone(), node: body.node.clone(), signer: *signer, why });
    }
}
