//! Content that is read once, in order: however long each is, and however many there are.

use archive::entry::Attributes;
use archive::export::item::{Body, Item};
use archive::export::{Export, ExportReport, Outcome};
use archive::local::state::Local;
use std::io::{self, Read};
use tests::trial::Trial;

/// The length of a region, and of what is copied out.
const REGION: usize = 4 << 20;
const SHORT: usize = 1 << 20;

/// Content with rows that no other stream has, given in pieces of odd lengths, with an interruption now and then.
struct Rows {
    text: io::Cursor<Vec<u8>>,
    calls: usize,
}

impl Read for Rows {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buf.len().min(300_007);
        self.text.read(&mut buf[..most])
    }
}

fn text(number: usize, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 32);
    let mut row = 0u64;
    while text.len() < len {
        text.extend_from_slice(format!("{number}\t{row}\t{:x}\n", row.wrapping_mul(0x9E37_79B9_7F4A_7C15)).as_bytes());
        row += 1;
    }
    text.truncate(len);
    text
}

fn export(trial: &Trial, contents: &[Vec<u8>]) -> ExportReport {
    trial.wait_ms(10_000);
    let mut export = Export::begin(trial.repository.clone(), Local::open(&trial.local()).unwrap(), trial.options.clone()).unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let attributes = Attributes { mode: 0o700, uid, gid, ..Attributes::default() };
    let item = |path: String, body| Item { path: path.into_bytes(), attributes: attributes.clone(), stamp: None, body };
    export.add(item("s".into(), Body::Folder)).unwrap();
    for (number, content) in contents.iter().enumerate() {
        let stream = Rows { text: io::Cursor::new(content.clone()), calls: 0 };
        export.add(item(format!("s/{number:03}"), Body::Stream(Box::new(stream)))).unwrap();
    }
    export.finish().unwrap()
}

fn assert_newest_is(trial: &Trial, contents: &[Vec<u8>]) {
    let target = tempfile::tempdir().unwrap();
    let known = trial.repository.snapshots().unwrap().pop().unwrap();
    trial.restore(&known, target.path()).unwrap();
    for (number, content) in contents.iter().enumerate() {
        let found = std::fs::read(target.path().join(format!("s/{number:03}"))).unwrap();
        assert!(found == *content, "stream {number} of {} bytes is another", content.len());
    }
}

#[test]
fn streams_of_any_length_come_back() {
    let lengths = [0, 1, SHORT - 1, SHORT, SHORT + 1, REGION - 1, REGION, REGION + 1, REGION + SHORT, 2 * REGION, 3 * REGION + 77];
    let mut contents: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(number, len)| text(number, *len)).collect();
    for threads in [1, 3] {
        let mut trial = Trial::new();
        trial.options.threads = threads;
        export(&trial, &contents);
        assert_newest_is(&trial, &contents);
        assert!(matches!(export(&trial, &contents).outcome, Outcome::Unchanged { .. }));
        contents[9][5_000_000..5_000_100].fill(b'x');
        let report = export(&trial, &contents);
        assert!(report.stored_bytes < 20_000, "stored {}", report.stored_bytes);
        assert_newest_is(&trial, &contents);
    }
}

#[test]
fn many_short_streams_and_a_few_long_ones_take_turns() {
    let contents: Vec<Vec<u8>> = (0..200)
        .map(|number| text(number, if number % 20 == 7 { REGION + number } else { number * 300 }))
        .collect();
    let trial = Trial::unsealed();
    export(&trial, &contents);
    assert_newest_is(&trial, &contents);
}
