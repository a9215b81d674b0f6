//! Reading back: a snapshot opened, its index, its content, whole or in part.
//!
//! `segments` gives content by the names that extents use; `list` and `assemble` turn extents into bytes; `open` proves a snapshot and opens it; `tree` writes
//! safely below a target; `restore` puts it together; `view` looks without restoring.

pub mod assemble;
pub mod list;
pub mod open;
pub mod restore;
pub mod segments;
pub mod tree;
pub mod view;
