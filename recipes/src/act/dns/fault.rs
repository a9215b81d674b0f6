//! Why a domain was not pointed, and whether asking again may help.

/// What a means says no with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    what: String,
    again: bool,
    hint: Option<&'static str>,
}

impl Fault {
    /// The same may succeed later.
    pub fn again(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), again: true, hint: None }
    }

    /// Somebody must change something first.
    pub fn stop(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), again: false, hint: None }
    }

    pub fn with(mut self, hint: &'static str) -> Fault {
        self.hint = Some(hint);
        self
    }

    pub fn may_pass(&self) -> bool {
        self.again
    }

    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}
