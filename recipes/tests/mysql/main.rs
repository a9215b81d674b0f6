//! The `mysql` recipe against real MariaDB servers, which the tests start and end.

mod conform;
mod crash;
mod export;
mod import;
mod server;
