//! The words of `reconcile`.

use std::time::Duration;

use clap::Args;

use super::{InForce, Selection, fleet, length};

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
    /// With --dry-run, for manifests that nobody has approved: run nothing in them, and connect to no address in them
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
    /// By what
    #[command(flatten)]
    pub in_force: InForce,
}

/// Passes by the agent.
#[derive(Debug, Args)]
pub struct ByAgent {
    /// Have the running agent make passes, wait for them to end and print the results
    #[arg(
        long,
        conflicts_with_all = [
            "dry_run", "paths", "no_agent", "wait", "hosts", "limit", "forks", "accept_new", "connect_timeout"
        ]
    )]
    pub request: bool,
    /// With --request: do not wait for the passes to end
    #[arg(long, requires = "request")]
    pub no_wait: bool,
}

pub(super) const RECONCILE_HELP: &str = "\
A pass looks at the host, names what differs from the manifest (the drift), closes the gap, looks again, and checks \
health. Where nothing differs, nothing is touched. Outside an App's windows (`sync.windows`) drift is only shown; a \
release that was switched to is judged at any time, and taken back if it fails. With --app, mistakes in files that do not \
concern that App are warnings. Ctrl-C finishes the step in hand, a second one leaves at once; the next pass goes on from \
there.

Without a PATH, the manifests that a running agent has in force are used, and a note says so. With one, an agent that \
has something else in force for the same root brings that back at its next pass: a warning says so beforehand, unless \
--no-agent is given.

An App with `spec.hosts` is reconciled on those hosts, over SSH: all are looked at before any is changed; then they \
change in waves, as `spec.rollout` says, each wave proven before the next. After Ctrl-C no more hosts are begun, and \
those at work finish; a second one leaves them to it.

Examples:
  trueup reconcile --dry-run                    what would be done, and why
  trueup reconcile                              do it, for all Apps
  trueup reconcile --app shop --wait 2m         one App, waiting for a pass that is under way
  trueup reconcile --dry-run --format markdown  a comment for a merge request
  trueup reconcile --request --app shop         by the agent, at once
  trueup reconcile shop.yaml --limit zone=eu    an App with hosts, on those with this label

Exit codes; of several Apps and hosts the worst wins, in the order 1, 3, 4, 2:
  0   converged: nothing differs any more; with --dry-run also: there is drift
  1   an error, or drift is left; a host out of reach
  2   there is drift (only --dry-run --detailed-exitcode)
  3   not healthy, rolled back, taken back, or in quarantine
  4   there is drift, but the App is suspended or outside its windows
  64  wrong usage
  130 ended at once, by a second Ctrl-C";
