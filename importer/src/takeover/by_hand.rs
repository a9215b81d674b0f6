//! The role by hand, where no `[takeover]` is configured: no lease, no fencing, and a person's word that no other node serves.
//!
//! The epoch that is taken so is this node's own claim: the pull-backup keeps what comes of it aside until a person says there that it counts.

use crate::base::Bases;
use crate::import::{Did, For, Imports};
use crate::imported::Imported;
use crate::takeover::exporting::exporter;
use crate::takeover::looking::{exported, imported, seen};
use crate::takeover::orders::Stands;
use crate::takeover::served;
use console::exit::Failure;
use console::human;
use console::node_file::NodeFile;
use election::Position;
use election::message::Standing;
use link::membership::Reign;
use standing::log::Log;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The last export of a reign may take so long.
const LAST: Duration = Duration::from_secs(3600);

fn stands(file: &NodeFile, reign: &Reign, position: &Position) -> Stands {
    let standing = if reign.active { Standing::Active } else { Standing::Passive };
    Stands::new(&file.node.name, standing, reign.epoch, position)
}

fn role(file: &NodeFile) -> Result<Option<Reign>, Failure> {
    Reign::open(&file.node.state).map_err(crate::cmd::failure)
}

/// Takes the role; `off` is the node that a person says is off.
pub fn activate(file: &NodeFile, off: Option<&str>, imports: &Arc<Imports>, say: &mut dyn FnMut(String)) -> Result<Stands, Failure> {
    let before = role(file)?;
    if let Some(reign) = before.as_ref().filter(|reign| reign.active) {
        say("this node is active already".into());
        return Ok(stands(file, reign, &exported(file)));
    }
    let Some(off) = off else {
        return Err(Failure::refused(
            "the node file has no [takeover], so nothing keeps two nodes from being active, and nobody knows here whether another one is",
        )
        .hint("see that the node that was active is off, then `importer activate --old-active-off NODE`; or write [takeover], see docs/takeover.md"));
    };
    if off == file.node.name {
        return Err(Failure::usage("--old-active-off names this node itself").hint("name the node that was active before"));
    }
    for dataset in &file.datasets {
        if let Did::NotHere(why) = imports.newest(dataset, For::TakingOver)? {
            return Err(Failure::refused(format!("dataset {}: {why}", dataset.name)));
        }
        let captured = Imported::open(&file.node.state, &dataset.name).map_err(crate::cmd::failure)?.snapshot_captured_ms();
        say(match captured {
            Some(at) => {
                let age = Duration::from_millis((imports.clock)().saturating_sub(at));
                format!("dataset {}: the newest here was captured {} ago", dataset.name, human::duration(age))
            }
            None => format!("dataset {}: nothing of it was ever here", dataset.name),
        });
    }
    let position = imported(file).0;
    let known = [before.map_or(0, |reign| reign.epoch), position.epoch().0, seen(file).epoch().0];
    let reign = Reign::given(known.into_iter().max().unwrap_or_default() + 1, true);
    // Its first export waits until there is something to build on.
    let bases = Bases::hold(imports);
    served::lift(file)?;
    reign.keep(&file.node.state).map_err(crate::cmd::failure)?;
    say(format!("nothing here stops the services of {off} or starts those of this node: do that now"));
    say(format!(
        "what is exported from now on counts when a person says so on the pull-backup: pull-backup epoch resolve {} --keep {}",
        file.cluster, file.node.name
    ));
    bases.make(&Log::plain(), &|_| ());
    Ok(stands(file, &reign, &position))
}

/// Gives the role up, once everything that was written is held by every pull-backup. Services are the person's.
pub fn close(file: &NodeFile, config: &Path, say: &mut dyn FnMut(String)) -> Result<Stands, Failure> {
    let Some(reign) = role(file)?.filter(|reign| reign.active) else {
        return Err(Failure::refused("this node is not active: there is nothing to close"));
    };
    let limit = format!("{}s", LAST.as_secs());
    exporter(config, &["run", "--wait", "--for", &limit], LAST + Duration::from_secs(60)).map_err(|why| {
        Failure::failed(format!("the last export did not arrive at every pull-backup, so this node stays the active one: {why}"))
            .hint("see `exporter status`, and close it again")
    })?;
    let reign = Reign { active: false, ..reign };
    reign.keep(&file.node.state).map_err(crate::cmd::failure)?;
    for failure in served::guard(file) {
        say(failure.to_string());
    }
    say("nothing here stops services: what they write from now on is exported by nobody, and imported over".into());
    Ok(stands(file, &reign, &exported(file)))
}
