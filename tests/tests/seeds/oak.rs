//! Oak's cold standby: clients that stop, large objects, address ranges, a store that only grows.

use crate::{LIMIT, Trio, size};
use std::os::unix::fs::FileExt;
use tests::chance::noise;
use tests::cluster::{files, snapshots};
use tests::wait::until;

#[test]
fn a_client_that_stopped_stays_where_it_was_and_catches_up() {
    let mut trio = Trio::new(69, "");
    trio.0.start("web1", "exporter");
    trio.0.start("web2", "importer");
    std::fs::write(trio.data().join("file"), noise(1, 200_000)).unwrap();
    trio.export();
    let mirror = trio.0.of_node("web2", "files");
    trio.newest_is_in(&mirror);
    until(LIMIT, "the import", || (files(&trio.0.path("web2")) == files(&trio.data())).then_some(()));
    trio.0.kill("web2", "importer");
    let before = (snapshots(&mirror), files(&trio.0.path("web2")));
    for round in 2..6 {
        std::fs::write(trio.data().join(format!("file{round}")), noise(round, 200_000)).unwrap();
        trio.export();
    }
    assert_eq!((snapshots(&mirror), files(&trio.0.path("web2"))), before, "nobody writes to a host that is down");
    trio.0.start("web2", "importer");
    trio.newest_is_in(&mirror);
    until(LIMIT, "it to catch up", || (files(&trio.0.path("web2")) == files(&trio.data())).then_some(()));
    trio.0.stop();
}

#[test]
fn an_object_of_more_than_two_gigabytes_arrives() {
    let trio = Trio::new(70, "");
    let path = trio.data().join("large");
    let file = std::fs::File::create_new(&path).unwrap();
    let len = (2_u64 << 30) + (300 << 20);
    file.set_len(len).unwrap();
    // Behind 2^31 as well; between them are holes, so that a test need not write it all.
    for (seed, at) in [(1, 0), (2, (1_u64 << 31) - 1000), (3, len - 5000)] {
        file.write_all_at(&noise(seed, 5000), at).unwrap();
    }
    trio.export();
    trio.import();
    let there = std::fs::File::open(trio.0.path("web2/large")).unwrap();
    assert_eq!(there.metadata().unwrap().len(), len);
    for (seed, at) in [(1, 0), (2, (1_u64 << 31) - 1000), (3, len - 5000)] {
        let mut read = vec![0; 5000];
        there.read_exact_at(&mut read, at).unwrap();
        assert_eq!(read, noise(seed, 5000), "at {at}");
    }
}

#[test]
fn whoever_is_out_of_the_range_is_turned_away_and_others_are_served() {
    let mut trio = Trio::new(71, "");
    std::fs::write(trio.data().join("file"), "x").unwrap();
    trio.export();
    let (inside, outside) = (trio.0.address_of("web1"), trio.0.address_of("web2"));
    trio.0.kill("keeper", "pull-backup");
    let config = trio.0.path("keeper.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("allow = [\"{inside}\"]\n{text}")).unwrap();
    trio.0.start("keeper", "pull-backup");
    std::fs::write(trio.data().join("file"), "y").unwrap();
    trio.export();
    // A process on loopback calls from whatever address it likes: the kernel's choice is not in the range.
    let refused = trio.0.run("web2", "importer", &["sync"]);
    assert!(refused.status == 1, "{outside} is not in the range: {refused:?}");
    trio.0.kill("keeper", "pull-backup");
    std::fs::write(&config, format!("allow = [\"localhost\"]\n{text}")).unwrap();
    trio.0.start("keeper", "pull-backup");
    trio.import();
    assert_eq!(files(&trio.0.path("web2")), files(&trio.data()), "who is in the range is served");
    trio.0.stop();
}

#[test]
fn a_store_that_only_grows_costs_what_was_appended() {
    let mut trio = Trio::new(72, "");
    for part in 0..20 {
        std::fs::write(trio.data().join(format!("segment{part}")), noise(part, 1_000_000)).unwrap();
    }
    trio.0.start("web1", "exporter");
    trio.export();
    let before = size(&trio.archive());
    for part in 20..30 {
        std::fs::write(trio.data().join(format!("segment{part}")), noise(part, 100_000)).unwrap();
        trio.export();
    }
    let grown = size(&trio.archive()) - before;
    assert!((1_000_000..1_200_000).contains(&grown), "a million bytes were appended, the archive grew by {grown}");
    trio.0.stop();
}
