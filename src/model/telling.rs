//! What is worth telling people who are not looking.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::names::{AppName, ReleaseId};

/// How bad it is; Flux's two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// A person should look.
    Error,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Error => "error",
        })
    }
}

/// What happened, as one word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum News {
    /// Another release is in force, and good.
    Deployed,
    /// A release failed, and the last proven one is in force again.
    RolledBack,
    /// A release is kept out; what was there before it stays.
    Quarantined,
    /// The application is not healthy.
    Unhealthy,
    /// A pass could not close the drift.
    Failed,
    /// No pass puts this right by itself.
    Stalled,
    /// A worker dies again and again, soon after its start.
    CrashLoop,
    /// All is as it should be again.
    Recovered,
    /// What somebody or something changed was put right.
    DriftCorrected,
    /// There is drift, and nobody may act on it now.
    DriftWithheld,
    /// The App is no longer in the manifests, and was left running.
    Orphaned,
    /// The App is no longer in the manifests, and its workers are stopped, as its manifest asked.
    Removed,
    /// A revision of the manifests does not load; the one before stays in force.
    ManifestsInvalid,
    /// A revision of the manifests is not trusted; the one before stays in force.
    SourceRefused,
    /// The manifests cannot be fetched; the last ones stay in force.
    SourceUnreachable,
    /// The manifests can be fetched, and are right, again.
    SourceRecovered,
}

impl News {
    /// How bad that is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Deployed
            | Self::Recovered
            | Self::DriftCorrected
            | Self::DriftWithheld
            | Self::Removed
            | Self::SourceRecovered => Severity::Info,
            Self::RolledBack
            | Self::Quarantined
            | Self::Unhealthy
            | Self::Failed
            | Self::Stalled
            | Self::CrashLoop
            | Self::Orphaned
            | Self::ManifestsInvalid
            | Self::SourceRefused
            | Self::SourceUnreachable => Severity::Error,
        }
    }
}

impl News {
    /// It says nothing of whether all is well: other news stand beside it.
    #[must_use]
    pub fn is_aside(self) -> bool {
        matches!(self, Self::DriftCorrected | Self::DriftWithheld)
    }
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variant's name is the word, here as in JSON.
        f.pad(&format!("{self:?}"))
    }
}

/// One thing to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The App; none for what is about the manifests as a whole.
    pub app: Option<AppName>,
    /// What happened.
    pub news: News,
    /// The same for people: one sentence without pids and durations, then perhaps lines with details.
    pub message: String,
    /// The release that it is about.
    pub release: Option<ReleaseId>,
    /// The commit of the manifests in force, or the one that was refused.
    pub revision: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Telling {
    /// The same again has the same key, whatever numbers (pids, durations, attempts) stand in the message.
    #[must_use]
    pub fn key(&self) -> String {
        let app = self.app.as_ref().map_or("", AppName::as_str);
        let release = self.release.as_ref().map_or("", ReleaseId::as_str);
        let revision = self.revision.as_deref().unwrap_or_default();
        [&self.news.to_string(), app, release, revision, &without_numbers(&self.message)].join("\n")
    }
}

/// A text in which pids, durations and counts make no difference.
#[must_use]
pub fn without_numbers(text: &str) -> String {
    let numbered = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let mut words: Vec<&str> = text.split_whitespace().map(|word| if numbered(word) { "#" } else { word }).collect();
    words.dedup_by(|word, before| *word == "#" && *before == "#");
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_it_another_telling() {
        let telling = |message: &str, release: &str| Telling {
            app: AppName::new("web").ok(),
            news: News::Unhealthy,
            message: message.to_owned(),
            release: ReleaseId::new(release).ok(),
            revision: None,
            at: Timestamp::UNIX_EPOCH,
        };
        let rows = [
            ("no answer within 2s from pid 812", "no answer within 10s from pid 93", true),
            ("asked for 1m 3s", "asked for 59s", true),
            ("status == 200 does not hold", "status == 503 does not hold", true),
            ("no answer", "refused", false),
        ];
        for (one, other, same) in rows {
            assert_eq!(telling(one, "r1").key() == telling(other, "r1").key(), same, "{one} / {other}");
            assert_ne!(telling(one, "r1").key(), telling(one, "r2").key(), "{one}");
        }
    }
}
