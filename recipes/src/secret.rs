//! Passwords for the databases' own tools: in memory, never in an argument, the environment or a file with a name.
//!
//! A tool gets it as its standard input, which none of those called here reads, and is told to look for it in `/proc/self/fd/0`: nothing else that is started
//! meanwhile inherits it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode};

/// Where a program finds its standard input.
pub(crate) const STDIN: &str = "/proc/self/fd/0";

/// A file without a name that holds this text, readable by this user alone.
pub(crate) fn file(text: &str) -> io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create("resilient", MemfdFlags::CLOEXEC)?;
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(fd);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// What stands in a file. One that others may read is refused.
pub(crate) fn private(path: &Path) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path)?;
    if found.mode() & 0o077 != 0 {
        let why = format!("others may read it (mode {:o}): chmod 600", found.mode() & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    std::fs::read_to_string(path)
}

/// A password as its file has it: one line. A file that others may read is refused.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let text = private(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    if line.is_empty() || line.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it must hold one line, the password"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn a_program_reads_it_again_and_again_and_nobody_sees_it() {
        let file = super::file("secret\n").unwrap();
        let twice = Command::new("sh")
            .args(["-c", "cat /proc/self/fd/0; cat /proc/self/fd/0; stat -Lc %a /proc/self/fd/0"])
            .stdin(file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&twice.stdout), "secret\nsecret\n600\n");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_no_password_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let with = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            super::read(&path)
        };
        assert_eq!(with("a b\n", 0o600).unwrap(), "a b");
        assert!(with("a b\n", 0o640).unwrap_err().to_string().contains("chmod 600"));
        assert!(with("", 0o600).is_err() && with("a\nb\n", 0o600).is_err());
    }
}
