//! One GET with a name and a password, and its answer: what dynamic DNS services are asked by.
//!
//! By https, against the certificates that this host trusts; plain http only for this host itself, since a password goes with it. One deadline over all of it; redirects
//! are not followed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const ANSWER_BYTES_MAX: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, String> {
        let wrong = || format!("{text:?} must be https://HOST/PATH without a name or password in it; plain http is for this host itself");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let secure = scheme == "https";
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let here = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !plain || authority.contains('@') || path.contains('#') || !(secure || (scheme == "http" && here)) {
            return Err(wrong());
        }
        Ok(Url { secure, host, port, path: if path.starts_with('/') { path.into() } else { format!("/{path}") } })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// With more behind `?`.
    pub fn with(&self, query: &str) -> Url {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        Url { path: format!("{}{joint}{query}", self.path), ..self.clone() }
    }
}

/// The status and the text of the answer.
pub fn get(url: &Url, user: &str, password: &str, within: Duration) -> Result<(u16, String), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let asked = async { tokio::time::timeout(within, ask(url, user, password)).await };
    let answered = runtime.block_on(asked);
    // Whoever looks for the host's address still may go on with it; nobody waits for that.
    runtime.shutdown_background();
    answered.unwrap_or_else(|_| Err(format!("no answer came within {} s", within.as_secs_f32())))
}

async fn ask(url: &Url, user: &str, password: &str) -> Result<(u16, String), String> {
    let secret = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut secret = HeaderValue::from_str(&secret).map_err(|error| error.to_string())?;
    secret.set_sensitive(true);
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let authority = if url.port == if url.secure { 443 } else { 80 } { host } else { format!("{host}:{}", url.port) };
    let request = Request::get(&url.path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("resilient/", env!("CARGO_PKG_VERSION")))
        .header(AUTHORIZATION, secret)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let stream = connect(url).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| crate::told(&error))?;
    // It ends with the request; who asked hears of it.
    let carried = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| crate::told(&error))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    carried.abort();
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

async fn connect(url: &Url) -> Result<Box<dyn Stream>, String> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| error.to_string())?;
    if !url.secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let secured = TlsConnector::from(trusted()?).connect(name, stream).await.map_err(|error| error.to_string())?;
    Ok(Box::new(secured))
}

fn trusted() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this host trusts no certificate: install the package ca-certificates".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    Ok(Arc::new(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_would_show_a_password_are_refused() {
        assert_eq!(Url::parse("https://dyn.example.org/nic/update").unwrap().with("a=b").path, "/nic/update?a=b");
        assert_eq!(Url::parse("http://127.0.0.1:8080/nic?x=1").unwrap().with("a=b").path, "/nic?x=1&a=b");
        for bad in
            ["http://dyn.example.org/", "https://u:p@dyn.example.org/", "ftp://localhost/", "https://", "https://a b/", "https://a/#x", "x"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
