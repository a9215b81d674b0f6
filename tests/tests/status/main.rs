//! Status and alerts with the daemons as real processes: never green on failure, and it is said where and why.

mod alerts;
mod stand;
mod stopped;
