//! `pull-backup`: keeps the history.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a command's first line reads the clock")]
    let now = jiff::Zoned::now();
    console::exit::end(pull_backup::run(&pull_backup::CommandLine::parse(), now))
}
