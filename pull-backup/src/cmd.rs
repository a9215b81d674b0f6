//! The commands that keep an archive healthy, one file each.

pub mod reseal;
pub mod retain;
