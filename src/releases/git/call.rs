//! Runs the command line `git` as the App's user, so that its keys, credential helpers and known hosts count.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::words;
use crate::host::command::{Ended, Job, Wanted, describe, execute, quote};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::app::CommandLine;
use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// How long one command of git may take.
const LIMIT: Duration = Duration::from_mins(10);

/// More of an answer than this is not read.
const ANSWER_LIMIT: u64 = 4 << 20;

/// What is handed on to git from our own environment, where it is set.
const HANDED_ON: [&str; 11] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_ASKPASS",
    "GIT_SSL_CAINFO",
];

/// How ssh is run where nobody says otherwise: it must not ask, nor wait for ever.
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15";

/// Where a command of git takes something from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote<'a> {
    /// Its URL.
    pub(super) url: &'a str,
    /// Whether a person named it, and not the content of a repository.
    pub(super) trusted: bool,
}

/// Runs git for one fetch.
#[derive(Debug)]
pub(super) struct Git<'a> {
    pub(super) shim: &'a Shim,
    pub(super) user: User,
    pub(super) lock: Option<OwnedFd>,
    /// The bare repository.
    pub(super) mirror: PathBuf,
    /// Whether the user's own configuration says how ssh is run.
    pub(super) own_ssh: bool,
}

impl Git<'_> {
    /// Runs git in the mirror and returns how it ended.
    pub(super) async fn run(
        &self,
        remote: Option<Remote<'_>>,
        environment: &[(&str, &Path)],
        arguments: &[&str],
        output: Wanted,
    ) -> Result<Ended, HostError> {
        let lock = self.lock.as_ref().map(OwnedFd::try_clone).transpose();
        let mut all = self.environment(remote);
        all.extend(environment.iter().map(|(name, path)| ((*name).to_owned(), path.to_string_lossy().into_owned())));
        // The mode of files must not depend on who runs us.
        let mut command: Vec<String> =
            ["/bin/sh", "-c", "umask 022 && exec git \"$@\"", "git"].map(str::to_owned).to_vec();
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let job = Job {
            command: CommandLine::Arguments(command),
            directory: self.mirror.clone(),
            user: self.user.clone(),
            environment: all,
            timeout: LIMIT,
            lock: lock.map_err(|error| HostError::io("cannot hand the lock to git", &error))?,
            output,
        };
        let ended = execute(self.shim, job).await.map_err(|error| {
            let verb = arguments.first().unwrap_or(&"");
            if error.kind != HostErrorKind::TimedOut {
                return HostError { message: words::scrub(&error.message), ..error };
            }
            let said = error.message.split_once("; its last output:\n").map(|(_, said)| words::scrub(said));
            let message = format!("`git {verb}`{} took longer than {LIMIT:?} and was ended", from(remote));
            HostError::new(HostErrorKind::TimedOut, message + &quote(&said.unwrap_or_default()))
                .with_help("see whether the repository can be reached from here")
        })?;
        if ended.status.code() == Some(127) {
            return Err(HostError::new(HostErrorKind::Misconfigured, "git is not installed")
                .with_help("install `git`, or use another `spec.release.source`"));
        }
        Ok(ended)
    }

    /// Runs git, which must succeed; its words decide about the kind of error.
    pub(super) async fn must(
        &self,
        remote: Option<Remote<'_>>,
        environment: &[(&str, &Path)],
        arguments: &[&str],
    ) -> Result<String, HostError> {
        let ended = self.run(remote, environment, arguments, Wanted::Tail).await?;
        if ended.status.success() {
            return Ok(ended.output);
        }
        let verb = arguments.first().unwrap_or(&"");
        let said = words::scrub(&ended.output);
        let message = format!("`git {verb}`{} ended with {}{}", from(remote), describe(ended.status), quote(&said));
        let (kind, help) = words::judge(&ended.output);
        let error = HostError::new(kind, message);
        Err(match help {
            Some(help) => error.with_help(format!("{help}; git runs as `{}`", self.user.name)),
            None => error,
        })
    }

    /// What git answers on its standard output; none where it fails.
    pub(super) async fn answer(&self, arguments: &[&str]) -> Result<Option<String>, HostError> {
        let ended = self.run(None, &[], arguments, Wanted::Answer(ANSWER_LIMIT)).await?;
        Ok(ended.status.success().then_some(ended.output))
    }

    /// The commit that a name of the mirror leads to; none where there is no such commit.
    pub(super) async fn commit(&self, name: &str) -> Result<Option<String>, HostError> {
        let name = format!("{name}^{{commit}}");
        let answer = self.answer(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name]).await?;
        Ok(answer.map(|answer| answer.trim().to_owned()).filter(|hash| words::is_hash(hash)))
    }

    fn environment(&self, remote: Option<Remote<'_>>) -> BTreeMap<String, String> {
        let mut environment: BTreeMap<String, String> =
            HANDED_ON.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
        if rustix::process::geteuid().as_raw() == self.user.uid
            && let Ok(agent) = std::env::var("SSH_AUTH_SOCK")
        {
            environment.insert("SSH_AUTH_SOCK".to_owned(), agent);
        }
        let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
        set("LC_ALL", "C");
        set("GIT_TERMINAL_PROMPT", "0");
        // Never looked for in the directories above, even where there is none yet.
        set("GIT_DIR", &self.mirror.to_string_lossy());
        // Not among the arguments, which everybody can read and where it could be taken for an option.
        let mut configuration = vec![
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("protocol.ext.allow", "never"),
            // What works on in the background is ended with the command.
            ("gc.autoDetach", "false"),
            ("maintenance.autoDetach", "false"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
        ];
        if let Some(remote) = remote {
            configuration.push(("remote.source.url", remote.url));
            if !remote.trusted {
                set("GIT_PROTOCOL_FROM_USER", "0");
            }
        }
        set("GIT_CONFIG_COUNT", &configuration.len().to_string());
        for (number, (key, value)) in configuration.into_iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{number}"), key);
            set(&format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        if !self.own_ssh && !environment.contains_key("GIT_SSH") {
            environment.entry("GIT_SSH_COMMAND".to_owned()).or_insert_with(|| SSH.to_owned());
        }
        environment
    }
}

fn from(remote: Option<Remote<'_>>) -> String {
    remote.map_or_else(String::new, |remote| format!(" from `{}`", public(remote.url)))
}
