//! URLs of a manifest that are none: what is wrong with them, and what was meant.

use reqwest::Url;

use crate::manifest::node::cut;

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, to stand behind its key, and what to do; `scheme` is the one to begin with, and `example` is
/// one that is whole.
pub(super) fn parse(text: &str, scheme: &str, example: &str) -> Result<Url, (String, String)> {
    let whole = || format!("write it whole, such as `{example}`");
    if begins_with_host(text) {
        let meant = format!("{scheme}://{}", text.trim_start_matches('/'));
        let is_host = |url: &Url| url.host_str().is_some_and(|host| host == "localhost" || host.contains(['.', ':']));
        // What could be a secret is not said again.
        let is_public = |url: &Url| url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let help = Url::parse(&meant).ok().filter(|url| is_host(url) && is_public(url));
        let help = help.map_or_else(whole, |_| format!("did you mean `{}`?", cut(&meant)));
        return Err((format!("is no URL: it does not begin with `{scheme}://`"), help));
    }
    Url::parse(text).map_err(|error| (format!("is no URL: {error}"), whole()))
}

/// Without a scheme; that of `localhost:80` is its host.
fn begins_with_host(text: &str) -> bool {
    let host = text.split(['/', '?', '#']).next().unwrap_or(text);
    match host.split_once(':') {
        None => true,
        Some((_, port)) => host.starts_with('[') || port.starts_with(|c: char| c.is_ascii_digit()),
    }
}
