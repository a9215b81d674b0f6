//! Bytes on the wire between hosts.
//!
//! Every hop is the same: the receiver dials, asks what there is, and pulls what it lacks; `remote::Remote` is a `sync::Source` behind a connection, so
//! that nothing of what it says is believed. Whoever has something new may say so (`Notice`); that is a hint and no more.
//!
//! TLS 1.3 alone, and both sides prove a key that the other knows from enrolment (`identity`, `tls`); certificates only carry keys, and nobody's word
//! counts but a pin. What a caller may ask for is one table (`role`). Without a known key there is `/live`, and an invitation's one use.
//!
//! It keeps no state, and does not decide when something is pulled: that is for the daemons. No request writes into a repository or removes from one.

pub mod backoff;
pub mod boot;
pub mod bounds;
pub mod budget;
pub mod certificate;
pub mod client;
pub mod control;
pub mod current;
pub mod error;
pub mod follow;
pub mod frame;
pub mod given;
pub mod identity;
pub mod invitation;
pub mod keep;
pub mod lent;
pub mod membership;
pub mod message;
pub mod node;
pub mod paced;
pub mod post;
pub mod publishing;
pub mod pull;
pub mod reigns;
pub mod relayed;
pub mod remote;
pub mod repositories;
pub mod role;
pub mod routes;
pub mod running;
pub mod server;
pub mod state_file;
pub mod tail;
pub mod tls;

pub use error::{Error, Result};
