//! Where a host is reached by SSH, as people write it.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// The port of SSH, where none is said.
const PORT: u16 = 22;

/// What ssh itself refuses in a name, and what would make a name two.
const ODD: &str = "'`\"$\\;&<>|(){}/,";

/// `web1`, `deploy@web1`, `web1:2222` or `deploy@[2001:db8::1]:22`. The host may be an alias of `ssh_config(5)`.
///
/// Nothing in it can be taken for an option of ssh, nor for more than one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshTarget {
    text: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why a text names no place that ssh could reach; reads on after "… is".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshTargetError {
    /// Nothing was given.
    #[error("empty")]
    Empty,
    /// One of its parts is missing: the user before `@`, the host, the port behind `:`.
    #[error("without {0}")]
    Lacks(&'static str),
    /// ssh would take it for an option.
    #[error("not allowed to begin with `-`, which ssh would take for an option")]
    Option,
    /// A character that neither a user nor a host has in its name.
    #[error("not allowed to contain {0}")]
    Character(String),
    /// `ssh://…`, or another scheme.
    #[error("a URL, not `USER@HOST:PORT`")]
    Url,
    /// Behind the colon there is no port.
    #[error("not allowed to have the port `{0}`")]
    Port(String),
    /// Colons without brackets, or brackets around something else.
    #[error("neither a host with a port nor an IPv6 address in brackets")]
    Address,
}

impl SshTarget {
    /// Takes the text apart and keeps it as it was typed.
    ///
    /// # Errors
    /// [`SshTargetError`] when it names no such place.
    pub fn new(text: impl Into<String>) -> Result<Self, SshTargetError> {
        let text = text.into();
        if text.is_empty() {
            return Err(SshTargetError::Empty);
        }
        if text.contains("://") {
            return Err(SshTargetError::Url);
        }
        if let Some(odd) = text.chars().find(|&c| c.is_whitespace() || c.is_control() || ODD.contains(c)) {
            let what = if odd == ' ' { "a space".to_owned() } else { format!("`{}`", odd.escape_debug()) };
            return Err(SshTargetError::Character(what));
        }
        // Gateways take users such as `deploy@web1`: the last `@` parts.
        let (user, rest) = text.rsplit_once('@').map_or((None, text.as_str()), |(user, rest)| (Some(user), rest));
        if user == Some("") {
            return Err(SshTargetError::Lacks("the user before `@`"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inside) => bracketed(inside)?,
            None => match rest.split_once(':') {
                Some((_, behind)) if behind.contains(':') => return Err(SshTargetError::Address),
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err(SshTargetError::Lacks("a host"));
        }
        if host.starts_with('-') || text.starts_with('-') {
            return Err(SshTargetError::Option);
        }
        if let Some(bracket) = host.chars().find(|c| matches!(c, '[' | ']')) {
            return Err(SshTargetError::Character(format!("`{bracket}`")));
        }
        let port = port.map(number).transpose()?;
        let (user, host) = (user.map(str::to_owned), host.to_owned());
        Ok(Self { text, user, host, port })
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whom to be there; none: whom ssh's own configuration says.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host, or an alias of it in ssh's own configuration. An IPv6 address is without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; none: what ssh's own configuration says.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both lead to the same host, as far as their texts tell: whoever they are there, unless one of them is to
    /// a gateway, which knows by the user where to go on to.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        let port = |target: &Self| target.port.unwrap_or(PORT);
        let is_account = |target: &Self| target.user().is_none_or(is_account);
        let same_user = self.user == other.user || (is_account(self) && is_account(other));
        same_user && self.host.eq_ignore_ascii_case(&other.host) && port(self) == port(other)
    }
}

/// Whether a user is nothing else than that: gateways take more, such as `deploy@web1`, `deploy:web1` or `deploy+web1`.
fn is_account(user: &str) -> bool {
    user.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// What stands behind an opening bracket: an address, and the port behind it.
fn bracketed(inside: &str) -> Result<(&str, Option<&str>), SshTargetError> {
    let (address, behind) = inside.split_once(']').ok_or(SshTargetError::Address)?;
    // `fe80::1%eth0` says through which interface.
    let (plain, zone) = address.split_once('%').map_or((address, None), |(plain, zone)| (plain, Some(zone)));
    if plain.parse::<Ipv6Addr>().is_err() || zone.is_some_and(str::is_empty) {
        return Err(SshTargetError::Address);
    }
    match behind.strip_prefix(':') {
        Some(port) => Ok((address, Some(port))),
        None if behind.is_empty() => Ok((address, None)),
        None => Err(SshTargetError::Address),
    }
}

fn number(text: &str) -> Result<u16, SshTargetError> {
    if text.is_empty() {
        return Err(SshTargetError::Lacks("the port behind `:`"));
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| SshTargetError::Port(text.to_owned()))
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for SshTarget {
    type Error = SshTargetError;
    fn try_from(text: String) -> Result<Self, SshTargetError> {
        Self::new(text)
    }
}

impl From<SshTarget> for String {
    fn from(target: SshTarget) -> Self {
        target.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart_and_shown_as_typed() {
        let rows = [
            ("web1", None, "web1", None),
            ("web-1.example.org", None, "web-1.example.org", None),
            ("deploy@web1", Some("deploy"), "web1", None),
            ("deploy@web1:22", Some("deploy"), "web1", Some(22)),
            ("10.0.0.9:2222", None, "10.0.0.9", Some(2222)),
            ("[2001:db8::1]", None, "2001:db8::1", None),
            ("root@[2001:db8::1]:65535", Some("root"), "2001:db8::1", Some(65535)),
            ("[fe80::1%eth0]:22", None, "fe80::1%eth0", Some(22)),
            ("deploy@web1@gateway", Some("deploy@web1"), "gateway", None),
            ("shop:web1@gateway:2200", Some("shop:web1"), "gateway", Some(2200)),
        ];
        for (text, user, host, port) in rows {
            let target = SshTarget::new(text).unwrap();
            assert_eq!((target.user(), target.host(), target.port()), (user, host, port), "{text}");
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn nothing_can_be_an_option_or_several_words() {
        let bad = [
            "",
            "-oProxyCommand=x",
            "-l@web1",
            "deploy@-oProxyCommand=x",
            "a b",
            "a\tb",
            "a\nb",
            "a\0b",
            "a\u{7f}",
            "a\u{2028}b",
            "@web1",
            "deploy@",
            "deploy@:22",
            "web1:",
            "web1:0",
            "web1:x",
            "web1:+22",
            "web1:65536",
            "2001:db8::1",
            "[2001:db8::1",
            "[web1]",
            "[]",
            "[fe80::1%]",
            "[::1]22",
            "[-oX]",
            "web[1]",
            "ssh://web1",
            "web1/x",
            "$(x)",
            "a;b",
            "web1,web2",
        ];
        for text in bad {
            assert!(SshTarget::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_same_place_is_known_by_its_text() {
        let rows = [
            ("web1", "web1", true),
            ("web1", "WEB1:22", true),
            ("a@web1", "b@web1", true),
            ("web1", "deploy@WEB1", true),
            ("web1", "deploy@web1:2222", false),
            ("a@web1@gateway", "a@web1@gateway", true),
            ("a@web1@gateway", "a@web2@gateway", false),
            ("a:web1@gateway", "a:web2@gateway", false),
            ("a+web1@gateway", "a@gateway", false),
            ("web1:22", "web1:23", false),
            ("web1", "web2", false),
        ];
        for (one, other, same) in rows {
            let target = |text| SshTarget::new(text).unwrap();
            assert_eq!(target(one).is_same_place(&target(other)), same, "{one} {other}");
        }
    }
}
