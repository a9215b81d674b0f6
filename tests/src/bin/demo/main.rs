//! `cargo demo`: the main job end to end on this host, with real processes on loopback, for somebody who sees it for the first time.
//!
//! A shop in SQLite takes orders all the while. What is exported arrives in an archive and on two hosts that stand by; the process that keeps the history is killed in the
//! middle; then the whole host that works dies, and another takes over. Yesterday's state is restored by date. It cleans up after itself, unless `--keep` is given.

mod hosts;
mod shop;

use hosts::Hosts;
use shop::Shop;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Where the programs are, built in the profile of this one.
fn build() -> PathBuf {
    let here = std::env::current_exe().expect("a program has a path");
    let folder = here.parent().expect("it lies in a folder").to_path_buf();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--bins"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the programs were not built");
    folder
}

fn say(text: &str) {
    println!("\n# {text}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = arguments == ["--keep"];
    if !keep && !arguments.is_empty() {
        eprintln!("usage: cargo demo [-- --keep]");
        return ExitCode::from(2);
    }
    let mut hosts = Hosts::new(build());
    let shop = Shop::open(&hosts.path("web1"));
    play(&mut hosts, shop);
    if keep {
        println!("\n# All ended, and everything is kept in {}. Its configurations are the .toml files there.", hosts.keep().display());
    } else {
        println!("\n# All ended, and the folder is gone. `cargo demo -- --keep` leaves it to look around.");
    }
    ExitCode::SUCCESS
}

fn play(hosts: &mut Hosts, mut shop: Shop) {
    say("Four hosts, on addresses of loopback: `web1` works, `backup` keeps the history, `web2` and `web3` stand by.");
    say("A node file says what to capture and who can open it. It is the same on every node but for [node]:");
    hosts.configure();
    say("Yesterday, one order was there, and `web1` exported (the clock was set back for this one export):");
    let yesterday = hosts.export_of_yesterday();
    say("Today the host for the history is set up. It holds no key to the data:");
    hosts.run("backup", "pull-backup", &["init"]);
    hosts.start("backup", "pull-backup");
    say("Each node joins with a line that works once. Keys are made where they are used, and pinned on both sides:");
    for (node, role) in [("web1", "--active"), ("web2", "--standby"), ("web3", "--standby")] {
        hosts.join(node, role);
    }
    say("The daemons start. Nothing of the shop runs before its host was granted the role; a person grants the first one:");
    for node in ["web1", "web2", "web3"] {
        hosts.start(node, "exporter");
        hosts.start(node, "importer");
    }
    hosts.run("web1", "importer", &["activate", "--adopt"]);
    say("The shop is open: orders and uploads come in all the while, from customers who ask whichever host answers.");
    shop.begin(hosts.shops());
    hosts.both_stand_by(&shop, 10);
    say("Both that stand by have the shop's data: real databases, imported and checked.");
    hosts.show_orders(&["web1", "web2", "web3"]);
    say("What travelled: each snapshot is the whole shop, and cost what had changed (CONTENT is all of it, NEW is what was stored).");
    hosts.snapshots();

    say(
        "The process that keeps the history, and decides, is killed in the middle of its work: kill -9. The shop goes on, since both others give their word not to take over.",
    );
    hosts.kill("backup", "pull-backup");
    shop.more(20);
    hosts.turns_bad("web1", "exporter");
    hosts.show_status("web1", "exporter");
    say("It comes back, and nothing is lost:");
    hosts.start("backup", "pull-backup");
    let orders = shop.count();
    hosts.both_stand_by(&shop, orders);
    hosts.show_orders(&["web1", "web2", "web3"]);

    say("A disaster: the whole of `web1` dies. Who would take over, and what would be lost:");
    hosts.run("backup", "pull-backup", &["takeover", "plan"]);
    hosts.dies("web1");
    say(
        "Where a packet gate or a program that turns hosts off makes sure of it, the next one takes over by itself. On this one machine a person must say that `web1` is off:",
    );
    hosts.run("backup", "pull-backup", &["attest", "shop", "--off", "web1", "--yes", "web1"]);
    hosts.elect("both gave the dead one their word a moment ago, for as long as its lease could live");
    let next = hosts.active_among(&["web2", "web3"]);
    println!("{next} is active");
    shop.more(20);
    say("Customers are served, by another host. What the others know of it:");
    hosts.show_status("backup", "pull-backup");
    say("`web1` comes back. It stands by, and what it alone has is put aside before anything is written over:");
    hosts.start("web1", "exporter");
    hosts.start("web1", "importer");
    say("The way home: `web1` imports what was written elsewhere, and gets the role back without losing an order:");
    hosts.run("web1", "importer", &["failback"]);
    shop.more(20);
    shop.end();
    hosts.run("backup", "pull-backup", &["quarantine", "list"]);
    hosts.show_orders(&["web1", next]);
    println!("the customers were told of {} orders; what `web1` took in its last moments is what was put aside", shop.count());
    say("Yesterday's state comes back by date, from the archive, with the identity that opens it:");
    hosts.restore(&yesterday);
    say("How things stand, on each host; a status that has no evidence is never `ok`:");
    hosts.show_status("web1", "exporter");
    hosts.show_status("web2", "importer");
    hosts.stop(Duration::from_secs(20));
}
