//! A release taken back by hand on many hosts, for people.

use std::fmt::Write;

use super::board::is_bad;
use super::fleet::each;
use super::shared::troubles;
use super::style::{BAD, DIM, GOOD, STRONG, WARN, paint};
use super::words::{count, safe};
use crate::fleet::report::{HostReport, Rolled};
use crate::model::app::App;
use crate::model::fleet::FleetHost;
use crate::model::length::took;
use crate::model::rollout::{HostVerdict, RolloutOutcome};

/// What it came to: one clear line, then host by host, then what went wrong, and how the release is let in again.
#[must_use]
pub fn gone_back(
    app: &App,
    fleet: &[FleetHost],
    rolled: &Rolled,
    manifest: Option<&str>,
    width: Option<usize>,
) -> String {
    let mut text = format!("{}  {}  {}\n", paint(STRONG, &app.name), safe(app.release.id.as_str()), result(rolled));
    text.push_str(&each(app, &rolled.hosts, width));
    // Of those that have gone back, all that is wrong is that the release is kept out.
    let others: Vec<&HostReport> = rolled.hosts.iter().filter(|host| host.verdict != HostVerdict::GoneBack).collect();
    text.push_str(&troubles(&others, fleet));
    if rolled.hosts.iter().any(|host| matches!(host.verdict, HostVerdict::GoneBack | HostVerdict::NotHealthy)) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: it is kept out until its manifest changes; `trueup retry {}{}` tries it again",
            paint(DIM, "note"),
            app.name,
            manifest.map(|manifest| format!(" {}", safe(manifest))).unwrap_or_default()
        );
    }
    text
}

fn result(rolled: &Rolled) -> String {
    let number = |is: &dyn Fn(HostVerdict) -> bool| rolled.hosts.iter().filter(|host| is(host.verdict)).count();
    let all = count(rolled.hosts.len(), "host");
    let back = number(&|verdict| matches!(verdict, HostVerdict::GoneBack | HostVerdict::NotHealthy));
    // Gone back all the same.
    let sick = number(&|verdict| verdict == HostVerdict::NotHealthy);
    let bad = number(&|verdict| is_bad(verdict) && verdict != HostVerdict::NotHealthy);
    let left = number(&|verdict| matches!(verdict, HostVerdict::NotReached | HostVerdict::Unseen));
    let time = took(rolled.took);
    let head = match rolled.ending.how {
        RolloutOutcome::Interrupted => format!("{} after {time}", paint(WARN, "interrupted")),
        _ if bad > 0 => format!("{} after {time}", paint(BAD, "not taken back everywhere")),
        _ if back == 0 => return format!("{}, it is in force on none of {all}", paint(GOOD, "nothing to take back")),
        _ if sick > 0 => format!("{}, but not healthy everywhere, in {time}", paint(BAD, "taken back")),
        _ => format!("{} in {time}", paint(GOOD, "taken back")),
    };
    let cut_short = rolled.ending.how == RolloutOutcome::Interrupted;
    let mut parts = vec![format!("{}on {back} of {all}", if cut_short { "taken back " } else { "" })];
    for (number, word) in [(sick, "not healthy there"), (bad, "failed"), (left, "not touched")] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    format!("{head}: {}", parts.join(", "))
}
