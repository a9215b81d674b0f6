//! The end of an export: the index goes into the repository, runs close, the snapshot is published, local state follows. Or nothing changed, and a heartbeat says so.

use super::live::Live;
use super::order::{IndexStream, Written};
use super::runs::Finished;
use super::walk::BaseList;
use super::{Export, ExportReport, Outcome, newest};
use crate::container::{Item, ItemKey, Layout};
use crate::error::{Error, Kind, Result};
use crate::export::item::{Contents, Stamp};
use crate::id::SnapshotId;
use crate::local::state::State;
use crate::name::{self, Position};
use crate::record::{Body, Heartbeat, Receipt, Signed, Snapshot};
use crate::repository::Known;
use crate::root::Root;
use crate::seal::{Encoder, seal_root};
use crate::sign::{PublicKey, random};
use crate::store::publish;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// An export that stores less than this publishes one object.
const SMALL: u64 = 256 << 10;

/// The local index, read as content.
struct IndexFile(File);

impl Contents for IndexFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        Ok(Some((offset, u64::MAX)))
    }

    fn stamp(&self) -> io::Result<Option<Stamp>> {
        Ok(None)
    }
}

impl Export {
    /// Publishes what was captured.
    pub fn finish(mut self) -> Result<ExportReport> {
        while let Some(gone) = self.walk.take_any()? {
            match &self.keeping {
                Some(kept) if crate::entry::lies_in(&gone.entry.path, kept) => self.keep_unread(gone)?,
                _ => self.order.gone(&gone)?,
            }
        }
        self.order.drain()?;
        let written = self.order.finish_index()?;
        match self.base.take() {
            // Receivers that hold something above the base would never take the base.
            // What others published is nobody's heartbeat here: the first snapshot says who exports now.
            Some(base)
                if !self.order.changed
                    && !self.behind
                    && !self.mending
                    && base.mark.is_some()
                    && base.at.sequence >= self.options.above =>
            {
                self.unchanged(base, written)
            }
            base => self.changed(base, written),
        }
    }

    fn report(&mut self, outcome: Outcome, written: &Written, stored_bytes: u64, runs_used: usize, incremental: bool) -> ExportReport {
        let mut troubles = std::mem::take(&mut self.troubles);
        troubles.append(&mut self.order.troubles);
        ExportReport {
            outcome,
            entries: written.entries,
            content_bytes: written.content_bytes,
            read_bytes: self.order.read_bytes,
            stored_bytes,
            runs_used,
            incremental,
            troubles,
            torn: std::mem::take(&mut self.order.torn),
        }
    }

    /// Nothing changed: a heartbeat, and the newer stamps.
    fn unchanged(mut self, base: State, written: Written) -> Result<ExportReport> {
        let now_ms = (self.options.clock)();
        let config = self.repository.config();
        let signer = &self.options.signer;
        // Local state may be older than what was published: an export that stopped, or state that was set back.
        let before = self.heartbeats_there(signer.public())?;
        let is_own = |name: &str| signed_by(self.repository.first_record::<Heartbeat>(name), signer.public());
        let (highest, why) = highest(base.heartbeats, before.clone(), &is_own)?;
        let counter = highest.checked_add(1).ok_or_else(|| no_end("the heartbeat", &why))?;
        let heartbeat = Heartbeat {
            cluster: config.cluster.clone(),
            dataset: config.dataset.clone(),
            node: self.options.node.clone(),
            epoch: self.options.epoch,
            snapshot: base.snapshot,
            counter,
            time_ms: now_ms,
        };
        let signed = Signed::sign(heartbeat, signer);
        self.repository.publish_record(&name::heartbeat(&signer.public(), counter), &signed)?;
        for (old, _) in before {
            self.repository.store().remove(&old).map_err(Error::store("remove", &old))?;
        }
        let state = State { heartbeats: counter, generation: written.generation, files: written.files, ..base };
        self.local.save(&state, &keep(&written, &state))?;
        let runs_used = state.live.runs.len();
        let outcome = Outcome::Unchanged { id: state.snapshot, at: state.at };
        Ok(self.report(outcome, &written, signed.item.len() as u64, runs_used, true))
    }

    fn heartbeats_there(&self, node: PublicKey) -> Result<Vec<(String, u64)>> {
        let listed = self.repository.list(name::HEARTBEATS)?;
        let ours = |name: &str| name::parse_heartbeat(name).filter(|(of, _)| *of == &node.hex()[..16]).map(|(_, counter)| counter);
        Ok(listed
            .into_iter()
            .filter_map(|listed| ours(&listed.name).map(|counter| (listed.name, counter)))
            .collect())
    }

    fn changed(mut self, base: Option<State>, written: Written) -> Result<ExportReport> {
        let index = self.write_index(base.as_ref(), &written)?;
        self.order.close()?;
        let finished = self.runs.finish((self.options.clock)(), SMALL)?;
        let mut live = std::mem::take(&mut self.order.live);
        for run in &finished.closed {
            live.add_run(run.ordinal, run.id, run.record, &run.content_lens);
        }
        live.add(&self.order.added);
        live.drop_unused(finished.last.ordinal);
        let at = self.next_position(base.as_ref())?;
        let signed = self.sign(base.as_ref(), &written, &index, &finished, &live, at)?;
        let id = SnapshotId::of(&signed.hash.0);
        self.local.reserve_sequence(at.sequence)?;
        // One object holds the run and its segments, too: they are counted there.
        let before = if finished.held.is_some() { 0 } else { finished.stored_bytes };
        let stored_bytes = before + self.publish(&signed, id, at, finished.held)?;
        // The run that seals the root may hold nothing that is used.
        live.drop_unused(u64::MAX);
        let state = State {
            repository: self.repository.config().id,
            signer: self.options.signer.public(),
            sealing: self.sealing,
            snapshot: id,
            at,
            captured_ms: signed.body.captured_ms,
            heartbeats: base.as_ref().map_or(0, |base| base.heartbeats),
            next_ordinal: finished.next_ordinal,
            entries: written.entries,
            index: index.list.clone(),
            index_lists: index.lists,
            next_lists: self.order.next_lists,
            live,
            files: written.files,
            generation: written.generation,
            mark: self.local.mark(),
        };
        self.local.save(&state, &keep(&written, &state))?;
        self.local.drop_journal();
        self.tidy_up(&state.live)?;
        let outcome = Outcome::Snapshot { id, at };
        Ok(self.report(outcome, &written, stored_bytes, signed.body.runs.len(), base.is_some()))
    }

    fn write_index(&mut self, base: Option<&State>, written: &Written) -> Result<IndexStream> {
        let path = self.local.index(written.generation);
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let len = file.metadata().map_err(Error::file("read", &path))?.len();
        let base = match base {
            Some(state) => {
                let list = BaseList::load(&self.local, &state.index, state.index_lists)?;
                if !self.order.live.take_away(&list.uses()) {
                    return Err(Error::damaged(
                        "the local state",
                        "its accounts do not add up; remove it, and the next export reads everything",
                    ));
                }
                let path = self.local.index(state.generation);
                Some((list, File::open(&path).map_err(Error::file("open", &path))?))
            }
            None => None,
        };
        self.order.index_stream(Arc::new(IndexFile(file)), len, base)
    }

    /// Above everything that is known here. The repository is asked when there is no local state, or when it may be older than what was published.
    fn next_position(&self, base: Option<&State>) -> Result<Position> {
        let local = self.local.last_sequence();
        let (known, why) = match (base, local) {
            (Some(base), Some(last)) if self.certain => (last.max(base.at.sequence), LOCAL.to_owned()),
            _ => {
                let own = self.options.signer.public();
                let is_own = |name: &str| {
                    let Some((at, id)) = name::parse_snapshot(name) else { return Ok(false) };
                    signed_by(self.repository.snapshot(&Known { at, id, name: name.to_owned() }), own)
                };
                let named = self.repository.snapshots()?.into_iter().map(|known| (known.name, known.at.sequence)).collect();
                highest(local.unwrap_or(0), named, &is_own)?
            }
        };
        let sequence = known.max(self.options.above).checked_add(1).ok_or_else(|| no_end("the snapshot", &why))?;
        Ok(Position { epoch: self.options.epoch, sequence })
    }

    fn previous(&self, base: Option<&State>) -> Result<SnapshotId> {
        match base {
            Some(base) if !self.behind => Ok(base.snapshot),
            _ => Ok(newest(&self.repository, &self.options)?.map_or(SnapshotId::NONE, |known| known.id)),
        }
    }

    fn sign(
        &self,
        base: Option<&State>,
        written: &Written,
        index: &IndexStream,
        finished: &Finished,
        live: &Live,
        at: Position,
    ) -> Result<Signed<Snapshot>> {
        let root = Root {
            next_ordinal: finished.next_ordinal,
            index_len: index.len,
            index_digest: index.digest,
            index: index.list.clone(),
            sources: self.options.sources.clone(),
        };
        let config = self.repository.config();
        let mut plain = Vec::new();
        let mut encoder = Encoder::new(self.options.level).map_err(|why| Error::refused("the compression level", why))?;
        encoder.encode(&root.bytes(), 0, &mut plain);
        let key = finished.last.key();
        let mut snapshot = Snapshot {
            cluster: config.cluster.clone(),
            dataset: config.dataset.clone(),
            node: self.options.node.clone(),
            epoch: at.epoch,
            sequence: at.sequence,
            previous: self.previous(base)?,
            base: base.map_or(SnapshotId::NONE, |base| base.snapshot),
            export: self.export,
            started_ms: self.started_ms,
            captured_ms: (self.options.clock)(),
            entries: written.entries,
            content_bytes: written.content_bytes,
            stored_bytes: finished.stored_bytes,
            sealed: key.is_some(),
            key_ordinal: finished.last.ordinal,
            runs: live.table(),
            salt: if key.is_some() { random() } else { [0; 16] },
            root: vec![],
        };
        if let Some(key) = key {
            let bound = snapshot.bound();
            seal_root(&mut plain, key, &snapshot.salt, self.export, &bound);
        }
        snapshot.root = plain;
        Ok(Signed::sign(snapshot, &self.options.signer))
    }

    /// Makes the snapshot visible, with our receipt and, when it is small, with its run. Gives how many bytes that took.
    fn publish(&self, signed: &Signed<Snapshot>, id: SnapshotId, at: Position, held: Option<super::runs::Held>) -> Result<u64> {
        let body = &signed.body;
        let receipt = Receipt {
            cluster: body.cluster.clone(),
            dataset: body.dataset.clone(),
            snapshot: id,
            epoch: at.epoch,
            sequence: at.sequence,
            received_ms: (self.options.clock)(),
        };
        let receipt = Signed::sign(receipt, &self.options.signer);
        let (mut layout, mut bytes) = (Layout::default(), Vec::new());
        add(&mut layout, &mut bytes, signed);
        add(&mut layout, &mut bytes, &receipt);
        if let Some(held) = held {
            add(&mut layout, &mut bytes, &held.run);
            let mut at = 0;
            for Item { key, len, .. } in held.items {
                layout.add(key, len as usize);
                at += len as usize;
            }
            bytes.extend_from_slice(&held.bytes[..at]);
        }
        bytes.extend_from_slice(&layout.trailer([0; 16]).0);
        let name = name::snapshot(at, id);
        publish(self.repository.store(), &name, &bytes)?;
        self.repository.add_container(&name, layout.items());
        Ok(bytes.len() as u64)
    }

    /// Forgets, locally, what no base will need.
    fn tidy_up(&mut self, live: &Live) -> Result<()> {
        let live_tags: std::collections::HashMap<_, _> = live.runs.iter().map(|(ordinal, run)| (run.id.tag(), *ordinal)).collect();
        let needed = |tag, sequence| live_tags.get(&tag).is_some_and(|ordinal| live.is_live((*ordinal, sequence)));
        self.shared.cached.cache.forget_except(&needed);
        let table = &self.shared.table;
        let expected = live.used_bytes() / (16 << 10) + self.order_entries() * 2 + 1024;
        if table.is_untidy(expected) {
            table.retain(&needed).map_err(Error::store("write", "the chunk table"))?;
        }
        Ok(())
    }

    fn order_entries(&self) -> u64 {
        self.order.entries()
    }
}

const LOCAL: &str = "local state";
/// No history goes so far at a step. A name alone, which anybody may have put there and which may be damage, counts no further.
const STEP_MAX: u64 = 1 << 32;

/// The highest of numbers that names claim, and where it stands. What lies further off than any history goes counts only when we signed it.
fn highest(known: u64, mut named: Vec<(String, u64)>, is_own: &dyn Fn(&str) -> Result<bool>) -> Result<(u64, String)> {
    named.sort_by_key(|(_, number)| *number);
    let (mut highest, mut why) = (known, LOCAL.to_owned());
    for (name, number) in named.into_iter().filter(|(_, number)| *number > known) {
        if number - highest <= STEP_MAX || is_own(&name)? {
            (highest, why) = (number, name);
        }
    }
    Ok((highest, why))
}

fn signed_by<B>(read: Result<Signed<B>>, own: PublicKey) -> Result<bool> {
    match read {
        Err(error) if error.kind() == Kind::Retry => Err(error),
        read => Ok(read.is_ok_and(|signed| signed.signer == own)),
    }
}

fn no_end(what: &str, why: &str) -> Error {
    let why =
        format!("{why} has the highest number there is; nothing can follow it: begin a new repository, and keep this one for restores");
    Error::refused(what, why)
}

fn keep(written: &Written, state: &State) -> std::collections::HashSet<u64> {
    let mut keep = written.keep_lists.clone();
    keep.insert(state.index_lists);
    keep
}

fn add<B: Body>(layout: &mut Layout, bytes: &mut Vec<u8>, signed: &Signed<B>) {
    layout.add(ItemKey::Record(B::KIND, signed.id()), signed.item.len());
    bytes.extend_from_slice(&signed.item);
}
