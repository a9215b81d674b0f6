//! How quarantine and reigns stand, for `status`, `/status`, `/metrics` and alerts, from names alone.
//!
//! Not ok while there is something that is in no history and that nobody has seen: what came into quarantine is somebody's data that no restore by date finds, and only a person
//! can say whether it matters. No age makes that better, and an alarm that never ends is heard by nobody: so it ends when a person says that it was seen, and begins with the
//! next snapshot. A conflict, a claim and what could not be kept are not ok until they are gone.

use super::Quarantine;
use super::line::archived;
use super::noted::Noted;
use crate::reigns::Ledger;
use standing::host::{Line, Quarantined};
use std::collections::BTreeMap;
use std::path::Path;
use watch::{Evidence, Hop, Place};

/// What a look finds.
#[derive(Default)]
pub struct Stands {
    pub lines: Vec<Line>,
    pub quarantined: Vec<Quarantined>,
}

/// Looks at all of it. What cannot be read is not ok.
pub fn look(quarantine: &Quarantine, ledger: &Ledger, state: &Path, store: &Path, now_ms: u64) -> Stands {
    let mut stands = Stands::default();
    let mut noted: BTreeMap<String, Noted> = BTreeMap::new();
    for cluster in ledger.clusters() {
        match Noted::open(state, &cluster) {
            Ok(known) => _ = noted.insert(cluster.clone(), known),
            Err(error) => stands.lines.push(wrong(&cluster, "*", None, link::pull::chain(&error), now_ms)),
        }
        match ledger.open(&cluster) {
            Ok(Some(reigns)) => stands.lines.extend(reigning(&cluster, &reigns).map(|why| wrong(&cluster, "*", None, why, now_ms))),
            Ok(None) => {}
            Err(error) => stands.lines.push(wrong(&cluster, "*", None, link::pull::chain(&error), now_ms)),
        }
    }
    for name in quarantine.all() {
        let (there, known) = (archived(store, &name), quarantine.snapshots(&name));
        let seen = |id: &str| noted.get(&name.cluster).is_some_and(|noted| noted.seen.contains(id));
        let only_here = known.iter().filter(|known| !there.contains(&known.id));
        let new = only_here.clone().filter(|known| !seen(&known.id.to_string())).count() as u64;
        if new > 0 {
            let why = format!(
                "{new} snapshots of {name} are in quarantine, in no history, and nobody has seen them: `pull-backup quarantine diff {name}`, then `quarantine restore` what is \
                 missed, and `quarantine list --seen`"
            );
            stands
                .lines
                .push(wrong(&name.cluster, &name.dataset, Some(format!("quarantine {}/{}", name.epoch, name.node)), why, now_ms));
        }
        stands.quarantined.push(Quarantined {
            snapshots: known.len() as u64,
            only_here: only_here.count() as u64,
            new,
            cluster: name.cluster,
            dataset: name.dataset,
            epoch: name.epoch,
            node: name.node,
        });
    }
    for (cluster, noted) in &noted {
        for (dataset, refused) in &noted.refused {
            let Some((name, why)) = refused.first_key_value() else { continue };
            let why = format!("{} snapshots are not kept, the first is {name}: {why}", refused.len());
            stands.lines.push(wrong(cluster, dataset, Some("quarantine".into()), why, now_ms));
        }
    }
    stands
}

/// What a person has to decide about a cluster's reigns.
fn reigning(cluster: &str, reigns: &link::reigns::Reigns) -> Option<String> {
    if let Some((one, two)) = reigns.conflict() {
        return Some(format!(
            "CONFLICT: {} and {} both took epoch {}; both branches are kept, and nothing of the cluster is published: `pull-backup epoch resolve {cluster} --keep NODE`",
            one.holder.node, two.holder.node, one.epoch
        ));
    }
    let claim = reigns.open_claims().next()?;
    Some(format!(
        "{} took epoch {} by itself, and {} holds epoch {}: `pull-backup epoch resolve {cluster} --keep NODE` says which counts",
        claim.holder.node, claim.epoch, reigns.holder.node, reigns.epoch
    ))
}

fn wrong(cluster: &str, dataset: &str, peer: Option<String>, why: String, now_ms: u64) -> Line {
    let place = Place { cluster: cluster.into(), dataset: dataset.into(), hop: Hop::Archive, peer };
    Line::judged(place, Evidence { wrong: vec![why], ..Evidence::default() }, None, false, now_ms)
}
