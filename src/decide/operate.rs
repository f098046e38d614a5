//! What a person may ask for: a release taken back, and tried again.
//!
//! Both only change a record. What follows from that is an ordinary plan for the release that is aimed at then.

use jiff::Timestamp;

use crate::decide::aim::{quarantine, ways_back};
use crate::model::app::App;
use crate::model::names::ReleaseId;
use crate::model::observed::{Layout, Link};
use crate::model::record::{Judge, Making, Quarantine, ReleaseRecord};
use crate::model::report::Problem;

/// The record that takes the desired release back, to `to` or to the last proven one.
///
/// # Errors
/// It is not in force, or there is nothing to go back to; with the releases that there are.
pub fn take_back(
    app: &App,
    layout: &Layout,
    records: &[ReleaseRecord],
    to: Option<&ReleaseId>,
    reason: &str,
    at: Timestamp,
) -> Result<ReleaseRecord, Problem> {
    let desired = &app.release.id;
    let kept_out = quarantine(app, records);
    if layout.link != (Link::Release { id: desired.clone() }) {
        match (kept_out, to) {
            // Another way back than the one that was gone.
            (Some(_), Some(_)) => {}
            (Some(_), None) => {
                return Err(refusal(
                    format!("release `{desired}` is kept out already, and current is {}", layout.link),
                    "name another release to go back to with `--to`",
                ));
            }
            (None, _) => {
                return Err(refusal(
                    format!("release `{desired}` is not in force: current is {}", layout.link),
                    &format!(
                        "to keep it from coming, commit a manifest without it, or leave everything as it is: \
                         `trueup suspend {}`",
                        app.name
                    ),
                ));
            }
        }
    }
    let mut candidates: Vec<&ReleaseRecord> = ways_back(app, layout, records).collect();
    candidates.sort_by_key(|record| std::cmp::Reverse((record.proven.max(record.switched), record.id.clone())));
    let names: Vec<String> = candidates.iter().map(|record| format!("`{}`", record.id)).collect();
    let others = match names.as_slice() {
        [] => "no other release is there, whole and proven".to_owned(),
        [only] => format!("only {only} can be gone back to"),
        many => format!("choose one of {}", many.join(", ")),
    };
    match to {
        None if candidates.is_empty() => {
            return Err(refusal(
                format!("there is no release to go back to from `{desired}`: {others}"),
                "commit a manifest with another release",
            ));
        }
        Some(to) if !candidates.iter().any(|record| record.id == *to) => {
            let message = format!("cannot go back to `{to}`: {}", unfit(app, layout, records, to));
            return Err(refusal(message, &others));
        }
        None | Some(_) => {}
    }
    let known = records.iter().find(|record| record.id == *desired).cloned();
    let known = known.unwrap_or_else(|| ReleaseRecord::adopted(desired.clone(), at));
    let quarantine = Quarantine {
        key: app.fingerprint.trial.clone(),
        at,
        by: Judge::Operator,
        reason: reason.to_owned(),
        evidence: Vec::new(),
        held: false,
        back_to: to.cloned(),
    };
    Ok(ReleaseRecord { proven: None, quarantine: Some(quarantine), ..known })
}

/// The record that lets the desired release be tried again; none when it is not kept out.
#[must_use]
pub fn try_again(app: &App, records: &[ReleaseRecord]) -> Option<ReleaseRecord> {
    quarantine(app, records)?;
    let record = records.iter().find(|record| record.id == app.release.id)?;
    Some(ReleaseRecord { quarantine: None, ..record.clone() })
}

/// The App as it is seen once [`try_again`] has let its release in, for a look that writes nothing down.
#[must_use]
pub fn as_tried_again(app: &App) -> App {
    let mut again = app.clone();
    // A quarantine is of what was tried, and of nothing else.
    again.fingerprint.trial.push_str(" again");
    again
}

/// Why a release cannot be gone back to, in the order in which it would be noticed.
fn unfit(app: &App, layout: &Layout, records: &[ReleaseRecord], to: &ReleaseId) -> String {
    let record = records.iter().find(|record| record.id == *to);
    match record {
        _ if *to == app.release.id => "it is the one that is to be taken back".to_owned(),
        _ if layout.release(to).is_none() => "it is not there".to_owned(),
        Some(ReleaseRecord { made: Making::Building | Making::Fetched, .. }) => "it is only half a release".to_owned(),
        Some(record) => match record.kept_out() {
            Some(quarantine) => format!("it is kept out itself: {}", quarantine.reason),
            None => "it was never proven on this host".to_owned(),
        },
        None => "it was never proven on this host".to_owned(),
    }
}

fn refusal(message: String, help: &str) -> Problem {
    Problem { message, help: Some(help.to_owned()), lasting: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::aim::aim;
    use crate::decide::testing::{app, id, mended, noon, record, seen};
    use crate::model::observed::Aim;

    fn taken(link: &str, records: &[ReleaseRecord], to: Option<&str>) -> Result<ReleaseRecord, Problem> {
        let to = to.map(id);
        take_back(&app("r3", vec![]), &seen(link, vec![]).layout, records, to.as_ref(), "slow", noon())
    }

    fn with(records: &[ReleaseRecord], one: ReleaseRecord) -> Vec<ReleaseRecord> {
        let mut all: Vec<ReleaseRecord> = records.iter().filter(|record| record.id != one.id).cloned().collect();
        all.push(one);
        all
    }

    #[test]
    fn a_release_taken_back_leads_to_the_last_proven_one_or_to_the_chosen_one_until_it_is_tried_again() {
        let records = [record("r1", 20), record("r2", 10), record("r3", 5)];
        let (wanted, layout) = (app("r3", vec![]), seen("r3", vec![]).layout);
        for (to, expected) in [(None, "r2"), (Some("r2"), "r2"), (Some("r1"), "r1")] {
            let record = taken("r3", &records, to).unwrap();
            assert_eq!(record.proven, None, "it has to pass its gate again");
            let after = with(&records, record);
            assert_eq!(aim(&wanted, &layout, &after), Aim::Back { to: id(expected) }, "{to:?}");
            let again = with(&after, try_again(&wanted, &after).unwrap());
            assert_eq!(aim(&wanted, &layout, &again), Aim::Desired, "{to:?}");
            let foreseen = as_tried_again(&wanted);
            assert_eq!(
                (aim(&foreseen, &layout, &after), quarantine(&foreseen, &after)),
                (Aim::Desired, None),
                "{to:?}"
            );
            assert_eq!(try_again(&wanted, &again), None);
        }
        // What was mended under the same id and is good can be gone back to.
        let mended = [record("r1", 20), mended("r2", 10), record("r3", 5)];
        let after = with(&mended, taken("r3", &mended, None).unwrap());
        assert_eq!(aim(&wanted, &layout, &after), Aim::Back { to: id("r2") });
        // One that nobody wrote down is taken back, too.
        assert!(taken("r3", &records[..2], None).unwrap().quarantine.is_some());
    }

    #[test]
    fn another_way_back_can_be_chosen_later() {
        let records = [record("r1", 20), record("r2", 10), record("r3", 5)];
        let after = with(&records, taken("r3", &records, None).unwrap());
        let chosen = with(&after, taken("r2", &after, Some("r1")).unwrap());
        assert_eq!(aim(&app("r3", vec![]), &seen("r2", vec![]).layout, &chosen), Aim::Back { to: id("r1") });
    }

    #[test]
    fn what_cannot_be_taken_back_is_told_with_what_can_be_done() {
        let all = [record("r1", 20), record("r2", 10), record("r3", 5)];
        let alone = [record("r3", 5)];
        let half = with(&all, ReleaseRecord { made: Making::Building, ..record("r1", 20) });
        let new = with(&all, ReleaseRecord { proven: None, ..record("r1", 20) });
        let kept_out = with(&all, taken("r3", &all, None).unwrap());
        let rows = [
            ("r2", &all[..], None, "release `r3` is not in force: current is r2"),
            ("r2", &all[..], Some("r1"), "release `r3` is not in force: current is r2"),
            ("r2", &kept_out, None, "release `r3` is kept out already, and current is r2"),
            (
                "r3",
                &alone,
                None,
                "there is no release to go back to from `r3`: no other release is there, whole and proven",
            ),
            ("r3", &all, Some("r9"), "cannot go back to `r9`: it is not there"),
            ("r3", &all, Some("r3"), "cannot go back to `r3`: it is the one that is to be taken back"),
            ("r3", &half, Some("r1"), "cannot go back to `r1`: it is only half a release"),
            ("r3", &new, Some("r1"), "cannot go back to `r1`: it was never proven on this host"),
            ("r3", &all[1..], Some("r1"), "cannot go back to `r1`: it was never proven on this host"),
        ];
        for (link, records, to, message) in rows {
            let problem = taken(link, records, to).unwrap_err();
            assert_eq!(problem.message, message);
            assert!(problem.help.is_some(), "{message}");
        }
        let choose = |records: &[ReleaseRecord]| taken("r3", records, Some("r9")).unwrap_err().help.unwrap();
        assert_eq!(choose(&all), "choose one of `r2`, `r1`");
        assert_eq!(choose(&half), "only `r2` can be gone back to");
        assert_eq!(choose(&alone), "no other release is there, whole and proven");
    }
}
