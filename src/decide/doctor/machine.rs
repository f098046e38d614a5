//! The machine itself: clock, inotify, and what `/proc` shows.

use crate::model::facts::HostFacts;
use crate::model::finding::{Finding, Severity};
use crate::model::process::Known;

/// The kernel's own least for a machine with little memory.
const WATCHES: u64 = 8192;
/// The kernel's default.
const INSTANCES: u64 = 128;

pub(super) fn findings(facts: &HostFacts) -> Vec<Finding> {
    vec![
        clock(&facts.clock_synchronised),
        inotify("host.inotifyWatches", "max_user_watches", &facts.inotify_watches, WATCHES),
        inotify("host.inotifyInstances", "max_user_instances", &facts.inotify_instances, INSTANCES),
        hidden(facts),
    ]
}

fn clock(synchronised: &Known<bool>) -> Finding {
    const CHECK: &str = "host.clock";
    const MEND: &str = "timedatectl set-ntp true";
    match synchronised {
        Known::Known(true) => Finding::ok(CHECK, "the clock is synchronised"),
        Known::Known(false) => Finding::new(CHECK, Severity::Note, "the clock is not synchronised with any other")
            .why(
                "a clock that is set by hand, or jumps, misleads what goes by times: which process is older than a \
                 switch, certificates, the history",
            )
            .mend(MEND),
        // Containers and small machines have no systemd-timedated, and are no worse for it.
        Known::Unknown(why) => {
            Finding::new(CHECK, Severity::Note, format!("whether the clock is synchronised cannot be told: {why}"))
                .mend("timedatectl show --property=NTPSynchronized")
        }
    }
}

fn inotify(check: &'static str, name: &str, limit: &Known<u64>, least: u64) -> Finding {
    match limit {
        Known::Known(limit) if *limit >= least => Finding::ok(check, format!("inotify: {name} is {limit}")),
        Known::Known(limit) => Finding::new(check, Severity::Warning, format!("inotify: {name} is {limit}"))
            .why("changes of manifests and files would be seen by a timer only, once others have used up the limit")
            .mend(format!("echo fs.inotify.{name} = {least} > /etc/sysctl.d/60-inotify.conf && sysctl --system")),
        Known::Unknown(why) => Finding::unknown(check, format!("inotify: {why}"), format!("sysctl fs.inotify.{name}")),
    }
}

fn hidden(facts: &HostFacts) -> Finding {
    const CHECK: &str = "host.hiddenProcesses";
    match &facts.hidden_processes {
        Known::Known(false) => Finding::ok(CHECK, "`/proc` shows all processes"),
        Known::Known(true) => {
            let found = format!("`/proc` hides the processes of others from {} (hidepid)", facts.user.name);
            Finding::new(CHECK, Severity::Warning, found)
                .why("which release a worker of another user runs cannot be told, nor who still uses an old one")
                .mend("mount -o remount,hidepid=0 /proc  # or gid= of a group that the user is in")
        }
        Known::Unknown(why) => Finding::unknown(CHECK, why.clone(), "findmnt /proc"),
    }
}
