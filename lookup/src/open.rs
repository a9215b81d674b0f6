//! What every reading command is told: whose signatures count, and what opens sealed content. Where the repository is says `place`.

use archive::identity::Keyring;
use archive::read::open::OpenSnapshot;
use archive::sign::PublicKey;
use archive::trust::Trust;
use clap::Args;
use console::exit::Failure;
use jiff::{Timestamp, Zoned};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cmd::Opened;
use crate::fact::Fact;
use crate::failure::failure;

/// What a command knows of its surroundings, read once in `main`.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub now: Zoned,
    /// What `RESILIENT_CONFIG` says.
    pub config: Option<OsString>,
}

impl Surroundings {
    pub fn moment(&self) -> Timestamp {
        self.now.timestamp()
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.moment().as_millisecond()).unwrap_or(0)
    }
}

/// Whose signatures count.
#[derive(Args, Debug)]
pub struct Roots {
    /// The cluster key; only nodes that it certified are believed
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    pub cluster_key: Option<PublicKey>,
    /// Believe this signing key; may be given several times
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    pub signer: Vec<PublicKey>,
    /// Keys of nodes that were expelled.
    #[arg(skip)]
    pub former: Vec<PublicKey>,
}

impl Roots {
    /// Whether the command line says nothing.
    pub fn is_empty(&self) -> bool {
        self.cluster_key.is_none() && self.signer.is_empty()
    }

    pub fn trust(&self) -> Trust {
        Trust { cluster_key: self.cluster_key, pinned: self.signer.clone(), former: self.former.clone() }
    }
}

/// Reads a key on a command line.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "a key is written as ed25519: and 64 hexadecimal digits".into())
}

/// What opens sealed content.
#[derive(Args, Debug)]
pub struct Identity {
    /// The age identity that opens sealed content
    #[arg(long, value_name = "FILE", env = "RESILIENT_IDENTITY", hide_env_values = true)]
    pub identity: Option<OsString>,
    /// The identity's passphrase stands in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl Identity {
    /// The identities that were given; none is no error, for not everything is sealed.
    pub fn keyring(&self) -> Result<Keyring, Failure> {
        // An empty variable counts as none: that is how a unit file unsets one.
        let Some(path) = self.identity.as_ref().filter(|path| !path.is_empty()).map(Path::new) else {
            return Ok(Keyring::default());
        };
        let mut refused = None;
        let opened = Keyring::from_file(path, &mut |path| {
            let prompt = format!("Passphrase of {}", console::human::text(path.as_os_str().as_encoded_bytes()));
            console::passphrase::read(&prompt, self.passphrase_file.as_deref())
                .map(|phrase| phrase.expose().to_owned())
                .map_err(|error| {
                    refused = Some(error);
                    archive::Error::Identity { path: path.into(), why: "its passphrase was not given".into() }
                })
        });
        match (opened, refused) {
            (_, Some(error)) => Err(error.into()),
            (Err(error @ archive::Error::File { .. }), None) => {
                Err(Failure::usage(error).hint("name the file of an age identity with --identity FILE or RESILIENT_IDENTITY"))
            }
            (opened, None) => opened.map_err(failure),
        }
    }
}

/// Opens a snapshot, or says what is missing for that.
pub fn open_snapshot<'r>(opened: &'r Opened, fact: &Fact, keyring: &mut Keyring) -> Result<OpenSnapshot<'r>, Failure> {
    if let Err(why) = &fact.standing {
        return Err(Failure::refused(why.clone()).hint(
            "--signer KEY believes a key that you know, --cluster-key KEY those that it certified; an id or a time opens another snapshot",
        ));
    }
    if fact.snapshot.body.sealed && keyring.is_empty() {
        let what = format!("snapshot {} is sealed, and no identity was given", fact.short());
        return Err(
            Failure::usage(what).hint("give the identity of one of its recipients with --identity FILE, or its path in RESILIENT_IDENTITY")
        );
    }
    OpenSnapshot::open(opened.content(fact)?, &fact.known, &opened.trust, keyring).map_err(|error| match error {
        archive::Error::Sealed { name } => Failure::failed(format!(
            "the identity that was given does not open snapshot {}: it is none of the recipients of {name}",
            fact.short()
        ))
        .hint("give the identity of one of the recipients with --identity FILE"),
        error => failure(error),
    })
}
