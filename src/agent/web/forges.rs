//! What forges send: who proves themselves how, and what a push says. Pure.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// A kind of forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forge {
    Gitlab,
    Github,
    /// And Forgejo.
    Gitea,
}

/// Where manifests come from, as far as that is known: pushes elsewhere say nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watched {
    /// The repository's URL.
    pub repository: Option<String>,
    /// The branch.
    pub branch: Option<String>,
}

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivered {
    /// There is something new where manifests come from.
    Pushed,
    /// It is about something else.
    Elsewhere(String),
    /// It is not as a forge sends it.
    Garbled(String),
}

impl Forge {
    pub(super) const ALL: [Self; 3] = [Self::Gitlab, Self::Github, Self::Gitea];

    /// As in the path, in metrics and in the history.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
            Self::Gitea => "gitea",
        }
    }

    /// The headers that may carry its proof.
    pub(super) fn proofs(self) -> &'static [&'static str] {
        match self {
            Self::Gitlab => &["x-gitlab-token"],
            Self::Github => &["x-hub-signature-256"],
            Self::Gitea => &["x-forgejo-signature", "x-gitea-signature"],
        }
    }

    /// Whether whoever sent this knows the secret; takes the same time whatever is wrong.
    pub(super) fn proves(self, secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some(proof) = self.proofs().iter().find_map(|name| headers.get(*name)) else { return false };
        // No key is too long or too short for it.
        let Ok(keyed) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
        let mac = |text: &[u8]| {
            let mut mac = keyed.clone();
            mac.update(text);
            mac
        };
        match self {
            // The secret itself. Compared by what it makes under a key, so that not even its length is told by time.
            Self::Gitlab => mac(proof.as_bytes()).verify(&mac(secret.as_bytes()).finalize().into_bytes()).is_ok(),
            Self::Github => proof.as_bytes().strip_prefix(b"sha256=").is_some_and(|hex| signed(mac(body), hex)),
            Self::Gitea => signed(mac(body), proof.as_bytes()),
        }
    }

    /// Whether its proof is over the body, which is then the same only if somebody sends it again.
    pub(super) fn signs(self) -> bool {
        self != Self::Gitlab
    }

    /// The name of a delivery; the same when it is tried again.
    pub(super) fn delivery(self, headers: &HeaderMap) -> Option<&[u8]> {
        let names: &[&str] = match self {
            Self::Gitlab => &["idempotency-key", "x-gitlab-event-uuid"],
            Self::Github => &["x-github-delivery"],
            Self::Gitea => &["x-forgejo-delivery", "x-gitea-delivery"],
        };
        names.iter().find_map(|name| headers.get(*name)).map(axum::http::HeaderValue::as_bytes)
    }

    fn event(self, headers: &HeaderMap) -> Option<&str> {
        let names: &[&str] = match self {
            Self::Gitlab => &["x-gitlab-event"],
            Self::Github => &["x-github-event"],
            Self::Gitea => &["x-forgejo-event", "x-gitea-event"],
        };
        names.iter().find_map(|name| headers.get(*name)?.to_str().ok())
    }

    /// What a delivery says, once it is proven.
    pub(super) fn read(self, headers: &HeaderMap, body: &[u8], watched: &Watched) -> Delivered {
        let push = if self == Self::Gitlab { "Push Hook" } else { "push" };
        match self.event(headers) {
            None => return Delivered::Garbled("no header names the event".to_owned()),
            Some(event) if event == push => {}
            Some(event) => return Delivered::Elsewhere(format!("`{}` is no push", short(event))),
        }
        let pushed: Push = match serde_json::from_slice(body) {
            Ok(pushed) => pushed,
            Err(error) => return Delivered::Garbled(format!("the body is no push in JSON: {error}")),
        };
        let Some(branch) = pushed.reference.strip_prefix("refs/heads/") else {
            return Delivered::Elsewhere(format!("`{}` is no branch", short(&pushed.reference)));
        };
        if watched.branch.as_deref().is_some_and(|watched| watched != branch) {
            return Delivered::Elsewhere(format!("manifests do not come from the branch `{}`", short(branch)));
        }
        if pushed.after.as_deref().is_some_and(|after| after.bytes().all(|byte| byte == b'0')) {
            return Delivered::Elsewhere(format!("the branch `{}` is gone", short(branch)));
        }
        match (watched.repository.as_deref().and_then(path_of), pushed.path()) {
            (Some(watched), Some(path)) if !leads_to(watched, path) => {
                Delivered::Elsewhere(format!("manifests do not come from `{}`", short(path)))
            }
            _ => Delivered::Pushed,
        }
    }
}

/// The part of a push that all of them have, under the same names.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    after: Option<String>,
    /// GitLab's.
    project: Option<Project>,
    /// GitHub's and Gitea's; GitLab's has no full name.
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
}

impl Push {
    fn path(&self) -> Option<&str> {
        let project = self.project.as_ref().and_then(|project| project.path_with_namespace.as_deref());
        project.or_else(|| self.repository.as_ref()?.full_name.as_deref())
    }
}

fn signed(mac: Hmac<Sha256>, hex: &[u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
}

/// Whether the path of a URL leads to that repository: a forge may lie below a path of its host.
fn leads_to(watched: &str, path: &str) -> bool {
    let (watched, path) = (watched.to_ascii_lowercase(), path.to_ascii_lowercase());
    watched.strip_suffix(&path).is_some_and(|above| above.is_empty() || above.ends_with('/'))
}

/// The path of a repository on its forge, such as `group/shop`; none where the URL leads to no forge.
///
/// The host is left out: the same forge has one name for people, others for its proxy and inside its network.
fn path_of(url: &str) -> Option<&str> {
    let path = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        // `git@host:group/shop.git`; without a colon it is a path on this host.
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?.1,
    };
    let path = path.trim_matches('/');
    Some(path.strip_suffix(".git").unwrap_or(path))
}

/// Foreign text in a message.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_signature_is_that_of_the_published_example() {
        // GitHub's own: docs.github.com, "Validating webhook deliveries".
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let prefixed = format!("sha256={hex}");
        let good = headers(&[("x-hub-signature-256", &prefixed)]);
        assert!(Forge::Github.proves(secret, &good, body));
        for name in ["x-gitea-signature", "x-forgejo-signature"] {
            assert!(Forge::Gitea.proves(secret, &headers(&[(name, hex)]), body));
            assert!(Forge::Gitea.proves(secret, &headers(&[(name, &hex.to_uppercase())]), body));
        }
        assert!(!Forge::Github.proves("another", &good, body));
        assert!(!Forge::Github.proves(secret, &good, b"Hello, World?"));
        let bad = [
            "",
            "sha256=",
            hex,
            &format!("sha1={hex}"),
            &prefixed[..prefixed.len() - 1],
            &prefixed[..prefixed.len() - 2],
            &format!("{prefixed}00"),
            &prefixed.replace('7', "g"),
            "sha256=zz",
        ];
        for bad in bad {
            assert!(!Forge::Github.proves(secret, &headers(&[("x-hub-signature-256", bad)]), body), "{bad}");
            assert!(!Forge::Gitea.proves(secret, &headers(&[("x-gitea-signature", bad)]), body) || bad == hex, "{bad}");
        }
        assert!(!Forge::Github.proves(secret, &HeaderMap::new(), body));
    }

    #[test]
    fn gitlab_sends_the_secret_itself() {
        let rows = [("s3cret", true), ("s3cre", false), ("s3crets", false), ("", false), ("S3cret", false)];
        for (token, right) in rows {
            assert_eq!(Forge::Gitlab.proves("s3cret", &headers(&[("x-gitlab-token", token)]), b"{}"), right, "{token}");
        }
        assert!(!Forge::Gitlab.proves("s3cret", &HeaderMap::new(), b"{}"));
        assert!(!Forge::Gitlab.proves("s3cret", &headers(&[("x-hub-signature-256", "s3cret")]), b"{}"));
    }

    #[test]
    fn a_url_names_the_path_of_its_repository() {
        let rows = [
            ("https://git.example.com/group/sub/shop.git", Some("group/sub/shop")),
            ("https://u:p@git.example.com:8443/group/shop/", Some("group/shop")),
            ("ssh://git@git.example.com:2222/group/shop.git", Some("group/shop")),
            ("git@git.example.com:group/shop.git", Some("group/shop")),
            ("git.internal:group/shop", Some("group/shop")),
            ("file:///srv/git/shop.git", None),
            ("/srv/git/shop.git", None),
            ("./a:b/shop", None),
            ("", None),
        ];
        for (url, path) in rows {
            assert_eq!(path_of(url), path, "{url}");
        }
    }

    #[test]
    fn a_forge_may_lie_below_a_path() {
        let rows = [
            ("ops/hosts", "ops/hosts", true),
            ("ops/hosts", "Ops/Hosts", true),
            ("gitlab/ops/hosts", "ops/hosts", true),
            ("devops/hosts", "ops/hosts", false),
            ("ops/hosts", "more/ops/hosts", false),
            ("ops/hosts", "ops/other", false),
        ];
        for (watched, path, leads) in rows {
            assert_eq!(leads_to(watched, path), leads, "{watched} {path}");
        }
    }

    #[test]
    fn only_a_push_to_what_is_watched_is_news() {
        let watched = Watched {
            repository: Some("git@forge.example:ops/manifests.git".to_owned()),
            branch: Some("main".to_owned()),
        };
        let github = |event: &str, body: &str, watched: &Watched| {
            Forge::Github.read(&headers(&[("x-github-event", event)]), body.as_bytes(), watched)
        };
        let push = |reference: &str, repository: &str| {
            format!(r#"{{"ref":"{reference}","after":"3fa9c1d","repository":{{"full_name":"{repository}"}}}}"#)
        };
        let gone = r#"{"ref":"refs/heads/main","after":"0000000000000000000000000000000000000000"}"#;
        let rows = [
            ("push", push("refs/heads/main", "ops/manifests"), "Pushed"),
            ("push", push("refs/heads/main", "OPS/Manifests"), "Pushed"),
            ("push", r#"{"ref":"refs/heads/main"}"#.to_owned(), "Pushed"),
            ("push", push("refs/heads/feature", "ops/manifests"), "Elsewhere"),
            ("push", push("refs/tags/main", "ops/manifests"), "Elsewhere"),
            ("push", push("refs/heads/main", "ops/other"), "Elsewhere"),
            ("push", gone.to_owned(), "Elsewhere"),
            ("ping", "{}".to_owned(), "Elsewhere"),
            ("push", "{}".to_owned(), "Garbled"),
            ("push", "payload=%7B%7D".to_owned(), "Garbled"),
        ];
        for (event, body, expected) in rows {
            let told = format!("{:?}", github(event, &body, &watched));
            assert!(told.starts_with(expected), "{event} {body}: {told}");
        }
        assert_eq!(github("push", &push("refs/heads/x", "a/b"), &Watched::default()), Delivered::Pushed);
        assert!(matches!(Forge::Github.read(&HeaderMap::new(), b"{}", &watched), Delivered::Garbled(_)));

        let gitlab = |event: &str, path: &str| {
            let body = format!(
                r#"{{"object_kind":"push","ref":"refs/heads/main","project":{{"path_with_namespace":"{path}"}},
                    "repository":{{"name":"manifests","url":"git@x:y.git"}}}}"#
            );
            Forge::Gitlab.read(&headers(&[("x-gitlab-event", event)]), body.as_bytes(), &watched)
        };
        assert_eq!(gitlab("Push Hook", "ops/manifests"), Delivered::Pushed);
        assert!(matches!(gitlab("Push Hook", "ops/else"), Delivered::Elsewhere(_)));
        assert!(matches!(gitlab("Tag Push Hook", "ops/manifests"), Delivered::Elsewhere(_)));
    }
}
