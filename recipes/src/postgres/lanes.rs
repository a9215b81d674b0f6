//! Several connections read ahead of the one that takes: texts of many ranges, handed out in their order.
//!
//! Ranges are taken up in order, each by whichever connection is free, so the one that is wanted next is always at work. Together the connections hold no more
//! than a fixed number of bytes that nobody took yet; the range that is being taken may always have one part more, so that it goes on however much the others hold. What a connection fails with, the one who takes is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::Error;
use crate::rows::{Counter, Rows};

/// So much is read ahead at most, of all ranges together.
const AHEAD: usize = 16 << 20;
/// Texts travel in parts of about this length.
pub(super) const PART: usize = 256 << 10;
/// The last piece of a part goes over its end.
const PART_ROOM: usize = PART + (PART >> 1);

#[derive(Default)]
struct Range {
    parts: VecDeque<Vec<u8>>,
    /// What there was of it, once it ended.
    ended: Option<(Rows, u64)>,
}

#[derive(Default)]
struct State {
    /// The next range that nobody reads yet.
    next: usize,
    /// The range that is being taken.
    wanted: usize,
    held: usize,
    ranges: BTreeMap<usize, Range>,
    /// Parts that were read out, to be filled again.
    spent: Vec<Vec<u8>>,
    failure: Option<Error>,
    /// Nobody takes any more.
    over: bool,
}

impl State {
    /// Whether this range is being taken, and nothing of it is there.
    fn lacks(&self, number: usize) -> bool {
        self.wanted == number && self.ranges.get(&number).is_none_or(|range| range.parts.is_empty())
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a connection puts the text of a range.
pub(super) struct Lane<'a> {
    shared: &'a Shared,
    number: usize,
    counter: Counter,
    part: Vec<u8>,
}

impl Lane<'_> {
    /// Takes some of the text. False when nobody wants it any more.
    pub fn put(&mut self, text: &[u8]) -> bool {
        self.part.extend_from_slice(text);
        self.part.len() < PART || self.send()
    }

    fn send(&mut self) -> bool {
        if self.part.is_empty() {
            return true;
        }
        self.counter.take(&self.part);
        let part = std::mem::take(&mut self.part);
        let mut state = self.shared.lock();
        while !state.over && state.held + part.len() > AHEAD && !state.lacks(self.number) {
            state = self.shared.wait(state);
        }
        if state.over {
            return false;
        }
        state.held += part.len();
        state.ranges.entry(self.number).or_default().parts.push_back(part);
        self.part = state.spent.pop().unwrap_or_else(|| Vec::with_capacity(PART_ROOM));
        self.shared.moved.notify_all();
        true
    }
}

/// Reads one range into its lane.
pub(super) type Reader = Box<dyn FnMut(usize, &mut Lane<'_>) -> Result<(), Error> + Send>;

pub(super) struct Lanes {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Begins to read `count` ranges, on a thread for each reader.
    pub fn start(count: usize, readers: Vec<Reader>) -> Lanes {
        let shared = Arc::new(Shared::default());
        let start = |mut reader: Reader| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let mut guard = Fails(&shared, Some(Error::Thread));
                guard.1 = serve(&shared, count, &mut reader).err();
            })
        };
        let threads = readers.into_iter().map(start).collect();
        Lanes { shared, threads }
    }

    /// The next part of a range, in exchange for the one before; none at its end. Ranges are wanted in order.
    pub fn take(&self, number: usize, mut spent: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        spent.clear();
        let mut state = self.shared.lock();
        if spent.capacity() >= PART_ROOM {
            state.spent.push(spent);
        }
        if state.wanted != number {
            state.wanted = number;
            self.shared.moved.notify_all();
        }
        loop {
            if let Some(failure) = state.failure.take() {
                state.over = true;
                self.shared.moved.notify_all();
                return Err(failure);
            }
            if state.over {
                return Err(Error::Thread);
            }
            let range = state.ranges.entry(number).or_default();
            if let Some(part) = range.parts.pop_front() {
                state.held -= part.len();
                self.shared.moved.notify_all();
                return Ok(Some(part));
            }
            if range.ended.is_some() {
                return Ok(None);
            }
            state = self.shared.wait(state);
        }
    }

    /// How many rows a range had, and how long its text was, when all of it was taken.
    pub fn taken(&self, number: usize) -> Option<(Rows, u64)> {
        let state = self.shared.lock();
        let range = state.ranges.get(&number).filter(|range| range.parts.is_empty())?;
        range.ended
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.moved.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Tells what a thread ended with, in whatever way it ended.
struct Fails<'a>(&'a Shared, Option<Error>);

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        if let Some(error) = self.1.take() {
            let mut state = self.0.lock();
            state.failure.get_or_insert(error);
            self.0.moved.notify_all();
        }
    }
}

fn serve(shared: &Shared, count: usize, reader: &mut Reader) -> Result<(), Error> {
    loop {
        let number = {
            let mut state = shared.lock();
            if state.over || state.failure.is_some() || state.next == count {
                return Ok(());
            }
            state.next += 1;
            state.next - 1
        };
        let mut lane = Lane { shared, number, counter: Counter::default(), part: Vec::with_capacity(PART_ROOM) };
        reader(number, &mut lane)?;
        if !lane.send() {
            return Ok(());
        }
        let rows = lane.counter.rows().ok_or(Error::Thread)?;
        let mut state = shared.lock();
        state.ranges.entry(number).or_default().ended = Some((rows, lane.counter.bytes()));
        shared.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(many: usize, read: impl Fn(usize, &mut Lane<'_>) -> Result<(), Error> + Send + Clone + 'static) -> Vec<Reader> {
        (0..many).map(|_| Box::new(read.clone()) as Reader).collect()
    }

    fn whole(lanes: &Lanes, number: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(part) = lanes.take(number, vec![])? {
            all.extend(part);
        }
        Ok(all)
    }

    #[test]
    fn ranges_come_whole_and_in_order_however_much_there_is() {
        let row = [b'x'; 1023];
        let read = move |number: usize, lane: &mut Lane<'_>| {
            for _ in 0..number * 4096 {
                lane.put(&row);
                lane.put(b"\n");
            }
            Ok(())
        };
        let lanes = Lanes::start(24, readers(3, read));
        for number in 0..24 {
            assert_eq!(whole(&lanes, number).unwrap().len(), number * 4096 * 1024);
            let (rows, bytes) = lanes.taken(number).unwrap();
            assert_eq!((rows.count, bytes), (number as u64 * 4096, number as u64 * 4096 * 1024));
        }
    }

    #[test]
    fn one_endless_range_runs_no_further_ahead_than_all_together_may() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (put, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (all, gone) = (put.clone(), taken.clone());
        let read = move |_: usize, lane: &mut Lane<'_>| {
            while lane.put(&[b'\n'; 4096]) {
                let ahead = all.fetch_add(4096, Ordering::SeqCst) + 4096 - gone.load(Ordering::SeqCst);
                assert!(ahead <= AHEAD + 3 * PART, "{ahead} bytes ahead");
            }
            Ok(())
        };
        let lanes = Lanes::start(1, readers(1, read));
        while taken.load(Ordering::SeqCst) < 4 * AHEAD {
            let part = lanes.take(0, vec![]).unwrap().unwrap();
            // Slower than it is put.
            let rows = (0..20).map(|_| memchr::memchr_iter(b'\n', &part).count()).sum::<usize>();
            assert_eq!(rows, 20 * part.len());
            taken.fetch_add(part.len(), Ordering::SeqCst);
        }
    }

    #[test]
    fn a_connection_that_fails_or_panics_fails_whoever_takes() {
        for panics in [false, true] {
            let read = move |number: usize, lane: &mut Lane<'_>| {
                lane.put(b"row\n");
                assert!(number < 3 || !panics, "on purpose");
                if number < 3 { Ok(()) } else { Err(Error::Stopped) }
            };
            let lanes = Lanes::start(100, readers(2, read));
            assert!((0..100).any(|number| whole(&lanes, number).is_err()));
        }
    }

    #[test]
    fn who_gives_up_waits_for_no_range() {
        let read = |_: usize, lane: &mut Lane<'_>| {
            while lane.put(&[b'\n'; 4096]) {}
            Ok(())
        };
        let lanes = Lanes::start(10, readers(2, read));
        assert!(lanes.take(0, vec![]).unwrap().is_some());
        drop(lanes);
    }
}
