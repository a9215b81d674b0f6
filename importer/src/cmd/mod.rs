//! The commands of an importer that are its own, one file each.

pub mod dns;
pub mod drill;
pub mod guard;
pub mod join;
pub mod restore;
pub mod rollback;
pub mod serve;
pub mod status;
pub mod sync;
pub mod takeover;
pub mod vip;

use crate::import::Imports;
use crate::keys::Keys;
use crate::serve::Around;
use archive::sign::Signer;
use console::exit::Failure;
use console::node_file::{Dataset, NodeFile};
use console::place;
use link::client::Deadlines;
use link::identity::signing_key;
use link::membership::NODE_KEY;
use link::server::Limits;
use lookup::Surroundings;
use lookup::open::Identity;
use standing::Log;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error between hosts, with what can be done about it.
pub(crate) fn failure(error: link::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn open(config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<NodeFile, Failure> {
    Ok(NodeFile::open(&place::of(config.map(PathBuf::as_path), surroundings.config.as_deref(), place::NODE))?)
}

/// A dataset of the node file.
fn dataset<'a>(file: &'a NodeFile, name: &str) -> Result<&'a Dataset, Failure> {
    file.dataset(name).ok_or_else(|| {
        let known: Vec<&str> = file.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
        Failure::usage(format!("the node file has no dataset {name}")).hint(format!("it has: {}", known.join(", ")))
    })
}

/// This node's own key, with which it signs what it did.
fn signer(file: &NodeFile) -> Result<Signer, Failure> {
    signing_key(&file.node.state, NODE_KEY).map_err(failure)
}

/// What there is to import with: the identity of the command line, or else of the node file.
fn imports(file: &NodeFile, given: &Identity) -> Result<Imports, Failure> {
    let signer = signer(file)?;
    let means = Identity {
        identity: given
            .identity
            .clone()
            .filter(|path| !path.is_empty())
            .or_else(|| file.node.identity.clone().map(PathBuf::into_os_string)),
        passphrase_file: given.passphrase_file.clone(),
    };
    let keys = Keys::new(match means.keyring() {
        Ok(keyring) if keyring.is_empty() => Ok(None),
        Ok(keyring) => Ok(Some(keyring)),
        Err(failure) => Err(failure.to_string()),
    });
    Ok(Imports { file: file.clone(), keys, signer: Arc::new(signer), clock: Arc::new(now_ms), patience: PATIENCE })
}

/// How long a command waits for an import that is at work.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a command waits with.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// The clock that daemons and commands are given.
pub(crate) fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command is where the clock is read")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn around(log: Log) -> Around {
    Around {
        wall: Arc::new(now_ms),
        chance: Arc::new(|| u64::from_le_bytes(archive::sign::random())),
        deadlines: Deadlines::default(),
        limits: Limits::default(),
        every: Duration::from_secs(5),
        log,
    }
}
