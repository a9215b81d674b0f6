//! Who is active: the protocol of TAKEOVER as two machines, the [`Arbiter`] and the [`Member`], and nothing around them.
//!
//! Floor 1. `step(now, input) -> outputs`: no clock, no network, no disk, no chance, no async. Daemons carry the messages, make records durable,
//! open and close what the kernel holds, start and stop services, and hand in what happened. So the very code that decides in production is
//! run by the simulator in `tests/`, under losses, partitions, crashes, stalls and drifting clocks.
//!
//! At most one node's gate is open at any time. That rests on: a lease ends at the time its request was *sent*, plus TTL; the kernel closes W before,
//! even if our process is stopped; the arbiter grants anew only when by anyone's clock that lease is over; an active that lost its arbiter goes on
//! only while *every* member gives its word to take no grant; and every epoch's number is given once. [`Timers`] refuses numbers with which this
//! would not follow.
//!
//! What lies in the data follows from epochs alone ([`Record::admit`]): each reign publishes what continues the head at which the one before was
//! sealed; everything else is kept aside and never lost.
//!
//! The binaries' duties are said at the outputs: [`arbiter::Output`], [`member::Output`]. A daemon's loop is, for either machine:
//!
//! ```text
//! (machine, outputs) = open(now, boot, record from disk, ...)
//! loop: carry out outputs in their order; wait for a message, an act that ended, an order, or the time of the last Wake;
//!       outputs = machine.step(now read after the waiting, input)
//! ```
//!
//! What it owes besides: envelopes reach `step` only over connections whose peer is proven to be `from` (a relay's inner envelope is its carrier's
//! word); the arbiter's archive publishes, and tells it so, in one lock with its steps; nothing is carried out after a record that failed to be written.

pub mod arbiter;
pub mod checks;
pub mod ledger;
pub mod member;
pub mod message;
pub mod position;
pub mod timers;

mod error;
mod id;
mod policy;
mod time;

pub use arbiter::Arbiter;
pub use error::Error;
pub use id::{ClusterId, Dataset, Epoch, NodeId, Peer, Reign, SnapshotId};
pub use ledger::{Admission, Record};
pub use member::{Member, MemberRecord, Own, Role};
pub use message::{Envelope, Members, Message, Pause};
pub use policy::Policy;
pub use position::{History, Lost, Point, Position, Published};
pub use time::{BootId, Stamp, Time};
pub use timers::{Timers, Values};
