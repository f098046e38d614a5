//! Health over HTTP: one GET on a connection of its own.
//!
//! No redirect is followed, no proxy is used, nothing is retried: what this host answers is the
//! answer. Clients are kept, since reading the system's certificates is slow; connections are not,
//! since the process behind an old one may be last release's.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use tokio::time::timeout_at;

use super::tls::Trust;
use super::{BODY_LIMIT, body, failure};
use crate::host::https::{causes, deeper};
use crate::model::app::ConnectTo;
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::length::limit;

/// Most clients that are kept; a manifest that changes for ever must not fill the memory.
const CLIENTS: usize = 64;

/// What is asked for, as the manifest says.
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    pub(super) headers: &'a BTreeMap<String, String>,
    pub(super) connect_to: Option<&'a ConnectTo>,
    pub(super) ca_file: Option<&'a Path>,
}

/// Clients that were used before.
#[derive(Debug, Default)]
pub(super) struct Clients {
    made: Mutex<Vec<(Kind, Client)>>,
}

/// Requests of one kind share a client: a hundred Apps behind one web server need one, however many names they have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    trust: Trust,
    way: Option<Way>,
}

/// Where a client goes instead of where the URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Every name means this address; the port is the URL's.
    Address(IpAddr),
    /// A socket.
    Unix(PathBuf),
}

/// Resolves every name to the same address.
#[derive(Debug)]
struct Always(IpAddr);

impl Resolve for Always {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(SocketAddr::new(self.0, 0)));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// A request, ready to be sent.
#[derive(Debug)]
struct Prepared {
    kind: Kind,
    url: Url,
    headers: HeaderMap,
    /// Where it goes, for messages.
    place: String,
}

impl Clients {
    /// Asks once.
    pub(super) async fn probe(&self, request: &Request<'_>, timeout: Duration) -> Result<ProbeAnswer, ProbeFailure> {
        let prepared = prepare(request)?;
        let client = self.client(&prepared.kind)?;
        let place = prepared.place;
        let began = Instant::now();
        let deadline = tokio::time::Instant::from_std(began) + timeout;
        let sending = client.get(prepared.url).headers(prepared.headers).send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure(describe(error, &place))),
            Err(_) => return Err(failure(format!("no answer from {place} within {}", limit(timeout)))),
        };
        let status = i64::from(response.status().as_u16());
        let headers = lower(response.headers());
        let Ok(bytes) = timeout_at(deadline, read(response, &place)).await else {
            let within = limit(timeout);
            return Err(failure(format!("the answer of {place} (status {status}) did not end within {within}")));
        };
        let body = body(&bytes?);
        Ok(ProbeAnswer { status: Some(status), headers, body, latency: began.elapsed(), age: None })
    }

    fn client(&self, kind: &Kind) -> Result<Client, ProbeFailure> {
        let known =
            |made: &[(Kind, Client)]| made.iter().find(|(other, _)| other == kind).map(|(_, client)| client.clone());
        if let Some(client) = known(&self.made.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(client);
        }
        // Not under the lock: it takes a while.
        let client = build(kind)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= CLIENTS {
            made.clear();
        }
        made.push((kind.clone(), client.clone()));
        Ok(client)
    }
}

fn build(kind: &Kind) -> Result<Client, ProbeFailure> {
    let mut builder = Client::builder()
        .user_agent(concat!("trueup/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0);
    builder = match &kind.way {
        Some(Way::Address(address)) => builder.dns_resolver(Always(*address)),
        Some(Way::Unix(path)) => builder.unix_socket(path.as_path()),
        None => builder,
    };
    kind.trust.apply(builder)?.build().map_err(|error| {
        let causes = causes(&error).join(": ");
        if causes.contains("No CA certificates") {
            failure("this system has no CA certificates: install them (`ca-certificates`), or name `caFile`")
        } else {
            failure(format!("cannot make an HTTP client: {causes}"))
        }
    })
}

fn prepare(request: &Request<'_>) -> Result<Prepared, ProbeFailure> {
    let mut url =
        Url::parse(request.url).map_err(|error| failure(format!("`{}` is not a URL: {error}", request.url)))?;
    let https = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(failure(format!("`{}` is neither `http` nor `https`", request.url))),
    };
    let mut headers = given(request.headers)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    let mut way = None;
    let place = match request.connect_to {
        None => format!("{host}:{}", url.port_or_known_default().unwrap_or_default()),
        Some(ConnectTo::Unix(path)) => {
            way = Some(Way::Unix(path.clone()));
            path.display().to_string()
        }
        Some(ConnectTo::Tcp(address)) => {
            // The client takes the port from the URL and looks up names only, so the URL is bent
            // to the address, and the header keeps what the manifest says.
            let moved = url.set_port(Some(address.port())).is_ok();
            let is_name = url.domain().is_some();
            let reached = is_name || url.set_ip_host(address.ip()).is_ok();
            if !moved || !reached {
                return Err(failure(format!("`{}` cannot be asked for at {address}", request.url)));
            }
            if https && !is_name && url.host_str() != Some(host.as_str()) {
                return Err(failure(format!(
                    "`{}` names an address, so its certificate cannot be checked at {address}: name the host in the URL",
                    request.url
                )));
            }
            if !headers.contains_key(HOST) {
                headers.insert(HOST, value("host", &authority)?);
            }
            way = is_name.then_some(Way::Address(address.ip()));
            address.to_string()
        }
    };
    let trust = Trust::of(https, request.ca_file);
    Ok(Prepared { kind: Kind { trust, way }, url, headers, place })
}

fn given(headers: &BTreeMap<String, String>) -> Result<HeaderMap, ProbeFailure> {
    let mut map = HeaderMap::new();
    for (name, text) in headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| failure(format!("`{name}` is not a name for an HTTP header")))?;
        map.append(key, value(name, text)?);
    }
    Ok(map)
}

/// The value may be a secret, so it is not told.
fn value(name: &str, text: &str) -> Result<HeaderValue, ProbeFailure> {
    HeaderValue::from_str(text)
        .map_err(|_| failure(format!("the value of the HTTP header `{name}` has characters that cannot be sent")))
}

/// Names in lower case; several values of one name are joined by commas.
fn lower(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        map.entry(name.as_str().to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&text);
            })
            .or_insert_with(|| text.clone().into_owned());
    }
    map
}

async fn read(mut response: Response, place: &str) -> Result<Vec<u8>, ProbeFailure> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => {
                let causes = causes(&error.without_url()).join(": ");
                return Err(failure(format!("the answer of {place} broke off: {causes}")));
            }
        }
        if bytes.len() > BODY_LIMIT {
            return Err(failure(format!("the answer of {place} is larger than 1 MiB")));
        }
    }
}

/// What went wrong, in the words of its deepest cause.
fn describe(error: reqwest::Error, place: &str) -> String {
    // A URL may hold secrets, and the manifest has it anyway.
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let mut lookup = false;
    while let Some(at) = cause {
        if let Some(tls) = at.downcast_ref::<rustls::Error>() {
            return format!("TLS with {place} failed: {tls}");
        }
        lookup |= at.to_string() == "dns error";
        if let Some(io) = at.downcast_ref::<io::Error>()
            && let Some(words) = in_words(io, place, lookup)
        {
            return words;
        }
        cause = deeper(at);
    }
    format!("asking {place} failed: {}", causes(&error).join(": "))
}

fn in_words(error: &io::Error, place: &str, lookup: bool) -> Option<String> {
    if lookup {
        return Some(format!("cannot resolve {place}: {error}"));
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(format!("connection refused at {place}")),
        ErrorKind::ConnectionReset => Some(format!("connection reset by {place}")),
        ErrorKind::NotFound => Some(format!("there is no socket at {place}")),
        ErrorKind::PermissionDenied => Some(format!("not allowed to connect to {place}")),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            Some(format!("{place} cannot be reached: {error}"))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
