//! `exporter check`: whether everything that an export needs is in place. It changes nothing but for trying whether the state folder can be written.

use super::link_failure;
use crate::certified;
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::{Dataset, NodeFile};
use console::output::Output;
use link::membership::{Membership, Reign};
use recipes::data::{Finding, Level};
use serde::Serialize;
use sources::recipe;
use std::path::Path;

#[derive(Debug, Args)]
pub struct Check {
    /// The dataset; all of them when none is named.
    dataset: Option<String>,
}

#[derive(Serialize)]
struct Found {
    /// The dataset and source, or what else it is about.
    about: String,
    level: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Fault => "fault",
    }
}

fn found(about: impl Into<String>, finding: Finding) -> Found {
    Found { about: about.into(), level: word(finding.level), what: finding.what, hint: finding.hint }
}

fn fault(about: impl Into<String>, failure: &Failure) -> Found {
    Found {
        about: about.into(),
        level: word(Level::Fault),
        what: failure.to_string(),
        hint: failure.hint.clone(),
    }
}

impl Check {
    pub fn run(self, config: &Path, json: bool) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let chosen: Vec<&Dataset> = file
            .datasets
            .iter()
            .filter(|dataset| self.dataset.as_ref().is_none_or(|name| *name == dataset.name))
            .collect();
        if chosen.is_empty() {
            let known: Vec<&str> = file.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
            return Err(Failure::usage(format!("{} has no such dataset", config.display())).hint(format!("it has: {}", known.join(", "))));
        }
        let mut all = of_node(&file);
        chosen.iter().for_each(|dataset| of_dataset(&file, dataset, &mut all));
        let faults = all.iter().filter(|found| found.level == word(Level::Fault)).count();
        let mut output = Output::stdout();
        if json {
            output.line(serde_json::json!({ "faults": faults, "findings": all }))?;
        } else {
            for Found { about, level, what, hint } in &all {
                output.line(format_args!("{level}: {about}: {what}"))?;
                if let Some(hint) = hint {
                    output.line(format_args!("  {hint}"))?;
                }
            }
            let names: Vec<&str> = chosen.iter().map(|dataset| dataset.name.as_str()).collect();
            output.line(format_args!(
                "checked {}: {}",
                names.join(", "),
                if faults == 0 { "an export can begin".into() } else { format!("{faults} faults") }
            ))?;
        }
        output.finish()?;
        Ok(if faults == 0 { Status::Done } else { Status::Failed })
    }
}

/// What all datasets need.
fn of_node(file: &NodeFile) -> Vec<Found> {
    let mut all = Vec::new();
    let state = &file.node.state;
    let writable = archive::store::make_folder(state, 0o700).and_then(|()| tempfile_in(state));
    if let Err(error) = writable {
        let finding = Finding::new(Level::Fault, format!("{} cannot be written: {error}", state.display()));
        all.push(found("state", finding.hint("let `state` in [node] be a folder that this user may write, with room in it")));
    }
    match Reign::open(state) {
        Ok(Some(Reign { active: false, .. })) => {
            let finding = Finding::new(Level::Fault, "this node stands by: it exports nothing");
            all.push(found("role", finding.hint("export on the active node")));
        }
        Ok(_) => {}
        Err(error) => all.push(fault("role", &link_failure(error))),
    }
    match Membership::open(state) {
        Ok(known) if !known.pull_backups.iter().any(|known| known.cluster == file.cluster) => {
            let finding = Finding::new(Level::Warning, "this node has joined no pull-backup: what it exports stays on it");
            all.push(found("membership", finding.hint("`pull-backup invite` there prints a line for `exporter join` here")));
        }
        Ok(_) => {}
        Err(error) => all.push(fault("membership", &link_failure(error))),
    }
    all.extend(certified::warning(file).map(|what| found("signer", Finding::new(Level::Warning, what))));
    all
}

/// Writes a file into a folder and takes it away.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".check-{}", archive::id::hex(&archive::sign::random::<8>())));
    std::fs::write(&path, [0; 4096]).and_then(|()| std::fs::remove_file(&path))
}

fn of_dataset(file: &NodeFile, dataset: &Dataset, all: &mut Vec<Found>) {
    for recipient in file.seal.recipients.iter().filter(|_| dataset.seal) {
        if let Err(error) = archive::identity::Recipient::parse(recipient) {
            all.push(fault("seal", &super::failure(error)));
        }
    }
    for source in &dataset.sources {
        let about = format!("{}/{}", dataset.name, source.name);
        let checked = recipe::data(source, &file.node.state, &dataset.name)
            .and_then(|data| data.check().map_err(|error| recipe::failure(&source.name, error)));
        match checked {
            Ok(findings) => all.extend(findings.into_iter().map(|finding| found(about.clone(), finding))),
            Err(failure) => all.push(fault(about, &failure)),
        }
    }
}
