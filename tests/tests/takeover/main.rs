//! Takeover on real processes: hosts are network namespaces, the service is an HTTP till over SQLite behind the packet gate, and a customer on a host of its own keeps ordering
//! and counts what was acknowledged by whom.

mod addresses;
mod again;
mod attacks;
mod automatic;
mod blind;
mod books;
mod by_hand;
mod commands;
mod elect;
mod fencing;
mod forced;
mod hasty;
mod home;
mod moving;
mod names;
mod nameservers;
mod outside;
mod planned;
mod returning;
mod scene;
mod sealed;
