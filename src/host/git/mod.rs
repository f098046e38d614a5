//! Runs the command line `git` as a user of the machine, so that its keys, credential helpers and known hosts count.
//!
//! It asks nobody, runs no hooks, and ends within a limit; a password that a URL has in it is on no command line. In: a bare
//! repository, the mirror. [`words`] reads what git says.

pub mod leftovers;
mod login;
pub mod words;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{Ended, Job, Wanted, describe, execute, quote};
use super::spawn::Shim;
use super::users::User;
use crate::model::app::CommandLine;
use crate::model::length;
use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// How long one command of git may take where nobody says otherwise.
pub const LIMIT: Duration = Duration::from_mins(10);

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

/// What every fetch begins with.
pub const FETCH: [&str; 5] = ["fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--quiet"];

/// The index of the tree that is being written, in the mirror.
pub const INDEX: &str = "trueup-index";

/// How ssh is run where nobody says otherwise: it must not ask, nor wait for ever.
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15";

/// Where a command of git takes something from.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// Its URL.
    pub url: &'a str,
    /// Whether a person named it, and not the content of a repository.
    pub trusted: bool,
}

/// Runs git in one mirror.
#[derive(Debug)]
pub struct Git<'a> {
    /// Starts it.
    pub shim: &'a Shim,
    /// As whom.
    pub user: User,
    /// Held by git for as long as it lives.
    pub lock: Option<OwnedFd>,
    /// The bare repository.
    pub mirror: PathBuf,
    /// Whether the user's own configuration says how ssh is run.
    pub own_ssh: bool,
    /// How long one command may take.
    pub limit: Duration,
    /// Where people say which repository: what they should correct.
    pub named_in: &'static str,
    /// Configuration that goes before everybody else's.
    pub configuration: Vec<(&'static str, String)>,
}

impl Git<'_> {
    /// Runs git in the mirror and returns how it ended.
    ///
    /// # Errors
    /// It could not be run, or took too long.
    pub async fn run(
        &self,
        remote: Option<Remote<'_>>,
        environment: &[(&str, &Path)],
        arguments: &[&str],
        output: Wanted,
    ) -> Result<Ended, HostError> {
        let lock = self.lock.as_ref().map(OwnedFd::try_clone).transpose();
        let mut all = self.environment(remote)?;
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
            timeout: self.limit,
            lock: lock.map_err(|error| HostError::io("cannot hand the lock to git", &error))?,
            output,
        };
        let ended = execute(self.shim, job).await.map_err(|error| {
            let verb = arguments.first().unwrap_or(&"");
            if error.kind != HostErrorKind::TimedOut {
                return HostError { message: words::scrub(&error.message), ..error };
            }
            let said = error.message.split_once("; its last output:\n").map(|(_, said)| words::scrub(said));
            let (from, limit) = (from(remote), length::limit(self.limit));
            let message = format!("`git {verb}`{from} took longer than {limit} and was ended");
            HostError::new(HostErrorKind::TimedOut, message + &quote(&said.unwrap_or_default()))
                .with_help("see whether the repository can be reached from here")
        })?;
        if ended.status.code() == Some(127) {
            return Err(HostError::new(HostErrorKind::Misconfigured, "git is not installed").with_help("install `git`"));
        }
        Ok(ended)
    }

    /// Runs git, which must succeed; its words decide about the kind of error.
    ///
    /// # Errors
    /// It could not be run, took too long, or failed; the kind is by what it said.
    pub async fn must(
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
            Some(help) => {
                let help = help.replace(words::NAMED_IN, self.named_in);
                error.with_help(format!("{help}; git runs as `{}`", self.user.name))
            }
            None => error,
        })
    }

    /// What git answers on its standard output; none where it fails.
    ///
    /// # Errors
    /// It could not be run, or took too long.
    pub async fn answer(&self, arguments: &[&str]) -> Result<Option<String>, HostError> {
        let ended = self.run(None, &[], arguments, Wanted::Answer(ANSWER_LIMIT)).await?;
        Ok(ended.status.success().then_some(ended.output))
    }

    /// The commit that a name of the mirror leads to; none where there is no such commit.
    ///
    /// # Errors
    /// It could not be run, or took too long.
    pub async fn commit(&self, name: &str) -> Result<Option<String>, HostError> {
        let name = format!("{name}^{{commit}}");
        let answer = self.answer(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name]).await?;
        Ok(answer.map(|answer| answer.trim().to_owned()).filter(|hash| words::is_hash(hash)))
    }

    /// Makes the mirror in its directory, which is there and empty. `hash` is one of the repository's hashes: they
    /// come in two lengths.
    ///
    /// # Errors
    /// git fails.
    pub async fn initialise(&self, hash: &str) -> Result<(), HostError> {
        let format = if hash.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        // Without a template there are no hooks.
        self.must(None, &[], &["init", "--bare", "--quiet", "--template=", format]).await.map(|_| ())
    }

    /// Writes the files of a commit of the mirror into a directory.
    ///
    /// # Errors
    /// git fails.
    pub async fn check_out(&self, commit: &str, directory: &Path) -> Result<(), HostError> {
        let index = self.mirror.join(INDEX);
        let environment = [("GIT_WORK_TREE", directory), ("GIT_INDEX_FILE", &index)];
        let empty = ["read-tree", "--empty"];
        self.must(None, &environment, &empty).await?;
        self.must(None, &environment, &["read-tree", "--reset", "-u", commit]).await.map(|_| ())
    }

    /// Whether the mirror is the reason of a failure.
    ///
    /// # Errors
    /// git cannot be run.
    pub async fn is_damaged(&self, error: &HostError) -> Result<bool, HostError> {
        // Another format of hashes than the repository's, too, needs another mirror.
        if error.message.contains("mismatched algorithms") {
            return Ok(true);
        }
        let checked = self.run(None, &[], &["fsck", "--no-dangling", "--no-progress"], Wanted::Tail).await?;
        Ok(!checked.status.success())
    }

    /// Finds out whether the user's own configuration says how ssh is run, which then counts.
    ///
    /// # Errors
    /// git cannot be run.
    pub async fn heed_own_ssh(&mut self) -> Result<(), HostError> {
        self.own_ssh = self.answer(&["config", "--get", "core.sshCommand"]).await?.is_some();
        Ok(())
    }

    fn environment(&self, remote: Option<Remote<'_>>) -> Result<BTreeMap<String, String>, HostError> {
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
        configuration.extend(self.configuration.iter().map(|(key, value)| (*key, value.as_str())));
        let login = remote.map(|remote| login::of(remote.url)).transpose()?;
        if let Some(login) = &login {
            // Not among our arguments, where it could be taken for an option.
            configuration.push(("remote.source.url", &login.url));
            configuration.extend(login.configuration.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            for (name, value) in &login.environment {
                set(name, value);
            }
        }
        if remote.is_some_and(|remote| !remote.trusted) {
            set("GIT_PROTOCOL_FROM_USER", "0");
        }
        set("GIT_CONFIG_COUNT", &configuration.len().to_string());
        for (number, (key, value)) in configuration.into_iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{number}"), key);
            set(&format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        if !self.own_ssh && !environment.contains_key("GIT_SSH") {
            environment.entry("GIT_SSH_COMMAND".to_owned()).or_insert_with(|| SSH.to_owned());
        }
        Ok(environment)
    }
}

fn from(remote: Option<Remote<'_>>) -> String {
    remote.map_or_else(String::new, |remote| format!(" from `{}`", public(remote.url)))
}
