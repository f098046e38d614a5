//! What many hosts say, as one document: the passes of all of them, and what became of each.

use serde::{Serialize, Serializer, ser};
use serde_json::Value;

use super::API_VERSION;
use super::pass::PassDocument;
use crate::model::names::{AppName, HostName, ReleaseId};
use crate::model::report::{Outcome, Problem};
use crate::model::rollout::{HostVerdict, RolloutOutcome};

/// Documents of this host and of others, and what the others have in common.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetList<'a> {
    /// `trueup/v1`.
    pub api_version: &'static str,
    /// `PassReportList` or `AppList`, as without hosts.
    pub kind: &'static str,
    /// First those of this host, then those of the others, each with its `host`. A host that said nothing has none.
    pub items: Vec<Item<'a>>,
    /// One for each App with hosts.
    pub fleets: Vec<FleetDocument<'a>>,
}

impl<'a> FleetList<'a> {
    /// These, as that kind.
    #[must_use]
    pub fn new(kind: &'static str, items: Vec<Item<'a>>, fleets: Vec<FleetDocument<'a>>) -> Self {
        Self { api_version: API_VERSION, kind, items, fleets }
    }
}

/// One document.
#[derive(Debug)]
pub enum Item<'a> {
    /// A pass on this host.
    Here(Box<PassDocument<'a>>),
    /// Any other one of this host.
    Own(Value),
    /// What another host said, in JSON: kept as text, which takes the least room.
    There(&'a str),
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Here(pass) => pass.serialize(serializer),
            Self::Own(value) => value.serialize(serializer),
            Self::There(text) => serde_json::from_str::<Value>(text).map_err(ser::Error::custom)?.serialize(serializer),
        }
    }
}

/// What became of one App on its hosts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetDocument<'a> {
    /// The App.
    pub app: &'a AppName,
    /// The desired release.
    pub release: &'a ReleaseId,
    /// `complete`, `notBegun`, `stopped`, `withheld` or `interrupted`; null where nothing was to be changed.
    pub outcome: Option<&'static str>,
    /// How many waves were begun.
    pub waves: usize,
    /// The waves in which its hosts would change, by a dry run or `diff`: none where nobody would; null where nothing was
    /// looked ahead for, or not to the end.
    pub planned_waves: Option<Vec<WaveDocument>>,
    /// What became of the migrations; null where the release has none.
    pub migrations: Option<MigrationsDocument>,
    /// How long it took.
    pub took_ms: u128,
    /// In the order of the manifest; every one of them.
    pub hosts: Vec<FleetHostDocument<'a>>,
}

/// Hosts that would change together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct WaveDocument {
    /// It goes first, and the others only once it is proven.
    pub canary: bool,
    /// In the order in which they change.
    pub hosts: Vec<HostName>,
}

/// What became of the migrations of a release, which one host runs.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationsDocument {
    /// Who was to run them in this rollout; null: nobody. How it went is told of that host.
    pub run_on: Option<HostName>,
    /// Whose records say that they were run before, or who has the release in force, so that nobody runs them.
    pub recorded_by: Vec<HostName>,
}

/// What became of one host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetHostDocument<'a> {
    /// The host.
    pub host: &'a HostName,
    /// In one word.
    pub verdict: &'static str,
    /// The release in force when it was seen last; null where nobody knows.
    pub current: Option<&'a ReleaseId>,
    /// Whether it was healthy then; null where nobody knows.
    pub healthy: Option<bool>,
    /// Actions that were done.
    pub done: usize,
    /// Actions that failed.
    pub failed: usize,
    /// How long it was worked on.
    pub took_ms: u128,
    /// What went wrong.
    pub problems: Vec<Problem>,
}

/// How a rollout ended.
#[must_use]
pub fn how(how: RolloutOutcome) -> &'static str {
    match how {
        RolloutOutcome::Complete => "complete",
        RolloutOutcome::NotBegun => "notBegun",
        RolloutOutcome::Stopped => "stopped",
        RolloutOutcome::Withheld => "withheld",
        RolloutOutcome::Interrupted => "interrupted",
    }
}

/// What became of a host.
#[must_use]
pub fn verdict(verdict: HostVerdict) -> &'static str {
    match verdict {
        HostVerdict::Settled => "settled",
        HostVerdict::Changed => "changed",
        HostVerdict::NotReached => "notTouched",
        HostVerdict::Withheld => "withheld",
        HostVerdict::Refused(ended) | HostVerdict::Failed(ended) => ended.word(),
        HostVerdict::NotHealthy => "unhealthy",
        HostVerdict::RolledBack => "rolledBack",
        HostVerdict::TakenBack | HostVerdict::GoneBack => "takenBack",
        HostVerdict::NotTakenBack => "notTakenBack",
        HostVerdict::Unreachable => "unreachable",
        HostVerdict::Declined => "refused",
        HostVerdict::Lost => "lost",
        HostVerdict::Untold => Outcome::Failed.word(),
        HostVerdict::Unseen => "notLookedAt",
    }
}
