//! The words of what looks and changes nothing.

use clap::Args;

use super::{Called, InForce, Selection, fleet};

/// `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Which Apps and hosts
    #[command(flatten)]
    pub look: fleet::Look,
    /// For manifests that nobody has approved: run nothing in them, and connect to no address in them
    #[arg(long, conflicts_with_all = ["hosts", "limit"])]
    pub no_probe: bool,
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

pub(super) const DIFF_HELP: &str = "\
Without a PATH, the manifests that a running agent has in force are used, and a note says so.

A diff asks the application for its health as the manifest says: at an address, with headers from files, or by a \
command. Whoever writes the manifest chooses that, so use --no-probe for a branch that is not merged. Then health is \
not asked, supervisord is reached only through the host's own socket and without a password, files of hosts are not \
read, and an App with `spec.hosts` is refused. Everything else is shown as usual.

Examples:
  trueup diff                    all Apps
  trueup diff --format markdown  a comment for a merge request
  trueup diff - < shop.yaml      a manifest from elsewhere
  trueup diff - --no-probe       one that nobody has approved, such as that of a merge request
  trueup diff --hosts web1,web2  an App with `spec.hosts`, on two of them

Exit codes:
  0   nothing differs
  1   something differs, or the release is in quarantine
  2   an error: a manifest is wrong, or the host could not be looked at
  64  wrong usage
  130 ended at once, by a second Ctrl-C";

pub(super) const STATUS_HELP: &str = "\
A table comes first, then each App with its workers. WORKERS is how many run of those that are wanted, FRESH how many \
of those run the release and the configuration that they should, SINCE how long ago `current` was moved. STATE sums up: \
`ready`, `drift` (a pass would change something), `kept out` (the desired release has failed here, or was rolled back by \
hand), `not healthy`, or why nothing is changed, such as `suspended`. An App with `spec.hosts` has a line for each host.

JSON and YAML are the manifests themselves with `status:` filled in: the conditions Ready, Healthy, \
WorkersCurrent, Reconciling and Stalled, and every worker with the release that it runs. What cannot be read is \
reported as Unknown, never as fine. Without a PATH, the manifests that a running agent has in force are used, and a note \
says so. Manifests that are wrong are reported, and hide no others.

Examples:
  trueup status
  trueup status --app shop --format yaml
  trueup status --limit zone=eu   an App with `spec.hosts`, on those with this label
  trueup status --format json | jq '.items[].status.conditions[] | select(.type == \"Ready\")'

Exit codes; of several Apps and hosts the worst wins, in the order 1, 3, 2:
  0   as it should be, and healthy where there is a health contract
  1   an error: a manifest is wrong, newer ones are refused by the agent, or a host could not be looked at
  2   something differs, or could not be determined
  3   not healthy, or in quarantine
  64  wrong usage
  130 ended at once, by a second Ctrl-C";

pub(super) const DOCTOR_HELP: &str = "\
Nothing is changed. The configuration of supervisord, systemd, nginx and php-fpm is read as far as this user may read \
it: what could not be determined is reported, with what it would take. Each trap comes with its place, why it matters, \
and lines to paste; -v also lists what is fine. Without a PATH, the manifests that a running agent has in force are \
used, and a note says so.

Examples:
  trueup doctor
  sudo -u deploy trueup doctor manifests/shop.yaml  what this user lacks
  trueup doctor --format json | jq '(.host, .items[].findings)[] | select(.severity == \"error\")'

Exit codes:
  0   nothing, or notes only
  1   an error: a manifest is wrong, or the host could not be looked at
  2   warnings, or something could not be determined
  3   something is wrong that will make a deployment fail
  64  wrong usage";
