//! When changes may be made, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;

/// When changes may be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sync {
    /// Observe and report, but change nothing; false by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Why it is suspended; shown wherever the suspension is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The agent acts by itself; true by default. If false, it shows drift, and acts when a person asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic: Option<bool>,
    /// The agent puts right what changes on the host; true by default. If false, it acts on changes of the manifest,
    /// and shows other drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_heal: Option<bool>,
    /// The longest time between two looks of the agent at the host; changes wake it besides. 60s by default,
    /// 1s at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationText>,
    /// When changes may be made; always by default. Outside, drift is only shown. A release that has been switched
    /// to is judged, and taken back if it fails, at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub windows: Vec<SyncWindow>,
    /// How many passes an hour may put right what nobody asked to change; 30 by default. Beyond it the agent stands
    /// still for an hour, or until a person asks: something works against it. Starting workers that have ended is not
    /// counted, and goes on meanwhile; one that ends again and again waits longer each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub max_corrections_per_hour: Option<u32>,
    /// When the App disappears from the manifests, or gets another root, the agent stops its workers there; false by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
}

/// A stretch of time that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Window")]
pub struct SyncWindow {
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub kind: Option<SyncWindowKind>,
    /// When it opens, as in crontab(5): minute, hour, day of the month, month and day of the week. In quotes, since a
    /// `*` means something else in YAML.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, extend("examples" = ["0 22 * * *", "30 8 * * MON-FRI"]))]
    pub schedule: Option<String>,
    /// How long it stays open, 1m at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub duration: Option<DurationText>,
    /// The time zone of the schedule, such as `Europe/Berlin`; UTC by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What a window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WindowKind")]
pub enum SyncWindowKind {
    /// Changes are made in it; where there is one of this kind, only in such a one.
    Allow,
    /// No changes are made in it, whatever else is open.
    Deny,
}
