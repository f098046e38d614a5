//! What ssh says when there is no connection, in the words of people: what happened, and what to do.
//!
//! In: the log that ssh wrote, and what the host is called. Out: a [`Trouble`]. OpenSSH has neither codes for these
//! nor translations of them; what is not known here is quoted as it is. Some lines of the log repeat what the host
//! said, so no command comes from there: those to run are made of the target alone. Pure; begin at [`connecting`].

use std::path::Path;

use super::resolved::Resolved;
use crate::fleet::reach::Broken;
use crate::model::ssh::SshTarget;

/// Why there is no way to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Where it broke.
    pub broken: Broken,
    /// What happened, as a lower-case fragment.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether another try makes sense.
    pub again: Again,
}

/// Whether another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It would fail again.
    Never,
    /// When something has begun there already that is worth waiting for, or the host was there a moment ago: the network
    /// may come back.
    Later,
    /// In any case: somebody is too busy for a moment.
    Soon,
}

impl Trouble {
    /// One that lasts.
    pub fn new(broken: Broken, message: impl Into<String>) -> Self {
        Self { broken, message: message.into(), help: None, again: Again::Never }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }
}

/// Reads what ssh wrote to its log before it gave up connecting to `place`, which is `resolved` by its configuration; none:
/// that is not known.
#[must_use]
pub fn connecting(place: &SshTarget, resolved: Option<&Resolved>, said: &str) -> Trouble {
    let target = place.as_str();
    let said = &own_words(said);
    host_key(place, resolved, said)
        .or_else(|| authentication(target, said))
        .or_else(|| through(target, said))
        .or_else(|| network(target, said))
        .or_else(|| own_configuration(target, said))
        .unwrap_or_else(|| {
            let last = lines(said).last().unwrap_or("ssh gave no reason");
            let message = format!("no connection to `{target}`: {last}");
            // What is not known here may pass; who was never let in does not wait for that.
            Trouble::new(Broken::Connect, message).with_help(by_hand(target)).again(Again::Later)
        })
}

/// Up to the line in which the host says why it hangs up: its text may have breaks, so that what follows could be
/// the host's, too.
fn own_words(said: &str) -> String {
    let mut own = String::new();
    for line in lines(said) {
        own.push_str(line);
        own.push('\n');
        if line.starts_with("Received disconnect from ") || line.starts_with("Unable to negotiate with ") {
            break;
        }
    }
    own
}

fn by_hand(target: &str) -> String {
    format!("`ssh -v {target}` shows where it fails", target = command_line(target))
}

/// As a person types it: ssh takes a port behind a colon only in a URL.
fn command_line(target: &str) -> String {
    let has_port = target.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { format!("ssh://{target}") } else { target.to_owned() }
}

fn lines(said: &str) -> impl DoubleEndedIterator<Item = &str> {
    said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
}

fn line_with<'a>(said: &'a str, words: &str) -> Option<&'a str> {
    lines(said).find(|line| line.contains(words))
}

/// What stands between two texts in one of the lines.
fn between<'a>(said: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = line_with(said, before)?.split_once(before)?;
    if after.is_empty() { Some(rest.trim()) } else { rest.split_once(after).map(|(inside, _)| inside.trim()) }
}

/// What the known hosts call it, and how `ssh-keyscan` is asked for it. Quoted where a shell would read more than a
/// name in it: none has a quote in it.
fn known_as(host: &Resolved) -> (String, String) {
    let quoted = |word: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
    };
    let Resolved { host, port, alias } = host;
    let (name, scan) = match port.filter(|port| *port != 22) {
        Some(port) => (format!("[{host}]:{port}"), format!("-p {port} {}", quoted(host))),
        None => (host.clone(), quoted(host)),
    };
    (quoted(alias.as_ref().unwrap_or(&name)), scan)
}

/// Where a key stands, as `ssh-keygen` is told of it; nothing for the user's usual file, which is its own default. ssh
/// names the file from its own configuration; but it stands in a log, so what is more than a plain path is not told.
fn in_file(place: &str) -> String {
    let path = place.rsplit_once(':').map_or(place, |(path, _)| path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    let usual = std::env::home_dir().is_some_and(|home| Path::new(path) == home.join(".ssh/known_hosts"));
    if path.starts_with('/') && path.chars().all(plain) && !usual { format!(" -f {path}") } else { String::new() }
}

/// Only where the target may be another name for it, and nobody has told.
fn alias(target: &SshTarget, resolved: Option<&Resolved>) -> String {
    if resolved.is_some() || target.host().parse::<std::net::IpAddr>().is_ok() {
        return String::new();
    }
    let shown = command_line(target.as_str());
    format!(" (if it is an alias: the `hostname` and `port` that `ssh -G {shown}` shows)")
}

/// A line that begins with these words, whatever frames it.
fn begins_with(said: &str, words: &str) -> bool {
    lines(said).any(|line| line.trim_start_matches(['@', ' ']).starts_with(words))
}

fn host_key(place: &SshTarget, resolved: Option<&Resolved>, said: &str) -> Option<Trouble> {
    let target = place.as_str();
    let (name, scan) = known_as(resolved.unwrap_or(&Resolved::plain(place)));
    if begins_with(said, "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let offending = lines(said).find_map(|line| {
            let (_, place) = line.strip_prefix("Offending ")?.split_once(" key in ")?;
            Some(place.to_owned())
        });
        let sent = lines(said)
            .find(|line| line.starts_with("SHA256:"))
            .map_or("another one", |line| line.trim_end_matches('.'));
        let file = offending.as_deref().map(in_file).unwrap_or_default();
        let known = offending.unwrap_or_else(|| "the known hosts".to_owned());
        let message = format!("the host key of `{target}` is not the one of {known}: it sent {sent}");
        let help = format!(
            "find out why: somebody may stand in between. If the host was made anew, run `ssh-keygen -R {name}{file}`{} and \
             then once with --accept-new",
            alias(place, resolved)
        );
        return Some(Trouble::new(Broken::HostKey, message).with_help(help));
    }
    if begins_with(said, "WARNING: REVOKED HOST KEY DETECTED") {
        let message = format!("the host key of `{target}` is marked as revoked in the known hosts");
        return Some(Trouble::new(Broken::HostKey, message).with_help("ask whoever revoked it"));
    }
    let unknown = |line: &str| line.starts_with("No ") && line.contains(" host key is known for ");
    if lines(said).any(unknown) {
        let message = format!("the host key of `{target}` is not known");
        let help = format!(
            "run once with --accept-new to trust the key that it shows now, or add the right one to the known hosts \
             (`ssh-keyscan {scan}` shows what it sends{})",
            alias(place, resolved)
        );
        return Some(Trouble::new(Broken::HostKey, message).with_help(help));
    }
    let last = lines(said).find(|line| line.starts_with("Host key verification failed"))?;
    let message = format!("the host key of `{target}` could not be verified: {}", last.trim_end_matches('.'));
    Some(Trouble::new(Broken::HostKey, message).with_help(by_hand(target)))
}

fn authentication(target: &str, said: &str) -> Option<Trouble> {
    if let Some(line) = line_with(said, "Too many authentication failures") {
        let message = format!("`{target}` does not let us in: {line}");
        let help =
            "the agent offers too many keys: name the right one in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)";
        return Some(Trouble::new(Broken::Auth, message).with_help(help));
    }
    let ways = between(said, "Permission denied (", ")")?;
    let whom =
        line_with(said, "Permission denied (").and_then(|line| line.split_once(": ")).map_or("", |(whom, _)| whom);
    let message =
        format!("`{target}` does not let {} in: permission denied ({ways})", if whom.is_empty() { "us" } else { whom });
    let bad_key = line_with(said, "Load key").or_else(|| line_with(said, "no such identity"));
    let help = match bad_key {
        Some(line) => format!("a key cannot be used: {line}"),
        None if ways.contains("publickey") => {
            "put a key of yours into its ~/.ssh/authorized_keys and into the ssh agent (`ssh-add -l` lists them); \
             passwords are never asked for"
                .to_owned()
        }
        None => "only keys are offered: no password is ever asked for".to_owned(),
    };
    Some(Trouble::new(Broken::Auth, message).with_help(help))
}

/// What comes through a jump host's ssh, or a command: pipes have no address. What such a process says of itself is
/// not in the log, so neither end can be named.
fn through(target: &str, said: &str) -> Option<Trouble> {
    let broke = |line: &&str| {
        let words = line.strip_prefix("ssh_dispatch_run_fatal: ").unwrap_or(*line);
        words.starts_with("Connection ") && words.contains(" UNKNOWN port 65535")
    };
    let line = lines(said).find(broke)?;
    let by_hand = format!("log in by hand, `ssh -v {}`: that shows where it fails", command_line(target));
    if line.ends_with(" timed out") {
        let first = line_with(said, "timed out").unwrap_or(line);
        let message = format!("`{target}` does not answer through its jump host, or ProxyCommand: {first}");
        let help =
            format!("see whether both are up; {by_hand}, and what is only slow needs a longer --connect-timeout");
        return Some(Trouble::new(Broken::Connect, message).with_help(help).again(Again::Later));
    }
    let message = format!("the way to `{target}` through its jump host, or ProxyCommand, broke off before it stood");
    let help = format!(
        "{by_hand}. A jump host's key must be known (--accept-new is for the last hop only), and its sshd may allow \
         fewer at a time (MaxStartups): then use a smaller --forks"
    );
    // The one that is too busy cannot be told from the one that refuses us.
    Some(Trouble::new(Broken::Connect, message).with_help(help).again(Again::Soon))
}

fn network(target: &str, said: &str) -> Option<Trouble> {
    if let Some(host) = between(said, "Could not resolve hostname ", ":") {
        let away = said.contains("Temporary failure");
        let (message, help) = if away {
            (format!("the name `{host}` cannot be looked up at the moment"), "see whether the name server answers")
        } else {
            let help = "correct `ssh:` of the host, or give it a HostName in ~/.ssh/config";
            (format!("there is no host of the name `{host}`"), help)
        };
        // A host that was there had a name: a name server that is asked without a VPN knows no such host, either.
        return Some(Trouble::new(Broken::Connect, message).with_help(help).again(Again::Later));
    }
    if let Some(line) = line_with(said, "Connection refused") {
        let message = format!("`{target}` refuses the connection: {}", without_prefix(line));
        return Some(
            Trouble::new(Broken::Connect, message)
                .with_help("see whether sshd runs there, and on that port")
                .again(Again::Later),
        );
    }
    for (words, help) in [
        (
            "timed out",
            "see whether the host is up, and whether a firewall lets us through; one that is only slow needs a longer \
             --connect-timeout",
        ),
        ("No route to host", "see whether the host is up and in a network that can be reached from here"),
        ("Network is unreachable", "see whether this machine has a network"),
        ("ssh: connect to host ", "see what keeps this machine from it"),
    ] {
        if let Some(line) = line_with(said, words) {
            let message = format!("`{target}` does not answer: {}", without_prefix(line));
            return Some(Trouble::new(Broken::Connect, message).with_help(help).again(Again::Later));
        }
    }
    // What sshd, or a gateway, does that has too many who come at a time.
    for words in ["kex_exchange_identification", "Connection closed by", "Connection reset by", "closed by remote host"]
    {
        if let Some(line) = line_with(said, words) {
            let message = format!("`{target}` broke the connection off before it stood: {line}");
            let help = "its sshd, or a gateway's, may allow fewer at a time (MaxStartups): use a smaller --forks";
            return Some(Trouble::new(Broken::Connect, message).with_help(help).again(Again::Soon));
        }
    }
    None
}

fn without_prefix(line: &str) -> &str {
    line.strip_prefix("ssh: ").unwrap_or(line)
}

fn own_configuration(target: &str, said: &str) -> Option<Trouble> {
    for words in ["Bad configuration option", "Bad owner or permissions", "terminating,", "Can't open user config file"]
    {
        if let Some(line) = line_with(said, words) {
            let message = format!("ssh does not take its own configuration: {line}");
            return Some(
                Trouble::new(Broken::Connect, message).with_help("correct it; every use of ssh fails like this"),
            );
        }
    }
    let line = line_with(said, "Unable to negotiate")?;
    let message = format!("`{target}` and this machine's ssh have no method in common: {line}");
    Some(
        Trouble::new(Broken::Connect, message)
            .with_help("renew the older of the two, or allow the method in ~/.ssh/config"),
    )
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
