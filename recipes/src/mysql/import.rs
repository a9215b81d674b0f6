//! An import from its first step to its last, and what a later one makes of one that was interrupted.
//!
//! 1. The manifest is read and this server asked for all that it needs (`preflight`).
//! 2. Databases are made beside the live ones, loaded and compared (`load`).
//! 3. What the live ones have of code is kept in a file, the record says what is about to change places, triggers go, and one RENAME TABLE does it (`switch`).
//! 4. Code is made (`code`), what is over is dropped, the record says what a rollback goes back to.
//!
//! The record is written before each step that it speaks of. Whether the RENAME happened is seen from where the tables are: the server makes it as a whole, over
//! its own death as well. If so the rest is done, else the triggers come back. A rollback is a switch from the databases that were kept.

mod accounts;
mod code;
mod load;
mod own;
mod preflight;
mod steady;
mod switch;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use own::Account;
pub(super) use own::temporary;

use super::client::Client;
use super::manifest::Server;
use super::manifest::{self, Manifest};
use super::names::{beside, quoted};
use super::record::{Record, Switch};
use super::server;
use super::{Inner, catalog, names, schema};
use crate::data::{Finding, Level, Mode, Place, Staging};
use crate::lock::Lock;
use crate::{Error, escape};

pub(super) struct Import {
    inner: Arc<Inner>,
    places: Vec<Place>,
    manifest: Option<Manifest>,
    record: Record,
    /// The manifest was reduced: the schema makes more than it has.
    pub(super) partial: bool,
    /// Tables that need not be loaded, by database.
    stay: BTreeMap<String, Vec<String>>,
    findings: Vec<Finding>,
    _lock: Lock,
}

pub(super) fn stage(inner: &Arc<Inner>) -> Result<Box<dyn Staging>, Error> {
    let import = begin(inner)?;
    let tree = inner.tree();
    crate::lock::make_folder(&tree).map_err(|error| Error::io("make", &tree, error))?;
    Ok(Box::new(import))
}

pub(super) fn begin(inner: &Arc<Inner>) -> Result<Import, Error> {
    let scratch = &inner.settings.scratch;
    crate::lock::make_folder(scratch).map_err(|error| Error::io("make", scratch, error))?;
    let lock = Lock::take(&scratch.join("import.lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: inner.place().into() },
        _ => Error::io("lock the scratch folder", scratch, error),
    })?;
    let places = vec![Place { prefix: Vec::new(), folder: inner.tree(), mode: Mode::Switch }];
    let record = inner.record()?;
    let mut import = Import {
        inner: inner.clone(),
        places,
        manifest: None,
        record,
        partial: false,
        stay: BTreeMap::new(),
        findings: Vec::new(),
        _lock: lock,
    };
    import.recover()?;
    Ok(import)
}

impl Inner {
    pub(super) fn tree(&self) -> PathBuf {
        self.settings.scratch.join("import/tree")
    }

    /// Code of the live databases as it was before a switch; after it, what a rollback makes again.
    fn code(&self, folder: &str, database: &str) -> PathBuf {
        self.settings.scratch.join(folder).join(escape::name(database))
    }
}

/// Looks for what this server lacks, and makes and loads the databases beside the live ones.
pub(super) fn make(import: &mut Import, client: &mut Client, server: &Server, manifest: &Manifest) -> Result<(), Error> {
    preflight::run(import, client, server, manifest)?;
    load::run(import, client, server, manifest)
}

pub(super) fn exists(client: &mut Client, database: &str) -> super::client::Answer<bool> {
    switch::exists(client, database)
}

impl Import {
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.inner.record_path();
        self.record.write(&path).map_err(|error| Error::io("write", &path, error))
    }

    fn wipe(&self, folder: &str) -> Result<(), Error> {
        let path = self.inner.settings.scratch.join(folder);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("clear", &path, error)),
            _ => Ok(()),
        }
    }

    /// Finishes or undoes what an earlier run left.
    fn recover(&mut self) -> Result<(), Error> {
        if let Some(switch) = self.record.switch.clone() {
            let mut client = self.open()?;
            let failed = self.inner.failed("see how far an interrupted import came on");
            let happened = switch::happened(&mut client, &switch).map_err(failed)?;
            match happened {
                true => self.finish(&mut client, &switch)?,
                false => self.undo(&mut client, &switch)?,
            }
            let how = if happened { "finished" } else { "undone" };
            self.findings.push(Finding::new(Level::Note, format!("an interrupted import was {how}")));
        }
        self.clear()
    }

    /// Removes what is neither live nor kept.
    fn clear(&mut self) -> Result<(), Error> {
        self.wipe("import")?;
        let kept: Vec<String> = self.record.kept.values().map(|kept| kept.database.clone()).collect();
        if self.record.accounts.is_empty() && self.record.own.iter().all(|own| kept.contains(own)) {
            return Ok(());
        }
        let mut client = self.open()?;
        let failed = self.inner.failed("clear up after an import on");
        for account in &self.record.accounts {
            client.run(format!("DROP USER IF EXISTS {account}")).map_err(&failed)?;
        }
        for own in self.record.own.iter().filter(|own| !kept.contains(own)) {
            client.run(format!("DROP DATABASE IF EXISTS {}", quoted(own))).map_err(&failed)?;
        }
        self.record.accounts.clear();
        self.record.own.retain(|own| kept.contains(own));
        self.save()
    }

    pub(super) fn open(&self) -> Result<Client, Error> {
        let mut client = self.inner.open()?;
        // Tables come and go in whatever order; one that is dropped may be what others refer to.
        client.run("SET foreign_key_checks = 0").map_err(self.inner.failed("prepare a session on"))?;
        Ok(client)
    }

    fn tree_file(&self, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.inner.tree().join(path);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => fs::read(&path).map_err(|error| Error::io("read", &path, error)),
            _ => Err(self.inner.arrived(format!("lacks {}", path.display()))),
        }
    }

    fn schema(&self, database: &manifest::Database) -> Result<Vec<schema::Object>, Error> {
        let bytes = self.tree_file(&format!("databases/{}/schema.sql", escape::name(&database.name)))?;
        let wrong = |why: &str| self.inner.arrived(format!("has a schema of {:?} that cannot be used: {why}", database.name));
        if xxhash_rust::xxh3::xxh3_128(&bytes) != database.schema.hash {
            return Err(wrong("it is not the one of the manifest"));
        }
        schema::read(&bytes).map_err(|why| wrong(&why))
    }

    /// Writes what the switch is to be, and does it.
    fn switch(&mut self, client: &mut Client, switch: Switch) -> Result<(), Error> {
        self.wipe("was")?;
        let failed = self.inner.failed("keep the code of the databases on");
        let mut events = self.record.events.clone();
        crate::lock::make_folder(&self.inner.settings.scratch.join("was")).map_err(|error| failed(error.into()))?;
        for side in switch.sides.iter().filter(|side| side.existed) {
            let Some(database) = catalog::read(client, &side.live).map_err(&failed)? else { continue };
            let code: Vec<_> = database.objects.into_iter().filter(|object| !object.kind.holds_rows()).collect();
            let path = self.inner.code("was", &side.live);
            crate::replace::replace(&path, &schema::write(&code)).map_err(|error| Error::io("write", &path, error))?;
            events.entry(side.live.clone()).or_insert(database.events);
        }
        if !switch.rollback {
            let Record { imported, event_scheduler, held, .. } = self.record.clone();
            self.record.before = Some(Box::new(Record { imported, event_scheduler, events, held, ..Record::default() }));
        }
        self.inner.step("record");
        self.record.switch = Some(switch.clone());
        self.save()?;
        if let Err(error) = switch::rename(&self.inner, client, &switch) {
            // The session may be what failed.
            let mut client = self.open()?;
            let happened = switch::happened(&mut client, &switch).map_err(self.inner.failed("see how far an import came on"))?;
            if !happened {
                self.undo(&mut client, &switch)?;
                return Err(error);
            }
        }
        self.inner.step("switched");
        let mut client = self.open()?;
        self.finish(&mut client, &switch)
    }

    /// The tables did not change places: what was taken off before comes back.
    fn undo(&mut self, client: &mut Client, switch: &Switch) -> Result<(), Error> {
        self.inner.step("undo");
        let failed = self.inner.failed("undo an import on");
        for side in &switch.sides {
            if side.existed {
                code::restore(self, client, side, "was")?;
            } else {
                client.run(format!("DROP DATABASE IF EXISTS {}", quoted(&side.live))).map_err(&failed)?;
            }
        }
        self.record.switch = None;
        self.save()
    }

    /// The tables changed places: everything else follows.
    fn finish(&mut self, client: &mut Client, switch: &Switch) -> Result<(), Error> {
        let failed = self.inner.failed("finish an import on");
        for side in &switch.sides {
            self.inner.step("code");
            let Some((charset, collation)) = &side.becomes else {
                client.run(format!("DROP DATABASE IF EXISTS {}", quoted(&side.live))).map_err(&failed)?;
                continue;
            };
            let alter = format!("ALTER DATABASE {} CHARACTER SET {} COLLATE {}", quoted(&side.live), quoted(charset), quoted(collation));
            client.run(alter).map_err(&failed)?;
            code::restore(self, client, side, if switch.rollback { "kept" } else { "import" })?;
        }
        self.inner.step("keep");
        let before = self.record.before.take();
        if switch.rollback {
            let Record { imported, event_scheduler, events, held, .. } = before.map(|before| *before).unwrap_or_default();
            self.record = Record {
                own: self.record.own.clone(),
                accounts: self.record.accounts.clone(),
                made: self.record.made.clone(),
                imported,
                event_scheduler,
                events,
                held,
                ..Record::default()
            };
        } else {
            self.record.before = before;
            self.keep(switch)?;
        }
        self.save()?;
        self.inner.step("clear");
        self.clear()
    }

    fn keep(&mut self, switch: &Switch) -> Result<(), Error> {
        let scratch = &self.inner.settings.scratch;
        let (was, kept) = (scratch.join("was"), scratch.join("kept"));
        // Missing when an earlier run came that far.
        if was.exists() {
            self.wipe("kept")?;
            fs::rename(&was, &kept).map_err(|error| Error::io("keep", &was, error))?;
        }
        let manifest = Manifest::read(&self.tree_file(manifest::NAME)?).map_err(|why| self.inner.arrived(why))?;
        self.record.kept = switch.sides.iter().map(|side| (side.live.clone(), side.kept())).collect();
        self.record.imported = manifest.databases.iter().map(|database| database.name.clone()).collect();
        self.record.events = manifest.databases.iter().map(|database| (database.name.clone(), database.events.clone())).collect();
        self.record.event_scheduler = manifest.server.event_scheduler;
        self.record.held.clear();
        for database in &manifest.databases {
            let held = steady::held(database, &self.schema(database)?);
            self.record.held.insert(database.name.clone(), held);
        }
        self.record.switch = None;
        Ok(())
    }

    /// Where the tables of each database come from and go to.
    fn sides(&mut self, client: &mut Client, manifest: &Manifest) -> Result<Switch, Error> {
        let failed = self.inner.failed("list the tables of");
        let mut sides = Vec::new();
        let mut becomes: BTreeMap<&str, Option<&manifest::Database>> = BTreeMap::new();
        // What an import brought and the source has no more, goes; what was made here, stays.
        becomes.extend(self.record.imported.iter().map(|name| (name.as_str(), None)));
        becomes.extend(manifest.databases.iter().map(|database| (database.name.as_str(), Some(database))));
        for (live, database) in becomes {
            let taken: Vec<&str> = self.record.kept.values().map(|kept| kept.database.as_str()).collect();
            let old = beside(live, "old");
            let outgoing = if taken.contains(&old.as_str()) { beside(live, "old2") } else { old };
            let becomes = database.map(|database| (database.charset.clone(), database.collation.clone()));
            let stay = self.stay.get(live).cloned().unwrap_or_default();
            let side = switch::side(client, &self.inner, (live, &beside(live, "new"), &outgoing), becomes, stay).map_err(&failed)?;
            sides.extend(side);
        }
        Ok(Switch { rollback: false, sides })
    }
}

impl Staging for Import {
    fn places(&self) -> &[Place] {
        &self.places
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.inner.step("preflight");
        let manifest = Manifest::read(&self.tree_file(manifest::NAME)?);
        let manifest = manifest.map_err(|why| self.inner.arrived(format!("has a manifest that cannot be used: {why}")))?;
        let mut client = self.open()?;
        let server = server::look(&mut client).map_err(self.inner.failed("look at"))?;
        preflight::run(self, &mut client, &server, &manifest)?;
        self.stay = steady::find(self, &mut client, &manifest)?;
        let mut changed = manifest.clone();
        for database in &mut changed.databases {
            let stay = self.stay.get(&database.name).map_or(&[][..], Vec::as_slice);
            database.tables.retain(|table| !stay.contains(&table.name));
            self.partial |= !stay.is_empty();
        }
        load::run(self, &mut client, &server, &changed)?;
        preflight::events_off(self, &mut client, &server)?;
        self.manifest = Some(manifest);
        Ok(())
    }

    fn commit(mut self: Box<Self>, _: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error> {
        if self.manifest.is_none() {
            self.prepare()?;
        }
        let Some(manifest) = self.manifest.take() else { return Ok(Vec::new()) };
        let mut client = self.open()?;
        let switch = self.sides(&mut client, &manifest)?;
        for side in &switch.sides {
            let taken = !self.record.own.contains(&side.outgoing)
                && switch::exists(&mut client, &side.outgoing).map_err(self.inner.failed("look at"))?;
            if taken {
                return Err(self.inner.arrived(format!("needs the name {:?}, and a database here has it", side.outgoing)));
            }
        }
        self.record.own.extend(switch.sides.iter().map(|side| side.outgoing.clone()));
        self.save()?;
        let rows: u64 = manifest.databases.iter().flat_map(|database| &database.tables).map(|table| table.rows.count).sum();
        let stay: usize = self.stay.values().map(Vec::len).sum();
        let unchanged = if stay > 0 { format!(", {stay} tables of them unchanged and not loaded again") } else { String::new() };
        let what = format!("{} databases with {rows} rows{unchanged}", manifest.databases.len());
        self.switch(&mut client, switch)?;
        // The data is in place: that somebody cannot log in is told, and no reason to take it back. The next import tries again.
        let made = self.open().and_then(|mut client| accounts::make(&mut self, &mut client, &manifest));
        if let Err(error) = made {
            self.findings.push(Finding::new(Level::Warning, crate::told(&error)));
        }
        self.findings.push(Finding::new(Level::Note, what));
        Ok(self.findings())
    }
}

impl Drop for Import {
    /// What did not happen is undone, as the next import would. That it fails is no worse than a kill.
    fn drop(&mut self) {
        let _ = self.recover();
    }
}

pub(super) fn rollback(inner: &Arc<Inner>) -> Result<Vec<Finding>, Error> {
    let mut import = begin(inner)?;
    if import.record.kept.is_empty() {
        return Err(Error::TakeBack { path: inner.place().into(), reason: "nothing is kept from before".into() });
    }
    let mut client = import.open()?;
    let failed = inner.failed("list the tables of");
    let mut sides = Vec::new();
    for (live, kept) in import.record.kept.clone() {
        let outgoing = names::beside(&live, "new");
        let becomes = kept.existed.then(|| (kept.charset.clone(), kept.collation.clone()));
        sides.extend(switch::side(&mut client, inner, (&live, &kept.database, &outgoing), becomes, kept.stay.clone()).map_err(&failed)?);
        import.record.own.push(outgoing);
    }
    import.save()?;
    import.switch(&mut client, Switch { rollback: true, sides })?;
    Ok(import.findings())
}
