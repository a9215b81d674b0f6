//! The reference stacks, run for real with the files that are shipped.

mod lapp;
#[path = "../../../recipes/tests/postgres/server.rs"]
mod postgres;
