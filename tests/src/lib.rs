//! What the tests share: trees in memory, repositories to try things on, folders of their own.

pub mod chance;
pub mod plain;
pub mod trial;
