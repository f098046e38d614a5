//! The agent's own configuration as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, DurationText, EnvValue, Password, Run, Text};

/// How the agent of one host is set up: where manifests come from, whom it notifies, whom it listens to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Trueup Agent")]
pub struct AgentDocument {
    /// The version of this format.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub api_version: Option<ApiVersion>,
    /// What the document describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub kind: Option<AgentKind>,
    /// What the host is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<AgentMetadata>,
    /// How the agent is set up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub spec: Option<AgentSpec>,
}

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AgentKind {
    /// The agent of one host.
    Agent,
}

/// What the host is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentMetadata {
    /// The host's name in notifications and commit statuses, and among `spec.hosts` of manifests for many hosts:
    /// letters, digits, `-`, `_` and `.`; its hostname by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How the agent is set up. Options of the command line take precedence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Where manifests come from; `/etc/trueup/manifests` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AgentSource>,
    /// Where the API is offered, for reading only, besides the unix socket: an address such as `127.0.0.1:9180`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Which webhooks are accepted, and how their senders prove who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Webhooks>,
    /// Who is notified of what happens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<Notification>,
    /// Where the state of a commit of the manifests is posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_status: Option<CommitStatus>,
}

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AgentSource {
    /// A file or directory of this host, which is watched.
    Dir(AgentSourceDir),
    /// A branch of a git repository.
    Git(AgentSourceGit),
}

/// A file or directory of this host, which is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSourceDir {
    /// The file or directory. Absolute, or starting with `./` or `../` and then relative to the directory of
    /// this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub path: Option<String>,
}

/// A branch of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSourceGit {
    /// Whatever git can fetch from: a URL, `user@host:path`, or a directory that is absolute or starts with
    /// `./` or `../` and is then relative to the directory of this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub url: Option<String>,
    /// The branch to follow; `main` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Text>,
    /// The directory or file in the repository that holds this host's manifests; its top by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often the repository is asked for news, give or take a tenth; 1m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<DurationText>,
    /// Whether a commit is accepted that does not follow the one in force, as after a forced push; false by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_force: Option<bool>,
    /// Absolute path of a file of allowed signers, as ssh-keygen(1) describes it: only commits that one of them
    /// has signed are applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_signatures: Option<String>,
}

/// Which webhooks are accepted, and how their senders prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhooks {
    /// From GitLab, at `/webhooks/gitlab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitlab: Option<Hook>,
    /// From GitHub, at `/webhooks/github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<Hook>,
    /// From Gitea or Forgejo, at `/webhooks/gitea`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitea: Option<Hook>,
}

/// One sender of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// How the sender proves who it is: GitLab's token, the secret of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub secret: Option<Password>,
}

/// Somebody who is notified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notification {
    /// Unique in this file: letters, digits, `-`, `_` and `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub name: Option<String>,
    /// How they are notified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub to: Option<Recipient>,
    /// The least severity that is reported: `info` or `error`; `info` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Only about these Apps, besides what is about the manifests as a whole; about all by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<String>,
}

/// How somebody is notified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Recipient {
    /// A POST with the event as JSON, with the fields that Flux's notifications have.
    Webhook(NotifyWebhook),
    /// A POST that Slack's incoming webhooks understand, and those of Mattermost and Rocket.Chat.
    Slack(NotifySlack),
    /// A command that gets the event as JSON on its standard input.
    Command(NotifyCommand),
}

/// A POST with the event as JSON, with the fields that Flux's notifications have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifyWebhook {
    /// Where to: `https://`, or `http://` within this host. As it may give the right to post, it may be read
    /// from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub url: Option<EnvValue>,
    /// Signs the body: HMAC-SHA256 in the header `X-Signature: sha256=…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Password>,
}

/// A POST that Slack's incoming webhooks understand, and those of Mattermost and Rocket.Chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifySlack {
    /// Where to: `https://`, or `http://` within this host. As it gives the right to post, it is best read from
    /// a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub url: Option<EnvValue>,
}

/// A command that gets the event as JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotifyCommand {
    /// What to run, in `/`, as the agent's own user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub run: Option<Run>,
    /// How long it may take; 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know: releases, corrected drift, recovery.
    Info,
    /// A person should look.
    Error,
}

/// Where the state of a commit of the manifests is posted, as `trueup/HOST/APP`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CommitStatus {
    /// To GitLab.
    Gitlab(GitLab),
    /// To GitHub, Gitea or Forgejo.
    Github(GitHub),
}

/// A project at GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitLab {
    /// The base URL of its API; `https://gitlab.com/api/v4` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// `group/project`, or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub project: Option<Text>,
    /// An access token with the scope `api`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub token: Option<Password>,
}

/// A repository at GitHub, Gitea or Forgejo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHub {
    /// The base URL of its API, such as `https://git.example.org/api/v1`; `https://api.github.com` by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub repository: Option<String>,
    /// A token with the right to write commit statuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub token: Option<Password>,
}
