//! What ssh says when there is no connection, in the words of people: what happened, and what to do.
//!
//! In: the text that ssh wrote, and what the host is called. Out: a [`Trouble`]. OpenSSH has neither codes for these
//! nor translations of them; what is not known here is quoted as it is. Pure; begin at [`connecting`].

use crate::fleet::reach::Broken;

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
    /// When something has begun there already that is worth waiting for: the network may come back.
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

/// Reads what ssh wrote before it gave up connecting to `target`.
#[must_use]
pub fn connecting(target: &str, said: &str) -> Trouble {
    host_key(target, said)
        .or_else(|| authentication(target, said))
        .or_else(|| network(target, said))
        .or_else(|| own_configuration(target, said))
        .unwrap_or_else(|| {
            let last = lines(said).last().unwrap_or("ssh gave no reason");
            Trouble::new(Broken::Connect, format!("no connection to `{target}`: {last}")).with_help(by_hand(target))
        })
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

fn host_key(target: &str, said: &str) -> Option<Trouble> {
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let place = lines(said).find_map(|line| {
            let (_, place) = line.strip_prefix("Offending ")?.split_once(" key in ")?;
            Some(place.to_owned())
        });
        let sent = line_with(said, "SHA256:").map_or("another one", |line| line.trim_end_matches('.'));
        let known = place.unwrap_or_else(|| "the known hosts".to_owned());
        let remove = line_with(said, "ssh-keygen ")
            .map_or_else(|| format!("remove that line of {known}"), |line| format!("`{}`", line.trim()));
        let message = format!("the host key of `{target}` is not the one of {known}: it sent {sent}");
        let help = format!(
            "find out why: somebody may stand in between. If the host was made anew, run {remove} and then once with --accept-new"
        );
        return Some(Trouble::new(Broken::HostKey, message).with_help(help));
    }
    if said.contains("REVOKED HOST KEY DETECTED") {
        let message = format!("the host key of `{target}` is marked as revoked in the known hosts");
        return Some(Trouble::new(Broken::HostKey, message).with_help("ask whoever revoked it"));
    }
    if let Some(host) = between(said, "host key is known for ", " and you have requested") {
        let message = format!("the host key of `{target}` is not known");
        let scan = match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((host, port)) => format!("-p {port} {host}"),
            None => host.to_owned(),
        };
        let help = format!(
            "run once with --accept-new to trust the key that it shows now, or add the right one to the known hosts \
             (`ssh-keyscan {scan}` shows what it sends)"
        );
        return Some(Trouble::new(Broken::HostKey, message).with_help(help));
    }
    let last = line_with(said, "Host key verification failed")?;
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

fn network(target: &str, said: &str) -> Option<Trouble> {
    if let Some(host) = between(said, "Could not resolve hostname ", ":") {
        // The resolver itself may be away for a moment.
        let moment = said.contains("Temporary failure");
        let message = format!("there is no host of the name `{host}`");
        let help = "correct `ssh:` of the host, or give it a HostName in ~/.ssh/config";
        let mut trouble = Trouble::new(Broken::Connect, message).with_help(help);
        if moment {
            trouble.message = format!("the name `{host}` cannot be looked up at the moment");
            trouble.help = Some("see whether the name server answers".to_owned());
            trouble.again = Again::Later;
        }
        return Some(trouble);
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
        ("timed out", "see whether the host is up, and whether a firewall lets us through"),
        ("No route to host", "see whether the host is up and in a network that can be reached from here"),
        ("Network is unreachable", "see whether this machine has a network"),
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
mod tests {
    use super::*;

    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r
It is also possible that a host key has just been changed.\r
The fingerprint for the ED25519 key sent by the remote host is\n\
SHA256:LWyQ0vBZYRjzyFQ7qKz.\r
Please contact your system administrator.\r
Add correct host key in /home/a/.ssh/known_hosts to get rid of this message.\r
Offending ED25519 key in /home/a/.ssh/known_hosts:7\r
  remove with:\r
  ssh-keygen -f \"/home/a/.ssh/known_hosts\" -R \"web1\"\r
Host key for web1 has changed and you have requested strict checking.\r
Host key verification failed.\r
";

    #[test]
    fn what_ssh_says_is_told_with_what_to_do() {
        let rows = [
            (
                CHANGED,
                Broken::HostKey,
                "known_hosts:7: it sent SHA256:LWyQ0vBZYRjzyFQ7qKz",
                "-R \"web1\"`",
                Again::Never,
            ),
            (
                "No ED25519 host key is known for [10.0.0.1]:2222 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                Broken::HostKey,
                "is not known",
                "ssh-keyscan -p 2222 10.0.0.1",
                Again::Never,
            ),
            (
                "deploy@10.0.0.1: Permission denied (publickey,password).\r\n",
                Broken::Auth,
                "does not let deploy@10.0.0.1 in: permission denied (publickey,password)",
                "authorized_keys",
                Again::Never,
            ),
            (
                "Load key \"/k\": bad permissions\r\na@b: Permission denied (publickey).\r\n",
                Broken::Auth,
                "permission denied (publickey)",
                "Load key \"/k\": bad permissions",
                Again::Never,
            ),
            (
                "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\nDisconnected from 10.0.0.1 port 22\r\n",
                Broken::Auth,
                "Too many authentication failures",
                "IdentitiesOnly",
                Again::Never,
            ),
            (
                "ssh: Could not resolve hostname web9: Name or service not known\r\n",
                Broken::Connect,
                "no host of the name `web9`",
                "HostName",
                Again::Never,
            ),
            (
                "ssh: Could not resolve hostname web9: Temporary failure in name resolution\r\n",
                Broken::Connect,
                "cannot be looked up at the moment",
                "name server",
                Again::Later,
            ),
            (
                "ssh: connect to host web1 port 22: Connection refused\r\n",
                Broken::Connect,
                "refuses the connection: connect to host web1 port 22",
                "sshd runs",
                Again::Later,
            ),
            (
                "ssh: connect to host web1 port 22: Connection timed out\r\n",
                Broken::Connect,
                "does not answer",
                "firewall",
                Again::Later,
            ),
            (
                "Connection timed out during banner exchange\r\n",
                Broken::Connect,
                "does not answer",
                "firewall",
                Again::Later,
            ),
            (
                "ssh: connect to host web1 port 22: No route to host\r\n",
                Broken::Connect,
                "No route",
                "is up",
                Again::Later,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.1 port 22\r\n",
                Broken::Connect,
                "broke the connection off",
                "MaxStartups",
                Again::Soon,
            ),
            (
                "/home/a/.ssh/config: line 3: Bad configuration option: hots\r\n/home/a/.ssh/config: terminating, 1 bad configuration options\r\n",
                Broken::Connect,
                "line 3: Bad configuration option",
                "correct it",
                Again::Never,
            ),
            (
                "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa\r\n",
                Broken::Connect,
                "no method in common",
                "older",
                Again::Never,
            ),
            ("something new\r\n", Broken::Connect, "something new", "ssh -v ssh://web1:22", Again::Never),
            ("", Broken::Connect, "gave no reason", "ssh -v", Again::Never),
        ];
        for (said, broken, message, help, again) in rows {
            let trouble = connecting("web1:22", said);
            assert_eq!((trouble.broken, trouble.again), (broken, again), "{said}: {trouble:?}");
            assert!(trouble.message.contains(message), "{said}: {trouble:?}");
            assert!(trouble.help.as_ref().is_some_and(|text| text.contains(help)), "{said}: {trouble:?}");
        }
    }

    #[test]
    fn the_host_key_speaks_before_what_follows_from_it() {
        let said = format!(
            "Warning: Permanently added 'x' to the list of known hosts.\r\n{CHANGED}\
                            a@b: Permission denied (publickey).\r\nConnection closed by 10.0.0.1 port 22\r\n"
        );
        assert_eq!(connecting("web1", &said).broken, Broken::HostKey);
    }
}
