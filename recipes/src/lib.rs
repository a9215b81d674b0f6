//! The outside world: how each kind of data is exported and imported.
