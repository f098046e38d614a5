//! One POST to somebody who is told something, with what it may take: a secret, and further tries.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use backoff::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};

use crate::host::https::{causes, install_provider};
use crate::host::{blocking, secret};
use crate::model::agent::is_safe_url;
use crate::model::app::SecretSource;
use crate::model::release::public;

/// How long one POST may take.
const LIMIT: Duration = Duration::from_secs(15);

/// A client is made anew after so long: the trust of the system may have changed.
const RENEWED: Duration = Duration::from_hours(1);

/// So much of an answer is quoted.
const QUOTED: usize = 300;

/// The longest that somebody may put us off at a time: GitHub counts by the hour.
const PUT_OFF: Duration = Duration::from_hours(1);

/// How often something is tried again with growing pauses, from a second later on to a minute later: five minutes in
/// all.
pub(super) const RETRIES: usize = 10;

/// Why something did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotSent {
    /// Another try may do.
    Yet {
        /// What happened.
        why: String,
        /// It makes no sense sooner, by the word of whoever did not take it.
        after: Duration,
    },
    /// Another try would end the same.
    Ever(String),
}

impl NotSent {
    /// Another try may do at any time.
    pub(super) fn yet(why: String) -> Self {
        Self::Yet { why, after: Duration::ZERO }
    }
}

/// The pauses between the tries, for as long as most gaps last.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let (least, most) = (Duration::from_secs(1), Duration::from_mins(1));
    ExponentialBuilder::default()
        .with_min_delay(least)
        .with_max_delay(most)
        .with_max_times(RETRIES)
        .with_jitter()
        .build()
}

/// Reads a secret each time it is needed: it may have been renewed.
pub(super) async fn read(source: &SecretSource, what: &'static str) -> Result<String, NotSent> {
    let source = source.clone();
    let read = blocking(move || secret::read(&source, what)).await.and_then(|read| read);
    read.map_err(|error| NotSent::yet(error.message))
}

/// Posts, by a client that is kept: making one reads all that the system trusts. After a post that did not reach
/// anybody the next one is by a new client, which trusts what the system trusts then.
#[derive(Debug, Default)]
pub(super) struct Poster {
    kept: Mutex<Option<Kept>>,
}

/// A client, whether it stays within this host, and when it was made.
#[derive(Debug)]
struct Kept {
    client: Client,
    within: bool,
    made: Instant,
}

impl Poster {
    /// Posts JSON. Only HTTPS leaves this host, and no redirect is followed: it could lead elsewhere.
    pub(super) async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<(), NotSent> {
        let shown = public(url);
        if !is_safe_url(url) {
            return Err(NotSent::Ever(format!(
                "`{shown}` is not posted to: it is neither `https` nor within this host"
            )));
        }
        let parsed = Url::parse(url).map_err(|error| NotSent::Ever(format!("`{shown}` is not a URL: {error}")))?;
        let client = self.client(parsed.scheme() == "http").await?;
        let mut request = client.post(parsed).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // A URL may hold secrets, and its path, too.
        let failed = |error: reqwest::Error| {
            self.forget();
            NotSent::yet(format!("cannot post to `{}`: {}", host(&shown), causes(&error.without_url()).join(": ")))
        };
        let mut response = request.body(body).send().await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let put_off = put_off(response.headers(), SystemTime::now());
        let mut said = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await
            && said.len() < QUOTED
        {
            said.extend_from_slice(&chunk);
        }
        let said: String = String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).take(QUOTED).collect();
        let why = format!("`{}` answered {status}{}{said}", host(&shown), if said.is_empty() { "" } else { ": " });
        // GitHub refuses so what comes too often.
        let too_often = put_off.is_some() || said.to_ascii_lowercase().contains("rate limit");
        let after = put_off.unwrap_or_default();
        Err(match status.as_u16() {
            408 | 425 | 429 | 500.. => NotSent::Yet { why, after },
            403 if too_often => NotSent::Yet { why, after },
            _ => NotSent::Ever(why),
        })
    }

    async fn client(&self, within: bool) -> Result<Client, NotSent> {
        let fits = |kept: &&Kept| kept.within == within && kept.made.elapsed() < RENEWED;
        if let Some(client) = self.kept().as_ref().filter(fits).map(|kept| kept.client.clone()) {
            return Ok(client);
        }
        let client = blocking(move || client(within)).await.map_err(|error| NotSent::yet(error.message))??;
        *self.kept() = Some(Kept { client: client.clone(), within, made: Instant::now() });
        Ok(client)
    }

    fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long somebody wants to be left alone, with a second more against clocks that differ; none: they do not say so.
fn put_off(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs);
    let spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    if !spent && !headers.contains_key("retry-after") {
        return None;
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let reset = || number("x-ratelimit-reset").map(|at| at.saturating_sub(now) + Duration::from_secs(1));
    // A date in its place is waited for by the usual pauses.
    Some(number("retry-after").or_else(|| reset().filter(|_| spent)).unwrap_or_default().min(PUT_OFF))
}

/// What of a URL surely is no secret.
fn host(shown: &str) -> String {
    match shown.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        None => String::new(),
    }
}

/// Blocks: what the system trusts is read. No connection is kept: POSTs are few, and one that was closed meanwhile
/// would fail.
fn client(within: bool) -> Result<Client, NotSent> {
    install_provider();
    let mut builder = Client::builder()
        .user_agent(concat!("trueup/", env!("CARGO_PKG_VERSION")))
        .timeout(LIMIT)
        .referer(false)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none());
    if within {
        // Needs no certificates, which a system may lack, and no proxy.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let causes = causes(&error).join(": ");
        let help = if causes.contains("No CA certificates") { "; install `ca-certificates`" } else { "" };
        NotSent::yet(format!("cannot make an HTTPS client: {causes}{help}"))
    })
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;
