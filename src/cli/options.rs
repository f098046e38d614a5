//! The words of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};

use self::agent::Agent;
use self::authoring::Kind;
pub use self::global::{Colour, Format, Global, LogFormat};
use self::inspect::{Diff, Doctor};
use self::operate::{Evidence, History, Releases, Resume, Retry, Rollback, Sudoers, Suspend};
use self::reconcile::Reconcile;
use crate::agent::web::PLACE;
use crate::manifest::duration;

pub mod agent;
pub mod authoring;
pub mod fleet;
mod global;
pub mod inspect;
pub mod operate;
pub mod reconcile;

/// Reconciles web applications on plain Linux hosts with their manifests
#[derive(Debug, Parser)]
#[command(name = "trueup", version, max_term_width = 100, after_help = ABOUT)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
    /// What holds for every verb
    #[command(flatten)]
    pub global: Global,
}

const ABOUT: &str = "\
A manifest describes an application (an App): which release is to be in force, how many workers run it, and what \
healthy means. trueup looks at the host, names what differs (the drift), and takes the fewest steps that close the gap: it \
moves the `current` link, and replaces only those workers that still run another release. To look, close the gap and look \
again is a pass; `trueup reconcile` makes one, the agent whenever something changes.

Examples:
  trueup validate shop.yaml          whether a manifest is right; nothing is looked at
  trueup diff                        what differs here, and what would be done about it
  trueup reconcile                   do it
  trueup status manifests/shop.yaml  what one App looks like now

Each verb's own help names its exit codes. Wrong usage exits with 64.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring this host, or an App's hosts, to what the manifests say
    #[command(after_help = reconcile::RECONCILE_HELP)]
    Reconcile(Reconcile),
    /// Keep running, and reconcile whenever something changes
    #[command(after_help = agent::HELP)]
    Agent(Agent),
    /// Show what differs, how that is known, and what would be done about it
    #[command(after_help = inspect::DIFF_HELP)]
    Diff(Diff),
    /// Show the present state: releases, workers, health, and what stands in the way
    #[command(after_help = inspect::STATUS_HELP)]
    Status(fleet::Look),
    /// Roll back to an earlier release, and keep this one out
    #[command(after_help = operate::ROLLBACK_HELP)]
    Rollback(Rollback),
    /// Try a quarantined release again
    #[command(after_help = operate::RETRY_HELP)]
    Retry(Retry),
    /// Leave an App alone on this host
    #[command(after_help = operate::SUSPEND_HELP)]
    Suspend(Suspend),
    /// Act on a suspended App again
    #[command(after_help = operate::RESUME_HELP)]
    Resume(Resume),
    /// Show what passes did, when and why
    #[command(after_help = operate::HISTORY_HELP)]
    History(History),
    /// List the releases of an App: what is known about each, and what uses it
    #[command(after_help = operate::RELEASES_HELP)]
    Releases(Releases),
    /// Print which release every process of these Apps runs, for users who may not see it themselves
    #[command(after_help = operate::EVIDENCE_HELP)]
    Evidence(Evidence),
    /// Print the narrowest sudo rules that these manifests need
    #[command(after_help = operate::SUDOERS_HELP)]
    Sudoers(Sudoers),
    /// Look for known traps on this host, and say how to fix each
    #[command(after_help = inspect::DOCTOR_HELP)]
    Doctor(Doctor),
    /// Check manifests without looking at the host
    #[command(after_help = authoring::VALIDATE_HELP)]
    Validate(Paths),
    /// Print the JSON schema of manifests, for editors and other checkers
    #[command(after_help = authoring::SCHEMA_HELP)]
    Schema {
        /// Kind of document: app, agent
        #[arg(
            long,
            value_enum,
            default_value_t = Kind::App,
            value_name = "KIND",
            hide_possible_values = true,
            hide_default_value = true
        )]
        kind: Kind,
    },
    /// Print a completion script for a shell
    #[command(after_help = authoring::COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual as roff, or write one page for each verb
    #[command(after_help = authoring::MAN_HELP)]
    Man {
        /// Write the pages into this directory instead, one file each
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// Which manifests, and which Apps of them.
#[derive(Debug, Args)]
pub struct Selection {
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Only this App; may be given several times
    #[arg(long = "app", value_name = "NAME")]
    pub apps: Vec<String>,
}

/// What counts where no PATH is given.
#[derive(Debug, Args)]
pub struct InForce {
    /// Where to ask what is in force
    #[command(flatten)]
    pub socket: AgentSocket,
    /// Without a PATH, use manifests/ or /etc/trueup/manifests/ even if an agent is running
    #[arg(long)]
    pub no_agent: bool,
}

/// Where the agent of this host is reached.
#[derive(Debug, Args)]
pub struct AgentSocket {
    /// Where the agent listens
    #[arg(
        id = "socket",
        long = "socket",
        value_name = "PATH",
        env = "TRUEUP_SOCKET",
        hide_env_values = true,
        default_value = PLACE,
        value_parser = place(PLACE),
        value_hint = ValueHint::FilePath
    )]
    pub path: PathBuf,
}

/// What this host is called.
#[derive(Debug, Args)]
pub struct Called {
    /// Which host of `spec.hosts` this one is
    #[arg(
        long = "as",
        value_name = "NAME",
        value_parser = fleet::name_or_none,
        help = "Which host of `spec.hosts` this one is [default: the one that TRUEUP_HOST or /etc/trueup/agent.yaml \
                names, else the one of its hostname]"
    )]
    pub called: Option<String>,
}

impl Verb {
    /// Which host of the manifests this one is said to be, for a verb that is about the host that it runs on.
    #[must_use]
    pub fn called(&self) -> Option<&str> {
        let called = match self {
            Self::Rollback(Rollback { one, .. })
            | Self::Retry(Retry { one, .. })
            | Self::Suspend(Suspend { one, .. })
            | Self::Resume(Resume { one, .. })
            | Self::Releases(Releases { one, .. }) => &one.called,
            Self::History(History { called, .. })
            | Self::Evidence(Evidence { called, .. })
            | Self::Sudoers(Sudoers { called, .. })
            | Self::Doctor(Doctor { called, .. }) => called,
            Self::Reconcile(_)
            | Self::Agent(_)
            | Self::Diff(_)
            | Self::Status(_)
            | Self::Validate(_)
            | Self::Schema { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => return None,
        };
        // An environment may have an empty one.
        called.called.as_deref().filter(|name| !name.is_empty())
    }

    /// The manifests that a verb which tells of Apps was pointed to.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        let paths = match self {
            Self::Reconcile(Reconcile { selection, .. })
            | Self::Diff(Diff { look: fleet::Look { selection, .. }, .. })
            | Self::Status(fleet::Look { selection, .. })
            | Self::Doctor(Doctor { selection, .. }) => &selection.paths,
            Self::Rollback(Rollback { one, .. })
            | Self::Retry(Retry { one, .. })
            | Self::Suspend(Suspend { one, .. })
            | Self::Resume(Resume { one, .. })
            | Self::Releases(Releases { one, .. }) => &one.paths,
            Self::Agent(_)
            | Self::History(_)
            | Self::Evidence(_)
            | Self::Sudoers(_)
            | Self::Validate(_)
            | Self::Schema { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => return &[],
        };
        &paths.paths
    }
}

/// Which manifests.
#[derive(Debug, Args)]
pub struct Paths {
    /// Manifest files, directories (every *.yaml and *.yml directly in them), or - for the standard input
    #[arg(
        value_name = "PATH",
        value_hint = ValueHint::AnyPath,
        help = "Manifest files, directories (every *.yaml and *.yml directly in them), or - for the standard input \
                [default: manifests/, else /etc/trueup/manifests/]"
    )]
    pub paths: Vec<PathBuf>,
}

fn length(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    duration::parse(text).map_err(|error| format!("{error}; {}", error.help(text)))
}

/// ssh counts whole seconds.
fn a_second(text: &str) -> Result<Duration, String> {
    let length = length(text)?;
    if length.subsec_nanos() > 0 || length.is_zero() {
        return Err("write whole seconds, 1s at least".to_owned());
    }
    Ok(length)
}

/// A path; an empty one, as an environment may have it, is the usual one.
fn place(usual: &'static str) -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(move |text| PathBuf::from(if text.is_empty() { usual.into() } else { text }))
}

fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write a whole number, 1 at least".to_owned())
}
