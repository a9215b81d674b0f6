//! What others do with the same bytes: a plain copy over TLS, and rsync over ssh.

use crate::{now, since};
use link::identity::Identity;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Copies all files of a folder, one after the other, over one TLS connection into one file. In seconds.
pub fn over_tls(from: &Path, to: &Path) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for keys");
    let identity = |name: &str| Identity::open_or_make(&folder.path().join(name)).expect("keys are made");
    let (server, client) = (identity("server"), identity("client"));
    let (accepts, dials) = (link::tls::server(&server).expect("TLS"), link::tls::client(&client, server.pin).expect("TLS"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(from).expect("it can be listed").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let sends = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = TlsAcceptor::from(accepts).accept(stream).await.expect("a handshake");
            let mut buffer = vec![0; 1 << 20];
            for path in files {
                let mut file = tokio::fs::File::open(path).await.expect("it opens");
                loop {
                    let len = file.read(&mut buffer).await.expect("it is read");
                    if len == 0 {
                        break;
                    }
                    stream.write_all(&buffer[..len]).await.expect("it is sent");
                }
            }
            stream.shutdown().await.expect("it ends in order");
        });
        let begin = now();
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(&dials)).connect(name, stream).await.expect("a handshake");
        let mut file = tokio::fs::File::create(to).await.expect("it is made");
        let mut buffer = vec![0; 1 << 20];
        loop {
            let len = stream.read(&mut buffer).await.expect("it is received");
            if len == 0 {
                break;
            }
            file.write_all(&buffer[..len]).await.expect("it is written");
        }
        file.sync_all().await.expect("it is durable");
        sends.await.expect("it is sent");
        since(begin).as_secs_f64()
    })
}

/// The same by rsync over an sshd of our own. `None` where the programs are not there.
pub fn over_ssh(from: &Path, to: &Path) -> Option<f64> {
    let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists())?;
    let there = |program: &str| Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    (there("ssh") && there("rsync")).then_some(())?;
    let folder = tempfile::tempdir().expect("a folder for keys");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for key in ["host", "user"] {
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status().ok()?;
    }
    std::fs::copy(at("user.pub"), at("authorized")).ok()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port().to_string();
    // Without it an sshd that was never started by its service does not start.
    std::fs::create_dir_all("/run/sshd").ok()?;
    let mut daemon = Command::new(sshd)
        .args(["-D", "-p", &port, "-h", &at("host"), "-o", "ListenAddress=127.0.0.1", "-o", "StrictModes=no", "-o", "UsePAM=no"])
        .args(["-o", &format!("AuthorizedKeysFile={}", at("authorized")), "-o", "PidFile=none", "-f", "/dev/null"])
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    crate::until(|| std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let ssh = format!("ssh -p {port} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR", at("user"));
    let begin = now();
    let done = Command::new("rsync")
        .args(["-a", "--whole-file", "--fsync", "-e", &ssh, &format!("127.0.0.1:{}/", from.display())])
        .arg(to)
        .status();
    let seconds = since(begin).as_secs_f64();
    // It is ours, and of no use any more.
    let _ = daemon.kill();
    let _ = daemon.wait();
    done.ok()?.success().then_some(seconds)
}
