//! `exporter`: captures a host's databases and files.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    console::exit::end(exporter::cmd::Exporter::parse().run())
}
