//! How fast `check` reads: a repository of unsealed noise in the folder that is given, 1 GiB in packs, checked whole.

use archive::check::{CheckOptions, Part, check};
use archive::digest::sha256;
use archive::id::{Address, ExportId};
use archive::pack::PackWriter;
use archive::record::{LiveRange, Run, RunUse, SegmentRecord, Signed, Snapshot, run_id};
use archive::repository::{Access, Repository};
use archive::seal::{Encoder, HEADER, seal_segment};
use archive::sign::{Signer, random};
use archive::{id::SnapshotId, name, name::Position};

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::path::PathBuf::from(std::env::args().nth(1).ok_or("give an empty folder")?);
    let count: u32 = std::env::args().nth(2).map_or(Ok(1024), |text| text.parse())?;
    Repository::create(&archive::store::FolderStore::open(&path)?, "c", "d")?;
    let repository = Repository::open_folder(&path, Access::Shared)?;
    let signer = Signer::from_seed(&[1; 32]);
    let nonce = random();
    let (id, mut packs, mut segments) = (run_id(&signer.public(), &nonce), PackWriter::default(), Vec::new());
    let (mut encoder, content) = (Encoder::new(3)?, random::<{ 1 << 20 }>());
    for sequence in 0..count {
        let mut item = Vec::new();
        encoder.encode(&content, HEADER, &mut item);
        item[HEADER + 100..HEADER + 104].copy_from_slice(&sequence.to_le_bytes());
        let address = Address { run: id, sequence };
        seal_segment(&mut item, address, None);
        packs.segment(&repository, address, &item)?;
        segments.push(SegmentRecord { len: item.len() as u32, hash: sha256(&item) });
    }
    packs.finish(&repository)?;
    let (cluster, dataset, node, export) = ("c".to_string(), "d".to_string(), "n".to_string(), ExportId(random()));
    let run = Run { cluster, dataset, node, id, nonce, export, started_ms: 0, closed_ms: 0, seal: None, segments };
    let (cluster, dataset, node) = (run.cluster.clone(), run.dataset.clone(), run.node.clone());
    let run = Signed::sign(run, &signer);
    repository.publish_run(&run)?;
    let used = RunUse { ordinal: 0, run: id, record: run.id(), live: vec![LiveRange { first: 0, count }] };
    let at = Position { epoch: 0, sequence: 1 };
    let none = SnapshotId::NONE;
    let (epoch, sequence) = (at.epoch, at.sequence);
    let (started_ms, captured_ms, entries, content_bytes, stored_bytes) = (0, 0, 0, 0, 0);
    let (sealed, key_ordinal, runs, salt, root) = (false, 0, vec![used], [0; 16], vec![0, 0]);
    let body = Snapshot {
        cluster,
        dataset,
        node,
        epoch,
        sequence,
        previous: none,
        base: none,
        export,
        started_ms,
        captured_ms,
        entries,
        content_bytes,
        stored_bytes,
        sealed,
        key_ordinal,
        runs,
        salt,
        root,
    };
    let signed = Signed::sign(body, &signer);
    repository.publish_record(&name::snapshot(at, SnapshotId::of(&signed.hash.0)), &signed)?;
    for threads in [1, 2] {
        let options = CheckOptions { read: Some(Part { number: 0, of: 1 }), threads, ..CheckOptions::default() };
        let begun = std::time::Instant::now();
        let report = check(&repository, &options)?;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{threads} threads: {:.0} MB/s, {} findings", report.bytes_read as f64 / 1e6 / seconds, report.findings.len());
    }
    let begun = std::time::Instant::now();
    let piece = vec![7u8; 4 << 20];
    for _ in 0..256 {
        std::hint::black_box(sha256(&piece));
    }
    println!("SHA-256 alone, one thread: {:.0} MB/s", 256.0 * 4.194304 / begun.elapsed().as_secs_f64());
    for line in std::fs::read_to_string("/proc/self/status")?.lines().filter(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}
