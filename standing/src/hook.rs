//! Asking a URL of the outside: alerts by POST, pings by GET. One request on a connection of its own, with one deadline over all of it.
//!
//! By https only, against the certificates that this host trusts; plain http is for this host itself, as the configuration holds. Redirects are not followed:
//! what was configured is what is asked. An answer's content is not read. No message names more of a URL than its host, since its path may be a secret.

use crate::error::{Error, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use link::client::Stream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
struct Url {
    secure: bool,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

impl Url {
    fn parse(text: &str, what: &'static str) -> Result<Url> {
        let wrong = || Error::Url { what };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let secure = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let local = ["localhost", "127.0.0.1", "::1"].contains(&host.as_str());
        if host.is_empty() || host.contains('@') || (!secure && !local) {
            return Err(wrong());
        }
        Ok(Url { secure, host, port, path: if path.starts_with('/') { path.into() } else { format!("/{path}") } })
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.secure { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

/// A client of hooks and pings.
pub struct Hook {
    after: Duration,
    /// Read when it is needed first: a host without a hook need not trust anybody.
    tls: OnceLock<std::result::Result<Arc<ClientConfig>, String>>,
}

impl Hook {
    /// No request takes longer than `after`.
    pub fn new(after: Duration) -> Hook {
        Hook { after, tls: OnceLock::new() }
    }

    /// One that trusts others than this host does.
    pub fn trusting(after: Duration, tls: Arc<ClientConfig>) -> Hook {
        Hook { after, tls: OnceLock::from(Ok(tls)) }
    }

    /// Sends a JSON document.
    pub async fn post(&self, url: &str, json: String) -> Result<()> {
        self.within(Url::parse(url, "an alert")?, Method::POST, json).await
    }

    /// Only asks.
    pub async fn ping(&self, url: &str) -> Result<()> {
        self.within(Url::parse(url, "a ping")?, Method::GET, String::new()).await
    }

    async fn within(&self, url: Url, method: Method, body: String) -> Result<()> {
        let host = url.host.clone();
        timeout(self.after, self.ask(url, method, body))
            .await
            .map_err(|_| Error::Deadline { host, after: self.after })?
    }

    async fn ask(&self, url: Url, method: Method, body: String) -> Result<()> {
        let broken = |error: hyper::Error| Error::Broken { host: url.host.clone(), why: link::pull::chain(&error) };
        let mut request = Request::builder()
            .method(&method)
            .uri(&url.path)
            .header(HOST, url.authority())
            .header(USER_AGENT, concat!("resilient/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close");
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| Error::Url { what: "a hook" })?;
        let stream = self.connect(&url).await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the request; who asked hears of it.
        let carried = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(broken);
        carried.abort();
        match answer?.status() {
            status if status.is_success() => Ok(()),
            status => Err(Error::Answer { host: url.host.clone(), status: status.as_u16() }),
        }
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Stream>> {
        let failed = |source| Error::Connect { host: url.host.clone(), source };
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(failed)?;
        if !url.secure {
            return Ok(Box::new(stream));
        }
        let tls = self.tls.get_or_init(roots).clone().map_err(|why| Error::Roots { why })?;
        let name = ServerName::try_from(url.host.clone()).map_err(|_| Error::Url { what: "a hook" })?;
        Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await.map_err(failed)?))
    }
}

fn roots() -> std::result::Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let first = found.errors.first().map_or_else(|| "none is installed".into(), ToString::to_string);
        return Err(first);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |text: &str| Url::parse(text, "a ping").ok().map(|url| (url.secure, url.authority(), url.port, url.path));
        assert_eq!(of("https://hc.example.org/id?x=1"), Some((true, "hc.example.org".into(), 443, "/id?x=1".into())));
        assert_eq!(of("https://hc.example.org:8443"), Some((true, "hc.example.org:8443".into(), 8443, "/".into())));
        assert_eq!(of("http://[::1]:80/a"), Some((false, "[::1]".into(), 80, "/a".into())));
        assert_eq!(of("http://localhost?a"), Some((false, "localhost".into(), 80, "/?a".into())));
        for bad in ["ftp://a/", "https://", "http://example.org/", "https://a:x/", "https://u@h/", "x"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
