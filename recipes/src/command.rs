//! The `command` recipe: data that only two programs of the administrator's know how to export and import.
//!
//! The exporter writes into the folder that `RESILIENT_DIR` names, or a stream on its standard output; the importer reads
//! the same. No shell is involved, the environment holds what docs/recipes.md lists and nothing else, each program has a
//! process group of its own and a time-out. One that ends with another status than 0, exceeds its time or writes nothing
//! fails the run, with the last words of its standard error; a stream counts as read only when its program ended well.
//!
//! Imports cannot be switched from outside: what the importer does is the switch. What it is given is kept until the import
//! after the next, so that a rollback can give it what it had before, and an import that was cut short is made again.
//!
//! Left out on purpose: what such a program leaves running in a session of its own, and any guess at what it writes.

mod capture;
mod import;
pub(crate) mod process;
mod stream;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::data::{Data, Finding, Level, Sink, Staging};
use process::{Output, Process};

/// Where programs lie that are not named.
pub const FOLDER: &str = "/etc/resilient/recipes";
pub const TIMEOUT: Duration = Duration::from_secs(3600);
/// The one item of a stream.
pub const STREAM: &[u8] = b"stream";

/// What a source with this recipe is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// NAME in `NAME-exporter` and `NAME-importer`.
    pub name: String,
    /// Where these two lie, unless they are named.
    pub folder: PathBuf,
    /// A program, by its absolute path, and its arguments.
    pub export: Option<Vec<OsString>>,
    pub import: Option<Vec<OsString>>,
    /// Standard output and standard input instead of a folder.
    pub stream: bool,
    pub timeout: Duration,
    /// A folder for this source alone, with room for what is exported. Made if need be.
    pub scratch: PathBuf,
    /// Told to the programs.
    pub dataset: String,
    pub source: String,
}

impl Settings {
    pub fn new(name: &str, scratch: PathBuf) -> Settings {
        Settings {
            name: name.into(),
            folder: FOLDER.into(),
            export: None,
            import: None,
            stream: false,
            timeout: TIMEOUT,
            scratch,
            dataset: String::new(),
            source: name.into(),
        }
    }
}

/// The recipe. Clones share what they are made of.
#[derive(Clone)]
pub struct Command {
    inner: Arc<Inner>,
}

/// What a program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Export,
    Import,
}

struct Inner {
    exporter: Vec<OsString>,
    importer: Vec<OsString>,
    stream: bool,
    timeout: Duration,
    scratch: PathBuf,
    dataset: String,
    source: String,
}

impl Command {
    pub fn new(settings: Settings) -> Result<Command, Error> {
        let Settings { name, folder, export, import, stream, timeout, scratch, dataset, source } = settings;
        let refuse = |reason: String| Err(Error::Settings { reason });
        if name.is_empty() || name.contains('/') {
            return refuse(format!("{name:?} cannot be the name of a recipe"));
        }
        let words = |given: Option<Vec<OsString>>, ending: &str| {
            given.unwrap_or_else(|| vec![folder.join(format!("{name}-{ending}")).into_os_string()])
        };
        let (exporter, importer) = (words(export, "exporter"), words(import, "importer"));
        for words in [&exporter, &importer] {
            if !words.first().is_some_and(|program| Path::new(program).is_absolute()) {
                return refuse(format!("{words:?} does not begin with the absolute path of a program"));
            }
        }
        if !scratch.is_absolute() || scratch.file_name().is_none() {
            return refuse(format!("{} is not an absolute path that ends in a name", scratch.display()));
        }
        if timeout.is_zero() {
            return refuse("a program needs some time".into());
        }
        Ok(Command { inner: Arc::new(Inner { exporter, importer, stream, timeout, scratch, dataset, source }) })
    }
}

impl Inner {
    fn words(&self, act: Act) -> &[OsString] {
        match act {
            Act::Export => &self.exporter,
            Act::Import => &self.importer,
        }
    }

    fn program(&self, act: Act) -> PathBuf {
        PathBuf::from(&self.words(act)[0])
    }

    /// Starts a program on a folder, or on a stream.
    fn start(&self, act: Act, folder: Option<&Path>, input: Stdio, output: Output) -> Result<Process, Error> {
        let words = self.words(act);
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).env_clear().stdin(input);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
        command.env("LANG", "C.UTF-8");
        command.env("RESILIENT_ACT", if act == Act::Export { "export" } else { "import" });
        command.env("RESILIENT_DATASET", &self.dataset);
        command.env("RESILIENT_SOURCE", &self.source);
        if let Some(folder) = folder {
            command.env("RESILIENT_DIR", folder);
        }
        command.current_dir(folder.unwrap_or(Path::new("/")));
        Process::start(command, self.timeout, output).map_err(|source| Error::Start { program: self.program(act), source })
    }

    fn failed(&self, act: Act) -> impl Fn(io::Error) -> Error + use<> {
        let program = self.program(act);
        move |source| Error::Ran { program: program.clone(), source }
    }
}

fn unfit(program: &Path) -> Option<String> {
    match fs::metadata(program) {
        Ok(found) if !found.is_file() => Some("is no file".into()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable".into()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be found: {error}")),
    }
}

impl Data for Command {
    fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        for (act, level) in [(Act::Export, Level::Fault), (Act::Import, Level::Warning)] {
            let program = self.inner.program(act);
            if let Some(reason) = unfit(&program) {
                let hint = "put it there, executable, or name another in the node file";
                found.push(Finding::new(level, format!("{} {reason}", program.display())).hint(hint));
            }
        }
        found.extend(import::check(&self.inner));
        Ok(found)
    }

    fn export(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        if self.inner.stream { stream::export(&self.inner, sink) } else { capture::export(&self.inner, sink) }
    }

    fn stage(&self) -> Result<Box<dyn Staging>, Error> {
        import::stage(&self.inner)
    }

    fn rollback(&self) -> Result<Vec<Finding>, Error> {
        import::rollback(&self.inner)
    }
}
