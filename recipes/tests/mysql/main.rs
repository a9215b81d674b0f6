//! The `mysql` recipe against real MariaDB servers, which the tests start and end.

mod accounts;
mod beside;
mod conform;
mod crash;
mod export;
mod import;
mod server;
mod steady;
