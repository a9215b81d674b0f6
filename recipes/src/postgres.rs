//! The `postgres` recipe: the databases of a PostgreSQL server on this host.
//!
//! **Export.** Each database at one exported snapshot: its definitions by `pg_dump`, its rows by `COPY` on several connections, a large table in ranges of a fixed
//! number of blocks so that a change moves no boundary, all of it streamed without a copy on disk. The manifest comes last and counts what was streamed. Two
//! databases are two snapshots, a moment apart: PostgreSQL has none that spans both, and the manifest says so.
//!
//! **Import.** Into databases beside those that are there, verified against the manifest, then renamed in one transaction while whoever reads is sent away once.
//! What was before stays beside until the next import, for a rollback.
//!
//! What is in a snapshot is run on the server that imports it, with the rights of the user given here: a certified node wrote it. Left out: tablespaces (all goes
//! to the default one), the contents of foreign tables, subscriptions, replication slots, roles that are superusers (unless they are named), and servers older
//! than 12.

mod ask;
mod beside;
mod catalog;
mod connect;
mod contents;
mod cron;
mod export;
mod hba;
mod import;
mod lanes;
mod load;
mod manifest;
mod preflight;
mod renew;
mod roles;
mod schema;
mod swap;
mod tree;
mod verify;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::data::{Data, Finding, Part, Served, Sink, Staging, To};

pub use verify::Verify;

use tree::Arrived;

/// What a source with this recipe is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the server's socket, or a host.
    pub host: String,
    pub port: u16,
    /// A role that may read everything, and on a node that stands by a superuser.
    pub user: String,
    /// Holds the password, where one is asked for.
    pub password_file: Option<PathBuf>,
    /// All but the system's own where there are none.
    pub databases: Vec<String>,
    pub exclude_databases: Vec<String>,
    pub schemas: Vec<String>,
    pub exclude_schemas: Vec<String>,
    /// As `schema.table`: their definition is exported, their rows are not.
    pub exclude_tables: Vec<String>,
    /// Superusers among the roles that may be made on a node that stands by.
    pub superusers: Vec<String>,
    /// A role that may read there, made if need be.
    pub reader: Option<String>,
    /// The server's pg_hba.conf, which a guard writes into: so that it holds from the server's first moment.
    pub hba_file: Option<PathBuf>,
    /// So many connections read or load side by side.
    pub jobs: usize,
    pub verify: Verify,
    /// A folder for this source alone. Made if need be; an import needs room there for all that was exported.
    pub scratch: PathBuf,
}

impl Settings {
    pub fn new(host: impl Into<String>, scratch: PathBuf) -> Settings {
        Settings {
            host: host.into(),
            port: 5432,
            user: "postgres".into(),
            password_file: None,
            databases: vec![],
            exclude_databases: vec![],
            schemas: vec![],
            exclude_schemas: vec![],
            exclude_tables: vec![],
            superusers: vec![],
            reader: None,
            hba_file: None,
            jobs: 2,
            verify: Verify::Full,
            scratch,
        }
    }
}

/// The recipe. Clones share what they are made of.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// Told each step of an import; tests die there.
    step: Option<Arc<dyn Fn(&str) + Send + Sync>>,
}

/// How long one of the server's own tools may take.
const TOOL_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Postgres {
    pub fn new(settings: Settings) -> Result<Postgres, Error> {
        let refuse = |reason: &str| Err(Error::Settings { reason: reason.into() });
        if settings.host.is_empty() || settings.user.is_empty() {
            return refuse("a host (or the folder of the server's socket) and a user are needed");
        }
        if !(1..=64).contains(&settings.jobs) {
            return refuse("jobs must be from 1 to 64");
        }
        if settings.databases.iter().any(|name| name == catalog::ANY) {
            return refuse("the database postgres is where the server is administered from; keep data in another one");
        }
        if settings.exclude_tables.iter().any(|table| !table.contains('.')) {
            return refuse("a table to be excluded is given as schema.table");
        }
        if !settings.scratch.is_absolute() || settings.scratch.file_name().is_none() {
            return refuse("the scratch folder must be an absolute path that ends in a name");
        }
        Ok(Postgres { inner: Arc::new(Inner { settings, step: None }) })
    }

    /// With a function that is told each step of an import.
    pub fn watched(mut self, step: Arc<dyn Fn(&str) + Send + Sync>) -> Postgres {
        let settings = self.inner.settings.clone();
        self.inner = Arc::new(Inner { settings, step: Some(step) });
        self
    }
}

impl Inner {
    fn step(&self, name: &str) {
        if let Some(step) = &self.step {
            step(name);
        }
    }

    /// For us alone: there are verifiers of passwords in it, and while an import is at work all the data.
    fn make_scratch(&self) -> Result<(), Error> {
        let path = &self.settings.scratch;
        crate::lock::make_folder(path).map_err(|error| Error::io("make the folder", path, error))
    }
}

impl Data for Postgres {
    fn ask(&self, database: Option<&str>, question: &str) -> Option<Result<(), Error>> {
        Some(beside::ask_live(&self.inner, database, question))
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        if let Err(error) = preflight::exportable(&self.inner, &mut found) {
            found.push(error.finding());
        }
        Ok(found)
    }

    fn export(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        export::export(&self.inner, sink)
    }

    fn stage(&self) -> Result<Box<dyn Staging>, Error> {
        import::stage(&self.inner)
    }

    fn rollback(&self) -> Result<Vec<Finding>, Error> {
        import::rollback(&self.inner)
    }

    fn served(&self) -> Option<&dyn Served> {
        Some(self)
    }
}

impl Served for Postgres {
    fn guard(&self) -> Result<Vec<Finding>, Error> {
        hba::guard(&self.inner)
    }

    fn lift(&self) -> Result<Vec<Finding>, Error> {
        hba::lift(&self.inner)
    }

    fn needs(&self, folder: &Path, part: &Part) -> Result<Vec<Vec<u8>>, Error> {
        Arrived::needs(folder, part)
    }

    fn rehearse(&self, folder: &Path, questions: &[String]) -> Result<Vec<Finding>, Error> {
        beside::rehearse(&self.inner, &Arrived::open(folder)?, questions)
    }

    fn bring(&self, folder: &Path, part: &Part, to: To<'_>) -> Result<Vec<Finding>, Error> {
        beside::bring(&self.inner, &Arrived::open_part(folder, part)?, part, to)
    }
}
