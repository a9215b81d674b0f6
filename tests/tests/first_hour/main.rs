//! The first hour with real processes: init, join, run, restore; and who is believed on the way.

mod certified;
mod hosts;
mod steps;
mod stolen;
