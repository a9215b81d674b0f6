//! Retention: which snapshots of a history stay, and the removal of the others.
//!
//! `plan` decides; here receipts and evidence are read for it, and its decisions carried out. Times come from valid receipts, never from what an exporter claims.
//! A snapshot without a valid receipt stays, and so does one that cannot be read. Nothing is dropped at all while a bucket that a rule keeps would be left with
//! damaged snapshots only.
//!
//! Order: what others need of a dropped file moves into a pack and `runs/`, durably; then the files go, the newest first; then receipts and evidence. Stopped anywhere,
//! it loses nothing, and goes on when called again. It frees no space by itself: `sweep` does, later.

mod embedded;
pub mod plan;
mod withdraw;

use crate::container::ItemKey;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::locate::read_items;
use crate::name;
use crate::record::{Evidence, Receipt, RecordKind, Signed};
use crate::repository::{Known, Repository};
use crate::roots::{self, Needed, Roots, is_damage};
use crate::sign::PublicKey;
use crate::store::{Listed, read_part};
use crate::trust::Trust;
pub use plan::{Candidate, Decision, Reason, Rules, Unit, plan};
use std::collections::{HashMap, HashSet};
pub use withdraw::withdraw;

/// How to retain.
#[derive(Clone, Debug)]
pub struct RetainOptions {
    pub rules: Rules,
    pub now_ms: u64,
    pub zone: jiff::tz::TimeZone,
    pub dry_run: bool,
    /// Whose receipts are valid: the repository's own receipt key and pinned ones. Empty: any receipt that is signed at all.
    pub receivers: Vec<PublicKey>,
    /// Whose evidence counts.
    pub trust: Trust,
    pub pins: Vec<SnapshotId>,
}

impl RetainOptions {
    /// Only the last so many stay, besides what was proven: what spools and mirrors keep, where any receipt counts.
    pub fn last(last: u32, trust: Trust, now_ms: u64) -> Self {
        RetainOptions {
            rules: Rules { last, ..Rules::default() },
            now_ms,
            zone: jiff::tz::TimeZone::UTC,
            dry_run: false,
            receivers: vec![],
            trust,
            pins: vec![],
        }
    }
}

/// What was decided, and done unless it was refused or a dry run.
#[derive(Clone, Debug, Default)]
pub struct RetainReport {
    pub decisions: Vec<Decision>,
    /// Why nothing was dropped.
    pub refused: Option<String>,
    /// Segments that other snapshots need, moved out of dropped files.
    pub moved_segments: u64,
}

impl RetainReport {
    pub fn dropped(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| !decision.is_kept())
    }
}

/// Retains. Needs no key. The caller holds the repository alone (`Access::Exclusive`): nobody else may take up what is about to go, and two of these would move the same.
pub fn retain(repository: &Repository, options: &RetainOptions) -> Result<RetainReport> {
    repository.forget_locations();
    let roots = Roots::load(repository)?;
    let candidates = candidates(repository, &roots, options)?;
    let RetainOptions { rules, now_ms, zone, .. } = options;
    let mut decisions = plan(&candidates, rules, &options.pins, *now_ms, zone);
    let damaged = damaged(repository, &roots)?;
    let mut report = RetainReport { refused: plan::endangered(&decisions, rules, &damaged, *now_ms, zone), ..RetainReport::default() };
    if rules.is_empty() {
        report.refused = Some("no rule keeps anything; give at least one".into());
    }
    let in_history = |known: &&(Known, Error)| known.0.name.starts_with(name::SNAPSHOTS);
    for (known, error) in roots.unreadable.iter().filter(in_history) {
        decisions.push(Decision { known: known.clone(), received_ms: None, reasons: vec![Reason::Damaged(error.to_string())] });
    }
    decisions.sort_by(|a, b| a.known.cmp(&b.known));
    if report.refused.is_none() && !options.dry_run {
        carry_out(repository, &roots, &mut decisions, *now_ms, &mut report)?;
    }
    report.decisions = decisions;
    Ok(report)
}

/// Snapshots that would not restore, as far as can be told without reading them.
fn damaged(repository: &Repository, roots: &Roots) -> Result<HashSet<SnapshotId>> {
    let faults = roots::faults(repository, &roots.read, &|_| Ok(()), &mut |_| ())?;
    Ok(faults.iter().flat_map(|fault| &fault.roots).map(|root| roots.read[*root].known.id).collect())
}

fn candidates(repository: &Repository, roots: &Roots, options: &RetainOptions) -> Result<Vec<Candidate>> {
    let mut received: HashMap<SnapshotId, u64> = HashMap::new();
    let config = repository.config();
    let positions: HashMap<SnapshotId, name::Position> = roots.read.iter().map(|root| (root.known.id, root.known.at)).collect();
    let mut count = |receipt: Signed<Receipt>| {
        let body = receipt.body;
        let ours = body.cluster == config.cluster && body.dataset == config.dataset;
        let at = name::Position { epoch: body.epoch, sequence: body.sequence };
        let valid = options.receivers.is_empty() || options.receivers.contains(&receipt.signer);
        if ours && valid && positions.get(&body.snapshot) == Some(&at) {
            let earliest = received.entry(body.snapshot).or_insert(body.received_ms);
            *earliest = body.received_ms.min(*earliest);
        }
    };
    for listed in repository.list(name::SNAPSHOTS)? {
        receipts_inside(repository, &listed, &mut count)?;
    }
    for listed in repository.list(name::RECEIPTS)? {
        match repository.first_record::<Receipt>(&listed.name) {
            Ok(receipt) => count(receipt),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let certified = repository.certified(&options.trust)?;
    // Evidence that anybody could forge would take the place of the snapshot that was truly imported.
    let counts = |record: &Signed<Evidence>| {
        let Evidence { good, cluster, dataset, node, .. } = &record.body;
        let believed = options.trust.standing(&certified, &record.signer, node, &"evidence").is_ok();
        *good && *cluster == config.cluster && *dataset == config.dataset && believed
    };
    let proven: HashSet<SnapshotId> = repository
        .evidence()?
        .iter()
        .filter(|record| counts(record))
        .map(|record| record.body.snapshot)
        .collect();
    let history = roots.read.iter().filter(|root| root.known.name.starts_with(name::SNAPSHOTS));
    let candidate = |known: &Known| Candidate {
        known: known.clone(),
        received_ms: received.get(&known.id).copied(),
        proven: proven.contains(&known.id),
    };
    Ok(history.map(|root| candidate(&root.known)).collect())
}

/// Receipts that were published with the snapshot.
fn receipts_inside(repository: &Repository, listed: &Listed, count: &mut dyn FnMut(Signed<Receipt>)) -> Result<()> {
    let items = match read_items(repository.store(), listed) {
        Ok((items, _)) => items,
        Err(Error::Missing { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    for item in items.iter().filter(|item| matches!(item.key, ItemKey::Record(RecordKind::Receipt, _))) {
        let bytes = match read_part(repository.store(), &listed.name, item.offset.into(), item.len as usize) {
            Err(Error::Missing { .. }) => return Ok(()),
            other => other?,
        };
        if let Ok(receipt) = Signed::<Receipt>::parse(&bytes) {
            count(receipt);
        }
    }
    Ok(())
}

fn carry_out(repository: &Repository, roots: &Roots, decisions: &mut [Decision], now_ms: u64, report: &mut RetainReport) -> Result<()> {
    let going: HashSet<SnapshotId> = decisions.iter().filter(|decision| !decision.is_kept()).map(|decision| decision.known.id).collect();
    if going.is_empty() {
        return Ok(());
    }
    let stays = |known: &Known| !(going.contains(&known.id) && known.name.starts_with(name::SNAPSHOTS));
    let needed = Needed::by(roots.read.iter().filter(|root| stays(&root.known)));
    let needed = roots.unreadable.is_empty().then_some(needed);
    let lens: HashMap<String, u64> = repository.list(name::SNAPSHOTS)?.into_iter().map(|listed| (listed.name, listed.len)).collect();
    let mut mover = embedded::Mover::new(repository, needed, going);
    let mut leaving = Vec::new();
    for decision in decisions.iter_mut().filter(|decision| !decision.is_kept()) {
        let Some(&len) = lens.get(&decision.known.name) else { continue };
        match mover.take(&Listed { name: decision.known.name.clone(), len })? {
            embedded::Holds::Nothing => leaving.push((decision.known.clone(), false)),
            embedded::Holds::Segments => leaving.push((decision.known.clone(), true)),
            embedded::Holds::Damage(why) => decision.reasons.push(Reason::Damaged(why)),
        }
    }
    report.moved_segments = mover.finish()?;
    // Newest first: what others that go need of a file stays until they are gone, so that wherever this stops, what is still listed restores.
    leaving.sort_by(|(a, _), (b, _)| b.cmp(a));
    let store = repository.store();
    for (known, holds) in &leaving {
        if *holds && to_trash(repository, known, now_ms)? {
            continue;
        }
        store.remove(&known.name).map_err(Error::store("remove", &known.name))?;
    }
    repository.forget_locations();
    let gone: HashSet<SnapshotId> = leaving.iter().map(|(known, _)| known.id).collect();
    for folder in [name::RECEIPTS, name::RECORDS] {
        for listed in repository.list(folder)? {
            if name::subject(&listed.name).is_some_and(|subject| gone.contains(&subject)) {
                store.remove(&listed.name).map_err(Error::store("remove", &listed.name))?;
            }
        }
    }
    Ok(())
}

/// Moves a file to the trash, where who reads from it now finds its segments for as long as replaced packs. False when one of that name lies there already.
fn to_trash(repository: &Repository, known: &Known, now_ms: u64) -> Result<bool> {
    match repository.store().rename(&known.name, &name::trash(now_ms / 1000, &known.name)) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        other => other.map(|()| true).map_err(Error::store("move to the trash", &known.name)),
    }
}
