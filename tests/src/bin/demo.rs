//! `cargo demo`: the main job on one host, with real processes: capture, change, capture again, look, check, restore by date. It cleans up after itself.

use std::path::Path;
use std::process::Command;

fn build() -> std::path::PathBuf {
    let here = std::env::current_exe().expect("a program has a path");
    let folder = here.parent().expect("it lies in a folder").to_path_buf();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--workspace", "--bins"])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the programs were not built");
    folder
}

fn say(text: &str) {
    println!("\n# {text}");
}

fn run(programs: &Path, program: &str, arguments: &[&str]) {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(programs.join(program)).args(arguments).status().expect("the program runs");
    assert!(status.success(), "{program} ended with {status}");
}

fn main() {
    let programs = build();
    let folder = tempfile::tempdir().expect("a folder for the demo");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (private, public) = archive::identity::generate();
    std::fs::write(at("identity"), private).expect("the identity is written");
    std::fs::create_dir(at("uploads")).expect("a folder for the data");
    let orders: String = (0..200_000)
        .map(|n| format!("order {n}\tcustomer {}\t{}.00\n", n * 7919 % 10_007, n % 90))
        .collect();
    std::fs::write(at("uploads/orders.txt"), &orders).expect("the data is written");
    let node = format!(
        "cluster = \"shop\"\n\n[node]\nname = \"web1\"\nstate = \"{}\"\n\n[seal]\nrecipients = [\"{public}\"]\n\n[[dataset]]\nname = \"shop\"\nevery = \"60m\"\n\n  [[dataset.source]]\n  recipe = \"files\"\n  paths = [\"{}\"]\n",
        at("state"),
        at("uploads")
    );
    std::fs::write(at("node.toml"), &node).expect("the node file is written");
    say("A node file says what to capture, and who may open it:");
    print!("{node}");
    let repository = at("state/datasets/shop/repository");
    let (config, identity, to) = (at("node.toml"), at("identity"), at("restored"));

    say("The first export reads everything and seals it:");
    run(&programs, "exporter", &["run", "--config", &config]);
    say("One order in a hundred changes, scattered over the file. The next export costs what changed:");
    let changed: String = orders
        .lines()
        .enumerate()
        .map(|(n, line)| if n % 100 == 0 { format!("{line} paid\n") } else { format!("{line}\n") })
        .collect();
    std::fs::write(at("uploads/orders.txt"), &changed).expect("the data is written");
    run(&programs, "exporter", &["run", "--config", &config]);
    say("What there is:");
    run(&programs, "pull-backup", &["snapshots", "--repository", &repository]);
    say("Every byte is checked, without any key:");
    run(&programs, "pull-backup", &["check", "--read", "--repository", &repository]);
    say("Somebody deletes the file. It comes back, with the identity of a recipient:");
    std::fs::remove_file(at("uploads/orders.txt")).expect("the data is removed");
    run(&programs, "pull-backup", &["restore", "--repository", &repository, "--at", "latest", "--to", &to, "--identity", &identity]);
    let restored = std::fs::read_to_string(folder.path().join("restored/uploads/orders.txt"))
        .or_else(|_| std::fs::read_to_string(folder.path().join("restored/files/orders.txt")));
    assert!(restored.expect("it was restored") == changed, "the restored file is not what it was");
    say("The restored file is what it was, byte for byte.");
}
