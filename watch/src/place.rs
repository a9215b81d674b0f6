//! Where something goes well or not: a dataset at a hop, and the peer at the other end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stage of data's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hop {
    /// Captured, in the exporter's spool.
    Spool,
    /// Pulled by a pull-backup.
    Archive,
    /// Pulled by an importer.
    Mirror,
    /// Imported, ready to be used.
    Import,
}

impl Hop {
    pub fn name(self) -> &'static str {
        match self {
            Hop::Spool => "spool",
            Hop::Archive => "archive",
            Hop::Mirror => "mirror",
            Hop::Import => "import",
        }
    }
}

/// What incidents, messages and measurements are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub cluster: String,
    pub dataset: String,
    pub hop: Hop,
    /// The host at the other end of this hop, where there is one.
    pub peer: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.cluster, self.dataset, self.hop.name())?;
        match &self.peer {
            Some(peer) => write!(f, " ({peer})"),
            None => Ok(()),
        }
    }
}
