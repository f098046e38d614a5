//! The words of what a person does by hand, App by App.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::fleet::Hosts;
use super::{AgentSocket, Called, InForce, Paths, length};
use crate::documents::history::PASSES;
use crate::model::names::ReleaseId;

/// One App, and where its manifest is.
#[derive(Debug, Args)]
pub struct One {
    /// The App's name
    #[arg(value_name = "APP")]
    pub app: String,
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Which host this is
    #[command(flatten)]
    pub called: Called,
}

/// How long to wait for others.
#[derive(Debug, Args)]
pub struct Wait {
    /// How long to wait for a pass over the same root to end; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = length)]
    pub wait: Duration,
}

/// The agent that may run on this host.
#[derive(Debug, Args)]
pub struct Agent {
    /// Where to ask it
    #[command(flatten)]
    pub socket: AgentSocket,
    /// Do it here, even if an agent looks after the App
    #[arg(long)]
    pub no_agent: bool,
}

/// `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Which App
    #[command(flatten)]
    pub one: One,
    /// Go back to this release
    #[arg(
        long,
        value_name = "ID",
        value_parser = id,
        help = "Go back to this release [default: the one that was proven before]"
    )]
    pub to: Option<ReleaseId>,
    /// Why; shown in the status and in the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long to wait
    #[command(flatten)]
    pub wait: Wait,
    /// Who does it
    #[command(flatten)]
    pub agent: Agent,
    /// Which hosts
    #[command(flatten)]
    pub hosts: Hosts,
}

/// `retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// Which App
    #[command(flatten)]
    pub one: One,
    /// Try it now, whatever the App's windows say
    #[arg(long)]
    pub ignore_windows: bool,
    /// How long to wait
    #[command(flatten)]
    pub wait: Wait,
    /// Who does it
    #[command(flatten)]
    pub agent: Agent,
    /// Which hosts
    #[command(flatten)]
    pub hosts: Hosts,
}

/// `suspend`.
#[derive(Debug, Args)]
pub struct Suspend {
    /// Which App
    #[command(flatten)]
    pub one: One,
    /// Why; shown in the status and in the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How long to wait
    #[command(flatten)]
    pub wait: Wait,
    /// Who does it
    #[command(flatten)]
    pub agent: Agent,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Which App
    #[command(flatten)]
    pub one: One,
    /// How long to wait
    #[command(flatten)]
    pub wait: Wait,
    /// Who does it
    #[command(flatten)]
    pub agent: Agent,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Only this App; `-`, and anything with a slash or ending in .yaml or .yml, is a PATH
    #[arg(value_name = "APP")]
    pub app: Option<String>,
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Only the last N passes of each App; 0: all that are still known
    #[arg(long, value_name = "N", default_value_t = PASSES)]
    pub last: usize,
    /// Which host this is
    #[command(flatten)]
    pub called: Called,
    /// By what
    #[command(flatten)]
    pub in_force: InForce,
}

/// `releases`.
#[derive(Debug, Args)]
pub struct Releases {
    /// Which App
    #[command(flatten)]
    pub one: One,
    /// By what
    #[command(flatten)]
    pub in_force: InForce,
}

impl History {
    /// The App that was named, and the paths: the first word may be one of these.
    #[must_use]
    pub fn split(&self) -> (Option<&str>, Paths) {
        let is_path = |word: &&str| {
            *word == "-" || word.contains('/') || [".yaml", ".yml"].iter().any(|suffix| word.ends_with(suffix))
        };
        let path = self.app.as_deref().filter(is_path);
        let paths = path.map(PathBuf::from).into_iter().chain(self.paths.paths.iter().cloned()).collect();
        (self.app.as_deref().filter(|_| path.is_none()), Paths { paths })
    }
}

/// `evidence`.
#[derive(Debug, Args)]
pub struct Evidence {
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Which host this is
    #[command(flatten)]
    pub called: Called,
}

/// `sudoers`.
#[derive(Debug, Args)]
pub struct Sudoers {
    /// Where the manifests are
    #[command(flatten)]
    pub paths: Paths,
    /// Which host this is
    #[command(flatten)]
    pub called: Called,
    /// Who is to run trueup
    #[arg(long, value_name = "NAME", help = "Who is to run trueup [default: the user of each App]")]
    pub user: Option<String>,
}

fn id(text: &str) -> Result<ReleaseId, String> {
    ReleaseId::new(text).map_err(|error| format!("a release's id is {error}"))
}

pub(super) const ROLLBACK_HELP: &str = "\
The release that the manifest names is kept out from now on, and a pass converges to one that was proven on this host: \
`current` moves back, and workers and services follow. No later pass undoes that until the release, workers, services \
or health change in the manifest, or `trueup retry APP` lets the release in again. Migrations are not undone.

An App with `spec.hosts` goes back over SSH, on every host that has the release in force, each by itself; the others are \
left alone. On a host that the App names, only that one goes back, unless --hosts or --limit chooses others.

Examples:
  trueup rollback shop --reason 'orders are lost'
  trueup rollback shop --to 20260110-090000  to a certain release; `trueup releases shop` lists them
  trueup rollback shop shop.yaml --hosts web1,web2  an App with hosts, on two of them

Exit codes; of several hosts the worst wins, in the order 1, 3:
  0   the earlier release is in force; with hosts also: the release is in force on none of them
  1   an error, nothing to go back to, or drift is left; a host out of reach
  3   the earlier release is in force, but not healthy
  64  wrong usage
  130 ended at once, by a second Ctrl-C";

pub(super) const RETRY_HELP: &str = "\
A release that failed its gate, or was rolled back by hand, is not tried again until its manifest changes. This lets \
it in again, and makes a pass.

An App with `spec.hosts` is rolled out over all of them as by `trueup reconcile`, canary first; each host lets the \
release in as its turn comes. On a host that the App names, only that one tries it, unless --hosts or --limit chooses \
others.

Examples:
  trueup retry shop
  trueup retry shop --format json | jq -r '.items[].outcome'
  trueup retry shop shop.yaml --limit zone=eu  an App with hosts, on those with this label

Exit codes; of several hosts the worst wins, in the order 1, 3, 4:
  0   converged, or the release is not kept out
  1   an error, or drift is left; a host out of reach
  3   not healthy, or it failed again and was rolled back; taken back
  4   there is drift, but the App is suspended or outside its windows
  64  wrong usage
  130 ended at once, by a second Ctrl-C";

pub(super) const SUSPEND_HELP: &str = "\
Passes on this host still look and report, but change nothing. A pass that is under way is finished first; an \
agent ends a deployment that has not switched yet. `spec.sync.suspend` in the manifest does the same for every host.

Examples:
  trueup suspend shop --reason 'moving the database'
  trueup resume shop

Exit codes:
  0   the App is suspended
  1   an error
  64  wrong usage";

pub(super) const RESUME_HELP: &str = "\
The next pass acts on the App again. A running agent makes one at once; without an agent, run `trueup reconcile`. \
`spec.sync.suspend` in the manifest stays in force.

Example:
  trueup resume shop && trueup reconcile --app shop

Exit codes:
  0   the App is not suspended by hand on this host
  1   an error
  64  wrong usage";

pub(super) const HISTORY_HELP: &str = "\
Passes that found nothing to do are not listed. The journal holds some 2 MiB for each root; anything older is gone. \
Without a PATH, the manifests that a running agent has in force are used, and a note says so.

Examples:
  trueup history
  trueup history shop --last 3
  trueup history shop --format json | jq '.items[].passes[] | select(.outcome == \"failed\")'

Exit codes:
  0   shown, even if there is none
  1   an error: a manifest is wrong, or the journal cannot be read
  64  wrong usage";

pub(super) const RELEASES_HELP: &str = "\
A release is good once it has passed its gate on this host: one can go back to it. The one made last is listed last. \
What could not be found out in time, such as the size of a large release, is `?`. Without a PATH, the manifests that a \
running agent has in force are used, and a note says so.

Examples:
  trueup releases shop
  trueup releases shop --format json | jq -r '.items[] | select(.state == \"good\") | .id'

Exit codes:
  0   shown
  1   an error: a manifest is wrong, or the host could not be looked at
  64  wrong usage";

pub(super) const EVIDENCE_HELP: &str = "\
Read-only, and always JSON or YAML. Lists every process whose working directory, entry script, program or mapped files \
name a release of these roots. Neither managers nor applications are asked, and nothing is run, so that sudo can allow \
it; a wrong manifest is not quoted.

Examples:
  sudo trueup evidence /etc/trueup/manifests
  trueup evidence | jq '.items[].processes[] | {pid: .process.pid, runs: .evidence.runs}'

Exit codes:
  0   shown
  1   an error: a manifest is wrong, or a root cannot be looked at
  64  wrong usage";

pub(super) const SUDOERS_HELP: &str = "\
For a user who is not root: exactly the commands that trueup falls back on, for these workers and services and no others. \
Run it as root, so that supervisord can be asked for the names of its programs. After a change of workers or services, \
print the rules again, and check them before they replace those in force.

Examples:
  trueup sudoers /etc/trueup/manifests/shop.yaml
  new=$(mktemp) && trueup sudoers --user deploy > \"$new\" && visudo -cf \"$new\" &&
    install -m 440 \"$new\" /etc/sudoers.d/trueup

Exit codes:
  0   printed
  1   an error, or the rules are not complete
  64  wrong usage";
