//! Sweep and repack: what no snapshot needs goes, patiently.
//!
//! Roots are the snapshots and what is in quarantine. A run that no root uses and nobody announced goes when it is old; so do segments that no root needs, by rewriting the packs
//! that hold them. Old means: first seen here at least so long ago (`marks`), for a store tells no times. Replaced packs wait in the trash for readers that look for them.
//!
//! Order: run records first, so that nobody takes up a run whose segments go; copies and their index durable before the old packs move to the trash. Stopped anywhere, nothing
//! that is needed is lost, and another sweep goes on. While a root cannot be read nothing goes at all: nobody knows what it needs.
//!
//! The caller holds the repository alone (`Access::Exclusive`).

mod marks;
mod repack;

use crate::container::{Item, ItemKey};
use crate::error::{Error, Kind, Result};
use crate::id::{Address, RunId};
use crate::locate::read_items;
use crate::name;
use crate::record::{Run, RunUse};
use crate::repository::Repository;
use crate::roots::{Needed, Roots, is_damage};
use crate::store::Listed;
use marks::Marks;
use repack::Repack;
use std::collections::{HashMap, HashSet};

/// How to sweep.
pub struct SweepOptions<'a> {
    pub now_ms: u64,
    /// What was first seen later than so long ago is spared.
    pub patience_ms: u64,
    /// How long replaced packs wait.
    pub trash_ms: u64,
    pub dry_run: bool,
    /// Runs that somebody announced.
    pub keep_runs: &'a dyn Fn(&Run) -> bool,
}

/// What a sweep did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Why nothing was swept.
    pub refused: Option<String>,
    pub runs_removed: u64,
    /// Runs that no root uses and that are young, announced, or of a newer format.
    pub runs_spared: u64,
    pub packs_spared: u64,
    pub packs_trashed: u64,
    pub packs_written: u64,
    pub bytes_trashed: u64,
    pub bytes_copied: u64,
    pub trash_removed: u64,
    /// Packs that came back from the trash because something in them is needed and nowhere else.
    pub rescued: u64,
    pub index_renewed: bool,
    pub records_removed: u64,
    pub drafts_removed: u64,
    /// Packs that stay because something in them is damaged.
    pub damaged: Vec<(String, String)>,
}

/// Packs below this are merged, when there are some.
const SMALL: u64 = 16 << 20;
const SMALL_COUNT: usize = 4;
/// A sweep copies no more than this; the next goes on.
const COPY_MAX: u64 = 8 << 30;

struct Sweep<'a> {
    repository: &'a Repository,
    options: &'a SweepOptions<'a>,
    roots: &'a Roots,
    needed: Needed,
    marks: Marks,
    spared: HashSet<RunId>,
    report: SweepReport,
}

/// A pack that is to go.
struct Going {
    listed: Listed,
    items: Vec<Item>,
}

pub fn sweep(repository: &Repository, options: &SweepOptions<'_>) -> Result<SweepReport> {
    repository.forget_locations();
    let roots = Roots::load(repository)?;
    if let Some((known, error)) = roots.unreadable.first() {
        let refused = Some(format!("{} cannot be read, so nobody knows what it needs: {error}", known.name));
        return Ok(SweepReport { refused, ..SweepReport::default() });
    }
    let (needed, marks) = (Needed::by(roots.read.iter()), Marks::load(repository)?);
    let mut sweep = Sweep {
        repository,
        options,
        roots: &roots,
        needed,
        marks,
        spared: HashSet::new(),
        report: SweepReport::default(),
    };
    let packs = repository.list(name::PACKS)?;
    let runs = repository.list(name::RUNS)?;
    let there = packs.iter().chain(&runs).map(|listed| listed.name.clone()).collect();
    sweep.marks.see(&there, options.now_ms);
    if !options.dry_run {
        sweep.marks.save(repository)?;
    }
    sweep.runs(&runs)?;
    sweep.packs(packs)?;
    repository.forget_locations();
    sweep.empty_trash()?;
    sweep.report.index_renewed = repack::renew_index(repository, options.dry_run)?;
    sweep.orphans()?;
    if !options.dry_run {
        sweep.report.drafts_removed = repository.remove_old_drafts(options.now_ms)?;
    }
    repository.forget_locations();
    Ok(sweep.report)
}

impl Sweep<'_> {
    fn remove(&self, name: &str) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        self.repository.store().remove(name).map_err(Error::store("remove", name))
    }

    fn runs(&mut self, runs: &[Listed]) -> Result<()> {
        let SweepOptions { now_ms, patience_ms, .. } = *self.options;
        for listed in runs {
            let Some(id) = listed.name.rsplit('/').next().and_then(RunId::parse) else { continue };
            if self.needed.uses(id) {
                continue;
            }
            // When it was closed is claimed; a claim can spare it for as long as it is not absurd, and can never hasten its end.
            let young = |run: &Run| run.closed_ms <= now_ms && run.closed_ms.saturating_add(patience_ms) > now_ms;
            let spared = match self.repository.first_record::<Run>(&listed.name) {
                Ok(run) => young(&run.body) || (self.options.keep_runs)(&run.body),
                // Whoever announced it cannot use it, and it keeps a whole one of that name away.
                Err(error) if error.kind() == Kind::Corrupt => false,
                Err(error) if is_damage(&error) => true,
                Err(error) => return Err(error),
            };
            if !spared && self.marks.is_older(&listed.name, patience_ms, now_ms) {
                self.remove(&listed.name)?;
                self.report.runs_removed += 1;
            } else {
                self.spared.insert(id);
                self.report.runs_spared += 1;
            }
        }
        Ok(())
    }

    fn wanted(&self, address: Address) -> bool {
        self.needed.has(address) || self.spared.contains(&address.run)
    }

    /// How many bytes of a pack are wanted from here and not from a copy elsewhere.
    fn wanted_bytes(&self, container: &str, items: &[Item]) -> Result<u64> {
        let locations = self.repository.locations()?;
        let is_here = |item: &Item, address: Address| {
            let known = locations.as_ref();
            known.is_none_or(|known| known.segment(address).is_none_or(|at| known.container(at) == container && at.offset == item.offset))
        };
        let wanted = items.iter().filter(|item| match item.key {
            ItemKey::Segment(address) => self.wanted(address) && is_here(item, address),
            ItemKey::Record(..) => false,
        });
        Ok(wanted.map(|item| u64::from(item.len)).sum())
    }

    fn first_missing(&self) -> Result<Option<Address>> {
        let locations = self.repository.locations()?;
        Ok(self
            .needed
            .first_missing(&|address| locations.as_ref().is_some_and(|known| known.segment(address).is_some())))
    }

    /// Which packs go: those of which less than half is wanted, damaged ones, and small ones when there are several.
    fn choose(&mut self, packs: Vec<Listed>) -> Result<Vec<Going>> {
        let SweepOptions { now_ms, patience_ms, .. } = *self.options;
        let (mut going, mut small, mut copied) = (Vec::new(), Vec::new(), 0);
        let missing = self.first_missing()?;
        for listed in packs {
            if !self.marks.is_older(&listed.name, patience_ms, now_ms) {
                self.report.packs_spared += 1;
                continue;
            }
            let (items, why) = match read_items(self.repository.store(), &listed) {
                Err(Error::Missing { .. }) => continue,
                other => other?,
            };
            if let (Some(why), Some(missing)) = (&why, missing) {
                // What cannot be found may lie in what cannot be read.
                self.report.damaged.push((listed.name, format!("{why}, and segment {missing} is nowhere")));
                continue;
            }
            let wanted = self.wanted_bytes(&listed.name, &items)?;
            if wanted > 0 && copied + wanted > COPY_MAX {
                continue;
            }
            if why.is_some() || wanted * 2 < listed.len {
                copied += wanted;
                going.push(Going { listed, items });
            } else if listed.len < SMALL {
                copied += wanted;
                small.push(Going { listed, items });
            }
        }
        if small.len() >= SMALL_COUNT {
            going.append(&mut small);
        }
        Ok(going)
    }

    fn packs(&mut self, packs: Vec<Listed>) -> Result<()> {
        let going = self.choose(packs)?;
        if self.options.dry_run {
            self.report.packs_trashed = going.len() as u64;
            self.report.bytes_trashed = going.iter().map(|pack| pack.listed.len).sum();
            return Ok(());
        }
        let uses: HashMap<RunId, &RunUse> = self.roots.read.iter().flat_map(|root| &root.runs).map(|used| (used.run, used)).collect();
        let names = going.iter().map(|pack| pack.listed.name.clone()).collect();
        let mut repack = Repack::new(self.repository, uses, names);
        let mut done = Vec::new();
        for pack in going {
            match repack.take(&pack.listed.name, &pack.items, &|address| self.wanted(address))? {
                None => done.push(pack.listed),
                Some(why) => self.report.damaged.push((pack.listed.name, why)),
            }
        }
        (self.report.packs_written, self.report.bytes_copied) = repack.finish()?;
        let store = self.repository.store();
        for listed in done {
            match store.rename(&listed.name, &name::trash(self.options.now_ms / 1000, &listed.name)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self.remove(&listed.name)?,
                other => other.map_err(Error::store("move to the trash", &listed.name))?,
            }
            self.report.packs_trashed += 1;
            self.report.bytes_trashed += listed.len;
        }
        Ok(())
    }

    /// Removes what waited long enough, unless it holds something needed that is nowhere else.
    fn empty_trash(&mut self) -> Result<()> {
        for listed in self.repository.list(name::TRASH)? {
            let Some((seconds, old)) = name::parse_trash(&listed.name) else { continue };
            if seconds.saturating_mul(1000).saturating_add(self.options.trash_ms) > self.options.now_ms {
                continue;
            }
            let (items, _) = read_items(self.repository.store(), &listed)?;
            let lost = {
                let locations = self.repository.locations()?;
                let held = |address| locations.as_ref().is_some_and(|known| known.segment(address).is_some());
                items
                    .iter()
                    .any(|item| matches!(item.key, ItemKey::Segment(address) if self.needed.has(address) && !held(address)))
            };
            if !lost {
                self.remove(&listed.name)?;
                self.report.trash_removed += 1;
            } else if old.starts_with(name::PACKS) {
                self.report.rescued += 1;
                if !self.options.dry_run {
                    let failed = Error::store("bring back from the trash", &listed.name);
                    self.repository.store().rename(&listed.name, &old).map_err(failed)?;
                    self.repository.forget_locations();
                }
            }
        }
        Ok(())
    }

    /// Receipts and evidence of snapshots that are gone.
    fn orphans(&mut self) -> Result<()> {
        let known: HashSet<_> = self.roots.read.iter().map(|root| root.known.id).collect();
        for folder in [name::RECEIPTS, name::RECORDS] {
            for listed in self.repository.list(folder)? {
                if name::subject(&listed.name).is_some_and(|subject| !known.contains(&subject)) {
                    self.remove(&listed.name)?;
                    self.report.records_removed += 1;
                }
            }
        }
        Ok(())
    }
}
