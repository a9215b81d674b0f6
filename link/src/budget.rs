//! How many bytes may still come from a host. It is shared by all that is pulled from there at once, so that several datasets together stay within it.

use crate::error::{Error, Result};
use crate::repositories::Dataset;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says, before a dataset is pulled, how much may come. It may block; what it refuses is not pulled.
pub type Allowance = Arc<dyn Fn(&Dataset) -> Result<Arc<Budget>> + Send + Sync>;

#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
    /// What is said when nothing is left: the bound, the use, and what can be done.
    words: String,
}

impl Budget {
    pub fn new(bytes: u64, words: String) -> Budget {
        Budget { left: AtomicU64::new(bytes), words }
    }

    /// Takes bytes that came; an error when they are more than is left, from then on for all.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| {
            self.left.store(0, Ordering::SeqCst);
            Error::Quota { why: self.words.clone() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_stays_used_up_and_says_why() {
        let budget = Budget::new(10, "the quota of 10 B is reached".into());
        assert!(budget.take(7).is_ok() && budget.take(3).is_ok());
        assert_eq!(budget.take(1).unwrap_err().to_string(), "the quota of 10 B is reached");
        let budget = Budget::new(10, String::new());
        assert!(budget.take(11).is_err() && budget.take(1).is_err());
    }
}
