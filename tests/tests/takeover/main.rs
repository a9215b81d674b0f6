//! Takeover on real processes: hosts are network namespaces, the service is an HTTP till over SQLite behind the packet gate, and a customer on a host of its own keeps ordering
//! and counts what was acknowledged by whom.

mod again;
mod attacks;
mod automatic;
mod books;
mod commands;
mod fencing;
mod forced;
mod hasty;
mod home;
mod planned;
mod returning;
mod scene;
mod sealed;
