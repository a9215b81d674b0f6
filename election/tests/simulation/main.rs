//! The election under simulation: the code that runs in production, in a world where everything goes wrong, from a seed.
//!
//! `RESILIENT_LONG=1` runs tens of thousands of random worlds instead of thousands; `RESILIENT_SEEDS=FROM..TO` runs those seeds;
//! `RESILIENT_SEED=N` runs one and prints its whole trace.

mod candidates;
mod carry;
mod chance;
mod chaos;
mod clock;
mod data;
mod faults;
mod forced;
mod happen;
mod host;
mod mutants;
mod planned;
mod random;
mod scenarios;
mod steer;
mod world;
