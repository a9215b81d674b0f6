//! What the tests share: trees in memory, repositories to try things on, folders of their own, other hops, and the built programs.

pub mod apart;
pub mod canary;
pub mod chance;
pub mod damage;
pub mod forge;
pub mod history;
pub mod origin;
pub mod plain;
pub mod program;
pub mod trial;
