//! What the tests share: trees in memory, repositories to try things on, folders of their own, other hops, the built programs,
//! and what lies between hosts: namespaces in their place, a hostile network, a crowd.

pub mod apart;
pub mod canary;
pub mod chance;
pub mod cluster;
pub mod crowd;
pub mod damage;
pub mod forge;
pub mod history;
pub mod hosts;
pub mod origin;
pub mod plain;
pub mod played;
pub mod program;
pub mod proxy;
pub mod reigning;
pub mod running;
pub mod trial;
pub mod wait;
