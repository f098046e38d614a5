//! Why an action is taken: the drift that it closes, in words.

use crate::model::drift::{Drift, ServiceStale, Spare, StaleBecause};
use crate::model::names::ReleaseId;
use crate::model::observed::{Link, MemberState, Runs};

/// Why an action is taken, for people.
pub(super) fn reason(drift: &Drift) -> String {
    match drift {
        Drift::HoldOver { .. } => "what it was held for is over".to_owned(),
        Drift::SharedNotLinked { paths, .. } if paths.is_empty() => "a fetched release has no links yet".to_owned(),
        Drift::SharedNotLinked { paths, .. } => {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            format!("it lacks {}", paths.join(", "))
        }
        Drift::StageDue { commands: 1, .. } => "not done yet; 1 command".to_owned(),
        Drift::StageDue { commands, .. } => format!("not done yet; {commands} commands"),
        Drift::ServiceStale { because, .. } => match because {
            ServiceStale::Serves(other) => format!("still serves {other}"),
            ServiceStale::OlderThanSwitch => "has processes that are older than the switch".to_owned(),
            ServiceStale::Switched => "current was switched, or is about to be".to_owned(),
            ServiceStale::Config(path) => format!("last renewed before {path} changed"),
        },
        Drift::ReleaseNotProven { .. } => "it has not passed its gate yet".to_owned(),
        Drift::ReleaseSurplus { why: Spare::Failed, .. } => "it has failed, and is not wanted any more".to_owned(),
        Drift::ReleaseSurplus { why: Spare::Unproven, .. } => {
            "it was never proven, and is not wanted any more".to_owned()
        }
        Drift::ReleaseSurplus { keep: 1, .. } => "1 release is kept".to_owned(),
        Drift::ReleaseSurplus { keep, .. } => format!("{keep} releases are kept"),
        Drift::ReleaseNotFetched { source, .. } => format!("not in releases/ yet; its source is {source}"),
        Drift::CurrentElsewhere { observed, .. } => match observed {
            Link::Absent => "current is absent".to_owned(),
            Link::Release { id } => format!("current leads to {id}"),
            Link::Dangling { target } => format!("current leads nowhere ({target})"),
            Link::Outside { target } => format!("current leads out of releases/ ({target})"),
            Link::NotALink { what } => format!("current is a real {what}"),
        },
        Drift::ConfigChanged { path, .. } => format!("{path} has changed"),
        Drift::WorkerDown { state: None, .. } => "missing".to_owned(),
        Drift::WorkerDown { state: Some(state), detail, .. } => match (state, detail.as_str()) {
            (MemberState::Failed, "") => "given up by its manager".to_owned(),
            (MemberState::Failed, detail) => format!("given up by its manager: {detail}"),
            (state, _) => state.to_string(),
        },
        Drift::WorkerStale { because: StaleBecause::Config(path), .. } => format!("started before {path} changed"),
        Drift::WorkerStale { because: StaleBecause::Command, .. } => "its command has changed".to_owned(),
        Drift::WorkerStale { evidence, desired, .. } => match &evidence.runs {
            // Of these there is one for every worker: pieces are joined in one allocation.
            Runs::Release { id } => ["runs ", id.as_str(), " (", &evidence.seen, ")"].concat(),
            Runs::Deleted { id } => format!("runs {id}, which was deleted ({})", evidence.seen),
            Runs::Mixed { ids } => {
                let ids: Vec<&str> = ids.iter().map(ReleaseId::as_str).collect();
                format!("runs a mix of {}", ids.join(" and "))
            }
            Runs::BeforeSwitch => format!("started before current was switched ({})", evidence.seen),
            Runs::AfterSwitch | Runs::Unknown => format!("does not run {desired} ({})", evidence.seen),
        },
        Drift::WorkerUnknown { evidence, .. } => format!("runs nobody knows what: {}", evidence.seen),
        Drift::WorkerSurplus { count, state, .. } => {
            format!("{state}, and {count} {} wanted", if *count == 1 { "is" } else { "are" })
        }
        Drift::WorkerNotEnabled { .. } => "would not come back after a reboot".to_owned(),
        Drift::StrayRunning { stray } => match &stray.orphan_of {
            Some(group) => format!("left behind by a former {group}: {} ({})", stray.command, stray.evidence.seen),
            None => format!("owned by no group: {} ({})", stray.command, stray.evidence.seen),
        },
    }
}
