//! One line for the service manager: how many Apps there are, and which of them are not as they should be.

use std::fmt::Write;

use crate::model::report::Outcome;

/// So many Apps are named of each sort.
const NAMED: usize = 5;

/// What the line says of one App.
#[derive(Debug, Clone, Copy)]
pub(super) struct AppSummary<'a> {
    pub(super) name: &'a str,
    /// How its last pass ended that has seen the host; none: none has.
    pub(super) ended: Option<Outcome>,
}

/// One line over all Apps.
pub(super) fn line(apps: &[AppSummary<'_>]) -> String {
    let all = apps.len();
    let mut line = format!("{all} App{}", if all == 1 { "" } else { "s" });
    let waiting = apps.iter().filter(|app| app.ended.is_none()).count();
    if waiting > 0 {
        // Writing to a string cannot fail.
        let _ = write!(line, ", {waiting} not looked at yet");
    }
    for sort in ["failing", "with a release kept out", "with drift left alone"] {
        let of_it = apps.iter().filter(|app| app.ended.and_then(trouble) == Some(sort));
        let names: Vec<&str> = of_it.map(|app| app.name).collect();
        if !names.is_empty() {
            let more = if names.len() > NAMED { ", …" } else { "" };
            let named: Vec<&str> = names.iter().take(NAMED).copied().collect();
            let _ = write!(line, ", {} {sort}: {}{more}", names.len(), named.join(", "));
        }
    }
    line
}

fn trouble(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Failed | Outcome::Unhealthy => Some("failing"),
        Outcome::RolledBack | Outcome::Quarantined => Some("with a release kept out"),
        Outcome::Withheld => Some("with drift left alone"),
        Outcome::Converged | Outcome::Drift | Outcome::Interrupted => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_is_named() {
        use Outcome::{Converged, Failed, Interrupted, Quarantined, RolledBack, Unhealthy, Withheld};
        let rows: [(&[Option<Outcome>], &str); 7] = [
            (&[], "0 Apps"),
            (&[Some(Converged)], "1 App"),
            (&[None, Some(Interrupted)], "2 Apps, 1 not looked at yet"),
            (&[Some(Failed), Some(Converged), Some(Unhealthy)], "3 Apps, 2 failing: a, c"),
            (&[Some(RolledBack), Some(Quarantined)], "2 Apps, 2 with a release kept out: a, b"),
            (
                &[Some(Withheld), Some(RolledBack), Some(Failed)],
                "3 Apps, 1 failing: c, 1 with a release kept out: b, 1 with drift left alone: a",
            ),
            (&[Some(Failed); 6], "6 Apps, 6 failing: a, b, c, d, e, …"),
        ];
        for (ended, expected) in rows {
            let names = ["a", "b", "c", "d", "e", "f"];
            let apps: Vec<AppSummary<'_>> =
                names.into_iter().zip(ended).map(|(name, ended)| AppSummary { name, ended: *ended }).collect();
            assert_eq!(line(&apps), expected);
        }
    }
}
