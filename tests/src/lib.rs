//! What the tests share: trees in memory, repositories to try things on, folders of their own.

pub mod origin;
pub mod damage;
pub mod history;
pub mod apart;
pub mod canary;
pub mod chance;
pub mod forge;
pub mod plain;
pub mod trial;
