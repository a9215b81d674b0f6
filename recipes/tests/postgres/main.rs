//! The `postgres` recipe against real servers, which the tests start and end.

mod all;
mod conform;
mod crash;
mod load;
mod server;
