//! An import from its first step to its last, and what a later run makes of one that was interrupted.
//!
//! 1. What arrived is read strictly, and what it needs is looked for; nothing is touched yet.
//! 2. Roles that are missing are made; each database is loaded beside those in place, and verified.
//! 3. `swap.json` says which databases stand behind which names, and how it is meant to be afterwards.
//! 4. All are renamed in one transaction.
//! 5. `imported.json` says what a rollback goes back to; `swap.json` and what arrived are removed.
//!
//! So without `swap.json` whatever `loading.json` names is removed. With it the renames happened wholly or not at all, and the names tell which. A rollback is steps 3 to 5.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postgres::Client;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::contents::For;
use super::swap::{self, Place};
use super::tree::Arrived;
use super::verify::Verify;
use super::{Inner, catalog, cron, load, manifest, preflight, renew, roles, verify};
use crate::Error;
use crate::data::{self, Finding, Level, Mode, Staging};
use crate::lock::{Lock, make_folder};
use crate::replace::replace;

const ARRIVING: &str = "arriving";
/// What is being loaded beside, so that it is known as ours: others may import into the same server.
const LOADING: &str = "loading.json";
const SWAP: &str = "swap.json";
const IMPORTED: &str = "imported.json";

struct Import {
    inner: Arc<Inner>,
    client: Client,
    places: Vec<data::Place>,
    /// Once all is loaded and verified.
    ready: Option<Vec<Place>>,
    findings: Vec<Finding>,
    _lock: Lock,
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// What is about to be renamed.
#[derive(Serialize, Deserialize)]
struct Swap {
    /// The databases behind the names, before.
    before: Vec<(String, Option<u32>)>,
    /// What a rollback will go by, afterwards.
    after: Vec<Place>,
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::io("understand", path, io::Error::other(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

pub(super) fn keep(path: &Path, what: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(what).expect("names can be written");
    replace(path, &text).map_err(|error| Error::io("write", path, error))
}

/// Locks the scratch folder, and finishes or undoes what an earlier run left.
fn begin(inner: &Arc<Inner>) -> Result<Import, Error> {
    let scratch = &inner.settings.scratch;
    inner.make_scratch()?;
    let lock = Lock::take(&scratch.join("import.lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: scratch.clone() },
        _ => Error::io("lock the scratch folder", scratch, error),
    })?;
    let mut client = inner.connect(catalog::ANY)?;
    let mut findings = Vec::new();
    if let Some(swap) = read::<Swap>(&scratch.join(SWAP))? {
        recover(inner, &mut client, &swap, &mut findings)?;
    }
    clear(inner, &mut client)?;
    Ok(Import { inner: inner.clone(), client, places: vec![], ready: None, findings, _lock: lock })
}

/// Whether the renames that were interrupted happened, and what follows.
fn recover(inner: &Inner, client: &mut Client, swap: &Swap, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let mut happened = false;
    for (name, before) in &swap.before {
        happened |= swap::number(client, name)? != *before;
    }
    if happened {
        keep(&inner.settings.scratch.join(IMPORTED), &swap.after)?;
    }
    let how = if happened { "finished" } else { "undone" };
    findings.push(Finding::new(Level::Note, format!("an interrupted import was {how}")));
    Ok(())
}

/// Steps 3 to 5.
fn exchange(inner: &Inner, client: &mut Client, renames: &[(String, String)], after: Vec<Place>) -> Result<(), Error> {
    let scratch = &inner.settings.scratch;
    let mut before = Vec::with_capacity(after.len());
    for place in &after {
        before.push((place.name.clone(), swap::number(client, &place.name)?));
    }
    let swap = Swap { before, after };
    keep(&scratch.join(SWAP), &swap)?;
    inner.step("swap");
    swap::rename(client, renames)?;
    inner.step("swapped");
    keep(&scratch.join(IMPORTED), &swap.after)?;
    inner.step("kept");
    clear(inner, client)?;
    inner.step("cleared");
    Ok(())
}

/// Removes what no import needs any more. The order matters: while `swap.json` is there, what lies beside tells what happened.
fn clear(inner: &Inner, client: &mut Client) -> Result<(), Error> {
    let scratch = &inner.settings.scratch;
    remove(&scratch.join(SWAP))?;
    for leftover in read::<Vec<String>>(&scratch.join(LOADING))?.unwrap_or_default() {
        swap::drop_database(client, &leftover)?;
    }
    remove(&scratch.join(LOADING))?;
    remove(&scratch.join(ARRIVING))
}

pub(super) fn stage(inner: &Arc<Inner>) -> Result<Box<dyn Staging>, Error> {
    let mut import = begin(inner)?;
    let folder = inner.settings.scratch.join(ARRIVING);
    make_folder(&folder).map_err(|error| Error::io("make the folder", &folder, error))?;
    import.places.push(data::Place { prefix: Vec::new(), folder, mode: Mode::Switch });
    Ok(Box::new(import))
}

impl Import {
    fn arriving(&self) -> PathBuf {
        self.inner.settings.scratch.join(ARRIVING)
    }

    /// What each name was and becomes, those included that an earlier import brought and that are gone at the source.
    fn names(&mut self, arrived: &Arrived) -> Result<Vec<Place>, Error> {
        let mut names: Vec<(String, bool)> = arrived.manifest.databases.iter().map(|database| (database.name.clone(), true)).collect();
        let before: Vec<Place> = read(&self.inner.settings.scratch.join(IMPORTED))?.unwrap_or_default();
        for gone in before.into_iter().filter(|place| place.arrives) {
            if !names.iter().any(|(name, _)| *name == gone.name) {
                names.push((gone.name, false));
            }
        }
        let mut places = Vec::new();
        for (name, arrives) in names {
            let existed = swap::exists(&mut self.client, &name)?;
            if existed || arrives {
                places.push(Place { name, existed, arrives });
            }
        }
        Ok(places)
    }
}

impl Import {
    /// Makes what will be one database: of the one that was kept, where that is possible and comes out right, else from the beginning.
    fn side(&mut self, arrived: &Arrived, database: &manifest::Database, place: &Place, turn: usize) -> Result<(), Error> {
        let (inner, side) = (self.inner.clone(), place.new_name());
        // What was not loaded now is read back whole, however much else is: days may have passed since it was.
        let renewed = renew::renew(&inner, &mut self.client, arrived, database, place).and_then(|renewed| match renewed {
            true => verify::verify(&inner, &side, database, Verify::Full, turn).map(|()| true),
            false => Ok(false),
        });
        match renewed {
            Ok(true) => {
                let what = format!("of the database {}, only tables that changed were loaded", database.name);
                self.findings.push(Finding::new(Level::Note, what));
            }
            otherwise => {
                if let Err(error) = otherwise {
                    let what = format!("the database {} could not be renewed and is loaded anew: {}", database.name, crate::told(&error));
                    self.findings.push(Finding::new(Level::Note, what));
                }
                swap::drop_database(&mut self.client, &side)?;
                load::load(&inner, &mut self.client, arrived, database, &side, For::Import)?;
                inner.step("verify");
                verify::verify(&inner, &side, database, inner.settings.verify, turn)?;
                load::properties(&inner, database, &side)?;
            }
        }
        cron::keep(&inner, arrived, database)?;
        renew::hold(&inner, &mut self.client, arrived, database, &side)
    }
}

impl Staging for Import {
    fn places(&self) -> &[data::Place] {
        &self.places
    }

    fn prepare(&mut self) -> Result<(), Error> {
        let inner = self.inner.clone();
        inner.step("look");
        let arrived = Arrived::open(&self.arriving())?;
        preflight::importable(&inner, &mut self.client, &arrived, &mut self.findings)?;
        let places = self.names(&arrived)?;
        let sides: Vec<String> = places.iter().filter(|place| place.arrives).map(Place::new_name).collect();
        keep(&inner.settings.scratch.join(LOADING), &sides)?;
        for side in &sides {
            swap::drop_database(&mut self.client, side)?;
        }
        inner.step("roles");
        roles::arrive(&inner, &mut self.client, &arrived.manifest, &mut self.findings)?;
        for (turn, database) in arrived.manifest.databases.iter().enumerate() {
            let place = places.iter().find(|place| place.name == database.name).expect("each database has its place");
            self.side(&arrived, database, place, turn + sample(&arrived))?;
        }
        inner.step("loaded");
        self.ready = Some(places);
        Ok(())
    }

    fn commit(mut self: Box<Self>, _: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error> {
        if self.ready.is_none() {
            self.prepare()?;
        }
        let (inner, places) = (self.inner.clone(), self.ready.take().expect("it was prepared"));
        for place in &places {
            swap::drop_database(&mut self.client, &place.old_name())?;
        }
        exchange(&inner, &mut self.client, &swap::forward(&places), places)?;
        Ok(std::mem::take(&mut self.findings))
    }
}

/// Another part of the tables with each state that arrives.
fn sample(arrived: &Arrived) -> usize {
    arrived
        .manifest
        .databases
        .iter()
        .flat_map(|database| &database.tables)
        .fold(0, |sum, table| sum ^ table.rows.hash as usize)
}

impl Drop for Import {
    /// What did not happen is undone, as the next import would. That it fails is no worse than a kill.
    fn drop(&mut self) {
        let scratch = &self.inner.settings.scratch;
        if !self.places.is_empty() && !scratch.join(SWAP).exists() {
            let _ = clear(&self.inner, &mut self.client);
        }
    }
}

pub(super) fn rollback(inner: &Arc<Inner>) -> Result<Vec<Finding>, Error> {
    let mut import = begin(inner)?;
    let scratch = &inner.settings.scratch;
    let nothing = |reason: &str| Error::TakeBack { path: scratch.clone(), reason: reason.into() };
    let places: Vec<Place> = read(&scratch.join(IMPORTED))?.ok_or_else(|| nothing("nothing was imported here"))?;
    for place in places.iter().filter(|place| place.existed) {
        if !swap::exists(&mut import.client, &place.old_name())? {
            return Err(nothing(&format!("what {:?} was before is not kept any more", place.name)));
        }
    }
    // What came is what was before, from here on.
    let after = places
        .iter()
        .map(|place| Place { name: place.name.clone(), existed: place.arrives, arrives: place.existed })
        .collect();
    exchange(inner, &mut import.client, &swap::backward(&places), after)?;
    Ok(std::mem::take(&mut import.findings))
}
