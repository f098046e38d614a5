//! What is worth a line of its own in the work over many hosts, in words. Pure.

use super::words::count;
use crate::fleet::phase::FleetNews;
use crate::model::fleet::HostName;
use crate::model::length::limit;

/// Most hosts that are named one by one.
const NAMED: usize = 8;

/// The line, as it comes: what it quotes may not be fit for a terminal. None for what is told elsewhere.
#[must_use]
pub fn words(news: &FleetNews<'_>) -> Option<String> {
    Some(match news {
        FleetNews::Wave { wave, hosts, migrate } => {
            let named: Vec<&str> = hosts.iter().take(NAMED).map(HostName::as_str).collect();
            let more = hosts.len().saturating_sub(named.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let migrates = if *migrate { ", which runs the migrations" } else { "" };
            format!("wave {wave}: {}{more}{migrates}", named.join(", "))
        }
        FleetNews::Hold { wave, hosts, length } => {
            let have = if hosts.len() == 1 { "has" } else { "have" };
            format!("wave {wave}: {} {have} to stay healthy for {}", count(hosts.len(), "host"), limit(*length))
        }
        FleetNews::Pause { before, length } => format!("pause of {} before wave {before}", limit(*length)),
        FleetNews::Lost { why, again_in: _ } => format!("lost: {why}"),
        FleetNews::Stopping(text) | FleetNews::Note(text) => (*text).to_owned(),
        FleetNews::Trouble(trouble) => trouble.told(),
        // The summary tells.
        FleetNews::Ended { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::report::Trouble;
    use crate::model::rollout::RolloutOutcome;

    #[test]
    fn each_is_one_line_or_none() {
        let hosts: Vec<HostName> = (1..=10).map(|number| HostName::new(format!("web{number}")).unwrap()).collect();
        let (one, two) = (&hosts[..1], &hosts[..2]);
        let (length, again_in) = (Duration::from_mins(10), Duration::from_secs(2));
        let trouble = Trouble { causes: vec!["no route".to_owned()], ..Trouble::new("cannot reach it") };
        let rows = [
            (FleetNews::Wave { wave: 1, hosts: one, migrate: true }, Some("wave 1: web1, which runs the migrations")),
            (
                FleetNews::Wave { wave: 3, hosts: &hosts, migrate: false },
                Some("wave 3: web1, web2, web3, web4, web5, web6, web7, web8 and 2 more"),
            ),
            (FleetNews::Hold { wave: 1, hosts: one, length }, Some("wave 1: 1 host has to stay healthy for 10m")),
            (FleetNews::Hold { wave: 2, hosts: two, length }, Some("wave 2: 2 hosts have to stay healthy for 10m")),
            (FleetNews::Pause { before: 3, length }, Some("pause of 10m before wave 3")),
            (FleetNews::Lost { why: "broken pipe", again_in }, Some("lost: broken pipe")),
            (FleetNews::Stopping("no more"), Some("no more")),
            (FleetNews::Note("a note"), Some("a note")),
            (FleetNews::Trouble(&trouble), Some("cannot reach it: no route")),
            (FleetNews::Ended { how: Some(RolloutOutcome::Complete), hosts: &[], took: length }, None),
        ];
        for (news, expected) in rows {
            assert_eq!(words(&news).as_deref(), expected, "{news:?}");
        }
    }
}
