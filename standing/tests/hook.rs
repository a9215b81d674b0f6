//! Alerts and pings over TLS: delivered to whom the host trusts, and to nobody else; each request ends within its bound.

use standing::Error;
use standing::hook::Hook;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

const LIMIT: Duration = Duration::from_secs(30);

struct Listens {
    address: String,
    certificate: CertificateDer<'static>,
    heard: JoinHandle<String>,
}

/// Takes one request over TLS, and answers with a status.
async fn listen(status: &'static str) -> Listens {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return String::new() };
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !(text.ends_with('}') || text.starts_with("GET") && text.ends_with("\r\n\r\n")) {
            let len = stream.read(&mut part).await.unwrap();
            text.push_str(std::str::from_utf8(&part[..len]).unwrap());
        }
        stream
            .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream.flush().await.unwrap();
        text
    });
    Listens { address, certificate, heard }
}

fn trusting(certificate: &CertificateDer<'static>) -> Hook {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    Hook::trusting(LIMIT, Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn an_alert_goes_over_tls_to_whom_the_host_trusts() {
    let there = listen("200 OK").await;
    let url = format!("https://{}/hook?key=1", there.address);
    trusting(&there.certificate).post(&url, "{\"event\":\"opened\"}".into()).await.unwrap();
    let heard = there.heard.await.unwrap();
    assert!(heard.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains(&format!("host: {}\r\n", there.address)) && heard.ends_with("{\"event\":\"opened\"}"), "{heard}");
}

#[tokio::test]
async fn nobody_else_gets_one_and_no_error_names_the_path() {
    let (there, other) = (listen("200 OK").await, listen("200 OK").await);
    let url = format!("https://{}/secret", there.address);
    let error = trusting(&other.certificate).post(&url, "{}".into()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(!link::pull::chain(&error).contains("secret"), "{error}");
    assert_eq!(there.heard.await.unwrap(), "", "not a byte of it was sent");
}

#[tokio::test]
async fn a_refusal_is_no_delivery() {
    let there = listen("500 Oops").await;
    let error = trusting(&there.certificate).ping(&format!("https://{}/id", there.address)).await.unwrap_err();
    assert!(matches!(error, Error::Answer { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let error = Hook::new(Duration::from_millis(100)).ping(&url).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
}
