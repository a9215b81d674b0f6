//! Writing a window: each segment is decoded once, its pieces fill their slots, and slots that are full are hashed and written.
//!
//! Threads take segments in turn. Whoever fills a slot writes it, while its bytes are still near; whoever writes the last slot of a file completes the file.
//! A segment or file that fails is noted with its file, and the rest goes on.

use super::batch::{Batch, Shared};
use super::slots::{Groups, Piece, Room};
use crate::digest;
use crate::error::Error;
use crate::extent::Place;
use crate::id::Hash;
use crate::read::assemble::share;
use crate::read::segments::{Segments, Workspace, outside};
use std::sync::atomic::Ordering;

/// What a thread has at hand.
#[derive(Default)]
struct Hand {
    workspace: Workspace,
    content: Vec<u8>,
    /// Slots that are full and not yet written.
    full: Vec<u32>,
}

/// Slots that are hashed together: two take hardly longer than one.
const TOGETHER: usize = 2;

/// A window that is being written.
pub(super) struct Scatter<'a> {
    pub shared: &'a Shared<'a>,
    pub batch: &'a Batch,
}

impl Scatter<'_> {
    pub fn all(&self) {
        let groups = self.batch.slots.groups();
        let work = |task: usize, hand: &mut Hand| {
            match task.checked_sub(groups.len()) {
                None => self.segment(&groups, task, hand),
                Some(ready) => hand.full.push(self.batch.slots.ready[ready]),
            }
            if hand.full.len() >= TOGETHER {
                self.write_full(hand);
            }
        };
        share(groups.len() + self.batch.slots.ready.len(), self.shared.options.threads, &work, &|hand| self.write_full(hand));
    }

    fn segment(&self, groups: &Groups, group: usize, hand: &mut Hand) {
        let ((ordinal, sequence), numbers) = groups.get(group);
        let pieces = || numbers.iter().map(|&number| &self.batch.slots.pieces[number as usize]);
        let read = self.shared.snapshot.content(ordinal, sequence, &mut hand.workspace, &mut hand.content);
        if let Err(error) = read {
            return pieces().for_each(|piece| self.fail(piece, &error));
        }
        let content = hand.content.as_slice();
        let (mut whole, mut bytes) = (vec![], 0);
        for piece in pieces() {
            let start = piece.offset as usize;
            let Some(part) = content.get(start..start + piece.len as usize) else {
                // One that lies must not take the others of its segment with it.
                self.fail(piece, &outside(Place { ordinal, sequence, offset: piece.offset }));
                continue;
            };
            bytes += part.len() as u64;
            if self.batch.slots.all[piece.slot as usize].room == Room::Whole {
                whole.push((piece.slot, part));
            } else if self.batch.slots.put(piece, part) {
                hand.full.push(piece.slot);
            }
        }
        self.write_whole(&whole);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.shared.options.advance)(bytes);
    }

    fn fail(&self, piece: &Piece, why: &Error) {
        let job = self.batch.slots.all[piece.slot as usize].job;
        self.batch.jobs[job as usize].file.fail(why);
    }

    /// Writes files that are one piece each.
    fn write_whole(&self, whole: &[(u32, &[u8])]) {
        let contents: Vec<&[u8]> = whole.iter().map(|(_, part)| *part).collect();
        for ((slot, content), digest) in whole.iter().zip(digest::sha256_each(&contents)) {
            let job = &self.batch.jobs[self.batch.slots.all[*slot as usize].job as usize];
            if job.file.has_failed() {
                continue;
            }
            let written = self
                .shared
                .folder(&job.file.path)
                .and_then(|folder| job.file.write_whole(&folder, content, digest, self.shared.owners));
            match written {
                Ok(()) => {
                    self.shared.written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => job.file.fail(error),
            }
        }
    }

    fn write_full(&self, hand: &mut Hand) {
        let contents: Vec<&[u8]> = hand.full.iter().map(|&slot| self.batch.slots.bytes(&self.batch.slots.all[slot as usize])).collect();
        for (&slot, hash) in hand.full.iter().zip(digest::sha256_each(&contents)) {
            self.write_slot(slot, hash);
        }
        hand.full.clear();
    }

    fn write_slot(&self, number: u32, hash: Hash) {
        let slot = &self.batch.slots.all[number as usize];
        let job = &self.batch.jobs[slot.job as usize];
        if job.file.has_failed() {
            return;
        }
        let folder = || self.shared.folder(&job.file.path);
        let parts = self.batch.slots.data_in(number);
        if let Err(error) = job.file.write_block(&folder, slot.start, self.batch.slots.bytes(slot), parts) {
            return job.file.fail(error);
        }
        slot.hash.get_or_init(|| hash);
        if job.left.fetch_sub(1, Ordering::AcqRel) == 1 && job.closed {
            self.shared.complete(self.batch, job);
        }
    }
}
