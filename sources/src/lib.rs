//! Where datasets of the node file, recipes and the archive meet; none of the three knows the others.
//!
//! `recipe` makes a recipe of what the node file says of a source; `capture` hands what it finds to an export; `import` brings a snapshot back through the
//! recipes, all sources of a dataset together; `beside` does so where nothing depends on it, for a rehearsal or for a part. `exporter` and `importer` stand on it, `pull-backup` does not: it cannot know what it keeps.

pub mod back;
pub mod beside;
pub mod capture;
pub mod import;
pub mod recipe;
