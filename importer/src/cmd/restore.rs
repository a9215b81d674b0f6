//! `importer restore`: a snapshot by date, into a folder as everywhere; or a part of its databases, as a database of its own or as SQL.

use super::drill::FindingShape;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use lookup::Surroundings;
use lookup::cmd::{document, restore};
use lookup::show::SnapshotShape;
use recipes::data::{Part, To};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Restores a snapshot by date into a folder, or a part of its databases
#[derive(Args, Debug)]
#[group(skip)]
pub struct Restore {
    #[command(flatten)]
    pub whole: restore::Restore,
    /// Load it into the server, as a database of this name that is not there yet
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "paths", "stdout", "delete", "sql"])]
    pub into: Option<String>,
    /// Write it as SQL into a file that is not there yet; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "paths", "stdout", "delete"])]
    pub sql: Option<PathBuf>,
    /// With --into or --sql: the database, where the snapshot has several
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// With --into or --sql: only this table; may be given several times
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
    /// With --into or --sql: the source, where several have databases
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
}

#[derive(Serialize)]
struct Shape {
    snapshot: SnapshotShape,
    source: String,
    database: Option<String>,
    tables: Vec<String>,
    to: String,
    findings: Vec<FindingShape>,
}

const STDOUT: &str = "-";

impl Restore {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        if self.into.is_none() && self.sql.is_none() {
            if self.database.is_some() || !self.tables.is_empty() || self.source.is_some() {
                return Err(Failure::usage("--database, --table and --source say what of a server's databases is restored")
                    .hint("say where to with --into NAME or --sql FILE"));
            }
            return self.whole.run(surroundings);
        }
        let file = super::open(config, surroundings)?;
        let reading = &self.whole.reading;
        let opened = reading.repository()?;
        let dataset = super::dataset(&file, &opened.repository.config().dataset)?;
        let chosen = reading.choose(&opened.facts()?, &opened, &self.whole.at, "", surroundings)?;
        let snapshot = reading.open(&opened, &chosen)?;
        let part = Part { database: self.database.clone(), tables: self.tables.clone() };
        let state = &file.node.state;
        let bring = |to: To<'_>| sources::beside::bring(&snapshot, dataset, state, self.source.as_deref(), &part, to);
        let (to, (source, findings)) = match (&self.into, &self.sql) {
            (Some(name), _) => (name.clone(), bring(To::Database(name))?),
            (None, Some(path)) if path.as_os_str() == STDOUT => (STDOUT.into(), bring(To::Sql(&mut std::io::stdout()))?),
            (None, path) => {
                let path = path.as_deref().unwrap_or(Path::new(STDOUT));
                (human::text(path.as_os_str().as_encoded_bytes()), write(path, bring)?)
            }
        };
        let findings: Vec<FindingShape> = findings.into_iter().map(|finding| FindingShape::of(&(source.clone(), finding))).collect();
        if reading.json && to != STDOUT {
            let (database, tables) = (part.database, part.tables);
            document(&Shape { snapshot: (&chosen.fact).into(), source, database, tables, to, findings })?;
            return Ok(lookup::cmd::status(&chosen.unread));
        }
        findings.iter().for_each(|finding| tell(finding.line()));
        if to != STDOUT {
            let mut output = Output::stdout();
            output.line(format_args!("restored from {} of dataset {}: {to}", chosen.fact.short(), dataset.name))?;
            output.finish()?;
        }
        Ok(lookup::cmd::status(&chosen.unread))
    }
}

/// Writes a new file, which is there only when it is whole: until then it is called otherwise.
fn write<T>(path: &Path, bring: impl FnOnce(To<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    if path.symlink_metadata().is_ok() {
        return Err(Failure::refused(format!("{} is there already", path.display())).hint("name another file, or remove that one"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(failed)?;
    let mut to = BufWriter::new(file);
    let outcome = bring(To::Sql(&mut to)).and_then(|done| {
        let durable = to.flush().and_then(|()| to.get_ref().sync_all());
        // One that came meanwhile stays.
        durable.and_then(|()| std::fs::hard_link(&partial, path)).map_err(failed).map(|()| done)
    });
    // What cannot be removed is overwritten by the next.
    let _ = std::fs::remove_file(&partial);
    outcome
}
