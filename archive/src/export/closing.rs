//! Closes runs while an export goes on, and writes each down in the journal before the next: whoever stops, and wherever, has lost the last minute and not the whole of a
//! long file or stream.

use super::Clock;
use super::runs::Runs;
use crate::error::Result;
use crate::id::Hash;
use crate::local::state::LocalFiles;
use std::sync::Arc;

pub struct Closing {
    pub runs: Arc<Runs>,
    pub local: Arc<LocalFiles>,
    /// For whom the runs are sealed: a journal of others is none.
    pub sealing: Hash,
    pub clock: Clock,
}

impl Closing {
    /// Retires the current run when it is due, and closes one that can be.
    pub fn due(&self) -> Result<()> {
        self.runs.retire_due((self.clock)());
        self.one().map(drop)
    }

    /// Closes all that were retired.
    pub fn rest(&self) -> Result<()> {
        while self.one()? {}
        Ok(())
    }

    fn one(&self) -> Result<bool> {
        let closed = self.runs.close_one((self.clock)())?;
        if closed {
            self.local.save_journal(self.sealing, &self.runs.closed())?;
        }
        Ok(closed)
    }
}
