//! What goes on with many hosts, for programs: a [`FleetEvent`] on each line of the standard error, beside the log.
//!
//! Not by the log itself: what is nested has no form in its lines but text. Its filter counts all the same.

use jiff::Timestamp;
use tracing::{Level, enabled};

use crate::cli::output::say;
use crate::documents::fleet::{how, verdict};
use crate::documents::fleet_event::{FleetEvent, Happened, HostVerdictDocument, PhaseDocument};
use crate::fleet::phase::{FleetListener, FleetNews, Phase};
use crate::model::event::Event;
use crate::model::fleet::HostName;
use crate::model::names::AppName;
use crate::model::report::Problem;
use crate::model::rollout::HostVerdict;

/// Tells whoever reads it.
#[derive(Debug, Clone)]
pub struct Logged {
    app: AppName,
}

impl Logged {
    /// What goes on with the hosts of that App.
    #[must_use]
    pub fn new(app: &AppName) -> Self {
        Self { app: app.clone() }
    }

    fn tell(&self, host: Option<&HostName>, what: Happened<'_>) {
        if let Some(line) = line(&FleetEvent::new(Timestamp::now(), &self.app, host, what)) {
            say(&line);
        }
    }
}

impl FleetListener for Logged {
    fn phase(&self, host: &HostName, phase: &Phase) {
        if enabled!(Level::INFO) {
            self.tell(Some(host), Happened::Phase(of_phase(phase)));
        }
    }

    fn event(&self, host: &HostName, event: &Event) {
        let told = match event {
            Event::Failed { .. } | Event::KeptOut { .. } | Event::Unhealthy { .. } => enabled!(Level::WARN),
            Event::Begun { .. } | Event::Done { .. } | Event::Settling { .. } => enabled!(Level::INFO),
        };
        if told {
            self.tell(Some(host), Happened::Event { event });
        }
    }

    fn news(&self, host: Option<&HostName>, news: &FleetNews<'_>) {
        let told = match news {
            FleetNews::Trouble(_) => enabled!(Level::WARN),
            _ => enabled!(Level::INFO),
        };
        if told {
            self.tell(host, of_news(news));
        }
    }
}

fn line(event: &FleetEvent<'_>) -> Option<String> {
    Some(serde_json::to_string(event).ok()? + "\n")
}

fn of_phase(phase: &Phase) -> PhaseDocument<'_> {
    match phase {
        Phase::Waiting => PhaseDocument::Waiting,
        Phase::Connecting => PhaseDocument::Connecting,
        Phase::Copying { size } => PhaseDocument::Copying { size: *size },
        Phase::Looking => PhaseDocument::Looking,
        Phase::Seen { actions } => PhaseDocument::Seen { actions: *actions },
        Phase::Changing { step } => PhaseDocument::Changing { step },
        Phase::Holding { length } => PhaseDocument::Holding { length: *length },
        Phase::TakingBack { step } => PhaseDocument::TakingBack { step },
        Phase::Lost { again_in } => PhaseDocument::Lost { again_in: *again_in },
        Phase::Ended(ended) => PhaseDocument::Ended { verdict: verdict(*ended) },
    }
}

fn of_news<'a>(news: &FleetNews<'a>) -> Happened<'a> {
    match *news {
        FleetNews::Wave { wave, hosts, migrate } => Happened::Wave { wave, hosts, migrate },
        FleetNews::Hold { wave, hosts, length } => Happened::Hold { wave, hosts, length },
        FleetNews::Pause { before, length } => Happened::Pause { before_wave: before, length },
        FleetNews::Lost { why, again_in } => Happened::Lost { why, again_in },
        FleetNews::Stopping(text) => Happened::Stopping { text },
        FleetNews::Trouble(trouble) => {
            let problem = Problem { message: trouble.told(), help: trouble.help.clone(), lasting: false };
            Happened::Problem { problem }
        }
        FleetNews::Note(text) => Happened::Note { text },
        FleetNews::Ended { how: ended, hosts, took } => {
            let host = |(host, of): &'a (HostName, HostVerdict)| HostVerdictDocument { host, verdict: verdict(*of) };
            Happened::Ended { outcome: ended.map(how), took, hosts: hosts.iter().map(host).collect() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::testing::{id, noon};
    use crate::fleet::report::Trouble;
    use crate::model::action::Action;
    use crate::model::health::HealthVerdict;
    use crate::model::report::Outcome;
    use crate::model::rollout::RolloutOutcome;

    #[test]
    fn each_kind_is_one_object_on_one_line() {
        let app = AppName::new("shop").unwrap();
        let hosts = ["web1", "web2"].map(|name| HostName::new(name).unwrap());
        let one = Some(&hosts[0]);
        let second = Duration::from_secs;
        let phases = [
            Phase::Waiting,
            Phase::Connecting,
            Phase::Copying { size: 14_000_000 },
            Phase::Looking,
            Phase::Seen { actions: 4 },
            Phase::Changing { step: "switch current to r2".to_owned() },
            Phase::Holding { length: second(10) },
            Phase::TakingBack { step: String::new() },
            Phase::Lost { again_in: second(2) },
            Phase::Ended(HostVerdict::NotTakenBack),
        ];
        let action = || Action::SwitchCurrent { to: id("r2") };
        let events = [
            Event::Begun { action: action(), reason: "r1 is in force".to_owned() },
            Event::Done { action: action(), took: second(1) },
            Event::Failed { action: action(), error: "two\nlines \u{1b}[2J".to_owned(), retry_in: Some(second(1)) },
            Event::Settling { what: "it is starting".to_owned() },
            Event::KeptOut { release: id("r2"), reason: "no".to_owned() },
            Event::Unhealthy { attempt: 1, of: 5, verdict: HealthVerdict::unanswered("connection refused") },
        ];
        let trouble = Trouble {
            causes: vec!["no route".to_owned()],
            help: Some("is it up?".to_owned()),
            ..Trouble::new("cannot reach it")
        };
        let [back, kept_out] = [HostVerdict::TakenBack, HostVerdict::Failed(Outcome::Quarantined)];
        let ended = [(hosts[0].clone(), back), (hosts[1].clone(), kept_out)];
        let of_all = [
            FleetNews::Wave { wave: 1, hosts: &hosts[..1], migrate: true },
            FleetNews::Hold { wave: 1, hosts: &hosts, length: second(10) },
            FleetNews::Pause { before: 2, length: Duration::from_mins(10) },
            FleetNews::Stopping("no more hosts are begun"),
            FleetNews::Ended { how: Some(RolloutOutcome::Stopped), hosts: &ended, took: second(41) },
            FleetNews::Ended { how: None, hosts: &[], took: second(1) },
        ];
        let of_one = [
            FleetNews::Lost { why: "broken pipe", again_in: second(2) },
            FleetNews::Trouble(&trouble),
            FleetNews::Note("waiting: `/srv/shop` is locked"),
        ];
        let all = phases
            .iter()
            .map(|phase| (one, Happened::Phase(of_phase(phase))))
            .chain(events.iter().map(|event| (one, Happened::Event { event })))
            .chain(of_all.iter().map(|news| (None, of_news(news))))
            .chain(of_one.iter().map(|news| (one, of_news(news))));
        let mut text = String::new();
        for (host, what) in all {
            let line = line(&FleetEvent::new(noon(), &app, host, what)).unwrap();
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(line.ends_with("}\n") && line.matches('\n').count() == 1 && !line.contains('\u{1b}'), "{line}");
            assert!(told["apiVersion"] == "trueup/v1" && told["kind"] == "FleetEvent", "{line}");
            assert!(told["type"].is_string() && told["app"] == "shop" && told.get("host").is_some(), "{line}");
            text.push_str(&line);
        }
        insta::assert_snapshot!("fleet_events", text);
    }
}
