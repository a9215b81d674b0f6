//! The `mysql` recipe: databases of a MariaDB or MySQL server, read and written through the server.
//!
//! Export: several sessions at one snapshot, which a moment's lock makes the same for all (`snapshot`); rows as text, in pieces by ranges of the key (`text`,
//! `export`); what makes tables and code, by the server's own statements (`schema`); a manifest with counts and hashes of the rows as they were sent.
//!
//! Import: loaded into databases beside the live ones, by an account that may do nothing elsewhere, read back and compared; then one RENAME TABLE puts all tables
//! of all databases in place, and takes those before beside, for a rollback. A record, written before each step, says after a kill whether to finish or undo.
//!
//! What holds: no stream is short without an error; nothing of the live databases changes before `commit`; what is not this recipe's own is never dropped;
//! passwords are in no argument, environment or log.
//!
//! Left out on purpose: accounts' rights outside of the databases; the server's own databases; history of versioned tables; TLS.

mod ahead;
mod beside;
mod catalog;
mod client;
mod export;
mod guard;
mod import;
mod manifest;
mod names;
mod record;
mod schema;
mod server;
mod snapshot;
mod text;
mod users;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use client::{Address, Fault};

use crate::data::{Data, Finding, Part, Served, Sink, Staging, To};
use crate::{Error, secret};
use client::Client;

/// How the rows that were loaded are compared with those that were exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Read back, each one.
    Full,
    Counts,
}

/// What a source with this recipe is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    pub address: Address,
    pub user: String,
    /// One line; nobody else may read it. Without it, the account must need none.
    pub password_file: Option<PathBuf>,
    /// All but the server's own when there are none.
    pub databases: Vec<String>,
    pub exclude: Vec<String>,
    /// `database.table`.
    pub exclude_tables: Vec<String>,
    /// A file of options that the server reads when it starts; a guard writes it, so that it holds from the server's first moment.
    pub option_file: Option<PathBuf>,
    /// Sessions that read or load at once.
    pub jobs: usize,
    pub verify: Verify,
    /// A folder for this source alone, with room for what is imported. Made if need be.
    pub scratch: PathBuf,
}

impl Settings {
    pub fn new(scratch: PathBuf) -> Settings {
        Settings {
            address: Address::Socket("/run/mysqld/mysqld.sock".into()),
            user: "root".into(),
            password_file: None,
            databases: Vec::new(),
            exclude: Vec::new(),
            exclude_tables: Vec::new(),
            option_file: None,
            jobs: 2,
            verify: Verify::Full,
            scratch,
        }
    }
}

/// The recipe. Clones share what they are made of.
#[derive(Clone)]
pub struct Mysql {
    inner: Arc<Inner>,
}

/// Called with the name of each step of an import before it is made.
type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

struct Inner {
    settings: Settings,
    hook: Option<Hook>,
}

const JOBS_MAX: usize = 64;

impl Mysql {
    pub fn new(settings: Settings) -> Result<Mysql, Error> {
        Mysql::make(settings, None)
    }

    /// For tests that stop an import between two steps.
    #[doc(hidden)]
    pub fn with_hook(settings: Settings, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Result<Mysql, Error> {
        Mysql::make(settings, Some(Box::new(hook)))
    }

    fn make(settings: Settings, hook: Option<Hook>) -> Result<Mysql, Error> {
        let refuse = |reason: String| Err(Error::Settings { reason });
        if !settings.scratch.is_absolute() || settings.scratch.file_name().is_none() {
            return refuse(format!("{} is not an absolute path that ends in a name", settings.scratch.display()));
        }
        if !(1..=JOBS_MAX).contains(&settings.jobs) {
            return refuse(format!("{} jobs are not between 1 and {JOBS_MAX}", settings.jobs));
        }
        if let Some(name) = settings.databases.iter().find(|name| !names::fit(name)) {
            return refuse(format!("{name:?} is no database that can be exported"));
        }
        if let Some(table) = settings.exclude_tables.iter().find(|table| !table.contains('.')) {
            return refuse(format!("{table:?} does not name a database and a table, as in shop.sessions"));
        }
        Ok(Mysql { inner: Arc::new(Inner { settings, hook }) })
    }
}

impl Inner {
    fn step(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
    }

    fn place(&self) -> String {
        match &self.settings.address {
            Address::Socket(path) => path.display().to_string(),
            Address::Network { host, port } => format!("{host}:{port}"),
        }
    }

    fn failed(&self, action: &'static str) -> impl Fn(Fault) -> Error + use<> {
        let server = self.place();
        move |source| Error::Mysql { action, server: server.clone(), source }
    }

    fn missing(&self, name: &str) -> Error {
        let source = io::Error::new(io::ErrorKind::NotFound, format!("there is no such database on {}", self.place()));
        Error::Missing { path: name.into(), source }
    }

    fn arrived(&self, reason: impl Into<String>) -> Error {
        Error::Arrived { target: self.place().into(), reason: reason.into() }
    }

    /// A session of the account in the settings.
    fn open(&self) -> Result<Client, Error> {
        let read = |path: &PathBuf| secret::read(path).map_err(|error| Error::io("read the password in", path, error));
        let password = self.settings.password_file.as_ref().map(read).transpose()?;
        self.open_as(&self.settings.user, password.as_deref())
    }

    fn open_as(&self, user: &str, password: Option<&str>) -> Result<Client, Error> {
        let failed = self.failed("log in to");
        let mut client = Client::open(&self.settings.address, user, password).map_err(&failed)?;
        server::settle(&mut client).map_err(&failed)?;
        Ok(client)
    }

    /// The databases to export.
    fn wanted(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let found = catalog::databases(client).map_err(self.failed("list the databases of"))?;
        if let Some(name) = self.settings.databases.iter().find(|name| !found.contains(name)) {
            return Err(self.missing(name));
        }
        let own = self.record()?.own;
        let all = self.settings.databases.is_empty();
        let wanted = |name: &String| all && !own.contains(name) || self.settings.databases.contains(name);
        Ok(found.into_iter().filter(|name| wanted(name) && !self.settings.exclude.contains(name)).collect())
    }

    fn excluded(&self, database: &str, table: &str) -> bool {
        let name = |excluded: &String| excluded.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')) == Some(table);
        self.settings.exclude_tables.iter().any(name)
    }

    fn last(&self) -> PathBuf {
        self.settings.scratch.join("last-manifest.json")
    }

    fn record_path(&self) -> PathBuf {
        self.settings.scratch.join("import.json")
    }

    fn record(&self) -> Result<record::Record, Error> {
        record::read(&self.record_path()).map_err(|error| Error::io("read", &self.record_path(), error))
    }

    fn examine(&self, found: &mut Vec<Finding>) -> Result<(), Error> {
        let mut client = self.open()?;
        let failed = self.failed("look at");
        let engines = snapshot::engines(&mut client).map_err(&failed)?;
        for name in self.wanted(&mut client)? {
            let Some(database) = catalog::read(&mut client, &name).map_err(&failed)? else { continue };
            for table in database.tables.iter().filter(|table| !self.excluded(&name, &table.name)) {
                found.extend(snapshot::trouble(&name, table, &engines));
            }
        }
        Ok(())
    }
}

impl Data for Mysql {
    fn ask(&self, database: Option<&str>, question: &str) -> Option<Result<(), Error>> {
        Some(beside::ask_live(&self.inner, database, question))
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        if let Err(error) = self.inner.examine(&mut found) {
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

impl Served for Mysql {
    fn guard(&self) -> Result<Vec<Finding>, Error> {
        guard::guard(&self.inner)
    }

    fn lift(&self) -> Result<Vec<Finding>, Error> {
        guard::lift(&self.inner)
    }

    fn needs(&self, folder: &Path, part: &Part) -> Result<Vec<Vec<u8>>, Error> {
        beside::needs(&self.inner, folder, part)
    }

    fn rehearse(&self, folder: &Path, questions: &[String]) -> Result<Vec<Finding>, Error> {
        beside::rehearse(&self.inner, folder, questions)
    }

    fn bring(&self, folder: &Path, part: &Part, to: To<'_>) -> Result<Vec<Finding>, Error> {
        beside::bring(&self.inner, folder, part, to)
    }
}
