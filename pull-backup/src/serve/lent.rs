//! Connections that members lend, for each key a pool of its own. Whose it is says the key that was proven when it was opened; a name says nothing, so two hosts that
//! lend under one name never share a pool, and only the one that is the member now has any.

use link::identity::Pin;
use link::lent::Pool;
use link::server::Upgraded;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct Lent {
    pools: Mutex<HashMap<Pin, Arc<Pool>>>,
}

impl Lent {
    fn pools(&self) -> MutexGuard<'_, HashMap<Pin, Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self, pin: Pin, connection: Upgraded) {
        self.pools().entry(pin).or_default().add(connection);
    }

    /// Whether this host ever lent one since it is a member and this daemon runs.
    pub fn has(&self, pin: &Pin) -> bool {
        self.pools().contains_key(pin)
    }

    /// What this host lent and will lend.
    pub fn pool(&self, pin: Pin) -> Arc<Pool> {
        self.pools().entry(pin).or_default().clone()
    }

    /// Closes what those lent who are no members any more.
    pub fn keep(&self, is_member: impl Fn(&Pin) -> bool) {
        self.pools().retain(|pin, _| is_member(pin));
    }
}
