//! The base's entries, in order, beside the walk of the caller.

use super::item::Stamp;
use super::layers::Held;
use super::live::{Uses, count};
use crate::encode::Take;
use crate::entry::{self, Content, Entry, EntryDecoder, Node};
use crate::error::{Error, Result};
use crate::extent::{self, Extent, List};
use crate::local::state::{EntryStamp, LocalFiles, STAMP, State};
use crate::read::list::{Layers, located};
use memmap2::{Mmap, UncheckedAdvice};
use std::cmp::Ordering;
use std::fs::File;

/// An entry of the base, with what local state knows of it.
#[derive(Clone, Debug)]
pub struct BaseEntry {
    pub entry: Entry,
    pub stamp: EntryStamp,
}

impl BaseEntry {
    pub fn is_unchanged(&self, stamp: &Stamp) -> bool {
        let content = match &self.entry.node {
            Node::File(content) => !content.torn && content.len == stamp.size,
            Node::HardLink(_) => false,
            _ => true,
        };
        content && self.stamp.matches(stamp) && self.entry.attributes.mtime == stamp.mtime
    }
}

/// How much is passed before memory is given back.
const RELEASE: usize = 4 << 20;
/// No page is larger, where this runs, and all sizes of pages divide it.
const PAGE: usize = 64 << 10;

#[derive(Default)]
pub struct BaseWalk {
    index: Option<Mmap>,
    stamps: Option<Mmap>,
    position: usize,
    number: usize,
    /// Up to where in the index, and in the stamps, memory was given back.
    released: [usize; 2],
    decoder: EntryDecoder,
    next: Option<BaseEntry>,
}

fn map(path: &std::path::Path) -> Result<Option<Mmap>> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    if file.metadata().map_err(Error::file("read", path))?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the file is ours alone, under the lock of local state, and never changed once written.
    unsafe { Mmap::map(&file) }.map(Some).map_err(Error::file("map", path))
}

impl BaseWalk {
    pub fn open(local: &LocalFiles, state: Option<&State>) -> Result<BaseWalk> {
        let Some(state) = state else { return Ok(BaseWalk::default()) };
        let mut walk = BaseWalk {
            index: map(&local.index(state.generation))?,
            stamps: map(&local.stamps(state.generation))?,
            ..BaseWalk::default()
        };
        walk.step()?;
        Ok(walk)
    }

    /// Whether every list that stamps name is there.
    pub fn is_whole(local: &LocalFiles, state: &State) -> bool {
        let Ok(stamps) = map(&local.stamps(state.generation)) else { return false };
        let stamps = stamps.as_deref().unwrap_or_default();
        let named = stamps
            .chunks_exact(STAMP)
            .map(|stamp| EntryStamp::parse(stamp.try_into().expect("chunks are exact")).lists);
        let whole = |number: u64| number == 0 || local.load_lists(number).is_some();
        whole(state.index_lists) && named.into_iter().all(whole)
    }

    fn step(&mut self) -> Result<()> {
        let (Some(index), Some(stamps)) = (&self.index, &self.stamps) else {
            self.next = None;
            return Ok(());
        };
        if self.position == index.len() {
            self.next = None;
            return Ok(());
        }
        let mut take = Take::new(&index[self.position..]);
        let bad = |why: &str| Error::damaged("the local index", why);
        let entry = self.decoder.next(&mut take).map_err(|why| bad(why.0))?;
        self.position += take.position();
        let stamp = stamps
            .get(self.number * STAMP..(self.number + 1) * STAMP)
            .ok_or_else(|| bad("it has more entries than stamps"))?;
        self.number += 1;
        let stamp = EntryStamp::parse(stamp.try_into().expect("the length was given"));
        self.next = Some(BaseEntry { entry, stamp });
        if self.position >= self.released[0] + RELEASE {
            self.release();
        }
        Ok(())
    }

    /// Gives the memory back that holds what was passed: of millions of entries it would be much.
    fn release(&mut self) {
        let passed = [self.position, self.number * STAMP];
        for ((map, released), passed) in [&self.index, &self.stamps].into_iter().zip(&mut self.released).zip(passed) {
            if let Some(map) = map {
                let whole = passed / PAGE * PAGE;
                // SAFETY: it is a map of a file that does not change: pages that are given back are read again when they are wanted.
                // When it fails, they stay.
                let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, *released, whole - *released) };
                *released = whole;
            }
        }
    }

    /// The next entry, when it stands before `path`, or at it.
    pub fn before(&mut self, path: &[u8]) -> Result<Option<BaseEntry>> {
        self.take_if(|next| entry::compare(&next.entry.path, path) == Ordering::Less)
    }

    /// The next entry, when it stands at `path`.
    pub fn at(&self, path: &[u8]) -> Option<&BaseEntry> {
        self.next.as_ref().filter(|next| next.entry.path == path)
    }

    pub fn take_at(&mut self, path: &[u8]) -> Result<Option<BaseEntry>> {
        self.take_if(|next| next.entry.path == path)
    }

    pub fn take_any(&mut self) -> Result<Option<BaseEntry>> {
        self.take_if(|_| true)
    }

    fn take_if(&mut self, wanted: impl Fn(&BaseEntry) -> bool) -> Result<Option<BaseEntry>> {
        if !self.next.as_ref().is_some_and(wanted) {
            return Ok(None);
        }
        let taken = self.next.take();
        self.step()?;
        Ok(taken)
    }
}

/// A list of the base, unrolled from local state: the extents of the content, and the layers they come from.
pub struct BaseList {
    pub extents: Vec<Extent>,
    pub layers: Vec<Held>,
}

impl BaseList {
    pub fn load(local: &LocalFiles, list: &List, number: u64) -> Result<BaseList> {
        let bad = |why: &str| Error::damaged("a list in local state", why);
        let stored = list.layers.iter().filter(|layer| layer.stored).count();
        let bodies = if stored == 0 { vec![] } else { local.load_lists(number).ok_or_else(|| bad("it is gone"))? };
        if bodies.len() != stored {
            return Err(bad("it has another number of layers"));
        }
        let mut bodies = bodies.into_iter();
        let mut layers = Vec::with_capacity(list.layers.len());
        for layer in &list.layers {
            let (body, stored) = match layer.stored {
                true => (bodies.next().expect("they were counted"), located(&layer.bytes)?),
                false => (layer.bytes.clone(), vec![]),
            };
            layers.push(Held { layer: layer.clone(), body, stored });
        }
        let mut extents = Vec::new();
        let mut reader = Layers::of_bodies(layers.iter().map(|held| &held.body[..]));
        while let Some(extent) = reader.next(&mut |_| Err(bad("it is not whole")))? {
            extent::push(&mut extents, extent);
        }
        Ok(BaseList { extents, layers })
    }

    pub fn of_content(local: &LocalFiles, content: &Content, number: u64) -> Result<BaseList> {
        Self::load(local, &content.list, number)
    }

    /// All extents: those of the content, and those that hold layers.
    pub fn all(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().chain(self.layers.iter().flat_map(|held| &held.stored))
    }

    pub fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        self.all().for_each(|extent| count(&mut uses, extent));
        uses
    }
}
