//! What can happen to objects at rest.

use archive::store::{MemoryStore, Store, read_all};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Delete,
    /// To this many thousandths of its length.
    Truncate(u64),
    /// A bit, this many thousandths into it.
    Flip(u64),
    /// Its bytes stand under another's name, and the other's under its own.
    Swap,
    /// It stands under a second name as well.
    Duplicate,
}

impl Damage {
    pub const ALL: [Damage; 12] = [
        Damage::Delete,
        Damage::Truncate(0),
        Damage::Truncate(600),
        Damage::Truncate(999),
        Damage::Flip(0),
        Damage::Flip(3),
        Damage::Flip(150),
        Damage::Flip(500),
        Damage::Flip(900),
        Damage::Flip(1000),
        Damage::Swap,
        Damage::Duplicate,
    ];

    /// Damages an object. Says whether anything is other than before; `second` is another object of the kind, and a name that is free.
    pub fn apply(self, store: &MemoryStore, name: &str, other: Option<&str>, free: &str) -> bool {
        let read = |name: &str| read_all(store, name, 1 << 30).expect("it is there");
        let mut bytes = read(name);
        match self {
            Damage::Delete => store.remove(name).expect("it can be removed"),
            Damage::Truncate(thousandths) => {
                bytes.truncate((bytes.len() as u64 * thousandths / 1000) as usize);
                store.set(name, bytes);
            }
            Damage::Flip(thousandths) => {
                let at = (bytes.len() as u64 * thousandths / 1000).min(bytes.len() as u64 - 1) as usize;
                bytes[at] ^= 1 << (at % 8);
                store.set(name, bytes);
            }
            Damage::Swap => {
                let Some(other) = other else { return false };
                let theirs = read(other);
                store.set(other, bytes);
                store.set(name, theirs);
            }
            Damage::Duplicate => store.set(free, bytes),
        }
        true
    }
}
