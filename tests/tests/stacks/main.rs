//! The reference stacks, run for real with the files that are shipped.

mod lamp;
mod lapp;
#[path = "../../../recipes/tests/mysql/server.rs"]
mod mariadb;
mod oak;
#[path = "../../../recipes/tests/postgres/server.rs"]
mod postgres;
mod yunohost;
