//! Which statuses commits get, that each of them has an end, and who is told of what.

use tokio::sync::mpsc;

use super::*;
use crate::decide::schedule::Schedule;
use crate::decide::testing::{app, noon, report};

/// What the loop tells of.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Manifests of that commit are in force.
    Well(&'static str),
    /// Those of that one cannot be.
    Refused(&'static str),
    /// The commit in force says nothing new of the App, which is well.
    Stands,
    /// A pass has begun.
    Began,
    /// It has ended.
    Ended(Outcome),
    /// The App is not in the manifests any more, and left running.
    Orphaned,
    /// Nor is it, and loses its workers, …
    Leaves,
    /// … which it has lost.
    Left,
}

fn tell(publisher: &mut Publisher, wish: &App, deed: Deed) {
    let revision = |commit: &str| Revision {
        commit: commit.to_owned(),
        subject: String::new(),
        author: String::new(),
        at: noon(),
        signed_by: None,
    };
    match deed {
        Deed::Well(commit) => publisher.well(Some(&revision(commit)), noon()),
        Deed::Refused(commit) => {
            let (kind, message) = (SourceProblemKind::Wrong, "web.yaml:3: wrong".to_owned());
            let revision = Some(revision(commit));
            publisher.refused(&SourceProblem { kind, revision, message, help: None, mistakes: Vec::new() }, noon());
        }
        Deed::Stands => publisher.stands(wish),
        Deed::Began => publisher.began(&wish.name),
        Deed::Ended(outcome) => {
            let state = Schedule::new(wish.sync.clone(), 1).state(noon());
            publisher.ended(wish, &report(wish, outcome, &[]), &state, false);
        }
        Deed::Orphaned => publisher.orphaned(&wish.name, true, noon()),
        Deed::Leaves => publisher.orphaned(&wish.name, false, noon()),
        Deed::Left => publisher.left(&wish.name),
    }
}

/// The statuses of the App that are told, each with its commit.
fn told(deeds: &[Deed]) -> Vec<String> {
    let (queue, mut posted) = mpsc::channel(64);
    let mut publisher = Publisher::new(None, Some(StatusPoster::into(queue)));
    let wish = app("r1", Vec::new());
    for deed in deeds {
        tell(&mut publisher, &wish, *deed);
    }
    let all = std::iter::from_fn(|| posted.try_recv().ok()).inspect(|one| assert!(!one.reason.is_empty(), "{one:?}"));
    all.filter(|one| one.app.is_some()).map(|one| format!("{} {:?}", one.commit, one.state)).collect()
}

#[test]
fn each_commit_has_its_statuses_and_its_end() {
    use Deed::{Began, Ended, Leaves, Left, Orphaned, Refused, Stands, Well};
    use Outcome::{Converged, Failed, Interrupted, RolledBack, Unhealthy, Withheld};
    let rows: [(&str, &[Deed], &[&str]); 18] = [
        (
            "left as it was by the next one",
            &[Well("c1"), Began, Ended(Converged), Well("c2"), Stands, Began, Ended(Converged), Began, Ended(Failed)],
            &["c1 Pending", "c1 Success", "c2 Success", "c2 Success", "c2 Failure"],
        ),
        (
            "left as it was by an earlier one",
            &[Well("c1"), Began, Ended(Converged), Well("c2"), Stands, Well("c1"), Stands, Stands],
            &["c1 Pending", "c1 Success", "c2 Success", "c1 Success"],
        ),
        ("a pass", &[Well("c1"), Began, Ended(Converged)], &["c1 Pending", "c1 Success"]),
        (
            "a way back",
            &[Well("c1"), Began, Ended(RolledBack), Well("c2"), Began, Ended(Converged)],
            &["c1 Pending", "c1 Failure", "c2 Pending", "c2 Success"],
        ),
        (
            "one that turns bad later, and good again",
            &[Well("c1"), Began, Ended(Converged), Began, Ended(Unhealthy), Began, Ended(Converged)],
            &["c1 Pending", "c1 Success", "c1 Failure", "c1 Success"],
        ),
        (
            "ended early, and gone on with",
            &[Well("c1"), Began, Ended(Interrupted), Began, Ended(Converged)],
            &["c1 Pending", "c1 Success"],
        ),
        (
            "superseded in its pass",
            &[Well("c1"), Began, Well("c2"), Ended(Interrupted), Began, Ended(Converged)],
            &["c1 Pending", "c1 Superseded", "c2 Pending", "c2 Success"],
        ),
        (
            "superseded after it had been ended early",
            &[Well("c1"), Began, Ended(Interrupted), Well("c2"), Began],
            &["c1 Pending", "c1 Superseded", "c2 Pending"],
        ),
        (
            "good, and a later pass superseded",
            &[Well("c1"), Began, Ended(Converged), Began, Well("c2"), Ended(Interrupted), Began, Ended(Failed)],
            &["c1 Pending", "c1 Success", "c2 Pending", "c2 Failure"],
        ),
        (
            "judged although a newer one has come",
            &[Well("c1"), Began, Well("c2"), Ended(Converged), Began, Ended(Converged)],
            &["c1 Pending", "c1 Success", "c2 Pending", "c2 Success"],
        ),
        (
            "a newer one that is refused changes nothing",
            &[Well("c1"), Began, Refused("c2"), Ended(Interrupted), Began, Ended(Converged)],
            &["c1 Pending", "c1 Success"],
        ),
        (
            "withheld, and then in its hours",
            &[Well("c1"), Began, Ended(Withheld), Began, Ended(Converged)],
            &["c1 Pending", "c1 Pending", "c1 Success"],
        ),
        (
            "withheld until a newer one came",
            &[Well("c1"), Began, Ended(Withheld), Well("c2"), Began, Ended(Withheld)],
            &["c1 Pending", "c1 Pending", "c1 Superseded", "c2 Pending", "c2 Pending"],
        ),
        (
            "good, and drift that is withheld later",
            &[Well("c1"), Began, Ended(Converged), Began, Ended(Withheld), Well("c2"), Began],
            &["c1 Pending", "c1 Success", "c2 Pending"],
        ),
        (
            "gone back to an earlier one",
            &[
                Well("c1"),
                Began,
                Ended(Converged),
                Well("c2"),
                Began,
                Well("c1"),
                Ended(Interrupted),
                Began,
                Ended(Failed),
            ],
            &["c1 Pending", "c1 Success", "c2 Pending", "c2 Superseded", "c1 Pending", "c1 Failure"],
        ),
        ("gone before it was judged", &[Well("c1"), Began, Well("c2"), Orphaned], &["c1 Pending", "c1 Superseded"]),
        (
            "gone afterwards",
            &[Well("c1"), Began, Ended(Converged), Well("c2"), Orphaned],
            &["c1 Pending", "c1 Success"],
        ),
        (
            "gone, and seen off",
            &[Well("c1"), Began, Ended(Withheld), Well("c2"), Leaves, Began, Left],
            &["c1 Pending", "c1 Pending", "c1 Superseded", "c2 Pending", "c2 Success"],
        ),
    ];
    for (name, deeds, expected) in rows {
        assert_eq!(told(deeds), expected, "{name}");
    }
}

/// Who is told from when on, and by whom what is wrong is heard.
#[test]
fn what_is_wrong_is_told_to_whoever_has_not_heard_of_it() {
    let ((queue, mut all), (apart, mut some)) = (mpsc::channel(64), mpsc::channel(64));
    let told_are =
        |names: &[&str]| Publisher::new(Some(NotificationQueue::into_both(queue.clone(), apart.clone(), names)), None);
    let (mut publisher, wish) = (Publisher::default(), app("r1", Vec::new()));
    let mut heard = |publisher: &mut Publisher, outcome| {
        tell(publisher, &wish, Deed::Refused("c1"));
        tell(publisher, &wish, Deed::Ended(outcome));
        let all = std::iter::from_fn(|| all.try_recv().ok()).map(|one: Telling| format!("all: {}", one.news));
        let some = std::iter::from_fn(|| some.try_recv().ok())
            .map(|(names, one): (BTreeSet<String>, Telling)| format!("{names:?}: {}", one.news));
        all.chain(some).collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(heard(&mut publisher, Outcome::Unhealthy), nothing);
    assert_eq!(publisher.heard(&wish.name).map(|heard| heard.told), Some(ToldOfApp::default()), "nobody was told");
    publisher.renew(told_are(&["chat"]));
    assert_eq!(heard(&mut publisher, Outcome::Unhealthy), ["all: ManifestsInvalid", "all: Unhealthy"]);
    assert_eq!(heard(&mut publisher, Outcome::Unhealthy), nothing);
    publisher.renew(told_are(&["chat", "mail", "pager"]));
    let new = ["ManifestsInvalid", "Unhealthy"].map(|news| format!("{{\"mail\", \"pager\"}}: {news}"));
    assert_eq!(heard(&mut publisher, Outcome::Unhealthy), new);
    assert_eq!(heard(&mut publisher, Outcome::Unhealthy), nothing);
    // What is new is told to all of them, once.
    publisher.renew(told_are(&["pager", "other"]));
    let new = ["all: RolledBack", "{\"other\"}: ManifestsInvalid"];
    assert_eq!(heard(&mut publisher, Outcome::RolledBack), new);
    publisher.renew(told_are(&["pager", "last"]));
    tell(&mut publisher, &wish, Deed::Well("c1"));
    let new = ["all: SourceRecovered", "all: ManifestsInvalid", "all: Recovered"];
    assert_eq!(heard(&mut publisher, Outcome::Converged), new);
}

/// Whoever is new after a restart is as new as after a reload, until a pass has come to its end.
#[test]
fn what_is_wrong_is_told_over_a_restart_to_whoever_has_not_heard_of_it() {
    use Outcome::{Converged, Interrupted, Unhealthy};
    let ((queue, mut all), (apart, mut some)) = (mpsc::channel(64), mpsc::channel(64));
    let wish = app("r1", Vec::new());
    let mut heard: Option<NotifiedState> = None;
    let mut agent = |names: &[&str], outcomes: &[Outcome]| {
        let mut publisher =
            Publisher::new(Some(NotificationQueue::into_both(queue.clone(), apart.clone(), names)), None);
        if let Some(heard) = &heard {
            // As it is written down.
            let text = serde_json::to_string(heard).unwrap();
            publisher.recall(&wish.name, serde_json::from_str(&text).unwrap());
        }
        for outcome in outcomes {
            tell(&mut publisher, &wish, Deed::Ended(*outcome));
        }
        heard = publisher.heard(&wish.name);
        let all = std::iter::from_fn(|| all.try_recv().ok()).map(|one: Telling| format!("all: {}", one.news));
        let some = std::iter::from_fn(|| some.try_recv().ok())
            .map(|(names, one): (BTreeSet<String>, Telling)| format!("{names:?}: {}", one.news));
        all.chain(some).collect::<Vec<_>>()
    };
    let rows: [(&[&str], &[Outcome], &[&str]); 8] = [
        (&["chat"], &[Unhealthy, Unhealthy], &["all: Unhealthy"]),
        (&["chat"], &[Unhealthy], &[]),
        (&["chat", "mail"], &[Interrupted], &[]),
        (&["chat", "mail"], &[Unhealthy, Unhealthy], &["{\"mail\"}: Unhealthy"]),
        (&["mail"], &[Unhealthy], &[]),
        // Away for a while, and new again.
        (&["chat", "mail"], &[Unhealthy], &["{\"chat\"}: Unhealthy"]),
        (&["chat", "mail", "pager"], &[Converged], &["all: Recovered"]),
        (&["chat", "last"], &[Converged], &[]),
    ];
    for (number, (names, outcomes, expected)) in rows.into_iter().enumerate() {
        assert_eq!(agent(names, outcomes), expected, "agent {number}");
    }
    // One that an earlier trueup has written down says nothing of who has heard it.
    let old: NotifiedState = serde_json::from_str(&serde_json::to_string(&ToldOfApp::default()).unwrap()).unwrap();
    assert_eq!(old, NotifiedState::default());
}

/// Whatever happens in which order: only what is in force now is open, and what was good is never given up.
#[test]
fn no_status_is_left_pending_behind_a_newer_one() {
    use Outcome::{Converged, Drift, Failed, Interrupted, Withheld};
    let mut random = crate::sim::random::Random::new(7);
    for story in 0..5_000 {
        // Each commit comes once, as on a branch.
        let (mut deeds, mut commit, mut passes) = (vec![Deed::Well("c0")], 0, false);
        for _ in 0..random.below(14) {
            let deed = match random.below(3) {
                0 if commit < 3 => {
                    commit += 1;
                    Deed::Well(["c0", "c1", "c2", "c3"][commit])
                }
                1 if passes => Deed::Ended(random.pick(&[Converged, Drift, Failed, Interrupted, Withheld])),
                _ if !passes => Deed::Began,
                _ => continue,
            };
            passes = matches!(deed, Deed::Began) || (passes && !matches!(deed, Deed::Ended(_)));
            deeds.push(deed);
        }
        if passes {
            deeds.push(Deed::Ended(Interrupted));
        }
        // A last look at what is in force.
        deeds.extend([Deed::Began, Deed::Ended(Converged)]);
        let said = told(&deeds);
        let of = |number: usize| {
            said.iter().filter_map(move |one| one.strip_prefix(&format!("c{number} ")).map(str::to_owned))
        };
        for number in 0..=commit {
            let all: Vec<String> = of(number).collect();
            let last = all.last().map(String::as_str);
            assert_ne!(last, Some("Pending"), "story {story}: {deeds:?}: {said:?}");
            let judged = all.iter().any(|state| state == "Success" || state == "Failure");
            let given_up = all.iter().any(|state| state == "Superseded");
            assert!(!(judged && given_up), "story {story}: {deeds:?}: {said:?}");
        }
        assert_eq!(of(commit).next_back().as_deref(), Some("Success"), "story {story}: {deeds:?}: {said:?}");
    }
}
