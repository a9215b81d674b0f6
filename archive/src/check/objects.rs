//! Every object by itself: trailers, records, names, index files.

use super::{Finding, Users, finding, or_finding};
use crate::container::{Item, ItemKey};
use crate::encode::{Malformed, Taken};
use crate::error::{Error, Result};
use crate::id::{PackId, RecordId, RunId, SnapshotId};
use crate::locate::{decode_index, read_items, read_trailer};
use crate::name;
use crate::record::{Body, Certificate, Evidence, Heartbeat, Receipt, RecordKind, Run, SealingIdentity, Signed, Snapshot};
use crate::repository::Repository;
use crate::store::{Listed, read_all, read_part};
use std::collections::{BTreeSet, HashMap};

pub fn check(repository: &Repository, users: &Users, findings: &mut Vec<Finding>) -> Result<()> {
    containers(repository, users, findings)?;
    lone_records(repository, findings)?;
    index_files(repository, users, findings)
}

/// Which snapshots need something that lies, or should lie, in a container.
fn need(repository: &Repository, users: &Users, container: &str, items: &[Item]) -> Result<BTreeSet<SnapshotId>> {
    let mut out = BTreeSet::new();
    for item in items {
        match item.key {
            ItemKey::Segment(address) => users.need(address, &mut out),
            ItemKey::Record(RecordKind::Run, id) => {
                let needs = |root: &&super::Root| root.runs.iter().any(|used| used.record == id);
                out.extend(users.roots.iter().filter(needs).map(|root| root.known.id));
            }
            ItemKey::Record(..) => {}
        }
    }
    let locations = repository.locations()?;
    if let Some(known) = locations.as_ref().filter(|known| known.knows(container)) {
        let inside = known.segments().filter(|(_, at)| known.container(*at) == container);
        inside.for_each(|(address, _)| users.need(address, &mut out));
    }
    if container.starts_with(name::SNAPSHOTS) || container.starts_with(name::QUARANTINE) {
        out.extend(name::parse_snapshot(container).map(|(_, id)| id));
    }
    Ok(out)
}

fn containers(repository: &Repository, users: &Users, findings: &mut Vec<Finding>) -> Result<()> {
    let store = repository.store();
    for folder in [name::SNAPSHOTS, name::QUARANTINE, name::PACKS] {
        for listed in repository.list(folder)? {
            if folder != name::PACKS && name::parse_snapshot(&listed.name).is_none() {
                findings.push(finding(&listed.name, "its name is not that of a snapshot", []));
                continue;
            }
            let Some(trailer) = or_finding(read_trailer(store, &listed), &listed.name, findings)? else { continue };
            let (items, why) = match trailer {
                Ok((items, hash)) if folder == name::PACKS && name::pack(PackId::of(&hash.0)) != listed.name => {
                    (items, Some(Malformed("its name is not that of its trailer")))
                }
                Ok((items, _)) => (items, None),
                Err(why) => (read_items(store, &listed)?.0, Some(why)),
            };
            if let Some(why) = why {
                findings.push(finding(&listed.name, why, need(repository, users, &listed.name, &items)?));
            }
            records(repository, &listed, &items, findings)?;
        }
    }
    Ok(())
}

/// The records in a container. Snapshots and runs that are needed are looked at with what needs them; here it is only said that a copy is bad.
fn records(repository: &Repository, listed: &Listed, items: &[Item], findings: &mut Vec<Finding>) -> Result<()> {
    for item in items {
        let ItemKey::Record(kind, id) = item.key else { continue };
        let bytes = read_part(repository.store(), &listed.name, item.offset.into(), item.len as usize);
        let Some(bytes) = or_finding(bytes, &listed.name, findings)? else { continue };
        let parsed = parse(kind, &bytes)
            .and_then(|found| if found == id { Ok(()) } else { Err(Malformed("it is not the record that the trailer lists")) });
        if let Err(why) = parsed {
            findings.push(finding(&listed.name, format!("the record at byte {}: {why}", item.offset), []));
        }
    }
    Ok(())
}

fn parse(kind: RecordKind, bytes: &[u8]) -> Taken<RecordId> {
    fn id<B: Body>(bytes: &[u8]) -> Taken<RecordId> {
        Signed::<B>::parse(bytes).map(|signed| signed.id())
    }
    match kind {
        RecordKind::Run => id::<Run>(bytes),
        RecordKind::Snapshot => id::<Snapshot>(bytes),
        RecordKind::Receipt => id::<Receipt>(bytes),
        RecordKind::Identity => id::<SealingIdentity>(bytes),
        RecordKind::Certificate => id::<Certificate>(bytes),
        RecordKind::Heartbeat => id::<Heartbeat>(bytes),
        RecordKind::Evidence => id::<Evidence>(bytes),
    }
}

fn lone_records(repository: &Repository, findings: &mut Vec<Finding>) -> Result<()> {
    let place = |name: &str, cluster: &str, dataset: &str| repository.check_place(name, cluster, dataset);
    lone::<Run>(repository, name::RUNS, findings, &|signed, listed| {
        if RunId::parse(listed.rsplit('/').next().unwrap_or_default()) == Some(signed.body.id) {
            repository.check_run(listed, signed)?;
        }
        Ok(name::run(signed.body.id))
    })?;
    lone::<SealingIdentity>(repository, name::KEYS, findings, &|signed, listed| {
        place(listed, &signed.body.cluster, &signed.body.dataset)?;
        Ok(name::key(signed.body.id, signed.body.generation))
    })?;
    lone::<Certificate>(repository, name::NODES, findings, &|signed, _| Ok(name::node(&signed.body.key, signed.id())))?;
    lone::<Receipt>(repository, name::RECEIPTS, findings, &|signed, listed| {
        place(listed, &signed.body.cluster, &signed.body.dataset)?;
        Ok(name::receipt(signed.body.snapshot, &signed.signer))
    })?;
    lone::<Heartbeat>(repository, name::HEARTBEATS, findings, &|signed, listed| {
        place(listed, &signed.body.cluster, &signed.body.dataset)?;
        Ok(name::heartbeat(&signed.signer, signed.body.counter))
    })?;
    lone::<Evidence>(repository, name::RECORDS, findings, &|signed, listed| {
        place(listed, &signed.body.cluster, &signed.body.dataset)?;
        Ok(name::evidence(signed.body.snapshot, signed.body.kind, signed.id()))
    })
}

/// What a record's name must be, or why it does not belong here.
type NameOf<'a, B> = &'a dyn Fn(&Signed<B>, &str) -> Result<String>;

/// Files that hold one record each.
fn lone<B: Body>(repository: &Repository, folder: &'static str, findings: &mut Vec<Finding>, name_of: NameOf<'_, B>) -> Result<()> {
    for listed in repository.list(folder)? {
        let read = repository.first_record::<B>(&listed.name).and_then(|signed| {
            let right = name_of(&signed, &listed.name)?;
            let damaged = |why: String| Error::Damaged { name: listed.name.clone(), why };
            if right != listed.name {
                return Err(damaged(format!("it holds what belongs into {right}")));
            }
            read_trailer(repository.store(), &listed)?.map_err(|why| damaged(why.to_string())).map(|_| ())
        });
        or_finding(read, &listed.name, findings)?;
    }
    Ok(())
}

fn index_files(repository: &Repository, users: &Users, findings: &mut Vec<Finding>) -> Result<()> {
    let store = repository.store();
    let mut there: HashMap<String, Listed> = HashMap::new();
    for folder in [name::SNAPSHOTS, name::QUARANTINE, name::PACKS] {
        there.extend(repository.list(folder)?.into_iter().map(|listed| (listed.name.clone(), listed)));
    }
    for file in repository.list(name::INDEX)? {
        let Some(bytes) = or_finding(read_all(store, &file.name, 1 << 30), &file.name, findings)? else { continue };
        let containers = match decode_index(&bytes) {
            Ok(containers) => containers,
            Err(why) => {
                findings.push(finding(&file.name, why, []));
                continue;
            }
        };
        let hash = crate::id::Hash(bytes[bytes.len() - 32..].try_into().expect("an index ends with its hash"));
        if name::index(&hash) != file.name {
            findings.push(finding(&file.name, "its name is not that of its hash", []));
        }
        for (container, items) in containers {
            let Some(listed) = there.get(&container) else { continue };
            let Ok((laid, _)) = read_trailer(store, listed)? else { continue };
            if laid != items {
                let why = format!("it lists other items of {container} than that does itself");
                findings.push(finding(&file.name, why, need(repository, users, &container, &items)?));
            }
        }
    }
    Ok(())
}
