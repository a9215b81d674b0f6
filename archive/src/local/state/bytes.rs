//! State and journal as bytes. No part of the repository format: a version that is not known is as good as none.

use super::{Mark, State};
use crate::encode::{Malformed, Put, Take, Taken};
use crate::entry::Time;
use crate::export::live::{Live, RunLive, SegmentLive};
use crate::export::runs::ClosedRun;
use crate::extent::List;
use crate::id::{RecordId, RepositoryId, RunId, SnapshotId};
use crate::name::Position;
use crate::sign::PublicKey;

pub fn encode(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    out.varint(VERSION);
    out.raw(&state.repository.0);
    out.raw(&state.signer.0);
    out.raw(&state.sealing.0);
    out.raw(&state.snapshot.0);
    for number in [
        state.at.epoch,
        state.at.sequence,
        state.captured_ms,
        state.heartbeats,
        state.next_ordinal,
        state.entries,
        state.index_lists,
        state.next_lists,
        state.generation,
    ] {
        out.varint(number);
    }
    state.index.put(&mut out);
    state.files.iter().for_each(|hash| out.raw(&hash.0));
    out.raw(&[state.mark.is_some().into()]);
    if let Some(mark) = state.mark {
        out.varint(mark.inode);
        out.zigzag(mark.ctime.seconds);
        out.varint(mark.ctime.nanos.into());
    }
    out.varint(state.live.runs.len() as u64);
    for (ordinal, run) in &state.live.runs {
        out.varint(*ordinal);
        out.raw(&run.id.0);
        out.raw(&run.record.0);
        out.varint(run.segments.len() as u64);
        for segment in &run.segments {
            out.varint(segment.len.into());
            out.varint(segment.used);
        }
    }
    out
}

/// Of the local state, which is no part of the repository format: one that is not known is as good as none.
const VERSION: u64 = 3;

pub fn decode(bytes: &[u8]) -> Taken<State> {
    let mut take = Take::new(bytes);
    if take.varint()? != VERSION {
        return Err(Malformed("local state of another version"));
    }
    let (repository, signer) = (RepositoryId(take.array()?), PublicKey(take.array()?));
    let (sealing, snapshot) = (take.hash()?, SnapshotId(take.array()?));
    let at = Position { epoch: take.varint()?, sequence: take.varint()? };
    let (captured_ms, heartbeats, next_ordinal, entries) = (take.varint()?, take.varint()?, take.varint()?, take.varint()?);
    let (index_lists, next_lists, generation) = (take.varint()?, take.varint()?, take.varint()?);
    let index = List::take(&mut take)?;
    let files = [take.hash()?, take.hash()?];
    let mark = match take.flag()? {
        true => Some(Mark { inode: take.varint()?, ctime: Time { seconds: take.zigzag()?, nanos: take.varint_u32()? } }),
        false => None,
    };
    let mut live = Live::default();
    for _ in 0..take.count(34)? {
        let (ordinal, id, record) = (take.varint()?, RunId(take.array()?), RecordId(take.array()?));
        let count = take.count(2)?;
        let segments = (0..count)
            .map(|_| Ok(SegmentLive { len: take.varint_u32()?, used: take.varint()? }))
            .collect::<Taken<Vec<_>>>()?;
        live.runs.insert(ordinal, RunLive { id, record, segments });
    }
    take.end()?;
    Ok(State {
        repository,
        signer,
        sealing,
        snapshot,
        at,
        captured_ms,
        heartbeats,
        next_ordinal,
        entries,
        index,
        index_lists,
        next_lists,
        live,
        files,
        generation,
        mark,
    })
}

pub fn take_closed(take: &mut Take<'_>) -> Taken<ClosedRun> {
    let (ordinal, id, record) = (take.varint()?, RunId(take.array()?), RecordId(take.array()?));
    let count = take.count(1)?;
    let content_lens = (0..count).map(|_| take.varint_u32()).collect::<Taken<Vec<_>>>()?;
    Ok(ClosedRun { ordinal, id, record, content_lens })
}
