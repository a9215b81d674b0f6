//! dyndns2 over https: the service is believed by an authority that this host trusts, and nobody else hears the password.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tests::program::{finish, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority's certificate, as a file, and a service's by it.
fn authority(file: &Path, host: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    fs::write(file, format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", base64(own.der()))).unwrap();
    let (issuer, service) = (Issuer::from_params(&params, &key), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&service, &issuer).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(service.serialize_der()).unwrap())
}

fn base64(bytes: &[u8]) -> String {
    let mut child = Command::new("base64").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Answers `good` to whoever comes; what was asked is handed out.
fn service(
    runtime: &Runtime,
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> (u16, std::sync::mpsc::Receiver<String>) {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hears) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not believe the certificate says no more.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => asked.push(byte),
                    Err(_) => break,
                }
            }
            heard.send(String::from_utf8(asked).unwrap()).unwrap();
            let text = "good 198.51.100.7";
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, hears)
}

#[test]
fn names_are_pointed_by_https_with_an_authority_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let runtime = Runtime::new().unwrap();
    let (port, hears) = service(&runtime, authority(&path("ca"), "localhost"));
    authority(&path("other"), "localhost");
    fs::write(path("password"), "open sesame\n").unwrap();
    fs::set_permissions(path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let (_, recipient) = archive::identity::generate();
    let text = format!(
        "cluster = \"shop\"\n[node]\nname = \"web2\"\nstate = {:?}\n[seal]\nrecipients = [{recipient:?}]\n[[dataset]]\nname = \"files\"\nevery = \"60m\"\n\
         source = [{{ recipe = \"files\", paths = [{:?}] }}]\n[takeover]\n[[takeover.dns]]\ndomain = \"example.org\"\nmeans = \"dyndns2\"\n\
         url = \"https://localhost:{port}/nic/update\"\nuser = \"shop\"\npassword_file = {:?}\nhome = \"web1\"\n[[takeover.dns.node]]\nname = \"web1\"\n\
         addresses = [\"192.0.2.1\"]\n[[takeover.dns.node]]\nname = \"web2\"\naddresses = [\"198.51.100.7\"]\n",
        path("state"),
        folder.path(),
        path("password"),
    );
    fs::write(path("node.toml"), text).unwrap();
    let failover = |trusted: &str| {
        let mut command = program("importer");
        command
            .args(["dns", "failover", "--config"])
            .arg(path("node.toml"))
            .env("SSL_CERT_FILE", path(trusted));
        finish(command.env_remove("SSL_CERT_DIR"))
    };
    let refused = failover("other");
    let told = refused.text().to_owned() + &refused.err;
    assert_eq!(refused.status, 1, "{told}");
    assert!(told.contains("certificate") && !told.contains("sesame"), "{told}");
    assert!(hears.try_recv().is_err(), "a service that nobody vouches for hears nothing");
    let done = failover("ca");
    assert_eq!(done.status, 0, "{}{}", done.text(), done.err);
    let asked = hears.recv().unwrap();
    assert!(asked.starts_with("GET /nic/update?hostname=example.org,www.example.org&myip=198.51.100.7 HTTP/1.1"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("authorization: basic c2hvcdpvcgvuihnlc2ftzq=="), "{asked}");
}
