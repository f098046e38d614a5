//! When changes may be made to an App, and why none are made now.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// When changes may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the manifest")]
pub struct SyncPolicy {
    /// Observe and report, but do not act.
    pub suspend: bool,
    /// Why it is suspended, in a person's words.
    pub reason: Option<String>,
    /// Act without being asked to; true by default.
    pub automatic: bool,
    /// Put drift right that no change of the manifest has caused; true by default.
    pub self_heal: bool,
    /// The longest time between two passes; 60 s by default, at least 1 s.
    pub interval: Duration,
    /// When changes may be made; always by default.
    pub windows: Vec<Window>,
    /// How many passes an hour may put drift right that nobody asked for; 30 by default, at least 1. Starting workers
    /// that are down is not counted.
    pub max_corrections: u32,
    /// Stop the workers when the App disappears from the manifests; false by default.
    pub prune: bool,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self {
            suspend: false,
            reason: None,
            automatic: true,
            self_heal: true,
            interval: Duration::from_mins(1),
            windows: Vec::new(),
            max_corrections: 30,
            prune: false,
        }
    }
}

/// A stretch of time that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What it does.
    pub kind: WindowKind,
    /// When it opens: minute, hour, day of the month, month and day of the week, as in crontab(5). The loader has
    /// parsed it once.
    pub schedule: String,
    /// How long it stays open; at least 1 min.
    pub duration: Duration,
    /// Whose clocks the schedule speaks of; UTC by default.
    pub time_zone: TimeZone,
}

/// What a window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WindowKind {
    /// Changes are made in it; where there is one of this kind, only in such a one.
    Allow,
    /// No changes are made in it, whatever else is open.
    Deny,
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Why drift is only shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all_fields = "camelCase")]
pub enum Withheld {
    /// The App is suspended.
    Suspended {
        /// Why, where anybody said.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// By a person on this host; else by the manifest.
        here: bool,
    },
    /// No window is open, or one is that forbids changes.
    OutsideWindow {
        /// When changes are allowed again; none: not within a year.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// A window forbids them; else none is open that would allow them.
        denied: bool,
        /// The schedule of the window that forbids changes now, or of the one that allows them next.
        #[serde(skip_serializing_if = "Option::is_none")]
        schedule: Option<String>,
        /// That window's time zone, in which people think of it.
        #[serde(serialize_with = "zone")]
        time_zone: TimeZone,
    },
    /// `automatic` is false, and nobody has asked.
    NotAutomatic,
    /// `selfHeal` is false, and the manifest has not changed since the App was as it says.
    NoSelfHeal,
    /// Drift came back so often that something works against us.
    TooManyCorrections {
        /// So many passes an hour may put drift right.
        limit: u32,
        /// When the next one may.
        until: Timestamp,
    },
}

/// What a pass means for the count of corrections, once it does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// Whoever makes the pass counts nothing.
    #[default]
    Off,
    /// A person's word: the count begins anew.
    Anew,
    /// It brings about what the manifest says for the first time.
    Deployment,
    /// It puts right what nobody has asked for.
    Correction,
}

fn zone<S: serde::Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.iana_name().unwrap_or("UTC"))
}

impl Withheld {
    /// When that is over by itself, where it is and anybody knows.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::OutsideWindow { until, .. } => *until,
            Self::TooManyCorrections { until, .. } => Some(*until),
            Self::Suspended { .. } | Self::NotAutomatic | Self::NoSelfHeal => None,
        }
    }
}
