//! What the tests between hosts stand on, tried on plain sockets: a proxy that did no harm, or a partition that let everything through,
//! would make every test above it pass.

mod crowd;
mod hosts;
mod mangle;
mod peer;
mod proxy;
mod running;
