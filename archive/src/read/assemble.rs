//! Bytes from extents: each segment is decoded once, and its pieces are put where they belong.
//!
//! After weeks of exports content lies scattered over many segments. Reading in order with a small window would decode each of them again and again; so
//! pieces are sorted by segment first, and written in that order.

use super::segments::{Segments, Workspace, outside};
use crate::error::{Error, Result};
use crate::extent::{Extent, Place};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A stretch of a segment, and where it goes: to which target, at which offset.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub place: Place,
    pub len: u32,
    pub target: u32,
    pub at: u64,
}

/// What is done with all pieces of a segment and its content, or with the error that reading it gave.
pub type Put<'a> = &'a (dyn Fn(&[Piece], Result<&[u8]>) -> Result<()> + Sync);

/// Sorts pieces by segment, decodes each segment once on `threads` threads, and gives `put` all pieces of a segment together.
/// The first error that `put` gives ends it.
pub fn scatter(segments: &dyn Segments, pieces: &mut [Piece], threads: usize, put: Put<'_>) -> Result<()> {
    pieces.sort_unstable_by_key(|piece| (piece.place.ordinal, piece.place.sequence, piece.target, piece.at));
    let mut bounds = vec![];
    for (index, piece) in pieces.iter().enumerate() {
        let same = index > 0 && {
            let before = &pieces[index - 1].place;
            before.ordinal == piece.place.ordinal && before.sequence == piece.place.sequence
        };
        if !same {
            bounds.push(index);
        }
    }
    bounds.push(pieces.len());
    let (pieces, failed) = (&*pieces, Mutex::new(None));
    let work = |group: usize, (workspace, content): &mut (Workspace, Vec<u8>)| {
        let noted = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        if noted().is_some() {
            return;
        }
        let outcome = one_segment(segments, &pieces[bounds[group]..bounds[group + 1]], workspace, content, put);
        if let Err(error) = outcome {
            noted().get_or_insert(error);
        }
    };
    share(bounds.len() - 1, threads, &work, &|_| ());
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Does tasks on `threads` threads, each with something of its own at hand. `last` is done once by each thread, after its tasks.
pub fn share<Hand: Default>(tasks: usize, threads: usize, work: &(dyn Fn(usize, &mut Hand) + Sync), last: &(dyn Fn(&mut Hand) + Sync)) {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut hand = Hand::default();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return last(&mut hand);
            }
            work(task, &mut hand);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(tasks) {
            scope.spawn(run);
        }
        run();
    });
}

fn one_segment(segments: &dyn Segments, pieces: &[Piece], workspace: &mut Workspace, content: &mut Vec<u8>, put: Put<'_>) -> Result<()> {
    let place = pieces[0].place;
    if let Err(error) = segments.content(place.ordinal, place.sequence, workspace, content) {
        return put(pieces, Err(error));
    }
    let inside = |piece: &Piece| piece.place.offset as usize + piece.len as usize <= content.len();
    if pieces.iter().all(inside) {
        return put(pieces, Ok(content));
    }
    // One that lies must not take the others of its segment with it.
    pieces.iter().try_for_each(|piece| match inside(piece) {
        true => put(std::slice::from_ref(piece), Ok(content)),
        false => put(std::slice::from_ref(piece), Err(outside(piece.place))),
    })
}

/// The pieces of a stream with these extents; holes have none.
pub fn pieces(extents: &[Extent], target: u32) -> (Vec<Piece>, u64) {
    let mut at = 0;
    let mut pieces = Vec::with_capacity(extents.len());
    for extent in extents {
        if let Some(place) = extent.place {
            pieces.push(Piece { place, len: extent.len as u32, target, at });
        }
        at += extent.len;
    }
    (pieces, at)
}

/// Assembles a stream in a file without a name in `folder`.
pub fn to_scratch(segments: &dyn Segments, extents: &[Extent], folder: &Path, threads: usize) -> Result<File> {
    let file = scratch_file(folder)?;
    let (mut pieces, len) = pieces(extents, 0);
    let failed = |source| Error::File { operation: "write scratch file in", path: folder.into(), source };
    file.set_len(len).map_err(failed)?;
    scatter(segments, &mut pieces, threads, &|pieces, content| {
        let content = content?;
        pieces.iter().try_for_each(|piece| {
            let start = piece.place.offset as usize;
            file.write_all_at(&content[start..start + piece.len as usize], piece.at).map_err(failed)
        })
    })?;
    Ok(file)
}

/// A file that is gone when it is closed.
pub fn scratch_file(folder: &Path) -> Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open(folder, flags | OFlags::TMPFILE, Mode::from_raw_mode(0o600)).or_else(|_| {
        let path = folder.join(format!(".scratch-{}", crate::id::hex(&crate::sign::random::<8>())));
        let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, Mode::from_raw_mode(0o600))?;
        rustix::fs::unlink(&path)?;
        Ok::<_, rustix::io::Errno>(file)
    });
    made.map(File::from).map_err(|errno| Error::file("make a scratch file in", folder)(errno.into()))
}

/// Assembles a stream in memory.
pub fn to_memory(segments: &dyn Segments, extents: &[Extent], threads: usize) -> Result<Vec<u8>> {
    let (mut pieces, len) = pieces(extents, 0);
    let out = Mutex::new(vec![0; len as usize]);
    scatter(segments, &mut pieces, threads, &|pieces, content| {
        let content = content?;
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in pieces {
            let (from, to) = (piece.place.offset as usize, piece.at as usize);
            out[to..to + piece.len as usize].copy_from_slice(&content[from..from + piece.len as usize]);
        }
        Ok(())
    })?;
    Ok(out.into_inner().unwrap_or_else(PoisonError::into_inner))
}
