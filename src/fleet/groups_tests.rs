//! Who speaks for hosts that are equal.

use super::*;
use crate::documents::wire::Report;

#[test]
fn the_first_host_of_the_manifest_speaks_whoever_answers_first() {
    let names = || ["web1", "web2", "web3", "db1"].into_iter().map(|name| HostName::new(name).unwrap());
    let shown = |pid: usize, diff: &str| Shown { diff: diff.to_owned(), text: format!("shop  2 actions\npid {pid}\n") };
    let orders = [[0, 1, 2, 3], [2, 1, 0, 3], [3, 1, 2, 0], [1, 3, 0, 2]];
    for order in orders {
        let mut looked = Looked::new(names(), false);
        for at in order {
            looked.group(at, Outcome::Drift, shown(at, if at == 3 { "-a" } else { "-b" }), "");
        }
        let looked = looked.done(Duration::ZERO);
        let told: Vec<(&str, usize, &str)> = looked
            .groups
            .iter()
            .map(|group| (group.teller.as_str(), group.hosts.len(), group.shown.text.as_str()))
            .collect();
        let expected = [("web1", 3, "shop  2 actions\npid 0\n"), ("db1", 1, "shop  2 actions\npid 3\n")];
        assert_eq!(told, expected, "{order:?}");
        let shown: usize = looked.groups.iter().map(|one| one.shown.text.len() + one.shown.diff.len()).sum();
        assert_eq!(looked.shown, shown);
    }
}

/// A host that lacks something else than its neighbours is told by itself: whoever mends what is shown mends all of them.
#[test]
fn hosts_with_other_troubles_are_no_equals() {
    let seen = |kept_out: Option<&str>, problems: &[&str]| {
        let problem = |text: &&str| Problem { message: (*text).to_owned(), help: None, lasting: true };
        let id = crate::decide::testing::id;
        Summary {
            release: id("r2"),
            current: Some(id("r1")),
            observed: true,
            differs: true,
            unreadable: false,
            actions: 0,
            withheld: None,
            kept_out: kept_out.map(str::to_owned),
            healthy: None,
            complaint: None,
            migrated: false,
            proven: false,
            desired: 2,
            running: 2,
            fresh: 0,
            problems: problems.iter().map(problem).collect(),
        }
    };
    let rows: [(&str, [Summary; 2], usize); 6] = [
        ("the same blocker", [seen(None, &["no user `www`"]), seen(None, &["no user `www`"])], 1),
        ("two blockers", [seen(None, &["no user `www`"]), seen(None, &["`current` is a real directory"])], 2),
        ("one has more", [seen(None, &["no user `www`"]), seen(None, &["no user `www`", "q is not observed"])], 2),
        (
            "other processes",
            [seen(None, &["`q/1` (pid 71) still runs r1"]), seen(None, &["`q/1` (pid 4711) still runs r1"])],
            1,
        ),
        (
            "kept out at another time",
            [
                seen(Some("status = 500"), &["release `r2` failed at 10:00:00: status = 500; `r1` stays in force"]),
                seen(Some("status = 500"), &["release `r2` failed at 10:00:07: status = 500; `r1` stays in force"]),
            ],
            1,
        ),
        (
            "kept out for another reason",
            [
                seen(Some("status = 500"), &["release `r2` failed at 10:00:00: status = 500"]),
                seen(Some("orders are lost"), &["release `r2` was taken back at 10:00:00: orders are lost"]),
            ],
            2,
        ),
    ];
    for (case, summaries, groups) in rows {
        let names = ["web1", "web2"].into_iter().map(|name| HostName::new(name).unwrap());
        let mut looked = Looked::new(names, false);
        for (at, summary) in summaries.into_iter().enumerate() {
            let report = Report {
                exit_code: 1,
                outcome: Outcome::Failed,
                took: Duration::ZERO,
                done: 0,
                failed: 0,
                summary,
                shown: Some(Shown { diff: "-a\n".to_owned(), text: "shop  r2  blocked\n".to_owned() }),
                document: "{}".to_owned(),
            };
            looked.take(at, Duration::ZERO, Ok(Answer { report: Some(Box::new(report)), ..Answer::default() }));
        }
        assert_eq!(looked.done(Duration::ZERO).groups.len(), groups, "{case}");
    }
}
