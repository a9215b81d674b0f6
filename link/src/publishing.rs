//! What a puller may be given besides: a rule for what is published, and a place for what is not.

use crate::error::Result;
use crate::message::Head;
use crate::repositories::Dataset;
use archive::repository::Repository;
use archive::sync::{Admission, Aside, Source, SyncOptions};
use std::sync::Arc;

/// The rule of a receiver that keeps history.
pub trait Publishing: Send + Sync {
    /// The rule for a dataset, now; `None` where there is none.
    fn rule(&self, dataset: &Dataset, head: &Head) -> Result<Option<Arc<dyn Admission>>>;

    /// Keeps what the rule put aside, from where it came or from what is held. One that cannot be kept is named, with the reason.
    fn keep(&self, dataset: &Dataset, aside: &[Aside], from: &dyn Source, held: &Repository, options: &SyncOptions) -> Result<Vec<Kept>>;

    /// What the source of a dataset is told of its snapshots: names of those in quarantine, and of heads at which reigns were sealed.
    fn told(&self, dataset: &Dataset) -> (Vec<String>, Vec<String>);
}

/// A snapshot that was put aside, and why it is not kept, if it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub trouble: Option<String>,
}
