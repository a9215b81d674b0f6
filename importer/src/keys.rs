//! What opens sealed content on this node: from the node file or the command line when it starts, or given later by a person who activates it, and then in memory only.

use archive::identity::Keyring;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// None: this node is blind. An error: the identity that is configured cannot be opened.
pub type Held = Result<Option<Keyring>, String>;

pub struct Keys {
    held: Mutex<Held>,
    /// Known without waiting for an import that opens something.
    blind: AtomicBool,
}

impl Keys {
    pub fn new(held: Held) -> Keys {
        let blind = AtomicBool::new(!matches!(held, Ok(Some(_))));
        Keys { held: Mutex::new(held), blind }
    }

    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::SeqCst)
    }

    /// Sealed content can be opened from now on, until this process ends, or what was before is put back.
    pub fn give(&self, keyring: Keyring) -> Held {
        self.put(Ok(Some(keyring)))
    }

    /// Gives what was before.
    pub fn put(&self, held: Held) -> Held {
        self.blind.store(!matches!(held, Ok(Some(_))), Ordering::SeqCst);
        std::mem::replace(&mut *self.held(), held)
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
