//! One POST to somebody who is told something.

use std::time::Duration;

use reqwest::{Client, Url};

use crate::host::https::{causes, install_provider};
use crate::model::agent::is_safe_url;
use crate::model::release::public;

/// How long one POST may take.
const LIMIT: Duration = Duration::from_secs(15);

/// So much of an answer is quoted.
const QUOTED: usize = 300;

/// Why something did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotSent {
    /// Another try may do.
    Yet(String),
    /// Another try would end the same.
    Ever(String),
}

/// Posts JSON. Only HTTPS leaves this host, and no redirect is followed: it could lead elsewhere.
pub(super) async fn post(url: &str, headers: &[(&'static str, String)], body: Vec<u8>) -> Result<(), NotSent> {
    let shown = public(url);
    if !is_safe_url(url) {
        return Err(NotSent::Ever(format!("`{shown}` is not posted to: it is neither `https` nor within this host")));
    }
    let parsed = Url::parse(url).map_err(|error| NotSent::Ever(format!("`{shown}` is not a URL: {error}")))?;
    let mut request = client(parsed.scheme() == "http")?.post(parsed).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    // A URL may hold secrets, and its path, too.
    let failed = |error: reqwest::Error| {
        NotSent::Yet(format!("cannot post to `{}`: {}", host(&shown), causes(&error.without_url()).join(": ")))
    };
    let mut response = request.body(body).send().await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let mut said = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await
        && said.len() < QUOTED
    {
        said.extend_from_slice(&chunk);
    }
    let said: String = String::from_utf8_lossy(&said).chars().filter(|c| !c.is_control()).take(QUOTED).collect();
    let message = format!("`{}` answered {status}{}{said}", host(&shown), if said.is_empty() { "" } else { ": " });
    Err(match status.as_u16() {
        408 | 425 | 429 | 500.. => NotSent::Yet(message),
        _ => NotSent::Ever(message),
    })
}

/// What of a URL surely is no secret.
fn host(shown: &str) -> String {
    match shown.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        None => String::new(),
    }
}

/// A client of its own for each POST: they are few, and the trust of the system may have changed since the last one.
fn client(within: bool) -> Result<Client, NotSent> {
    install_provider();
    let mut builder = Client::builder()
        .user_agent(concat!("trueup/", env!("CARGO_PKG_VERSION")))
        .timeout(LIMIT)
        .referer(false)
        .redirect(reqwest::redirect::Policy::none());
    if within {
        // Needs no certificates, which a system may lack, and no proxy.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let causes = causes(&error).join(": ");
        let help = if causes.contains("No CA certificates") { "; install `ca-certificates`" } else { "" };
        NotSent::Yet(format!("cannot make an HTTPS client: {causes}{help}"))
    })
}
