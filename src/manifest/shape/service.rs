//! Services as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, RestartOn, Run, Supervisord};

/// A daemon that serves the release but is not ours to count, such as php-fpm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Unique in the App, among the worker groups too: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<String>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub manager: Option<ServiceManager>,
    /// What a new release means to it; `auto` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_release: Option<OnRelease>,
    /// How long a reload or a restart may take; 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// Files that it reads once, at its start: when one changes, it is reloaded or restarted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_on: Vec<RestartOn>,
}

/// Who runs a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServiceManager {
    /// A systemd unit.
    Systemd(ServiceUnit),
    /// A program of a running supervisord, every process of it.
    Supervisord(Supervisord),
    /// Commands of your own, which run in `current` as the App's user.
    Command(ServiceCommand),
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceUnit {
    /// The unit, such as `php8.2-fpm`; `.service` is added where it has no suffix.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub unit: Option<String>,
}

/// Commands of your own, which run in `current` as the App's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["reload"]}, {"required": ["restart"]}]))]
pub struct ServiceCommand {
    /// Makes it serve the present release without dropping requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Run>,
    /// Ends it and starts it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Run>,
    /// The user as whom they run; the App's user by default. Whoever may write to `current` can change what runs there,
    /// so `root` is for commands that come from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What a new release means to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnRelease {
    /// Reloaded if it still serves another release.
    Auto,
    /// Reloaded once for each switch.
    Reload,
    /// Restarted once for each switch.
    Restart,
    /// Left alone.
    None,
}
