//! The name and the password that the URL of a repository may have in it, kept off the command line.
//!
//! git hands the URL of a remote on to a helper of its own, `git remote-https`, as an argument, which every user of the
//! machine can read. In: a URL as somebody has written it. Out: the same without what proves who asks, and that for git's
//! environment, where git asks a credential helper for it. It asks only for the server that it is meant for, so a redirect
//! to another one takes nothing along. What ssh is told of a user stays: it is no secret, and nobody else would say it.

use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// Answers git out of the environment, and only where git asks, not where it would have something stored.
const HELPER: &str = "!f() { test \"$1\" = get && \
     printf 'username=%s\\npassword=%s\\n' \"$TRUEUP_GIT_USER\" \"$TRUEUP_GIT_PASSWORD\"; }; f";

/// Where [`HELPER`] finds what it answers.
const USER: &str = "TRUEUP_GIT_USER";
const PASSWORD: &str = "TRUEUP_GIT_PASSWORD";

/// How git is told of a repository and of who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The URL that everybody may read.
    pub(super) url: String,
    /// Configuration that git needs beside it.
    pub(super) configuration: Vec<(String, String)>,
    /// Environment that the configuration needs.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// Takes a URL apart.
///
/// # Errors
/// What stands there is nothing that git could be told.
pub(super) fn of(url: &str) -> Result<Login, HostError> {
    let plain = |url: &str| Login { url: url.to_owned(), configuration: Vec::new(), environment: Vec::new() };
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(plain(url)) };
    // `http::https://…` names the helper as well.
    let protocol = scheme.rsplit("::").next().unwrap_or(scheme).to_ascii_lowercase();
    if !matches!(protocol.as_str(), "http" | "https" | "ftp" | "ftps") {
        return Ok(plain(url));
    }
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let Some((who, server)) = authority.rsplit_once('@') else { return Ok(plain(url)) };
    let decode = |text: &str| {
        decoded(text).filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
            let message = format!("the name or the password in the URL of `{}` is no line of text", public(url));
            HostError::new(HostErrorKind::Misconfigured, message).with_help("write it again, escaped as in any URL")
        })
    };
    let setting = |name: &str| format!("credential.{protocol}://{server}.{name}");
    let (mut configuration, environment) = match who.split_once(':') {
        Some((user, password)) => (
            // None that others have set up is asked: it might know somebody else.
            vec![(setting("helper"), String::new()), (setting("helper"), HELPER.to_owned())],
            vec![(USER, decode(user)?), (PASSWORD, decode(password)?)],
        ),
        // Whoever keeps the password is told whose.
        None if !who.is_empty() => (vec![(setting("username"), decode(who)?)], Vec::new()),
        None => (Vec::new(), Vec::new()),
    };
    let url = format!("{scheme}://{server}{path}");
    // What others have set up for URLs without a name in them was never meant for this one: the longest match counts.
    configuration.push((format!("url.{url}.insteadOf"), url.clone()));
    Ok(Login { url, configuration, environment })
}

/// What a part of a URL means; none: nothing.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_who_asks_is_not_in_the_url() {
        let both = |user: &str, password: &str| vec![(USER, user.to_owned()), (PASSWORD, password.to_owned())];
        let rows = [
            ("https://bot:t0ken@host/a.git", "https://host/a.git", "https://host", both("bot", "t0ken")),
            ("http://bot:t0ken@host:81/a", "http://host:81/a", "http://host:81", both("bot", "t0ken")),
            ("HTTPS://bot:t0ken@[::1]:81/a", "HTTPS://[::1]:81/a", "https://[::1]:81", both("bot", "t0ken")),
            ("https::https://bot:t@host/a", "https::https://host/a", "https://host", both("bot", "t")),
            ("https://t0ken:@host/a", "https://host/a", "https://host", both("t0ken", "")),
            ("https://me%40x:p%3aq%@host", "https://host", "https://host", both("me@x", "p:q%")),
            ("https://a:b@c:d@host/a@b", "https://host/a@b", "https://host", both("a", "b@c:d")),
        ];
        for (url, shown, server, environment) in rows {
            let helper = format!("credential.{server}.helper");
            let itself = (format!("url.{shown}.insteadOf"), shown.to_owned());
            let configuration = vec![(helper.clone(), String::new()), (helper, HELPER.to_owned()), itself];
            assert_eq!(of(url), Ok(Login { url: shown.to_owned(), configuration, environment }), "{url}");
        }
        let named = of("https://alice@host/a").unwrap();
        assert_eq!((named.url.as_str(), named.environment), ("https://host/a", Vec::new()));
        assert_eq!(named.configuration[0], ("credential.https://host.username".to_owned(), "alice".to_owned()));
        let plain = ["/srv/a", "git@host:a", "ssh://git@host/a", "https://host/a@b", "file:///a:b@c", "git://h/a"];
        for url in plain {
            let login = of(url).unwrap();
            assert_eq!((login.url.as_str(), login.configuration, login.environment), (url, Vec::new(), Vec::new()));
        }
        // git takes each line for another answer.
        for url in ["https://bot:a%0ahost=evil@host/a", "https://bot:%ff@host/a"] {
            let error = of(url).unwrap_err();
            assert!(error.message.contains("`https://host/a`") && !error.message.contains("bot"), "{error:?}");
        }
    }
}
