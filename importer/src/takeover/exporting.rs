//! Exports that a change of roles asks for: the exporter's own program does them.

use crate::pause::wait;
use link::boot;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs the exporter that stands beside this program, or that the path has.
pub fn exporter(config: &Path, arguments: &[&str], within: Duration) -> Result<(), String> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("exporter")).filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| "exporter".into()));
    command.arg("--config").arg(config).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start exporter: {error}"))?;
    let pipe = child.stderr.take();
    let reader = std::thread::spawn(move || pipe.and_then(|pipe| std::io::read_to_string(pipe).ok()).unwrap_or_default());
    let until = boot::now() + within;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if boot::now() < until => wait(Duration::from_millis(20)),
            _ => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("exporter did not end within {} s", within.as_secs()));
            }
        }
    };
    let said = reader.join().unwrap_or_default();
    // Done in part is an export all the same: what could not be read is told by it.
    match status.code() {
        Some(0 | 4) => Ok(()),
        _ => Err(said.trim().lines().last().unwrap_or("exporter failed").to_owned()),
    }
}
