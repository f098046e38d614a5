//! What `diff` ends with over hosts.

use std::time::Duration;

use super::*;
use crate::decide::testing::id;
use crate::documents::wire::{Failed, Fault, Report, Summary};
use crate::fleet::ask::{Answer, Unanswered};
use crate::fleet::reach::{Broken, Unreached};
use crate::model::names::HostName;
use crate::model::report::Outcome;

/// What a host answers; none: nobody has asked it.
type HostSaid = Option<Result<Answer, Unanswered>>;

fn answer(change: impl FnOnce(&mut Summary)) -> Answer {
    let mut summary = Summary {
        release: id("r2"),
        current: Some(id("r2")),
        observed: true,
        differs: false,
        unreadable: false,
        actions: 0,
        withheld: None,
        kept_out: None,
        healthy: None,
        complaint: None,
        migrated: false,
        proven: false,
        desired: 2,
        running: 2,
        fresh: 2,
        problems: Vec::new(),
    };
    change(&mut summary);
    let report = Report {
        exit_code: 0,
        outcome: Outcome::Drift,
        took: Duration::ZERO,
        done: 0,
        failed: 0,
        summary,
        shown: None,
        document: "{}".to_owned(),
    };
    Answer { report: Some(Box::new(report)), ..Answer::default() }
}

#[test]
fn what_cannot_be_told_of_one_host_cannot_be_told_of_all() {
    let told = |change: fn(&mut Summary)| Some(Ok(answer(change)));
    let same = || told(|_| ());
    let differs = || told(|summary| summary.differs = true);
    let kept_out = || told(|summary| summary.kept_out = Some("it failed".to_owned()));
    // A manager did not answer: what else differs is no proof that nothing more does.
    let in_part = || told(|summary| (summary.differs, summary.unreadable) = (true, true));
    let only_in_part = || told(|summary| summary.unreadable = true);
    let unseen = || told(|summary| summary.observed = false);
    let away = || {
        let (broken, message) = (Broken::Connect, "cannot connect".to_owned());
        Some(Err(Unanswered::Unreached(Unreached { broken, message, help: None, in_hand: false })))
    };
    let refused = || Some(Err(Unanswered::Refused(Failed::new(Fault::Host, "no"))));
    let nothing = || Some(Ok(Answer::default()));
    let rows: [(&str, Vec<HostSaid>, u8); 13] = [
        ("nobody", vec![], 0),
        ("all the same", vec![same(), same()], 0),
        ("one differs", vec![same(), differs(), same()], 1),
        ("one keeps it out", vec![same(), kept_out()], 1),
        ("a part could not be looked at", vec![in_part()], 2),
        ("a part, of which nothing else differs", vec![same(), only_in_part()], 2),
        ("a part of one, and another differs", vec![differs(), in_part(), differs()], 2),
        ("not looked at over there", vec![unseen(), differs()], 2),
        ("out of reach", vec![same(), away()], 2),
        ("it refuses", vec![refused(), differs()], 2),
        ("it says something else", vec![nothing(), same()], 2),
        ("its turn did not come", vec![same(), None], 2),
        ("nobody's turn came", vec![None, None], 2),
    ];
    for (name, hosts, expected) in rows {
        let names = (0..hosts.len()).map(|at| HostName::new(format!("h{at}")).unwrap());
        let mut looked = Looked::new(names, false);
        for (at, heard) in hosts.into_iter().enumerate() {
            if let Some(answer) = heard {
                looked.take(at, Duration::ZERO, answer);
            }
        }
        let mut came = HostsOutcome { each: vec![looked.done(Duration::ZERO)], wish: StopWish::GoOn };
        for (wish, expected) in
            [(StopWish::GoOn, expected), (StopWish::NoMore, expected), (StopWish::Leave, INTERRUPTED)]
        {
            came.wish = wish;
            assert_eq!(diff_code(&came), expected, "{name}, {wish:?}");
        }
    }
}
