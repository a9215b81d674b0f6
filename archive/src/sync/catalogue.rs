//! A catalogue: what a source has, without content. Snapshots' own records, receipts, certificates and evidence, in memory, as a repository that can be listed and chosen from.
//!
//! It stands in no folder, so no snapshot is visible there before its data. Nothing is proven when it is made: reading proves here as in any repository. Only its size is bounded.

use super::Source;
use crate::container::{ItemKey, Layout};
use crate::error::{Error, Result};
use crate::id::RepositoryId;
use crate::name;
use crate::record::{self, Receipt, RecordKind, Signed, Snapshot};
use crate::repository::{Repository, config_file};
use crate::store::{MemoryStore, publish};
use crate::sync::proof;
use std::sync::Arc;

/// What a source has. `bytes_max` bounds what is kept of it.
pub fn catalogue(source: &dyn Source, cluster: &str, dataset: &str, bytes_max: u64) -> Result<Repository> {
    let listing = source.list()?;
    let store = MemoryStore::default();
    publish(&store, name::CONFIG, &config_file(RepositoryId::NONE, cluster, dataset))?;
    let mut room = bytes_max;
    let mut keep = |name: &str, bytes: &[u8]| {
        let Some(left) = room.checked_sub(bytes.len() as u64) else {
            return Err(Error::Unsuitable {
                what: "listing what the archive has".into(),
                why: format!("it is longer than {bytes_max} bytes"),
            });
        };
        room = left;
        publish(&store, name, bytes).map(drop)
    };
    for known in &listing.snapshots {
        match source.snapshot(known) {
            Ok(bytes) => keep(&known.name, &without_content(&bytes).unwrap_or_default())?,
            // It was dropped there meanwhile.
            Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let wanted = |listed: &&String| [name::NODES, name::RECEIPTS, name::RECORDS].contains(&listed.split('/').next().unwrap_or_default());
    let names: Vec<String> = listing.records.iter().filter(wanted).cloned().collect();
    source.records(&names, &mut |name, bytes| match names.iter().any(|asked| asked == name) {
        true => keep(name, bytes),
        false => Err(Error::refused(name, "nobody asked for it")),
    })?;
    Repository::open(Arc::new(store))
}

/// The object of a snapshot without what was published with it; nothing of what is no such object.
fn without_content(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, len) = record::frame(bytes).ok()?;
    let snapshot = Signed::<Snapshot>::parse(bytes.get(..len)?).ok()?;
    let (mut layout, mut kept) = (Layout::default(), snapshot.item.clone());
    layout.add(ItemKey::Record(RecordKind::Snapshot, snapshot.id()), snapshot.item.len());
    for item in proof::items(bytes).ok()? {
        let Some(inside) = bytes.get(item.offset as usize..item.offset as usize + item.len as usize) else { continue };
        if let (ItemKey::Record(RecordKind::Receipt, _), Ok(receipt)) = (item.key, Signed::<Receipt>::parse(inside)) {
            layout.add(ItemKey::Record(RecordKind::Receipt, receipt.id()), inside.len());
            kept.extend_from_slice(inside);
        }
    }
    kept.extend_from_slice(&layout.trailer([0; 16]).0);
    Some(kept)
}
