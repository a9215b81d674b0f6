//! BIND of one's own: a primary and, where wanted, a secondary.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{secret, until};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const ZONE: &str = "$TTL 3600\n@\tIN SOA\tns1 hostmaster (\n\t\t2026112201 ; serial\n\t\t1h 15m 2w 5m )\n\tNS\tns1\n\tNS\tns2\n\tMX\t10 mail\n@\t14400\tIN\tA\t192.0.2.1\t; the site\nwww\t14400\tIN\tA\t192.0.2.1\nmail\tIN\tA\t192.0.2.25\nns1\tA\tPRIMARY\nns2\tA\tSECONDARY\nodd\tTXT\t\"two  spaces; and a ( parenthesis\"\n";

pub const PRIMARY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1)), 53);
pub const SECONDARY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2)), 53);
const CONTROL: u16 = 953;

/// A network of this thread's own, with everything that it begins in it: nothing there but loopback. Needs root and `ip`.
pub fn apart() {
    // SAFETY: only where this thread's sockets are changes, and it has none yet.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.expect("root may have a network of its own");
    for words in
        ["link set lo up".to_owned(), format!("addr add {}/32 dev lo", PRIMARY.ip()), format!("addr add {}/32 dev lo", SECONDARY.ip())]
    {
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "{words}");
    }
}

pub fn key(name: &str, secret: &str) -> String {
    format!("key \"{name}\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{secret}\";\n}};\n")
}

pub struct Bind {
    pub folder: PathBuf,
    pub primary: SocketAddr,
    pub secondary: SocketAddr,
    servers: Vec<Child>,
}

impl Bind {
    /// One that serves example.org from `FOLDER/zone`; `more` goes into its configuration of the zone.
    pub fn start(folder: &Path, more: &str) -> Bind {
        Bind::serving(folder, more, ZONE)
    }

    pub fn serving(folder: &Path, more: &str, zone: &str) -> Bind {
        apart();
        Bind::between(folder, [PRIMARY, SECONDARY], more, zone)
    }

    /// One whose primary is at the first address, that of the host where this is called, and whose secondary will be at the other.
    pub fn between(folder: &Path, [primary, secondary]: [SocketAddr; 2], more: &str, zone: &str) -> Bind {
        let text = zone.replace("PRIMARY", &primary.ip().to_string()).replace("SECONDARY", &secondary.ip().to_string());
        fs::write(folder.join("zone"), text).unwrap();
        secret(&folder.join("move.key"), &key("move", SECRET));
        secret(&folder.join("rndc.key"), &key("rndc", SECRET));
        let zone = format!(
            "type primary; file \"{}\"; notify explicit; also-notify {{ {} port {}; }}; {more}",
            folder.join("zone").display(),
            secondary.ip(),
            secondary.port()
        );
        let control = format!("controls {{ inet {} port {CONTROL} allow {{ any; }} keys {{ \"rndc\"; }}; }};\n", primary.ip());
        let mut bind = Bind { folder: folder.into(), primary, secondary, servers: Vec::new() };
        bind.run("primary", primary, &zone, &control);
        bind
    }

    /// And its secondary, when it has the zone.
    pub fn with_secondary(mut self) -> Bind {
        let (primary, secondary) = (self.primary, self.secondary);
        let zone = format!(
            "type secondary; file \"{}\"; primaries {{ {} port {}; }}; masterfile-format text;",
            self.folder.join("secondary.zone").display(),
            primary.ip(),
            primary.port()
        );
        self.run("secondary", secondary, &zone, "controls { };\n");
        self
    }

    fn run(&mut self, name: &str, at: SocketAddr, zone: &str, control: &str) {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let folder_text = folder.display();
        let conf = format!(
            "include \"{}\";\ninclude \"{}\";\n{control}options {{\n directory \"{folder_text}\"; pid-file \"{folder_text}/pid\"; session-keyfile \"{folder_text}/session\"; lock-file none;\n \
             listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify-delay 0; notify-source {}; transfer-source {}; query-source address {}; allow-transfer {{ any; }};\n}};\n\
             zone \"example.org\" {{ {zone} }};\n",
            self.folder.join("move.key").display(),
            self.folder.join("rndc.key").display(),
            at.port(),
            at.ip(),
            at.ip(),
            at.ip(),
            at.ip(),
        );
        fs::write(folder.join("named.conf"), conf).unwrap();
        let said = fs::File::create(folder.join("said")).unwrap();
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-n", "1", "-c"])
            .arg(folder.join("named.conf"))
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("named is installed");
        self.servers.push(child);
        until("named to serve", || {
            assert!(self.servers.last_mut().unwrap().try_wait().unwrap().is_none(), "{}", fs::read_to_string(folder.join("said")).unwrap());
            (!dig(at, "example.org", "SOA").is_empty()).then_some(())
        });
    }

    pub fn end_secondary(&mut self) {
        // Begun again, it should not rest on what it had.
        let _ = fs::remove_file(self.folder.join("secondary.zone"));
        let mut child = self.servers.pop().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("zone")
    }

    pub fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        for child in &mut self.servers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `rndc` for the server of this folder.
pub fn rndc(folder: &Path) -> Vec<std::ffi::OsString> {
    let (ip, port) = (PRIMARY.ip().to_string(), CONTROL.to_string());
    let key = folder.join("rndc.key").display().to_string();
    ["/usr/sbin/rndc", "-k", &key, "-s", &ip, "-p", &port].iter().map(Into::into).collect()
}

pub fn rndc_says(folder: &Path, words: &[&str]) {
    let program = rndc(folder);
    let said = Command::new(&program[0]).args(&program[1..]).args(words).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

pub fn nsupdate(at: SocketAddr, folder: &Path, lines: &str) {
    use std::io::Write;
    let mut child = Command::new("nsupdate")
        .arg("-k")
        .arg(folder.join("move.key"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("server {} {}\nzone example.org\n{lines}\nsend\n", at.ip(), at.port());
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{lines}");
}

/// What a server says, as `TTL VALUE`, by a program that is not ours.
pub fn dig(at: SocketAddr, name: &str, kind: &str) -> Vec<String> {
    let server = format!("@{}", at.ip());
    let port = at.port().to_string();
    let said = Command::new("dig")
        .args([&server, "-p", &port, name, kind, "+norec", "+tcp", "+noall", "+answer", "+time=5", "+tries=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", words[1], words[4..].join(" "))
    };
    text.lines()
        .filter(|line| !line.starts_with(';') && line.split_whitespace().count() > 4)
        .map(one)
        .collect()
}
