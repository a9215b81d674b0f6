//! The `postgres` recipe against real servers, which the tests start and end.

mod all;
mod beside;
mod conform;
mod crash;
mod cron;
mod guard;
mod load;
mod renew;
mod server;
mod tool;
