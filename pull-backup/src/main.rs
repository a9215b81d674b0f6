//! `pull-backup`: keeps the history.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a command's first line reads the clock")]
    let now = jiff::Zoned::now();
    let surroundings = lookup::Surroundings { now, config: std::env::var_os(console::place::VARIABLE) };
    console::exit::end(pull_backup::run(pull_backup::CommandLine::parse(), &surroundings))
}
