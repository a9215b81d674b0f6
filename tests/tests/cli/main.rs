//! The command lines that read and keep a repository: real processes on real repositories, their output word by word, and what they say to bad input.

mod bad;
mod checking;
mod help;
mod keeping;
mod node;
mod reading;
mod secured;
mod sources;
mod stand;
