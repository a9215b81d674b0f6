//! The outside world: how each kind of data is exported and imported, and what makes a node the active one.
//!
//! `data` says what a recipe for data is and checks it (`data::conform`), `act` does so for acts; each recipe is a module of its own. This crate
//! knows nothing of bytes at rest: recipes exchange items and staging places, and the binaries adapt. All is blocking
//! code on threads.

pub mod act;
pub mod command;
pub mod data;
mod error;
mod escape;
pub mod files;
mod lock;
pub mod mysql;
pub mod postgres;
mod question;
mod replace;
pub mod rows;
mod secret;
pub mod sqlite;

pub use command::Command;
pub use data::{Attributes, Body, Contents, Data, Item, Open, Opened, Sink, Stamp, Stop, Time};
pub use error::{Error, Kind, told};
pub use files::{Files, Settings};
pub use mysql::Mysql;
pub use postgres::Postgres;
pub use sqlite::Sqlite;
