//! The words of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use self::agent::Agent;
use self::operate::{Evidence, History, Releases, Resume, Retry, Rollback, Sudoers, Suspend};
use crate::agent::web::PLACE;
use crate::manifest::duration;

pub mod agent;
pub mod fleet;
pub mod operate;

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
A manifest says which release, how many workers and what healthy means. Trueup looks at the host, names what \
differs, and takes the fewest steps that close the gap: it moves the `current` link, and replaces only those \
workers that still run another release.

Examples:
  trueup diff                        what differs here, and what would be done about it
  trueup reconcile                   do it
  trueup status manifests/shop.yaml  what one App looks like now

Each verb's own help names its exit codes. Wrong usage exits with 64.";

/// What holds for every verb.
#[derive(Debug, Args)]
pub struct Global {
    /// Form of the result: text, json, yaml; markdown for `diff` and `reconcile --dry-run`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Format::Text,
        value_name = "FORMAT",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub format: Format,
    /// When to use colour: auto, always, never; auto respects `NO_COLOR` and `CLICOLOR`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Colour::Auto,
        value_name = "WHEN",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub color: Colour,
    /// Log on the standard error: -v what is done, -vv what is seen, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
    /// Form of the log: text, json; `TRUEUP_LOG` filters it, such as `trueup=debug`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = LogFormat::Text,
        value_name = "FORMAT",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub log_format: LogFormat,
}

const OUTPUT: &str = "Output";

/// Form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For a comment on a merge request.
    Markdown,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line each, for people.
    Text,
    /// One JSON object each, for programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring this host, or an App's hosts, to what the manifests say
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(Reconcile),
    /// Stay, and reconcile whenever something changes
    #[command(after_help = agent::HELP)]
    Agent(Agent),
    /// Show what differs, how that is known, and what would be done about it
    #[command(after_help = DIFF_HELP)]
    Diff(Diff),
    /// Show what is: releases, workers, health, and what stands in the way
    #[command(after_help = STATUS_HELP)]
    Status(fleet::Look),
    /// Take a release back by hand, and keep it out
    #[command(after_help = operate::ROLLBACK_HELP)]
    Rollback(Rollback),
    /// Try a release again that is in quarantine
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
    /// List the releases of an App: what is known of each, and who uses it
    #[command(after_help = operate::RELEASES_HELP)]
    Releases(Releases),
    /// Print which release every process of these Apps runs, for users who may not see it themselves
    #[command(after_help = operate::EVIDENCE_HELP)]
    Evidence(Evidence),
    /// Print the narrowest sudo rules that these manifests need
    #[command(after_help = operate::SUDOERS_HELP)]
    Sudoers(Sudoers),
    /// Look for the known traps on this host, and say what puts each right
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Doctor),
    /// Check manifests without looking at the host
    #[command(after_help = VALIDATE_HELP)]
    Validate(Paths),
    /// Print the JSON schema of manifests, for editors and other checkers
    #[command(after_help = SCHEMA_HELP)]
    Schema {
        /// Of which kind of document: app, agent
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
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual as roff, or write one page for each verb
    #[command(after_help = MAN_HELP)]
    Man {
        /// Write the pages into this directory instead, one file each
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A manifest.
    App,
    /// The agent's own configuration.
    Agent,
}

/// `reconcile`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Reconcile {
    /// Which Apps
    #[command(flatten)]
    pub selection: Selection,
    /// Change nothing: show what would be done and why
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit with 2 when something would be done
    #[arg(long, requires = "dry_run")]
    pub detailed_exitcode: bool,
    /// With --dry-run, for manifests that nobody has approved: run nothing of them, and connect to no address in them
    #[arg(long, requires = "dry_run", conflicts_with_all = ["hosts", "limit"])]
    pub no_probe: bool,
    /// How long to wait for another pass over the same root to end; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = length)]
    pub wait: Duration,
    /// Act now, whatever the Apps' windows (`sync.windows`) say
    #[arg(long)]
    pub ignore_windows: bool,
    /// Which hosts
    #[command(flatten)]
    pub hosts: fleet::Hosts,
    /// Who does it
    #[command(flatten)]
    pub by: ByAgent,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which Apps
    #[command(flatten)]
    pub selection: Selection,
    /// Which host this is
    #[command(flatten)]
    pub called: Called,
    /// By what
    #[command(flatten)]
    pub in_force: InForce,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Which Apps and hosts
    #[command(flatten)]
    pub look: fleet::Look,
    /// For manifests that nobody has approved: run nothing of them, and connect to no address in them
    #[arg(long, conflicts_with_all = ["hosts", "limit"])]
    pub no_probe: bool,
}

/// Passes by the agent.
#[derive(Debug, Args)]
pub struct ByAgent {
    /// Ask the running agent for passes, wait for their end and print what came of them
    #[arg(
        long,
        conflicts_with_all = ["dry_run", "paths", "wait", "hosts", "limit", "forks", "accept_new", "connect_timeout"]
    )]
    pub request: bool,
    /// With --request: do not wait
    #[arg(long, requires = "request")]
    pub no_wait: bool,
    /// Where to ask
    #[command(flatten)]
    pub socket: AgentSocket,
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
    /// Without a PATH, what a running agent has in force counts; this goes by manifests/ or /etc/trueup/manifests/ all the
    /// same
    #[arg(long)]
    pub no_agent: bool,
}

/// Where the agent of this host is reached.
#[derive(Debug, Args)]
pub struct AgentSocket {
    /// Where the agent listens
    #[arg(
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
    /// Which host of `spec.hosts` this one is; else the one that `TRUEUP_HOST` names, or /etc/trueup/agent.yaml, or the one of
    /// its hostname
    #[arg(long = "as", value_name = "NAME", value_parser = fleet::name_or_none)]
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
}

/// Which manifests.
#[derive(Debug, Args)]
pub struct Paths {
    /// Manifest files, directories (every *.yaml and *.yml directly in them), - for the standard input; else
    /// manifests/, else /etc/trueup/manifests/
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
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

const RECONCILE_HELP: &str = "\
A pass looks at the host, names what differs, closes it, looks again, and asks for health. A settled host is left \
alone. Outside an App's windows drift is only shown; a release that was switched to is judged at any time, and taken back \
where it fails. With --app, what is wrong in files that have nothing to do with that App is only told. Ctrl-C finishes the step in hand, a second one leaves at once; the next pass goes on from there.

An App with `spec.hosts` is for those hosts, over SSH: all are looked at before any is changed; then they change in waves, \
as `spec.rollout` says, each wave proven before the next. Ctrl-C begins no more hosts and lets those at work finish; a \
second one leaves them to it.

Examples:
  trueup reconcile                              all Apps
  trueup reconcile --app shop --wait 2m         one App, waiting for a pass that is under way
  trueup reconcile --dry-run --format markdown  a comment for a merge request
  trueup reconcile --request --app shop         by the agent, at once
  trueup reconcile shop.yaml --limit zone=eu    an App with hosts, on those with this label

Exit codes; of several Apps and hosts the worst wins, in the order 1, 3, 4, 2:
  0   converged; with --dry-run also: there is drift
  1   an error, or drift is left; a host out of reach
  2   there is drift (only --dry-run --detailed-exitcode)
  3   not healthy, rolled back, taken back, or in quarantine
  4   there is drift, but the App is suspended or outside its windows
  64  wrong usage
  130 ended at once, by a second Ctrl-C";

const DIFF_HELP: &str = "\
Where an agent answers and no PATH is given, what it has in force counts, and a note says so.

A look asks the application for its health, by what the manifest says: an address, with headers from files, or a command. \
Whoever writes the manifest decides what that is. So let no branch be shown on a host before it is merged but with \
--no-probe: health is not asked; of supervisord, only the host's own socket, without a password; hosts in a file are \
not read; an App with `spec.hosts` is refused. All else is shown as ever.

Examples:
  trueup diff                    all Apps
  trueup diff --format markdown  a comment for a merge request
  trueup diff - < shop.yaml      a manifest from elsewhere
  trueup diff - --no-probe       one that nobody has approved, such as a merge request's
  trueup diff --hosts web1,web2  an App with `spec.hosts`, on two of them

Exit codes:
  0   nothing differs
  1   something differs, or the release is in quarantine
  2   an error: a manifest is wrong, or the host could not be looked at
  64  wrong usage";

const STATUS_HELP: &str = "\
JSON and YAML are the manifests themselves with `status:` filled in: the conditions Ready, Healthy, \
WorkersCurrent, Reconciling and Stalled, and every worker with the release that it runs. What cannot be read is \
Unknown, never well. Where an agent answers and no PATH is given, what it has in force counts, and a note says so. \
Manifests that are wrong are told, and hide no others.

Examples:
  trueup status
  trueup status --app shop --format yaml
  trueup status --limit zone=eu   an App with `spec.hosts`, on those with this label
  trueup status --format json | jq '.items[].status.conditions[] | select(.type == \"Ready\")'

Exit codes; of several Apps the worst wins, in the order 1, 3, 2:
  0   as it should be, and healthy where there is a health contract
  1   an error: a manifest is wrong, newer ones are refused by the agent, or the host could not be looked at
  2   something differs, or cannot be told
  3   not healthy, or in quarantine
  64  wrong usage";

const DOCTOR_HELP: &str = "\
Nothing is changed. The configuration of supervisord, systemd, nginx and php-fpm is read as far as this user may read \
it: what could not be told is said, with what would let it be told. Each trap comes with its place, why it matters, \
and lines to paste; -v also lists what is fine. Where an agent answers and no PATH is given, what it has in force counts, \
and a note says so.

Examples:
  trueup doctor
  sudo -u deploy trueup doctor manifests/shop.yaml  what this user lacks
  trueup doctor --format json | jq '(.host, .items[].findings)[] | select(.severity == \"error\")'

Exit codes:
  0   nothing, or notes only
  1   an error: a manifest is wrong, or the host could not be looked at
  2   warnings, or something could not be told
  3   something is wrong that a deployment will fail by
  64  wrong usage";

const VALIDATE_HELP: &str = "\
Every mistake of every file is reported, each with file, line, column and a remedy. A file that is named and has \
`kind: Agent` is checked as the agent's own configuration.

Examples:
  trueup validate
  trueup validate manifests/shop.yaml --format json
  trueup validate /etc/trueup/agent.yaml

Exit codes:
  0   all of them are right
  1   at least one is not
  64  wrong usage";

const SCHEMA_HELP: &str = "\
Editors use it when it is named in the first line of a manifest:
  # yaml-language-server: $schema=app.v1.json

Examples:
  trueup schema > app.v1.json
  trueup schema --kind agent > agent.v1.json  of the agent's own configuration

Exit codes:
  0   printed
  1   an error: it cannot be written
  64  wrong usage";

const COMPLETIONS_HELP: &str = "\
Examples:
  trueup completions bash > /etc/bash_completion.d/trueup
  trueup completions zsh > \"${fpath[1]}/_trueup\"

Exit codes:
  0   printed
  1   an error: it cannot be written
  64  wrong usage";

const MAN_HELP: &str = "\
Examples:
  trueup man | man -l -
  trueup man --out /usr/local/share/man/man1

Exit codes:
  0   printed, or written
  1   an error: it cannot be written
  64  wrong usage";
