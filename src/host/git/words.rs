//! What git says, read: which failures another try may mend, and what must not be shown.

use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// Stands in a remedy for where people say which repository.
pub const NAMED_IN: &str = "{named_in}";

/// Words of git, ssh and curl, what they mean, and what to do. The first row that fits decides: many failures
/// end with the same general words.
const WORDS: [(&str, HostErrorKind, Option<&str>); 58] = {
    use HostErrorKind::{Denied, Misconfigured, Storage, TimedOut, Unreachable};
    const SPACE: Option<&str> = Some("free some space, then run again");
    const RIGHTS: Option<&str> = Some("give that user a key or a credential helper for the repository");
    const SOURCE: Option<&str> = Some("correct {named_in}");
    const HOST_KEY: Option<&str> = Some("put the host's key into that user's `known_hosts`");
    const SAFE: Option<&str> =
        Some("let that user own the repository, or add it to `safe.directory` in its git config");
    const TRUST: Option<&str> = Some("make this host trust the server's certificate");
    [
        ("No space left on device", Storage, SPACE),
        ("Disk quota exceeded", Storage, SPACE),
        ("Read-only file system", Storage, None),
        ("dubious ownership", Denied, SAFE),
        ("Host key verification failed", Denied, HOST_KEY),
        ("Authentication failed", Denied, RIGHTS),
        ("could not read Username", Denied, RIGHTS),
        ("could not read Password", Denied, RIGHTS),
        ("terminal prompts disabled", Denied, RIGHTS),
        ("Permission denied", Denied, RIGHTS),
        ("Access denied", Denied, RIGHTS),
        ("access denied", Denied, RIGHTS),
        ("returned error: 401", Denied, RIGHTS),
        ("returned error: 403", Denied, RIGHTS),
        ("returned error: 407", Denied, RIGHTS),
        ("Could not resolve host", Unreachable, None),
        ("Couldn't resolve", Unreachable, None),
        ("Temporary failure in name resolution", Unreachable, None),
        ("Name or service not known", Unreachable, None),
        ("Connection refused", Unreachable, None),
        ("Connection reset", Unreachable, None),
        ("Connection closed", Unreachable, None),
        ("Connection was reset", Unreachable, None),
        ("No route to host", Unreachable, None),
        ("Network is unreachable", Unreachable, None),
        ("Failed to connect", Unreachable, None),
        ("Couldn't connect", Unreachable, None),
        ("Connection timed out", TimedOut, None),
        ("Operation timed out", TimedOut, None),
        ("Operation too slow", TimedOut, None),
        ("timed out", TimedOut, None),
        ("returned error: 5", Unreachable, None),
        ("returned error: 429", Unreachable, None),
        ("HTTP 5", Unreachable, None),
        ("HTTP 429", Unreachable, None),
        ("kex_exchange_identification", Unreachable, None),
        ("Empty reply from server", Unreachable, None),
        ("SSL_ERROR_SYSCALL", Unreachable, None),
        ("certificate", Misconfigured, TRUST),
        ("couldn't find remote ref", Misconfigured, SOURCE),
        ("not our ref", Misconfigured, SOURCE),
        ("unadvertised object", Misconfigured, SOURCE),
        ("does not appear to be a git repository", Misconfigured, SOURCE),
        ("Repository not found", Misconfigured, SOURCE),
        ("repository not found", Misconfigured, SOURCE),
        ("' not found", Misconfigured, SOURCE),
        ("does not exist", Misconfigured, SOURCE),
        ("returned error: 4", Misconfigured, SOURCE),
        ("not allowed", Misconfigured, SOURCE),
        ("blocked", Misconfigured, SOURCE),
        ("aborted session", Misconfigured, SOURCE),
        ("Unsupported URL", Misconfigured, SOURCE),
        ("is ambiguous", Misconfigured, SOURCE),
        // The other side went away in the middle, whatever it was.
        ("early EOF", Unreachable, None),
        ("hung up unexpectedly", Unreachable, None),
        ("unexpected disconnect", Unreachable, None),
        ("transfer closed", Unreachable, None),
        ("RPC failed", Unreachable, None),
    ]
};

/// What sort of failure git speaks of, and what to do; `Other` where its words say nothing of the other side.
pub fn judge(output: &str) -> (HostErrorKind, Option<&'static str>) {
    let row = WORDS.iter().find(|(words, ..)| output.contains(words));
    row.map_or((HostErrorKind::Other, None), |(_, kind, help)| (*kind, *help))
}

/// The same text, with all URLs in it as they may be shown.
pub fn scrub(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>');
    text.split_inclusive(ends)
        .map(|part| {
            let word = part.trim_end_matches(ends);
            let rest = part.get(word.len()..).unwrap_or_default();
            if word.contains("://") { public(word) + rest } else { part.to_owned() }
        })
        .collect()
}

/// Whether git takes a text as the URL of a repository, and as nothing else.
pub fn is_url(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_control)
}

/// Refuses what git would not take as the URL of a repository, or not as that alone. `named_in` says where people have
/// written it.
///
/// # Errors
/// [`HostErrorKind::Misconfigured`].
pub fn check_url(text: &str, named_in: &str) -> Result<(), HostError> {
    if is_url(text) {
        return Ok(());
    }
    let message = format!("`{}` is no URL of a git repository", public(text));
    Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {named_in}")))
}

/// Whether a text is a whole hash.
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hexadecimal(text)
}

/// Whether a text is a hash or the beginning of one.
pub fn is_abbreviation(text: &str) -> bool {
    (4..=64).contains(&text.len()) && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether git would take a text as the name of a branch, a tag or any other ref.
pub fn is_ref(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.to_ascii_lowercase().ends_with(".lock");
    !name.starts_with('-')
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part)
}

/// The refs that a listing of a remote names, with their hashes.
pub fn listed(output: &str) -> impl Iterator<Item = (&str, &str)> {
    // Between them may stand what ssh has to say.
    output.lines().filter_map(|line| line.split_once('\t')).filter(|(hash, _)| is_hash(hash))
}

/// The paths and URLs of submodules, from `git config --null --get-regexp`.
pub fn submodules(output: &str) -> Vec<(String, String)> {
    let mut found: std::collections::BTreeMap<&str, (Option<&str>, Option<&str>)> = std::collections::BTreeMap::new();
    for (key, value) in output.split('\0').filter_map(|entry| entry.split_once('\n')) {
        let Some((name, field)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let entry = found.entry(name).or_default();
        match field {
            "path" => entry.0 = Some(value),
            "url" => entry.1 = Some(value),
            _ => {}
        }
    }
    found.into_values().filter_map(|(path, url)| Some((path?.to_owned(), url?.to_owned()))).collect()
}

/// The URL of a submodule, which may be relative to the URL of the repository that names it.
pub fn absolute(url: &str, parent: &str) -> String {
    if !url.starts_with("./") && !url.starts_with("../") {
        return url.to_owned();
    }
    let mut base = parent.trim_end_matches('/');
    let mut separator = '/';
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            match base.rfind(['/', ':']) {
                Some(at) => {
                    separator = if base.as_bytes().get(at) == Some(&b':') { ':' } else { '/' };
                    base = base.get(..at).unwrap_or_default();
                }
                None => base = "",
            }
        } else {
            return format!("{base}{separator}{rest}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_git_say_whether_another_try_helps() {
        use HostErrorKind::{Denied, Misconfigured, Other, Storage, TimedOut, Unreachable};
        let general =
            "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights";
        let rows = [
            (format!("git@host: Permission denied (publickey).\n{general}"), Denied),
            (format!("Host key verification failed.\n{general}"), Denied),
            ("fatal: could not read Username for 'https://host': terminal prompts disabled".to_owned(), Denied),
            ("fatal: detected dubious ownership in repository at '/srv/git'".to_owned(), Denied),
            (
                format!("ssh: Could not resolve hostname host: Temporary failure in name resolution\n{general}"),
                Unreachable,
            ),
            (format!("ssh: connect to host 127.0.0.1 port 1: Connection refused\n{general}"), Unreachable),
            ("fatal: unable to access 'https://host/': The requested URL returned error: 503".to_owned(), Unreachable),
            ("error: RPC failed; curl 92 HTTP/2 stream\nfatal: early EOF".to_owned(), Unreachable),
            ("ssh: connect to host h port 22: Connection timed out".to_owned(), TimedOut),
            (format!("fatal: '/x' does not appear to be a git repository\n{general}"), Misconfigured),
            ("fatal: repository 'https://host/x/' not found".to_owned(), Misconfigured),
            ("fatal: couldn't find remote ref refs/heads/x".to_owned(), Misconfigured),
            (
                "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate".to_owned(),
                Misconfigured,
            ),
            ("fatal: transport 'ext' not allowed".to_owned(), Misconfigured),
            ("error: unable to write file a\nfatal: write error: No space left on device".to_owned(), Storage),
            ("fatal: loose object abc is corrupt".to_owned(), Other),
            (String::new(), Other),
        ];
        for (output, kind) in rows {
            assert_eq!(judge(&output).0, kind, "{output}");
        }
    }

    #[test]
    fn urls_in_what_git_says_are_shown_without_secrets() {
        let said = "fatal: unable to access 'https://me:token@host/a.git/': no\nsee <ssh://git:pw@h/x> and a/b";
        assert_eq!(scrub(said), "fatal: unable to access 'https://host/a.git/': no\nsee <ssh://h/x> and a/b");
    }

    #[test]
    fn what_git_could_take_for_something_else_is_no_url() {
        for url in ["https://host/a.git", "git@host:a.git", "/srv/git/a"] {
            assert_eq!(check_url(url, "`spec.x`"), Ok(()), "{url}");
        }
        for url in ["", "-x", "--upload-pack=touch x", "https://me:token@host/a\nb"] {
            let refused = check_url(url, "`spec.x`").unwrap_err();
            let (kind, help) = (refused.kind, refused.help.as_deref());
            assert_eq!((kind, help), (HostErrorKind::Misconfigured, Some("correct `spec.x`")), "{url}");
            assert!(!refused.message.contains("token"), "{}", refused.message);
        }
    }

    #[test]
    fn only_names_that_git_would_take_are_refs() {
        for name in ["main", "v1.0", "feature/a-b", "refs/heads/x", "HEAD", "1234"] {
            assert!(is_ref(name), "{name}");
        }
        for name in
            ["", "-x", "--upload-pack=x", "a b", "a..b", "a:b", "+a:b\n", "a*", "a/", "/a", "x.lock", "a@{1}", "a^"]
        {
            assert!(!is_ref(name), "{name}");
        }
    }

    #[test]
    fn submodules_have_a_path_and_an_absolute_url() {
        let said =
            "submodule.a.b.path\nlib/a\0submodule.a.b.url\n../a.git\0submodule.c.path\nc\0submodule.c.update\nx\0";
        assert_eq!(submodules(said), [("lib/a".to_owned(), "../a.git".to_owned())]);
        let rows = [
            ("https://h/x.git", "https://host/team/app.git", "https://h/x.git"),
            ("../lib.git", "https://host/team/app.git", "https://host/team/lib.git"),
            ("../../o/lib.git", "https://host/team/app.git/", "https://host/o/lib.git"),
            ("./lib.git", "/srv/git/app", "/srv/git/app/lib.git"),
            ("../lib", "git@host:app", "git@host:lib"),
            ("../lib", "git@host:team/app", "git@host:team/lib"),
        ];
        for (url, parent, expected) in rows {
            assert_eq!(absolute(url, parent), expected);
        }
    }
}
