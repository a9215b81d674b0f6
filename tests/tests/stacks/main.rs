//! The reference stacks, run for real with the files that are shipped.

#[path = "../takeover/books.rs"]
#[allow(dead_code, reason = "the books have more means than are needed here")]
mod books;
mod clonepanel;
mod lamp;
mod lapp;
#[path = "../../../recipes/tests/mysql/server.rs"]
mod mariadb;
mod nameservers;
mod oak;
#[path = "../../../recipes/tests/postgres/server.rs"]
mod postgres;
#[path = "../takeover/scene.rs"]
#[allow(dead_code, reason = "the scene has more means than are needed here")]
mod scene;
mod shipped;
mod slapos;
mod xivo;
mod yunohost;
