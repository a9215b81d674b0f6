//! `quarantine list`: what there is, and with `--seen`, that a person has seen it.

use super::{Here, noted};
use crate::cmd::failure;
use crate::quarantine::line::{Line, archived};
use crate::quarantine::noted::Noted;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use console::table::Table;
use lookup::Surroundings;
use lookup::cmd::document;
use lookup::show::moment;
use serde::Serialize;
use std::collections::BTreeMap;

/// Lists what is in quarantine
#[derive(Args, Debug)]
#[command(
    after_help = "NEW is what is in no history and nobody has seen. `status` is not ok while there is any; --seen ends that until more comes."
)]
pub struct List {
    /// What is listed counts as seen from now on
    #[arg(long)]
    pub seen: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Shape {
    quarantine: Vec<Line>,
    refused: Vec<Refused>,
    used_bytes: u64,
    quota_bytes: u64,
}

#[derive(Serialize)]
struct Refused {
    cluster: String,
    dataset: String,
    snapshot: String,
    why: String,
}

impl List {
    pub fn run(&self, here: &Here, surroundings: &Surroundings) -> Result<Status, Failure> {
        let names = here.kept.all();
        let mut clusters: BTreeMap<String, Noted> = BTreeMap::new();
        for cluster in names.iter().map(|name| &name.cluster).chain(here.file.clusters.keys()) {
            clusters.insert(cluster.clone(), noted(here, cluster)?);
        }
        let none = Noted::default();
        let of = |cluster: &str| clusters.get(cluster).unwrap_or(&none);
        let line = |name| Line::of(&here.kept, name, &archived(&here.file.store, name), of(&name.cluster));
        let lines: Vec<Line> = names.iter().map(line).collect();
        let refused: Vec<Refused> = clusters.iter().flat_map(|(cluster, noted)| refused(cluster, noted)).collect();
        if self.seen {
            for (cluster, noted) in &mut clusters {
                let ids = names.iter().filter(|name| name.cluster == *cluster).flat_map(|name| here.kept.snapshots(name));
                noted.seen.extend(ids.map(|known| known.id.to_string()));
                noted.keep(&here.file.state, cluster).map_err(failure)?;
            }
        }
        if self.json {
            let (used_bytes, quota_bytes) = (here.kept.used(), here.file.quarantine);
            document(&Shape { quarantine: lines, refused, used_bytes, quota_bytes })?;
            return Ok(Status::Done);
        }
        let mut output = Output::stdout();
        if lines.is_empty() {
            tell("nothing is in quarantine");
        } else {
            output.line(table(&lines, surroundings).to_string().trim_end())?;
        }
        output.finish()?;
        for refused in refused {
            tell(format_args!("not kept: {}/{} {}: {}", refused.cluster, refused.dataset, refused.snapshot, refused.why));
        }
        Ok(Status::Done)
    }
}

fn refused<'n>(cluster: &'n str, noted: &'n Noted) -> impl Iterator<Item = Refused> + 'n {
    let of = move |(dataset, names): (&'n String, &'n BTreeMap<String, String>)| {
        names.iter().map(move |(snapshot, why)| Refused {
            cluster: cluster.into(),
            dataset: dataset.clone(),
            snapshot: snapshot.clone(),
            why: why.clone(),
        })
    };
    noted.refused.iter().flat_map(of)
}

fn table(lines: &[Line], surroundings: &Surroundings) -> Table {
    let mut table = Table::new(&["NAME", ">SNAPSHOTS", ">NEW", ">SIZE", ">CONTENT", ">AGE", "NEWEST"]);
    for line in lines {
        table.row([
            line.name.clone(),
            line.snapshots.to_string(),
            line.new.to_string(),
            human::bytes(line.bytes),
            line.content_bytes.map_or("-".into(), human::bytes),
            line.captured_ms.map_or("-".into(), |ms| human::age(moment(ms), surroundings.moment())),
            line.newest.as_ref().map_or("-".into(), |id| id.chars().take(8).collect()),
        ]);
    }
    table
}
