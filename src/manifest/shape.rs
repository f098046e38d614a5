//! A manifest document as it is written: the forgiving one of the two shapes.
//!
//! Every key that must be there is an `Option` all the same, so that one missing key does not hide
//! what else is wrong; the schema made of these types knows which ones they are. The doc comments
//! are the descriptions in that schema: editors show them to the people who write manifests.

mod agent;
mod fleet;
mod release;
mod service;
mod sync;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agent::{
    AgentDocument, AgentKind, AgentMetadata, AgentSource, AgentSourceDir, AgentSourceGit, AgentSpec, CommitStatus,
    GitHub, GitLab, Hook, Notification, NotifyCommand, NotifySlack, NotifyWebhook, Recipient, Severity, Webhooks,
};
pub use fleet::{FleetRollout, Host, HostList, Hosts};
pub use release::{EnvValue, Hooks, Release, Shared, Source, SourceArchive, SourceDir, SourceGit, Step, StepMap};
pub use service::{OnRelease, Service, ServiceCommand, ServiceManager, ServiceUnit};
pub use sync::{Sync, SyncWindow, SyncWindowKind};
pub use words::{Count, DurationText, Run, Share, SizeText, Text};

/// One application on one host: which release, how many workers, and what healthy means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Trueup App")]
pub struct Document {
    /// The version of this format.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub api_version: Option<ApiVersion>,
    /// What the document describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub kind: Option<Kind>,
    /// Name and labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub metadata: Option<Metadata>,
    /// What is desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub spec: Option<Spec>,
}

/// The version of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first and only version.
    #[serde(rename = "trueup/v1")]
    V1,
}

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// One application.
    App,
}

/// Name and labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique among the manifests that are reconciled together: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<String>,
    /// Free labels, for selecting and for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
}

/// What is desired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Directory of the application, with `releases/` and the link `current` in it. Absolute, or starting
    /// with `./` or `../` and then relative to the directory of the manifest file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub root: Option<String>,
    /// The user as whom commands run, and who owns the files that are made. By default the owner of the root when run
    /// as root, else the user who runs trueup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The release that should be in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub release: Option<Release>,
    /// The daemons that serve the release but are not ours to count, such as php-fpm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// The long-running processes that execute the release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerGroup>,
    /// What healthy means. Without it nothing is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What to do when a release that was switched to turns out unhealthy; `rollback` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What to do with processes of this root that no worker group owns; `report` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strays: Option<Strays>,
    /// When changes may be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<Sync>,
    /// The hosts that the manifest is for, reached by SSH, or each by its own agent. Without it: the host that reads
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Hosts>,
    /// How a change is rolled out over the hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<FleetRollout>,
}

/// A group of interchangeable long-running processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerGroup {
    /// Unique in the App: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<String>,
    /// How many should run; 1 by default, 10000 at most; 0 keeps the group stopped. With `hosts`, `${vars.NAME}` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// Who runs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub manager: Option<Manager>,
    /// How long a worker may take to finish its job before it is killed; 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<DurationText>,
    /// Run before workers are asked to stop, so that they finish by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How the group is replaced when the release changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Files that workers read once, at their start: when one changes, the workers restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_on: Vec<RestartOn>,
}

/// Who runs the workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Manager {
    /// A group of a running supervisord, whose own configuration says what runs.
    Supervisord(Supervisord),
    /// Instances of a systemd template unit, whose own file says what runs.
    Systemd(Systemd),
    /// Trueup itself, without a daemon.
    Builtin(Builtin),
}

/// A group of a running supervisord.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Supervisord {
    /// The group's name; a lone program is a group of its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub group: Option<String>,
    /// Which program, where the group mixes several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Absolute path of supervisord's socket; without it the usual places are tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The socket's user name, where supervisord asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the socket's password is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
}

/// Where a password is read from; the password itself never stands in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Password {
    /// Absolute path of a file; its first line is the password.
    File(String),
    /// Name of an environment variable of trueup itself.
    EnvVar(String),
}

/// Instances of a systemd template unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Systemd {
    /// The template, such as `app-worker@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub unit: Option<String>,
}

/// Workers that trueup starts itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Builtin {
    /// What to run, in the release's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub run: Option<Run>,
    /// Added to the workers' environment, in which they find `RELEASE_ID`, `RELEASE_PATH`, `TRUEUP_APP`, `TRUEUP_ROOT`
    /// and `TRUEUP_WORKER`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
}

/// How the group is replaced when the release changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// How many workers may be down at a time: a number, or a share of `count` such as `50%`, rounded up
    /// and at least 1; `100%` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "pattern" = "^(0*[1-9][0-9]*|0?[1-9]%|[1-9][0-9]%|100%)$"))]
    pub max_unavailable: Option<Share>,
    /// How long a worker must have run before it counts as proven; 3s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_healthy: Option<DurationText>,
}

/// Run before workers are asked to stop, so that they finish by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// What to run in the release, as the App's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub run: Option<Run>,
    /// How long it may take; 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

/// A file that workers or a service read once, at their start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartOn {
    /// The file, relative to the root, such as `shared/.env`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub path: Option<String>,
    /// Run in the release before they restart, such as `php artisan config:cache`; for five minutes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// What healthy means: one probe, `http`, `file` or `command`, and the rules over its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["http"]}, {"required": ["file"]}, {"required": ["command"]}]))]
pub struct Health {
    /// Asks by HTTP GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Reads a file that the application writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<File>,
    /// Runs a command in `current`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// How often it is asked before the application counts as unhealthy; 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub attempts: Option<u32>,
    /// The pause between two attempts; 3s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationText>,
    /// How often the agent asks between its passes, so that it sees at once when health turns bad; 1s at least. By
    /// default, only passes ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<DurationText>,
    /// Rules in CEL, of which all must hold; by default, an HTTP status of 2xx, an exit code of 0, or
    /// a file that can be read. They may name `body`, `release` (`id`, `path`) and `workers` (`desired`, `total`,
    /// `fresh`, `stale`, `unknown`); with `http` and `command` also `status` and `latency`, with `http` `headers`, with
    /// `file` `age`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub expect: Vec<String>,
}

/// Asks by HTTP GET.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// What is asked for, `http://` or `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub url: Option<String>,
    /// Where to connect instead of where the URL's host resolves to, such as this host instead of the
    /// load balancer: `IP:PORT`, or a unix socket as `unix:/run/app.sock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_to: Option<String>,
    /// Sent with the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text>,
    /// Absolute path of certificates to trust besides the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// How long one answer may take; 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

/// Reads a file that the application writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// The file, absolute or relative to the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub path: Option<String>,
    /// An older file is unhealthy, whatever it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// How long reading may take; 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

/// Runs a command in `current`, as the App's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// What to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub run: Option<Run>,
    /// How long it may take; 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

/// What to do when a release that was switched to turns out unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Back to the last release that was healthy.
    Rollback,
    /// Stop there.
    Halt,
}

/// What to do with processes of this root that no worker group owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strays {
    /// Report them, touch nothing.
    Report,
    /// Gently stop those that run as the App's user, or as a user of its workers, and have no terminal; report others.
    Stop,
}
