//! `importer`: stands by with the data, and gives it back by date.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a command's first line reads the clock")]
    let now = jiff::Zoned::now();
    let surroundings = lookup::Surroundings { now, config: std::env::var_os(console::place::VARIABLE) };
    console::exit::end(importer::run(importer::CommandLine::parse(), &surroundings))
}
