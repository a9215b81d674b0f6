//! The real programs, killed at any moment and left without room: what was published restores bit for bit, a rerun completes, nothing is lost.

mod exporter;
mod heal;
mod moments;
mod past;
mod restore;
mod retain;
