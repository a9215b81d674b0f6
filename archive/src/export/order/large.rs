//! Files that several threads work on, region by region, and the index itself: what comes back is put in order, and read again when the file changed meanwhile.

use super::{
    AGAIN_MAX, ATTEMPTS, Coming, INDEX_MATCH_MIN, IndexStream, Large, Order, Pending, Progress, content_list, same_content, touches,
};
use crate::digest;
use crate::entry::Content;
use crate::error::{Error, Result};
use crate::export::base::BaseFile;
use crate::export::item::{Contents, Stamp};
use crate::export::layers::Held;
use crate::export::lists::{BaseLayers, ListBuilder};
use crate::export::region::{FINE_MAX, REGION};
use crate::export::walk::BaseList;
use crate::export::work::{Done, Job, LargeFile, RegionDone, Source};
use crate::local::state::EntryStamp;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

impl Order {
    /// A file whose regions several threads read.
    pub fn large(
        &mut self,
        coming: Coming,
        opened: (Arc<dyn Contents>, Option<Stamp>, u64),
        base: Option<BaseList>,
        read_ms: u64,
    ) -> Result<()> {
        let (contents, stamp, len) = opened;
        let number = self.begin_large(coming, Some(contents), stamp, len, base, read_ms);
        self.send_regions(number)
    }

    pub(super) fn begin_large(
        &mut self,
        coming: Coming,
        contents: Option<Arc<dyn Contents>>,
        stamp: Option<Stamp>,
        len: u64,
        base: Option<BaseList>,
        read_ms: u64,
    ) -> u64 {
        let number = self.next_number();
        let base_stays = base.as_ref().is_some_and(|base| !touches(base, &|extent| self.hand.cutter.may_stay(extent)));
        let (file, layers) = match base {
            Some(base) => (Some(BaseFile::cached(base.extents, self.local.folder())), base.layers),
            None => (None, vec![]),
        };
        let fine = contents.is_some() && len <= FINE_MAX;
        let file = Arc::new(LargeFile { number, base: file, drift: AtomicI64::new(0), fine, match_min: 0 });
        let large = Large {
            file,
            contents,
            stamp,
            len,
            attempt: 1,
            read_ms,
            builder: ListBuilder::default(),
            layers,
            base_stays,
            hashes: vec![],
            next: 0,
            regions: None,
            stash: BTreeMap::new(),
            short: false,
        };
        self.pending.push_back(Pending {
            entry: coming.entry,
            stamp: EntryStamp::default(),
            base: coming.base,
            progress: Progress::Large(Box::new(large)),
        });
        number
    }

    pub(super) fn large_mut(&mut self, number: u64) -> Option<&mut Large> {
        match &mut self.pending.get_mut(number.checked_sub(self.first)? as usize)?.progress {
            Progress::Large(large) => Some(large),
            _ => None,
        }
    }

    pub(super) fn send_regions(&mut self, number: u64) -> Result<()> {
        self.flush_batch()?;
        let large = self.large_mut(number).expect("it was just begun");
        let regions = large.len.div_ceil(REGION as u64);
        large.regions = Some(regions);
        let (file, attempt, len) = (large.file.clone(), large.attempt, large.len);
        let contents = large.contents.clone().expect("regions are read from contents");
        for index in 0..regions {
            let part = (len - index * REGION as u64).min(REGION as u64) as usize;
            let source = Source::Contents(contents.clone());
            self.dispatch(Job::Region { file: file.clone(), attempt, index, len: part, source }, part as u64)?;
            if self.large_mut(number).is_none_or(|large| large.attempt != attempt) {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn region_done(&mut self, number: u64, attempt: u32, index: u64, mut result: io::Result<RegionDone>) -> Result<()> {
        self.streams.back(result.as_mut().ok().and_then(|done| done.buffer.take()));
        let Some(large) = self.large_mut(number).filter(|large| large.attempt == attempt) else { return Ok(()) };
        match result {
            Ok(done) => {
                large.stash.insert(index, done);
            }
            Err(error) => return self.unreadable((number - self.first) as usize, &error),
        }
        let at = (number - self.first) as usize;
        let Progress::Large(mut large) = std::mem::replace(&mut self.pending[at].progress, Progress::Ready) else {
            unreachable!("it was looked at")
        };
        while let Some(done) = large.stash.remove(&large.next) {
            // Of a stream the length is not known before its end.
            let full = large.len.saturating_sub(large.next * REGION as u64).min(REGION as u64);
            large.next += 1;
            self.read_bytes += done.len;
            if large.short {
                continue;
            }
            large.short = large.contents.is_some() && done.len < full;
            large.hashes.extend(done.hashes);
            for extent in done.extents {
                large.builder.push(extent, base_layers(&large.file, &large.layers));
            }
        }
        self.pending[at].progress = Progress::Large(large);
        self.complete_large(number)?;
        self.again(number)
    }

    /// Ends a large file when all its regions are there and it did not change.
    pub(super) fn complete_large(&mut self, number: u64) -> Result<()> {
        let at = (number - self.first) as usize;
        let Progress::Large(large) = &mut self.pending[at].progress else { return Ok(()) };
        if large.regions != Some(large.next) {
            return Ok(());
        }
        let after = match large.contents.as_ref().map(|contents| contents.stamp()) {
            None => None,
            Some(Ok(stamp)) => stamp,
            Some(Err(error)) => return self.unreadable(at, &error),
        };
        let torn = large.contents.is_some() && (after != large.stamp || large.short);
        if torn && large.attempt < ATTEMPTS && large.len <= AGAIN_MAX {
            large.stamp = after;
            large.regions = None;
            return Ok(());
        }
        let Progress::Large(large) = std::mem::replace(&mut self.pending[at].progress, Progress::Ready) else {
            unreachable!("it was looked at")
        };
        let Large { file, builder, layers, hashes, read_ms, base_stays, .. } = *large;
        let len = builder.len;
        let built = builder.finish(&mut self.hand.cutter, base_layers(&file, &layers))?;
        let content = Content { len, digest: digest::of_blocks(&hashes), list: Default::default(), torn };
        let same = self.pending[at].base.as_ref().filter(|base| base_stays && same_content(&base.entry, &content));
        let (list, lists) = match same {
            Some(base) => (content_list(&base.entry), base.stamp.lists),
            None => self.take_built(built)?,
        };
        if let Some(stamp) = after {
            self.pending[at].entry.attributes.mtime = stamp.mtime;
        }
        self.content_done(at, Content { list, ..content }, lists, after, read_ms)
    }

    /// Reads a large file again that changed meanwhile.
    pub(super) fn again(&mut self, number: u64) -> Result<()> {
        let Some(large) = self.large_mut(number) else { return Ok(()) };
        let Some(stamp) = large.stamp.filter(|_| large.regions.is_none() && large.contents.is_some()) else { return Ok(()) };
        large.attempt += 1;
        large.len = stamp.size;
        large.next = 0;
        large.short = false;
        large.stash.clear();
        large.hashes.clear();
        large.builder = ListBuilder::default();
        if large.len == 0 {
            large.regions = Some(0);
            return self.complete_large(number);
        }
        self.send_regions(number)
    }

    /// Puts the index itself into the repository, as a stream that is matched against the base's.
    pub fn index_stream(&mut self, contents: Arc<dyn Contents>, len: u64, base: Option<(BaseList, std::fs::File)>) -> Result<IndexStream> {
        let mut extents = ListBuilder::default();
        let (file, layers) = match base {
            Some((list, file)) => (Some(BaseFile::local(list.extents, file)), list.layers),
            None => (None, vec![]),
        };
        let file = Arc::new(LargeFile { number: u64::MAX, base: file, drift: AtomicI64::new(0), fine: false, match_min: INDEX_MATCH_MIN });
        let regions = len.div_ceil(REGION as u64);
        let (mut stash, mut next, mut sent, mut hashes) = (BTreeMap::new(), 0, 0, vec![]);
        let alone = self.threads.is_empty();
        while next < regions {
            let mut found = None;
            if sent < regions && (alone || sent - next < 8) {
                let part = (len - sent * REGION as u64).min(REGION as u64) as usize;
                let job =
                    Job::Region { file: file.clone(), attempt: 1, index: sent, len: part, source: Source::Contents(contents.clone()) };
                sent += 1;
                match alone {
                    true => self.hand.job(job, &mut |done| found = Some(done))?,
                    // Not `offer`: that hears of what is done as of a file's, and the index's would be lost. At most 8 wait, so there is room.
                    false => drop(self.queue.offer(job)),
                }
            } else {
                found = Some(self.done.recv().expect("this side holds a sender"));
                self.close_due()?;
            }
            if let Some(Done::Failed(error)) = found {
                return Err(error);
            }
            if let Some(Done::Region { index, result, .. }) = found {
                stash.insert(index, result.map_err(Error::store("read", "the local index"))?);
            }
            while let Some(done) = stash.remove(&next) {
                next += 1;
                hashes.extend(done.hashes);
                for extent in done.extents {
                    extents.push(extent, base_layers(&file, &layers));
                }
            }
        }
        let built = extents.finish(&mut self.hand.cutter, base_layers(&file, &layers))?;
        let (list, lists) = self.take_built(built)?;
        Ok(IndexStream { list, lists, digest: digest::of_blocks(&hashes), len })
    }
}

fn base_layers<'a>(file: &'a LargeFile, layers: &'a [Held]) -> Option<BaseLayers<'a>> {
    file.base.as_ref().map(|file| BaseLayers { file, layers })
}
