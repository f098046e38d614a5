//! The agent's own configuration.

use std::net::SocketAddr;

use super::{Base, Checker, LABEL, LEAST, each, optional};
use crate::manifest::node::{Cursor, Node, cut};
use crate::manifest::shape::{self, AgentDocument, Text};
use crate::manifest::yaml::{Finding, line_of};
use crate::model::agent::{
    Address, AgentConfig, AgentSource, BRANCH, COMMAND_TIMEOUT, CommitStatus, Forge, GitOptions, Notification, POLL,
    Recipient, Webhooks, is_safe_url,
};
use crate::model::app::SecretSource;
use crate::model::names::AppName;
use crate::model::telling::Severity;

/// GitLab's own API.
const GITLAB: &str = "https://gitlab.com/api/v4";
/// GitHub's own API.
const GITHUB: &str = "https://api.github.com";

/// Checks the agent's own configuration.
pub(in crate::manifest) fn check(
    document: &AgentDocument,
    tree: &Node,
    source: &str,
    base: Base<'_>,
    findings: &mut Vec<Finding>,
) -> Option<AgentConfig> {
    let mut checker = Checker::new(source, base, findings);
    checker.agent(document, &Cursor::root(tree))
}

impl Checker<'_> {
    fn agent(&mut self, document: &AgentDocument, at: &Cursor<'_>) -> Option<AgentConfig> {
        let name = document.metadata.as_ref().and_then(|metadata| metadata.name.as_ref());
        // What is said of an App's name holds for a host's, too.
        let name = name.map(|name| self.accept(&at.key("metadata").key("name"), AppName::new(name), LABEL));
        let spec = document.spec.as_ref()?;
        let at = at.key("spec");
        let source = spec.source.as_ref().map(|source| self.agent_source(source, &at.key("source")));
        let listen = spec.listen.as_ref().map(|listen| self.listen(listen, &at.key("listen")));
        let webhooks = spec.webhooks.as_ref().map(|webhooks| self.webhooks(webhooks, &at.key("webhooks")));
        let list = at.key("notifications");
        let notifications = each(&spec.notifications, |position, one| self.notification(one, &list.item(position)));
        self.notifications_differ(&spec.notifications, &list);
        let status = spec.commit_status.as_ref().map(|status| self.commit_status(status, &at.key("commitStatus")));
        Some(AgentConfig {
            name: optional(name)?.map(|name| name.as_str().to_owned()),
            source: optional(source)?,
            listen: optional(listen)?,
            webhooks: optional(webhooks)?.unwrap_or_default(),
            notifications: notifications?,
            commit_status: optional(status)?,
        })
    }

    fn agent_source(&mut self, source: &shape::AgentSource, at: &Cursor<'_>) -> Option<AgentSource> {
        match source {
            shape::AgentSource::Dir(directory) => {
                const HELP: &str = "write the directory with the manifests: an absolute path, or one that starts with `./` or `../` and is then relative to this file's own directory";
                let path = self.on_this_host(directory.path.as_ref()?, &at.key("dir").key("path"), HELP)?;
                Some(AgentSource::Dir(path))
            }
            shape::AgentSource::Git(git) => self.agent_git(git, &at.key("git")).map(AgentSource::Git),
        }
    }

    fn agent_git(&mut self, git: &shape::AgentSourceGit, at: &Cursor<'_>) -> Option<GitOptions> {
        let url = git.url.as_ref().and_then(|url| self.git_url(url, &at.key("url")));
        let branch = match &git.branch {
            Some(Text(name)) => self.reference(name, &at.key("branch")),
            None => Some(BRANCH.to_owned()),
        };
        let path = git.path.as_ref().map(|path| self.inside(path, &at.key("path"), "the repository's top"));
        let poll = self.duration(git.poll.as_ref(), &at.key("poll"), LEAST, POLL);
        let signers = git.verify_signatures.as_ref();
        let signers = signers.map(|file| self.absolute(file, &at.key("verifySignatures")));
        Some(GitOptions {
            url: url?,
            branch: branch?,
            path: optional(path)?,
            poll: poll?,
            allow_force: git.allow_force.unwrap_or_default(),
            allowed_signers: optional(signers)?,
        })
    }

    fn listen(&mut self, text: &str, at: &Cursor<'_>) -> Option<SocketAddr> {
        let help = "write an address and a port, such as `127.0.0.1:9180`";
        let made = text.parse::<SocketAddr>().map_err(|_| format!("no address with a port: `{}`", cut(text)));
        self.accept(at, made, help)
    }

    fn webhooks(&mut self, webhooks: &shape::Webhooks, at: &Cursor<'_>) -> Option<Webhooks> {
        let mut one = |hook: &Option<shape::Hook>, key: &str| -> Option<Option<SecretSource>> {
            let Some(hook) = hook else { return Some(None) };
            self.secret(hook.secret.as_ref()?, &at.key(key).key("secret")).map(Some)
        };
        let gitlab = one(&webhooks.gitlab, "gitlab");
        let github = one(&webhooks.github, "github");
        let gitea = one(&webhooks.gitea, "gitea");
        Some(Webhooks { gitlab: gitlab?, github: github?, gitea: gitea? })
    }

    fn notification(&mut self, notification: &shape::Notification, at: &Cursor<'_>) -> Option<Notification> {
        let name = notification.name.as_ref();
        let name = name.and_then(|name| self.accept(&at.key("name"), AppName::new(name), LABEL));
        let to = notification.to.as_ref().and_then(|to| self.recipient(to, &at.key("to")));
        let list = at.key("apps");
        let apps =
            each(&notification.apps, |position, app| self.accept(&list.item(position), AppName::new(app), LABEL));
        let severity = match notification.severity {
            None | Some(shape::Severity::Info) => Severity::Info,
            Some(shape::Severity::Error) => Severity::Error,
        };
        Some(Notification { name: name?.as_str().to_owned(), to: to?, severity, apps: apps? })
    }

    fn notifications_differ(&mut self, all: &[shape::Notification], list: &Cursor<'_>) {
        for (position, one) in all.iter().enumerate() {
            let Some(name) = &one.name else { continue };
            let before = all.iter().take(position).position(|earlier| earlier.name.as_ref() == Some(name));
            if let Some(before) = before {
                let line = line_of(self.source, list.item(before).key("name").span.start);
                let message = format!("a notification named `{}` is there already", cut(name));
                let help = format!("the first stands in line {line}; every one needs a name of its own");
                self.find(list.item(position).key("name").span, message, help);
            }
        }
    }

    fn recipient(&mut self, to: &shape::Recipient, at: &Cursor<'_>) -> Option<Recipient> {
        match to {
            shape::Recipient::Webhook(webhook) => {
                let at = at.key("webhook");
                let url = webhook.url.as_ref().and_then(|url| self.address(url, &at.key("url")));
                let secret = webhook.secret.as_ref().map(|secret| self.secret(secret, &at.key("secret")));
                Some(Recipient::Webhook { url: url?, secret: optional(secret)? })
            }
            shape::Recipient::Slack(slack) => {
                let url = self.address(slack.url.as_ref()?, &at.key("slack").key("url"))?;
                Some(Recipient::Slack { url })
            }
            shape::Recipient::Command(command) => {
                let at = at.key("command");
                let run = command.run.as_ref().and_then(|run| self.command(run, &at.key("run")));
                let timeout = self.duration(command.timeout.as_ref(), &at.key("timeout"), LEAST, COMMAND_TIMEOUT);
                Some(Recipient::Command { command: run?, timeout: timeout? })
            }
        }
    }

    fn address(&mut self, url: &shape::EnvValue, at: &Cursor<'_>) -> Option<Address> {
        match url {
            shape::EnvValue::Text(text) => self.safe_url(text, at).map(Address::Plain),
            shape::EnvValue::File(path) => self.secret_file(path, &at.key("file")).map(Address::Secret),
            shape::EnvValue::EnvVar(name) => self.secret_variable(name, &at.key("envVar")).map(Address::Secret),
        }
    }

    fn safe_url(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        if is_safe_url(text) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is no URL that is safe to post to", at.path);
        self.find(at.span.clone(), message, "write an `https://` URL; `http://` only leads to this host itself");
        None
    }

    fn commit_status(&mut self, status: &shape::CommitStatus, at: &Cursor<'_>) -> Option<CommitStatus> {
        let (forge, key, api, default, token) = match status {
            shape::CommitStatus::Gitlab(gitlab) => (Forge::GitLab, "gitlab", &gitlab.api, GITLAB, &gitlab.token),
            shape::CommitStatus::Github(github) => (Forge::GitHub, "github", &github.api, GITHUB, &github.token),
        };
        let at = at.key(key);
        let project = match status {
            shape::CommitStatus::Gitlab(gitlab) => {
                gitlab.project.as_ref().and_then(|Text(project)| self.gitlab_project(project, &at.key("project")))
            }
            shape::CommitStatus::Github(github) => {
                github.repository.as_ref().and_then(|name| self.github_repository(name, &at.key("repository")))
            }
        };
        let api = match api {
            Some(api) => self.safe_url(api, &at.key("api")),
            None => Some(default.to_owned()),
        };
        let token = token.as_ref().and_then(|token| self.secret(token, &at.key("token")));
        Some(CommitStatus { forge, api: api?.trim_end_matches('/').to_owned(), project: project?, token: token? })
    }

    fn gitlab_project(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if number || (text.contains('/') && text.split('/').all(is_segment)) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is no project: `{}`", at.path, cut(text));
        self.find(at.span.clone(), message, "write its path, such as `group/project`, or its number");
        None
    }

    fn github_repository(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        if text.split('/').count() == 2 && text.split('/').all(is_segment) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is no repository: `{}`", at.path, cut(text));
        self.find(at.span.clone(), message, "write `owner/name`");
        None
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.chars().all(plain) && text != "." && text != ".."
}
