//! Commands that keep a repository healthy: `check`, `retain`, `reseal`.
