//! Which repository a command reads: a folder, or a dataset by its name. What a name means says the binary's configuration, so the binary fills in the folder,
//! or an archive on another host, before the command runs.
//!
//! Of a distant archive there is a catalogue first, without content; the one snapshot that was chosen is brought here, and goes when the command ends.

use archive::id::SnapshotId;
use archive::repository::{Access, Repository};
use archive::sign::PublicKey;
use clap::Args;
use console::exit::Failure;
use std::collections::HashMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fact::Fact;
use crate::failure::failure;
use crate::open::{Identity, Roots};

/// Which repository.
#[derive(Args, Clone, Debug, Default)]
pub struct Place {
    /// The folder of the repository, instead of a dataset that the configuration knows
    #[arg(long, value_name = "DIR")]
    pub repository: Option<PathBuf>,
    /// The dataset, as NAME or CLUSTER/NAME; needed where there are several
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// The archive that is read instead of a folder.
    #[arg(skip)]
    pub distant: Option<Arc<dyn Distant>>,
    #[arg(skip)]
    pub peers: Peers,
}

/// An archive on another host.
pub trait Distant: Debug + Send + Sync {
    /// What it is called.
    fn name(&self) -> String;

    /// What it has, without content.
    fn catalogue(&self) -> Result<Repository, Failure>;

    /// An empty repository here, for what is brought; it goes with this.
    fn room(&self) -> Result<Repository, Failure>;

    /// Brings a snapshot.
    fn bring(&self, fact: &Fact, into: &Repository) -> Result<(), Failure>;
}

/// What is known here of other hosts.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// Who signs receipts, by key.
    pub receivers: HashMap<PublicKey, String>,
    pub holders: Vec<Holder>,
    /// With which key this host signs receipts, where it gives any.
    pub own: Option<PublicKey>,
}

/// What a host said that it holds of the dataset.
#[derive(Clone, Debug)]
pub struct Holder {
    pub name: String,
    /// The newest that it has whole.
    pub held: Option<SnapshotId>,
    pub imported: Option<SnapshotId>,
    pub said_ms: u64,
}

/// What a command is about, for the binary to fill in what the command line leaves out.
#[derive(Debug)]
pub struct Means<'a> {
    pub place: &'a mut Place,
    /// The dataset that was named.
    pub dataset: Option<String>,
    pub roots: &'a mut Roots,
    pub identity: Option<&'a mut Identity>,
}

impl Place {
    /// The place as it may be shown.
    pub fn shown(&self) -> String {
        match (&self.repository, &self.distant) {
            (Some(folder), _) => console::human::text(folder.as_os_str().as_encoded_bytes()),
            (None, Some(distant)) => format!("the archive at {}", distant.name()),
            (None, None) => "no place".into(),
        }
    }

    /// The folder, for what needs one.
    pub fn folder(&self) -> Result<&PathBuf, Failure> {
        self.repository.as_ref().ok_or_else(|| match &self.distant {
            Some(_) => {
                Failure::usage(format!("{} is on another host", self.shown())).hint("do this there, or on a repository of this host")
            }
            None => Failure::usage("it is not said which repository").hint("name its folder with --repository DIR"),
        })
    }

    pub fn open(&self, access: Access) -> Result<Repository, Failure> {
        Repository::open_folder(self.folder()?, access).map_err(|error| {
            let whole = |error: &archive::Error| format!("the repository {}: {error}", self.shown());
            match &error {
                archive::Error::Damaged { .. } => Failure::failed(whole(&error))
                    .hint("put back repository.json from a copy of this repository; it is written once and never changes"),
                archive::Error::Future { .. } => Failure::failed(whole(&error)).hint(error.hint().unwrap_or_default()),
                _ => failure(error),
            }
        })
    }

    /// What can be listed there: the repository itself, or a catalogue.
    pub fn list(&self) -> Result<Repository, Failure> {
        match (&self.repository, &self.distant) {
            (None, Some(distant)) => distant.catalogue(),
            _ => self.open(Access::Shared),
        }
    }
}

/// Which of some datasets, each with its cluster, is meant by a name; `known` is where they stand.
pub fn which<'d>(wanted: Option<&str>, datasets: &'d [(String, String)], known: &str) -> Result<&'d (String, String), Failure> {
    let names = |some: &[&(String, String)]| some.iter().map(|(cluster, name)| format!("{cluster}/{name}")).collect::<Vec<_>>().join(", ");
    let fits = |(cluster, name): &&(String, String)| {
        wanted.is_none_or(|wanted| wanted == name || wanted.split_once('/').is_some_and(|(of, rest)| of == cluster && rest == name))
    };
    let found: Vec<_> = datasets.iter().filter(fits).collect();
    let every = || names(&datasets.iter().collect::<Vec<_>>());
    match (found.as_slice(), wanted) {
        ([only], _) => Ok(only),
        ([], _) if datasets.is_empty() => Err(Failure::failed(format!("{known} has no dataset yet")).hint("the first export brings one")),
        ([], _) => {
            let wanted = console::human::text(wanted.unwrap_or_default().as_bytes());
            Err(Failure::usage(format!("{known} has no dataset {wanted}")).hint(format!("it has: {}", every())))
        }
        (several, Some(wanted)) => {
            Err(Failure::usage(format!("several datasets are called {wanted}: {}", names(several))).hint("say CLUSTER/NAME"))
        }
        (_, None) => {
            Err(Failure::usage(format!("{known} has several datasets: {}", every())).hint("say which: DATASET, or --dataset NAME"))
        }
    }
}
