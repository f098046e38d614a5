//! The health contract, what a probe answered, and the verdict of each rule.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::{CommandLine, ConnectTo};

/// Probe and rules that together define healthy.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthContract {
    /// How the application is asked.
    pub probe: Probe,
    /// How long one answer may take; 10 s by default.
    pub timeout: Duration,
    /// How often it is asked before it counts as unhealthy; 5 by default, at least 1.
    pub attempts: u32,
    /// The pause between two attempts; 3 s by default.
    pub interval: Duration,
    /// How often the agent asks between two passes; none: passes alone ask. At least 1 s.
    pub watch: Option<Duration>,
    /// All must hold. Never empty: the loader fills in the probe's own default.
    pub expect: Vec<Rule>,
}

/// How the application is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// An HTTP GET.
    Http {
        /// What is asked for; `http` or `https`.
        url: String,
        /// Sent with the request.
        headers: BTreeMap<String, String>,
        /// Where to connect instead of where the URL's host resolves to.
        connect_to: Option<ConnectTo>,
        /// Certificates to trust besides the system's.
        ca_file: Option<PathBuf>,
    },
    /// A file that the application writes.
    File {
        /// Absolute; the loader has joined it to the root.
        path: PathBuf,
        /// Older than this is unhealthy, whatever it says.
        max_age: Option<Duration>,
    },
    /// A command, run in `current` as the App's user.
    Command {
        /// What to run.
        run: CommandLine,
    },
}

impl Probe {
    /// The word used in manifests and messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::File { .. } => "file",
            Self::Command { .. } => "command",
        }
    }
}

/// One CEL expression; the loader has compiled it once and knows that its names exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rule(pub String);

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a probe answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeAnswer {
    /// HTTP status or exit code; none for a file.
    pub status: Option<i64>,
    /// HTTP headers, names in lower case; empty for the other probes.
    pub headers: BTreeMap<String, String>,
    /// Parsed JSON, else the text as a JSON string.
    pub body: serde_json::Value,
    /// From asking to the whole answer.
    pub latency: Duration,
    /// How long ago the file was written; none for the other probes.
    pub age: Option<Duration>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// What happened, as a lower-case fragment.
    pub message: String,
}

/// Numbers about the workers that rules may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WorkerNumbers {
    /// How many the App wants.
    pub desired: u32,
    /// How many run.
    pub total: u32,
    /// How many run the desired release.
    pub fresh: u32,
    /// How many run another.
    pub stale: u32,
    /// How many run nobody knows what.
    pub unknown: u32,
}

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleVerdict {
    /// The rule as written.
    pub rule: Rule,
    /// Whether it held.
    pub passed: bool,
    /// The values that it named, as they were seen: `body.status = "degraded"`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub seen: String,
    /// Why it could not be evaluated, such as a missing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl RuleVerdict {
    /// That the rule does not hold, with what was seen; none when it does.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let of = match (&self.reason, self.seen.as_str()) {
            _ if self.passed => return None,
            (Some(reason), "") => format!(": {reason}"),
            (Some(reason), seen) => format!(": {reason} ({seen})"),
            (None, "") => String::new(),
            (None, seen) => format!(": {seen}"),
        };
        Some(format!("`{}` does not hold{of}", self.rule))
    }
}

/// What the contract says of one answer, or of there being none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthVerdict {
    /// All rules held.
    pub healthy: bool,
    /// Rule by rule; empty when there was no answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleVerdict>,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How long the answer took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

impl HealthVerdict {
    /// The verdict when nobody answered.
    #[must_use]
    pub fn unanswered(failure: impl Into<String>) -> Self {
        Self { healthy: false, rules: Vec::new(), failure: Some(failure.into()), latency_ms: None }
    }

    /// The failing rules with the values seen, or the failure; none when healthy.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        if self.healthy {
            return None;
        }
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        let failed: Vec<String> = self.rules.iter().filter_map(RuleVerdict::complaint).collect();
        Some(failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_does_not_hold_says_what_is_known_of_it() {
        let rows = [
            (true, None, "status = 200", None),
            (false, None, "", Some("`status == 200` does not hold")),
            (false, None, "status = 500", Some("`status == 200` does not hold: status = 500")),
            (false, Some("no such key"), "", Some("`status == 200` does not hold: no such key")),
            (false, Some("no number"), "status = x", Some("`status == 200` does not hold: no number (status = x)")),
        ];
        for (passed, reason, seen, expected) in rows {
            let (rule, reason) = (Rule("status == 200".to_owned()), reason.map(str::to_owned));
            let rule = RuleVerdict { rule, passed, seen: seen.to_owned(), reason };
            assert_eq!(rule.complaint().as_deref(), expected);
            let verdict = HealthVerdict { healthy: passed, rules: vec![rule], failure: None, latency_ms: None };
            assert_eq!(verdict.complaint().as_deref(), expected);
        }
    }
}
