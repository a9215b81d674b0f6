//! Segments: every pack is read once, in order. What is needed and nowhere good is fetched into a new pack; a pack that is damaged is written anew from what is
//! good in it, and then goes to the trash.
//!
//! A pack stays where it is while something in it is needed and nobody has it: another peer may be asked later.

use super::objects::is_unreadable;
use super::{Healer, Scope};
use crate::container::{FOOT, Item, ItemKey};
use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::id::{Address, PackId, RecordId, RunId};
use crate::locate::read_items;
use crate::name;
use crate::record::{Run, Signed};
use crate::seal;
use crate::store::{Listed, read_part};
use crate::sync::proof;
use crate::sync::receive::Failure;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The hash of a trailer and the foot: the end of every container.
const TAIL: u64 = 32 + FOOT as u64;

/// A pack that is to be written anew.
struct DamagedPack {
    name: String,
    /// Items that are worth keeping.
    good: Vec<Item>,
    /// Segments that are in it and not what was signed.
    bad: Vec<Address>,
}

/// What is known of the packs that were read.
#[derive(Default)]
struct Found {
    good: BTreeSet<Address>,
    damaged: Vec<DamagedPack>,
}

impl Healer<'_> {
    pub(super) fn segments(&mut self, scope: Scope<'_>) -> Result<(), Failure> {
        let runs = self.known_runs()?;
        let mut found = self.read_packs(&runs, scope)?;
        self.read_snapshots(&runs, &mut found)?;
        let still = self.fetch_missing(&found, scope)?;
        let rewrite: Vec<&DamagedPack> = found.damaged.iter().filter(|pack| pack.bad.iter().all(|address| !still.contains(address))).collect();
        for pack in &rewrite {
            self.rewrite(pack)?;
        }
        self.receiver.flush()?;
        for pack in rewrite {
            self.to_trash(&pack.name)?;
            self.healed.push(pack.name.clone());
        }
        Ok(())
    }

    /// Runs that snapshots need, and those of unfinished exports.
    fn known_runs(&self) -> Result<HashMap<RunId, Arc<Signed<Run>>>> {
        let mut runs: HashMap<RunId, Arc<Signed<Run>>> = self.needed.iter().map(|(id, needed)| (*id, needed.run.clone())).collect();
        for listed in self.repository.list(name::RUNS)? {
            if let Ok(run) = self.repository.first_record::<Run>(&listed.name) {
                runs.entry(run.body.id).or_insert_with(|| Arc::new(run));
            }
        }
        Ok(runs)
    }

    fn read_packs(&mut self, runs: &HashMap<RunId, Arc<Signed<Run>>>, scope: Scope<'_>) -> Result<Found, Failure> {
        let asked: Option<BTreeSet<String>> = match scope {
            Scope::Everything => None,
            Scope::Segments(addresses) => Some(self.places(addresses)?),
        };
        let mut found = Found::default();
        for listed in self.repository.list(name::PACKS)? {
            if asked.as_ref().is_none_or(|asked| asked.contains(&listed.name)) {
                self.read_pack(&listed, runs, &mut found)?;
            }
        }
        Ok(found)
    }

    /// The packs where these segments should be, and those whose trailer is damaged.
    fn places(&self, addresses: &[Address]) -> Result<BTreeSet<String>> {
        let locations = self.repository.locations()?;
        let Some(known) = locations.as_ref() else { return Ok(BTreeSet::new()) };
        let mut places: BTreeSet<String> = known.damaged.iter().map(|(name, _)| name.clone()).collect();
        for address in addresses {
            let all = known.segment(*address).into_iter().chain(known.others(*address).iter().copied());
            places.extend(all.map(|at| known.container(at).to_string()));
        }
        Ok(places)
    }

    fn read_pack(&self, listed: &Listed, runs: &HashMap<RunId, Arc<Signed<Run>>>, found: &mut Found) -> Result<()> {
        let (items, trailer_is_damaged) = match read_items(self.repository.store(), listed) {
            Ok((items, why)) => (items, why.is_some()),
            Err(error) if is_unreadable(&error) => (vec![], true),
            Err(error) => return Err(error),
        };
        let mut pack = DamagedPack { name: listed.name.clone(), good: vec![], bad: vec![] };
        let mut is_damaged = trailer_is_damaged || !self.has_its_own_name(listed)?;
        for item in items {
            let bytes = self.item(&listed.name, &item)?.unwrap_or_default();
            let is_good = match item.key {
                ItemKey::Record(_, id) => RecordId::of(&sha256(&bytes).0) == id,
                ItemKey::Segment(address) => match runs.get(&address.run) {
                    Some(run) => proof::is_segment(&run.body, address.sequence, &bytes),
                    // Its run has not come yet; a sync looks at it again when it does.
                    None => seal::header_is(&bytes, address),
                },
            };
            match (is_good, item.key) {
                (true, key) => {
                    pack.good.push(item);
                    if let ItemKey::Segment(address) = key {
                        found.good.insert(address);
                    }
                }
                (false, key) => {
                    is_damaged = true;
                    if let ItemKey::Segment(address) = key {
                        pack.bad.push(address);
                    }
                }
            }
        }
        if is_damaged {
            found.damaged.push(pack);
        }
        Ok(())
    }

    /// Whether a pack ends with the trailer that named it: one that took another's place has good items where the index does not expect them.
    fn has_its_own_name(&self, listed: &Listed) -> Result<bool> {
        let end = read_part(self.repository.store(), &listed.name, listed.len.saturating_sub(TAIL), TAIL as usize);
        match end {
            Ok(bytes) => Ok(bytes.get(..16).and_then(|hash| hash.try_into().ok()).is_some_and(|hash| name::pack(PackId(hash)) == listed.name)),
            Err(error) if is_unreadable(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Index files that do not read are thrown away: trailers say the same.
    pub(super) fn index_files(&mut self) -> Result<()> {
        let damaged: Vec<String> = {
            let locations = self.repository.locations()?;
            let all = locations.as_ref().map_or(&[][..], |known| &known.damaged);
            all.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with(name::INDEX)).collect()
        };
        for name in damaged {
            self.to_trash(&name)?;
            self.healed.push(name);
        }
        Ok(())
    }

    /// Notes segments that lie good in the objects of snapshots.
    fn read_snapshots(&self, runs: &HashMap<RunId, Arc<Signed<Run>>>, found: &mut Found) -> Result<()> {
        for folder in [name::SNAPSHOTS, name::QUARANTINE] {
            for listed in self.repository.list(folder)? {
                let items = match read_items(self.repository.store(), &listed) {
                    Ok((items, _)) => items,
                    Err(error) if is_unreadable(&error) => continue,
                    Err(error) => return Err(error),
                };
                for item in items {
                    let ItemKey::Segment(address) = item.key else { continue };
                    let Some(run) = runs.get(&address.run) else { continue };
                    if self.item(&listed.name, &item)?.is_some_and(|bytes| proof::is_segment(&run.body, address.sequence, &bytes)) {
                        found.good.insert(address);
                    }
                }
            }
        }
        Ok(())
    }

    /// Fetches what is needed and nowhere good. Gives what is still lacking.
    fn fetch_missing(&mut self, found: &Found, scope: Scope<'_>) -> Result<BTreeSet<Address>, Failure> {
        let looked_at: Option<BTreeSet<Address>> = match scope {
            Scope::Everything => None,
            // What lay beside the ones that were asked for was read too.
            Scope::Segments(addresses) => {
                let beside = found.damaged.iter().flat_map(|pack| &pack.bad);
                Some(addresses.iter().chain(beside).copied().collect())
            }
        };
        let is_missing = |address: &Address| !found.good.contains(address) && looked_at.as_ref().is_none_or(|asked| asked.contains(address));
        let mut missing: BTreeMap<RunId, (Arc<Signed<Run>>, Vec<u32>)> = BTreeMap::new();
        for (&id, needed) in &self.needed {
            let sequences: Vec<u32> =
                needed.sequences.iter().copied().filter(|&sequence| is_missing(&Address { run: id, sequence })).collect();
            if !sequences.is_empty() {
                missing.insert(id, (needed.run.clone(), sequences));
            }
        }
        let mut still = BTreeSet::new();
        for (id, (run, ask)) in missing {
            let mut open: BTreeSet<u32> = ask.iter().copied().collect();
            match self.receiver.fetch(&run, &ask, &mut open) {
                Ok(()) => {}
                Err(Failure::Refused(error)) => self.receiver.refuse(format!("segments of run {id}"), &error),
                Err(other) => return Err(other),
            }
            still.extend(open.into_iter().map(|sequence| Address { run: id, sequence }));
        }
        self.receiver.lack(&still);
        Ok(still)
    }

    fn rewrite(&mut self, pack: &DamagedPack) -> Result<(), Failure> {
        for item in &pack.good {
            let gone = || Error::Missing { name: pack.name.clone() };
            let bytes = self.item(&pack.name, item)?.ok_or_else(gone)?;
            self.receiver.keep_item(item.key, &bytes)?;
        }
        Ok(())
    }
}
