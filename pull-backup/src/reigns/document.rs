//! `reigns.toml`: the reigns of a cluster and, where this pull-backup is its arbiter, the arbiter's record. One file, so that a seal and the grant that follows it are one write.
//!
//! The reigns are what the rule goes by and what followers are told; the record is told to nobody. Where there is a record, the reigns follow from it
//! (`crate::arbiter::record::view`), but for what the archive alone knows: when something was seen, with which snapshot a reign began, and who signs for epochs that
//! nobody gave.

use election::Record;
use link::error::{Error, Result};
use link::reigns::{Claim, Holder, Reigns, Sealed, Tops};
use link::state_file;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub reigns: Option<Reigns>,
    pub arbiter: Option<Record>,
    /// Where the record was written: a copy that was brought back lies elsewhere (`super::lock::Held::place`).
    pub place: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Text {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    since_ms: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    told: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    holder: Option<Holder>,
    #[serde(skip_serializing_if = "Tops::is_empty", default)]
    begun: Tops,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    sealed: Vec<Sealed>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    claims: Vec<Claim>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    arbiter: Option<Record>,
}

impl Document {
    pub fn is_empty(&self) -> bool {
        self.reigns.is_none() && self.arbiter.is_none()
    }

    /// What is there; an empty one where nothing is.
    pub fn open(path: &Path) -> Result<Document> {
        let Some(text) = state_file::read::<Text>(path)? else { return Ok(Document::default()) };
        let Text { epoch, since_ms, told, place, holder, begun, sealed, claims, arbiter } = text;
        let reigns = match (epoch, since_ms, holder) {
            (Some(epoch), Some(since_ms), Some(holder)) => Some(Reigns { epoch, since_ms, told, holder, begun, sealed, claims }),
            (None, None, None) if arbiter.is_some() => None,
            _ => return Err(Error::Damaged { path: path.into(), why: "it says neither who reigns nor that nobody does".into() }),
        };
        Ok(Document { reigns, arbiter, place })
    }

    pub fn keep(&self, path: &Path) -> Result<()> {
        let mut text = Text { place: self.place.clone(), arbiter: self.arbiter.clone(), ..Text::default() };
        if let Some(reigns) = self.reigns.clone() {
            let Reigns { epoch, since_ms, told, holder, begun, sealed, claims } = reigns;
            text = Text {
                epoch: Some(epoch),
                since_ms: Some(since_ms),
                told,
                holder: Some(holder),
                begun,
                sealed,
                claims,
                ..text
            };
        }
        state_file::say(path, &text)
    }
}
