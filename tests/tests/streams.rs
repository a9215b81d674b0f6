//! Content that is read once, in order: however long each is, and however many there are.

use archive::export::{ExportReport, Outcome};
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
    trial.export_streams(
        contents
            .iter()
            .map(|content| Box::new(Rows { text: io::Cursor::new(content.clone()), calls: 0 }) as _),
    )
}

#[test]
fn streams_of_any_length_come_back() {
    let lengths = [0, 1, SHORT - 1, SHORT, SHORT + 1, REGION - 1, REGION, REGION + 1, REGION + SHORT, 2 * REGION, 3 * REGION + 77];
    let mut contents: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(number, len)| text(number, *len)).collect();
    for threads in [1, 3] {
        let mut trial = Trial::new();
        trial.options.threads = threads;
        export(&trial, &contents);
        trial.assert_streams_are(&contents);
        assert!(matches!(export(&trial, &contents).outcome, Outcome::Unchanged { .. }));
        contents[9][5_000_000..5_000_100].fill(b'x');
        let report = export(&trial, &contents);
        assert!(report.stored_bytes < 20_000, "stored {}", report.stored_bytes);
        trial.assert_streams_are(&contents);
    }
}

#[test]
fn many_short_streams_and_a_few_long_ones_take_turns() {
    let contents: Vec<Vec<u8>> = (0..200)
        .map(|number| text(number, if number % 20 == 7 { REGION + number } else { number * 300 }))
        .collect();
    let trial = Trial::unsealed();
    export(&trial, &contents);
    trial.assert_streams_are(&contents);
}
