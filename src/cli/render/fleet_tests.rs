use std::time::Duration;

use super::*;
use crate::cli::render::board::{Board, Hint};
use crate::decide::testing::{app, id};
use crate::documents::wire::{Report, Shown, Status};
use crate::fleet::ask::{Answer, Unanswered};
use crate::fleet::phase::Phase;
use crate::fleet::reach::{Broken, Unreached};
use crate::fleet::report::{Migrations, Trouble};
use crate::model::report::{Outcome, Problem};
use crate::model::rollout::RolloutEnding;

fn the_app() -> App {
    app("r2", Vec::new())
}

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn summary(current: &str, fresh: u32) -> Summary {
    Summary {
        release: id("r2"),
        current: Some(id(current)),
        observed: true,
        differs: current != "r2",
        unreadable: false,
        actions: if current == "r2" { 0 } else { 4 },
        withheld: None,
        kept_out: None,
        healthy: Some(true),
        complaint: None,
        migrated: false,
        proven: false,
        desired: 2,
        running: 2,
        fresh,
        problems: Vec::new(),
    }
}

fn host(text: &str, verdict: HostVerdict, current: Option<&str>, done: usize) -> HostReport {
    HostReport {
        verdict,
        summary: current.map(|current| summary(current, 2)),
        done,
        took: Duration::from_millis(if done > 0 { 2_140 } else { 0 }),
        ..HostReport::new(name(text))
    }
}

fn of(how: RolloutOutcome, waves: usize, hosts: Vec<HostReport>) -> Rolled {
    let each = hosts.iter().map(|host| (host.name.clone(), host.verdict)).collect();
    Rolled {
        ending: RolloutEnding { how, failed: hosts.iter().filter(|host| is_bad(host.verdict)).count(), hosts: each },
        hosts,
        waves,
        migrations: Migrations::default(),
        took: Duration::from_millis(12_400),
    }
}

fn unreached(broken: Broken, message: &str, help: &str, in_hand: bool) -> Unanswered {
    Unanswered::Unreached(Unreached { broken, message: message.to_owned(), help: Some(help.to_owned()), in_hand })
}

fn report(outcome: Outcome, current: &str, shown: &str, diff: &str) -> Report {
    Report {
        exit_code: 0,
        outcome,
        took: Duration::ZERO,
        done: 0,
        failed: 0,
        summary: summary(current, if current == "r2" { 2 } else { 0 }),
        shown: Some(Shown { diff: diff.to_owned(), text: shown.to_owned() }),
        document: "{}".to_owned(),
    }
}

#[test]
fn a_rollout_ends_with_a_line_for_each_host() {
    let converged = vec![
        host("web1", HostVerdict::Changed, Some("r2"), 5),
        host("web2", HostVerdict::Changed, Some("r2"), 5),
        host("web3", HostVerdict::Settled, Some("r2"), 0),
    ];
    let mut failed = vec![
        host("web1", HostVerdict::TakenBack, Some("r1"), 9),
        host("web2", HostVerdict::RolledBack, Some("r1"), 8),
        host("web3", HostVerdict::NotReached, Some("r1"), 0),
        host("web4", HostVerdict::Lost, None, 0),
    ];
    failed[1].trouble(Trouble {
        message: "not healthy: `status == 200` does not hold: status = 500".to_owned(),
        causes: Vec::new(),
        help: None,
    });
    failed[3].trouble(
        unreached(
            Broken::Lost,
            "the connection to `web4` did not come back",
            "see what it does: `trueup history`",
            true,
        )
        .into(),
    );
    let mut not_begun =
        vec![host("web1", HostVerdict::Unreachable, None, 0), host("web2", HostVerdict::NotReached, Some("r1"), 0)];
    not_begun[0].trouble(
        unreached(Broken::HostKey, "the key of `web1` is not the known one", "find out why before you trust it", false)
            .into(),
    );
    let mut unhealthy = vec![
        host("web1", HostVerdict::Refused(Outcome::Unhealthy), Some("r2"), 0),
        host("web2", HostVerdict::NotReached, Some("r1"), 0),
    ];
    unhealthy[0].trouble(Trouble::new("not healthy: no answer"));
    let mut hindered = [&unhealthy[..], &unhealthy[..1], &not_begun[..1]].concat();
    hindered.iter_mut().zip(1..).for_each(|(host, number)| host.name = name(&format!("web{number}")));
    let settled: Vec<HostReport> =
        (1..=14).map(|number| host(&format!("web{number}"), HostVerdict::Settled, Some("r2"), 0)).collect();
    let mut mixed = settled.clone();
    mixed[3] = host("web4", HostVerdict::Changed, Some("r2"), 1);
    let allowed = vec![
        host("web1", HostVerdict::Changed, Some("r2"), 5),
        host("web2", HostVerdict::Unreachable, None, 0),
        host("web3", HostVerdict::RolledBack, Some("r1"), 8),
        host("web4", HostVerdict::Withheld, Some("r1"), 0),
    ];
    let mut allowed_many: Vec<HostReport> =
        (1..=4).map(|number| host(&format!("web{number}"), HostVerdict::Unreachable, None, 0)).collect();
    allowed_many.push(host("web5", HostVerdict::Changed, Some("r2"), 5));
    let interrupted =
        vec![host("web1", HostVerdict::Changed, Some("r2"), 5), host("web2", HostVerdict::NotReached, Some("r1"), 0)];
    let rows = [
        ("converged", of(RolloutOutcome::Complete, 2, converged)),
        ("stopped", of(RolloutOutcome::Stopped, 2, failed)),
        ("not_begun", of(RolloutOutcome::NotBegun, 0, not_begun)),
        ("unhealthy", of(RolloutOutcome::NotBegun, 0, unhealthy)),
        ("hindered", of(RolloutOutcome::NotBegun, 0, hindered)),
        ("settled", of(RolloutOutcome::Complete, 0, settled)),
        ("mixed", of(RolloutOutcome::Complete, 1, mixed)),
        ("allowed", of(RolloutOutcome::Complete, 2, allowed)),
        ("allowed_many", of(RolloutOutcome::Complete, 2, allowed_many)),
        ("interrupted", of(RolloutOutcome::Interrupted, 1, interrupted)),
        ("left_out", Rolled::left_out(["web1", "web2"].iter().map(|text| name(text)))),
    ];
    for (case, rolled) in rows {
        insta::assert_snapshot!(format!("fleet_{case}"), plain(&super::rolled(&the_app(), &[], &rolled, Some(100))));
    }
}

fn seen() -> Looked {
    let names = ["web1", "web2", "web3", "web4", "web5"];
    let mut looked = Looked::new(names.iter().map(|text| name(text)), false);
    let drift = |pid: u32| {
        let diff = "--- observed\n+++ desired\n@@ -1 +1 @@\n-    id: r1\n+    id: r2\n";
        let text = format!("shop  r2  4 actions would close the drift\n\n{diff}\n  1  restart web_01 (pid {pid})\n");
        Answer { report: Some(Box::new(report(Outcome::Drift, "r1", &text, diff))), ..Answer::default() }
    };
    let settled = || {
        let told = "shop  r2  nothing to do\n";
        Answer { report: Some(Box::new(report(Outcome::Converged, "r2", told, ""))), ..Answer::default() }
    };
    let silent = unreached(Broken::Connect, "cannot connect to `web5`: connection refused", "is it up?", false);
    // As they come, not as they are written.
    let answers = [(3, Ok(drift(9))), (4, Err(silent)), (1, Ok(settled())), (0, Ok(drift(7))), (2, Ok(drift(8)))];
    for (at, answer) in answers {
        looked.take(at, Duration::from_millis(80), answer);
    }
    looked.done(Duration::from_millis(300))
}

#[test]
fn equal_differences_are_shown_once() {
    let looked = seen();
    let groups: Vec<Vec<&str>> =
        looked.groups.iter().map(|group| group.hosts.iter().map(HostName::as_str).collect()).collect();
    assert_eq!(groups, [vec!["web1", "web3", "web4"], vec!["web2"]]);
    let wave = |is_canary, hosts: &[&str]| Wave { is_canary, hosts: hosts.iter().map(|text| name(text)).collect() };
    let waves = [wave(true, &["web1"]), wave(false, &["web3", "web4"])];
    insta::assert_snapshot!("fleet_dry_run", plain(&super::looked(&the_app(), &[], &looked, &waves, Some(100))));
    insta::assert_snapshot!("fleet_dry_run_markdown", markdown(&the_app(), &[], &looked, &waves));
    let many: Vec<Wave> = (1..=14).map(|number| wave(false, &[format!("h{number}").as_str(); 14])).collect();
    let told = plain(&super::looked(&the_app(), &[], &looked, &many, None));
    let line = told.lines().nth(1).unwrap();
    assert!(line.contains(", h1 and 2 more · 2 h2, ") && line.ends_with(", h12 and 2 more · and 2 more"), "{line}");
}

#[test]
fn what_a_host_says_means_nothing_to_markdown() {
    let mut looked = Looked::new(std::iter::once(name("web1")), false);
    looked.take(0, Duration::ZERO, Err(unreached(Broken::Connect, "<img src=x> @all\n# [a](b)", "*see* it", false)));
    looked.hosts[0].troubles[0].causes = vec!["a | <b>".to_owned()];
    let told = markdown(&the_app(), &[], &looked.done(Duration::ZERO), &[]);
    let expected =
        "\n:warning: `web1`: &lt;img src=x&gt; \\@all \\# \\[a\\](b)<br>cause: a \\| &lt;b&gt;<br>help: \\*see\\* it\n";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn the_state_of_hosts_is_a_table_and_what_is_not_well_in_full() {
    let mut looked = Looked::new(["web1", "web2", "web3", "web4"].iter().map(|text| name(text)), false);
    let status = |exit_code, summary, text: &str| {
        let status = Status { exit_code, summary, document: "{}".to_owned(), text: text.to_owned() };
        Ok(Answer { status: Some(Box::new(status)), ..Answer::default() })
    };
    looked.take(0, Duration::ZERO, status(0, summary("r2", 2), "all is well\n"));
    let sick = Summary { healthy: Some(false), ..summary("r1", 1) };
    looked.take(1, Duration::ZERO, status(3, sick, "shop  /srv/shop\n  Healthy  False\u{1b}[2J\n"));
    let silent = unreached(Broken::Auth, "`web3` does not let us in", "add this user's key there", false);
    looked.take(2, Duration::ZERO, Err(silent));
    looked.take(3, Duration::ZERO, status(1, Summary { observed: false, ..summary("r2", 2) }, "not observed\n"));
    insta::assert_snapshot!(
        "fleet_status",
        plain(&super::status(&the_app(), &[], &looked.done(Duration::ZERO), Some(100)))
    );
}

#[test]
fn problems_of_a_host_that_cannot_be_changed_are_told() {
    let mut looked = Looked::new(std::iter::once(name("web1")), false);
    let mut blocked = report(Outcome::Failed, "r1", "shop  r2  blocked: nothing may be touched\n", "");
    blocked.summary.problems =
        vec![Problem { message: "`current` is a directory".to_owned(), help: None, lasting: false }];
    looked.take(0, Duration::ZERO, Ok(Answer { report: Some(Box::new(blocked)), ..Answer::default() }));
    let looked = looked.done(Duration::ZERO);
    assert_eq!(looked.hosts[0].troubles.len(), 1);
    assert_eq!(looked.hosts[0].verdict, HostVerdict::Refused(Outcome::Failed));
}

#[test]
fn the_board_fits_any_terminal() {
    use unicode_width::UnicodeWidthStr;
    let names: Vec<HostName> = (1..=9).map(|number| name(&format!("web{number}"))).collect();
    let mut board = Board::new("shop  r2", names.iter());
    let second = Duration::from_secs;
    let rows = [
        ("web1", Phase::Ended(HostVerdict::Changed)),
        ("web2", Phase::Changing { step: "restart shop-worker:shop-worker_00 (pid 4711)".to_owned() }),
        ("web3", Phase::Holding { length: second(10) }),
        ("web4", Phase::Lost { again_in: second(2) }),
        ("web5", Phase::Ended(HostVerdict::Unreachable)),
        ("web6", Phase::Seen { actions: 4 }),
        ("web7", Phase::Copying { size: 14_000_000 }),
        ("web8", Phase::Ended(HostVerdict::Settled)),
    ];
    for (host, phase) in &rows {
        board.phase(&name(host), phase, second(3));
    }
    board.phase(&name("web2"), &Phase::Changing { step: "prove r2".to_owned() }, second(8));
    let shown = |width, height, hint| plain(&board.lines(second(12), width, height, hint).join("\n"));
    insta::assert_snapshot!("board_wide", shown(100, 30, Hint::EndsAfterThese));
    insta::assert_snapshot!("board_low", shown(80, 7, Hint::Ending));
    for (hint, told) in
        [(Hint::EndsAtOnce, "  Ctrl-C stops"), (Hint::Stopped, "  stopped; the others are not looked at")]
    {
        assert!(shown(100, 30, hint).ends_with(told), "{hint:?}");
    }
    for width in [0, 1, 5, 12, 20, 33, 80, 200] {
        for height in [0, 1, 2, 3, 5, 11, 50] {
            let lines = board.lines(second(12), width, height, Hint::Ending);
            assert!(lines.len() <= height.max(3), "{} lines in {height}", lines.len());
            for line in lines {
                let line = plain(&line);
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn a_release_taken_back_by_hand_is_told_host_by_host() {
    let kept_out = || Trouble::new("release `r2` was taken back: orders are lost");
    let mut back = vec![
        host("web1", HostVerdict::GoneBack, Some("r1"), 4),
        host("web2", HostVerdict::GoneBack, Some("r1"), 4),
        host("web3", HostVerdict::Settled, Some("r1"), 0),
    ];
    back.iter_mut().take(2).for_each(|host| host.trouble(kept_out()));
    let mut failed = vec![
        host("web1", HostVerdict::GoneBack, Some("r1"), 4),
        host("web2", HostVerdict::NotTakenBack, None, 0),
        host("web3", HostVerdict::NotHealthy, Some("r1"), 4),
        host("web4", HostVerdict::Unreachable, None, 0),
    ];
    failed[1].trouble(Trouble {
        help: Some("commit a manifest with another release".to_owned()),
        ..Trouble::new("there is no release to go back to from `r2`")
    });
    failed[2].trouble(Trouble::new("not healthy: `status == 200` does not hold: status = 500"));
    failed[3].trouble(unreached(Broken::Connect, "cannot connect to `web4`", "is it up?", false).into());
    let interrupted = vec![
        host("web1", HostVerdict::GoneBack, Some("r1"), 4),
        host("web2", HostVerdict::NotReached, Some("r2"), 0),
        host("web3", HostVerdict::Unseen, None, 0),
    ];
    let nowhere =
        vec![host("web1", HostVerdict::Settled, Some("r1"), 0), host("web2", HostVerdict::Settled, Some("r1"), 0)];
    let rows = [
        ("everywhere", of(RolloutOutcome::Complete, 0, back)),
        ("failed", of(RolloutOutcome::Complete, 0, failed)),
        ("interrupted", of(RolloutOutcome::Interrupted, 0, interrupted)),
        ("nowhere", of(RolloutOutcome::Complete, 0, nowhere)),
    ];
    for (case, rolled) in rows {
        let told = crate::cli::render::fleet_back::gone_back(&the_app(), &[], &rolled, Some("shop.yaml"), Some(100));
        insta::assert_snapshot!(format!("fleet_back_{case}"), plain(&told));
    }
}
