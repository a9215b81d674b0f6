//! The first exports of a reign: each dataset's as soon as the node reigns and what it builds on is made, however long that takes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct First(Mutex<State>);

#[derive(Default)]
struct State {
    making: BTreeSet<String>,
    reigns: bool,
}

impl First {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What these datasets build on is being made.
    pub fn making<'a>(&self, datasets: impl Iterator<Item = &'a str>) {
        self.state().making.extend(datasets.map(str::to_owned));
    }

    /// It is made. Says whether the reign waits for it: the dataset's first export is due.
    pub fn made(&self, dataset: &str) -> bool {
        let mut state = self.state();
        state.making.remove(dataset);
        state.reigns
    }

    /// The reign begins. Says which datasets are waited for.
    pub fn begins(&self) -> BTreeSet<String> {
        let mut state = self.state();
        state.reigns = true;
        state.making.clone()
    }

    /// The reign is over: no export is due any more.
    pub fn ends(&self) {
        self.state().reigns = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_comes_last_exports() {
        let first = First::default();
        first.making(["large", "small"].into_iter());
        assert!(!first.made("small"), "the node does not reign yet");
        assert_eq!(first.begins(), BTreeSet::from(["large".to_owned()]));
        assert!(first.made("large"));
        assert!(first.begins().is_empty());
        first.making(["large"].into_iter());
        first.ends();
        assert!(!first.made("large"), "somebody else reigns");
    }
}
