//! This host's clock since it booted, and which boot it is: the time of everything that a lease rests on.

use crate::error::{Error, Result};
use election::{BootId, Time};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// CLOCK_BOOTTIME: it goes on in suspend, and nobody sets it.
pub fn now() -> Time {
    let at = clock_gettime(ClockId::Boottime);
    Time::from_ms(at.tv_sec as u64 * 1000 + at.tv_nsec as u64 / 1_000_000)
}

pub fn id() -> Result<BootId> {
    let path = Path::new(BOOT_ID);
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(BootId(text.trim().to_owned()))
}
