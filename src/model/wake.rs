//! Why a pass is made.

use std::fmt;

use serde::Serialize;

use super::names::{GroupName, MemberName, RelativePath};

/// Why a pass is made. Its `Display` gives the words of logs and of the history: `timer`, `manifest 3fa9c1d2b7f0`,
/// `worker default/1 died`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "wake", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Wake {
    /// The agent has begun.
    Started,
    /// The App's manifest has changed.
    Manifest {
        /// The commit that it came with; none where it does not come from git.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
    },
    /// The last pass was so long ago that drift is looked for.
    Timer,
    /// A worker's process has ended.
    Death {
        /// Its group.
        group: GroupName,
        /// The member.
        member: MemberName,
    },
    /// `current` was changed.
    Link,
    /// Something has come or gone in `releases/`.
    Releases,
    /// A file of `restartOn` has another content.
    File {
        /// The file, relative to the root.
        path: RelativePath,
    },
    /// Health, asked for between two passes, has turned bad.
    Health,
    /// A person asks for it.
    Request {
        /// Who.
        by: String,
        /// Whatever the App's windows say.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        ignore_windows: bool,
    },
    /// A forge says that there is something new.
    Webhook {
        /// Which kind of forge.
        from: String,
    },
    /// SIGHUP.
    Hangup,
    /// The last pass failed, and it is time to try again.
    Backoff,
    /// A window for changes has opened.
    Window,
}

/// A commit is named by so many of its characters.
const SHORT: usize = 12;

/// A commit's hash as people are shown it.
#[must_use]
pub fn short_commit(commit: &str) -> &str {
    commit.char_indices().nth(SHORT).and_then(|(end, _)| commit.get(..end)).unwrap_or(commit)
}

impl Wake {
    /// Something is different from what it was at the last pass, as far as anybody knows: what failed then may succeed
    /// now. Time that has passed is no news, nor is the failing itself.
    #[must_use]
    pub fn brings_news(&self) -> bool {
        match self {
            Self::Started
            | Self::Manifest { .. }
            | Self::Link
            | Self::Releases
            | Self::File { .. }
            | Self::Request { .. }
            | Self::Webhook { .. }
            | Self::Hangup
            | Self::Window => true,
            Self::Timer | Self::Death { .. } | Self::Health | Self::Backoff => false,
        }
    }

    /// A person's own word: a request, or another manifest.
    #[must_use]
    pub fn is_a_word(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Manifest { .. })
    }

    /// A person wants it in spite of the App's windows.
    #[must_use]
    pub fn ignores_windows(&self) -> bool {
        matches!(self, Self::Request { ignore_windows: true, .. })
    }

    /// One word for metrics, of a small and fixed number: `manifest`, `timer`, `death`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Manifest { .. } => "manifest",
            Self::Timer => "timer",
            Self::Death { .. } => "death",
            Self::Link => "link",
            Self::Releases => "releases",
            Self::File { .. } => "file",
            Self::Health => "health",
            Self::Request { .. } => "request",
            Self::Webhook { .. } => "webhook",
            Self::Hangup => "hangup",
            Self::Backoff => "backoff",
            Self::Window => "window",
        }
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("the agent started"),
            Self::Manifest { revision: Some(revision) } => write!(f, "manifest {}", short_commit(revision)),
            Self::Manifest { revision: None } => f.write_str("manifest"),
            Self::Timer => f.write_str("timer"),
            // A member is named as its manager names it, in which its group is there already.
            Self::Death { group: _, member } => write!(f, "worker {member} died"),
            Self::Link => f.write_str("current was changed"),
            Self::Releases => f.write_str("releases/ has changed"),
            Self::File { path } => write!(f, "{path} has changed"),
            Self::Health => f.write_str("health has turned bad"),
            Self::Request { by, ignore_windows: false } => write!(f, "request by {by}"),
            Self::Request { by, ignore_windows: true } => write!(f, "request by {by} (whatever the windows say)"),
            Self::Webhook { from } => write!(f, "webhook from {from}"),
            Self::Hangup => f.write_str("SIGHUP"),
            Self::Backoff => f.write_str("another try after a failure"),
            Self::Window => f.write_str("a window has opened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_words_for_the_history() {
        let revision = |text: &str| Wake::Manifest { revision: Some(text.to_owned()) };
        let death = |member: &str| Wake::Death {
            group: GroupName::new("default").unwrap(),
            member: MemberName::new(member).unwrap(),
        };
        let rows = [
            (revision("3fa9c1d2b7f0a1c4"), "manifest 3fa9c1d2b7f0", true),
            (revision("3fa"), "manifest 3fa", true),
            (revision("äöüäöüäöüäöüäöü"), "manifest äöüäöüäöüäöü", true),
            (Wake::Manifest { revision: None }, "manifest", true),
            (Wake::Timer, "timer", false),
            (death("default/1"), "worker default/1 died", false),
            (death("yujix-worker:yujix-worker_00"), "worker yujix-worker:yujix-worker_00 died", false),
            (Wake::Request { by: "anna".to_owned(), ignore_windows: false }, "request by anna", true),
            (
                Wake::Request { by: "anna".to_owned(), ignore_windows: true },
                "request by anna (whatever the windows say)",
                true,
            ),
            (Wake::File { path: RelativePath::new("shared/.env").unwrap() }, "shared/.env has changed", true),
            (Wake::Health, "health has turned bad", false),
            (Wake::Backoff, "another try after a failure", false),
            (Wake::Window, "a window has opened", true),
        ];
        for (wake, words, news) in rows {
            assert_eq!((wake.to_string().as_str(), wake.brings_news()), (words, news), "{wake:?}");
        }
    }
}
