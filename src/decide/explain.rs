//! What stands in the way and what it takes to get past it, in words for people.
//!
//! In: a [`Blocker`] or a [`Stalled`]. Out: a [`Problem`]: what happened, where, what to do.

use crate::decide::aim::quarantine;
use crate::decide::making;
use crate::model::app::{App, Manager};
use crate::model::drift::{Blocker, Stalled};
use crate::model::names::ReleaseId;
use crate::model::observed::{Aim, Evidence, Link, Observed, Runs, Stray};
use crate::model::record::{Judge, ReleaseRecord};
use crate::model::release::{Revision, Source};
use crate::model::report::Problem;

fn problem(message: String, help: Option<String>) -> Problem {
    Problem { message, help, lasting: true }
}

/// Names in a row: `` `a`, `b` and `c` ``.
fn listed<T: std::fmt::Display>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// What hinders nothing, and is mostly a mistake: strays that stay, and a release that is not what the manifest says.
#[must_use]
pub fn warnings(app: &App, observed: &Observed) -> Vec<Problem> {
    let mut warnings = strays(app, observed);
    warnings.extend(made_of_another(app, observed));
    warnings
}

/// The release stands, but was made of another commit or archive than its source names: somebody changed that and kept
/// the id. It is not made again, since it is in force or proven.
fn made_of_another(app: &App, observed: &Observed) -> Option<Problem> {
    let id = &app.release.id;
    let (key, named) = match app.release.source.as_ref()? {
        Source::Git { revision: Revision::Commit(commit), .. } => ("commit", commit),
        Source::Archive { sha256: Some(sha256), .. } => ("sha256", sha256),
        Source::Git { .. } | Source::Archive { .. } | Source::Dir { .. } => return None,
    };
    let origin = observed.record(id)?.origin.as_ref()?;
    let is_it = origin.starts_with(named.as_str()) || !making::is_whole(app, observed);
    (!is_it).then(|| {
        problem(
            format!("`{id}` was made of {origin}, and `spec.release.source.{key}` is {named} now"),
            Some(format!("give what is new an id of its own in `spec.release.id`; `{id}` is not made again")),
        )
    })
}

/// Strays that stay and run another release than the desired one: nothing of ours, and mostly a mistake.
fn strays(app: &App, observed: &Observed) -> Vec<Problem> {
    let stays = |stray: &&Stray| !stray.is_stopped(app.strays);
    let runs_another = |stray: &&Stray| !matches!(&stray.evidence.runs, Runs::Release { id } if *id == app.release.id);
    let told = observed.strays.iter().filter(stays).filter(runs_another).map(|stray| {
        let Stray { process, evidence, command, spared, .. } = stray;
        let help = match spared {
            None => format!("end it with `kill {}`, or let trueup do so: `spec.strays: stop`", process.pid),
            Some(why) => {
                format!("trueup never stops it, for {why}; where it is not needed, end it: `kill {}`", process.pid)
            }
        };
        problem(
            format!(
                "{process} belongs to no group and does not run `{}`: {command} ({})",
                app.release.id, evidence.seen
            ),
            Some(help),
        )
    });
    told.chain(untold(app, observed)).collect()
}

/// While a group cannot be observed, nobody can tell its workers from strays: said once, and none is named.
fn untold(app: &App, observed: &Observed) -> Option<Problem> {
    let groups: Vec<_> = observed.groups.iter().filter(|seen| seen.members.is_err()).map(|seen| &seen.group).collect();
    let (found, belongs, they) = match observed.untold {
        0 => return None,
        1 => ("1 process".to_owned(), "belongs", "it is"),
        many => (format!("{many} processes"), "belong", "they are"),
    };
    let groups = listed(&groups);
    Some(problem(
        format!(
            "{found} of `{}` {belongs} to no group that can be observed: whether {they} strays or workers of {groups} \
             cannot be told",
            app.root
        ),
        Some(format!("nothing is done to them; see first why {groups} cannot be observed")),
    ))
}

/// Why nothing may be touched, and what to do about it.
#[must_use]
pub fn blocker(app: &App, blocker: &Blocker) -> Problem {
    let root = &app.root;
    let current = root.current();
    match blocker {
        Blocker::CurrentIsNotALink { what } => problem(
            format!("`{}` is a real {what}, which is never replaced", current.display()),
            Some(format!("move it away, such as into `{}`, then run again", root.releases().display())),
        ),
        Blocker::ReleaseAbsent { id, present } => problem(
            format!("release `{id}` is not in `{}`", root.releases().display()),
            Some(if present.is_empty() {
                "nothing is there yet: upload the release, then run again".to_owned()
            } else {
                format!("upload it, or set `spec.release.id` to one that is there: {}", listed(present))
            }),
        ),
        Blocker::ReleaseEmpty { id } => problem(
            format!("release `{id}` is an empty directory: `{}`", root.release(id).display()),
            Some("upload the release again, then run again".to_owned()),
        ),
        Blocker::ReleaseIncomplete { id, missing } => problem(
            format!("release `{id}` is not whole: it lacks {}", listed(missing)),
            Some("finish the upload, or correct `spec.release.requires`".to_owned()),
        ),
        Blocker::ReleaseHalfMade { id } => problem(
            format!("release `{id}` was left half-made in `{}`", root.release(id).display()),
            Some("set `spec.release.source` again, or remove that directory and upload the release".to_owned()),
        ),
        Blocker::GroupUnreadable { group, why } => {
            problem(format!("the workers of `{group}` cannot be observed: {}", why.message), why.help.clone())
        }
        Blocker::ServiceUnreadable { service, why } => {
            problem(format!("the service `{service}` cannot be observed: {}", why.message), why.help.clone())
        }
        Blocker::NoSuchUser { why } => problem(why.message.clone(), why.help.clone()),
        Blocker::CountBeyondManager { group, count, offered, managed_as } => {
            let kind = app.group(group).map_or("its manager", |group| group.manager.kind());
            let help = match app.group(group).map(|group| &group.manager) {
                Some(Manager::Supervisord(_)) => format!(
                    "set `numprocs={count}` for the program and run `supervisorctl update`, or lower `count` to {offered}"
                ),
                _ => format!("lower `count` to {offered}"),
            };
            problem(
                format!("group `{group}` should have {count} workers, but {kind} has {offered} in `{managed_as}`"),
                Some(help),
            )
        }
    }
}

/// Why the desired release is kept out, what is in force instead, and how to try it again; none when it is not.
#[must_use]
pub fn kept_out(app: &App, observed: &Observed) -> Option<Problem> {
    let quarantine = quarantine(app, &observed.records)?;
    let served = observed.record(&app.release.id).is_some_and(ReleaseRecord::failed_in_force);
    let instead = match &observed.aim {
        Aim::Desired => return None,
        Aim::Back { to } if observed.layout.link != (Link::Release { id: to.clone() }) => {
            format!("; `{to}` is the way back")
        }
        Aim::Back { to } if served => format!("; `{to}` is in force again"),
        Aim::Back { to } => format!("; `{to}` stays in force"),
        Aim::Halt { .. } => "; what is there stays".to_owned(),
    };
    let by = match quarantine.by {
        Judge::Gate => "failed",
        Judge::Operator => "was taken back",
    };
    let since = quarantine.at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut message = format!("release `{}` {by} at {since}: {}", app.release.id, quarantine.reason);
    // What the gate says of a failed attempt is mostly the evidence itself. Of a release that never served, what was
    // seen says nothing.
    let evidence = quarantine.evidence.iter().filter(|_| served);
    for seen in evidence.filter(|seen| !quarantine.reason.contains(seen.as_str())) {
        message.push_str("; ");
        message.push_str(seen);
    }
    message.push_str(&instead);
    let help = if quarantine.held {
        format!(
            "`{}` is no healthier, so the fault may be elsewhere: it is tried again when that is healthy",
            observed.layout.link
        )
    } else {
        format!("commit a mended manifest, or try it again as it is: `trueup retry {}`", app.name)
    };
    Some(problem(message, Some(help)))
}

/// What no action of ours closes, and what to do about it.
#[must_use]
pub fn stalled(app: &App, stalled: &Stalled) -> Problem {
    match stalled {
        // It is the right release: only its start speaks against it.
        Stalled::RestartDidNotHelp { member, process, evidence, .. } if runs_desired(app, evidence) => problem(
            format!(
                "`{member}` ({process}) came from a restart, and by its start still seems older than what it reads"
            ),
            Some("was the host's clock set back? See to it, then restart the worker by hand".to_owned()),
        ),
        Stalled::RestartDidNotHelp { member, process, evidence, .. } => problem(
            format!("`{member}` ({process}) came from a restart, and still {}", finding(evidence)),
            Some(format!(
                "its command and working directory should lead through `{}`, not name a release themselves",
                app.root.current().display()
            )),
        ),
        Stalled::WorkerUnknown { member, detail, group } => {
            let kind = app.group(group).map_or("its manager", |group| group.manager.kind());
            let words = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            problem(
                format!("{kind} does not know the state of `{member}`{words}"),
                Some(format!("look at it with {kind}'s own tools; nothing is done to it until its state is known")),
            )
        }
        Stalled::ServiceUnreadable { service, why } => {
            problem(format!("the service `{service}` cannot be observed: {}", why.message), why.help.clone())
        }
        Stalled::NoSuchUser { why } => problem(why.message.clone(), why.help.clone()),
        Stalled::NoWayBack { release } => problem(
            format!("release `{release}` is kept out, and no release was ever proven here to go back to"),
            Some(format!("commit a mended release, or try this one again: `trueup retry {}`", app.name)),
        ),
        Stalled::ConfigUnreadable { path, why, group } => problem(
            format!("cannot tell whether `{}` has changed: {why}", app.root.path().join(path.as_path()).display()),
            Some(format!("let the user who runs trueup read it, or take it off `restartOn` of `{group}`")),
        ),
    }
}

fn runs_desired(app: &App, evidence: &Evidence) -> bool {
    matches!(&evidence.runs, Runs::Release { id } if *id == app.release.id)
}

/// What a worker runs, as the end of a sentence about it.
fn finding(evidence: &Evidence) -> String {
    match &evidence.runs {
        Runs::Release { id } => format!("runs {id} ({})", evidence.seen),
        Runs::Deleted { id } => format!("runs {id}, which was deleted ({})", evidence.seen),
        Runs::Mixed { ids } => {
            let ids: Vec<&str> = ids.iter().map(ReleaseId::as_str).collect();
            format!("runs a mix of {} ({})", ids.join(" and "), evidence.seen)
        }
        Runs::BeforeSwitch | Runs::AfterSwitch => format!("does not run what is desired ({})", evidence.seen),
        Runs::Unknown => format!("runs nobody knows what ({})", evidence.seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{app, evidence, group, id, kept_out, member, process, seen, supervisord};
    use crate::model::names::{GroupName, RelativePath};
    use crate::model::observed::Unreadable;
    use crate::model::record::Making;
    use crate::model::release::Location;

    fn text(problem: &Problem) -> String {
        format!("{}\n{}", problem.message, problem.help.as_deref().unwrap_or("-"))
    }

    #[test]
    fn a_release_of_another_commit_than_the_manifest_names_is_warned_of() {
        let git = |revision| Source::Git { url: "https://git.example/app.git".to_owned(), revision, submodules: false };
        let commit = |commit: &str| git(Revision::Commit(commit.to_owned()));
        let sha256 = |sha256: &str| Source::Archive {
            location: Location::Path("/tmp/r2.tar".into()),
            sha256: Some(sha256.to_owned()),
            strip_components: 0,
            limit: 1,
        };
        let rows = [
            ("that very one", commit("bc569d7"), Making::Built, None),
            ("its branch moves on", git(Revision::Ref("main".to_owned())), Making::Built, None),
            ("another", commit("2ad9556"), Making::Built, Some("`spec.release.source.commit` is 2ad9556 now")),
            ("it will be made of that", commit("2ad9556"), Making::Fetched, None),
            ("another file", sha256("2ad9556"), Making::Built, Some("`spec.release.source.sha256` is 2ad9556 now")),
            ("a copy", Source::Dir { path: "/tmp/r2".into() }, Making::Built, None),
        ];
        for (name, source, made, expected) in rows {
            let mut app = app("r2", Vec::new());
            app.release.source = Some(source);
            let mut observed = seen("r2", Vec::new());
            let record = ReleaseRecord {
                made,
                origin: Some("bc569d70123".to_owned()),
                ..ReleaseRecord::adopted(id("r2"), observed.at)
            };
            observed.records = vec![record];
            let warned = made_of_another(&app, &observed).map(|problem| problem.message);
            let expected = expected.map(|what| format!("`r2` was made of bc569d70123, and {what}"));
            assert_eq!(warned, expected, "{name}");
        }
    }

    #[test]
    fn blockers_say_what_where_and_what_to_do() {
        let app = app("r9", vec![group("default", 4, supervisord())]);
        let name = GroupName::new("default").unwrap();
        let path = |text: &str| RelativePath::new(text).unwrap();
        let rows = [
            (
                Blocker::CurrentIsNotALink { what: "directory".to_owned() },
                "`/srv/app/current` is a real directory, which is never replaced\n\
                 move it away, such as into `/srv/app/releases`, then run again",
            ),
            (
                Blocker::ReleaseAbsent { id: id("r9"), present: vec![id("r2"), id("r1")] },
                "release `r9` is not in `/srv/app/releases`\n\
                 upload it, or set `spec.release.id` to one that is there: `r2` and `r1`",
            ),
            (
                Blocker::ReleaseAbsent { id: id("r9"), present: vec![] },
                "release `r9` is not in `/srv/app/releases`\n\
                 nothing is there yet: upload the release, then run again",
            ),
            (
                Blocker::ReleaseEmpty { id: id("r9") },
                "release `r9` is an empty directory: `/srv/app/releases/r9`\n\
                 upload the release again, then run again",
            ),
            (
                Blocker::ReleaseIncomplete { id: id("r9"), missing: vec![path(".env"), path("a"), path("b")] },
                "release `r9` is not whole: it lacks `.env`, `a` and `b`\n\
                 finish the upload, or correct `spec.release.requires`",
            ),
            (
                Blocker::GroupUnreadable {
                    group: name.clone(),
                    why: Unreadable { message: "connection refused".to_owned(), help: None, lasting: false },
                },
                "the workers of `default` cannot be observed: connection refused\n-",
            ),
            (
                Blocker::CountBeyondManager { group: name, count: 4, offered: 2, managed_as: "web".to_owned() },
                "group `default` should have 4 workers, but supervisord has 2 in `web`\n\
                 set `numprocs=4` for the program and run `supervisorctl update`, or lower `count` to 2",
            ),
        ];
        for (given, expected) in rows {
            assert_eq!(text(&blocker(&app, &given)), expected);
        }
    }

    #[test]
    fn what_the_gate_saw_is_told_once() {
        let app = app("r3", vec![]);
        let mut record = kept_out("r3", 0, "trial");
        let quarantine = record.quarantine.as_mut().unwrap();
        quarantine.reason = "prove r3: the gate was not passed in 1 attempt: status = 500".to_owned();
        quarantine.evidence = vec!["status = 500".to_owned(), "the disk is full".to_owned()];
        let aim = Aim::Back { to: id("r2") };
        let observed = Observed { records: vec![record], aim, ..seen("r2", vec![]) };
        let said = super::kept_out(&app, &observed).unwrap().message;
        assert!(said.ends_with("in 1 attempt: status = 500; the disk is full; `r2` is in force again"), "{said}");
    }

    #[test]
    fn what_is_in_force_instead_is_told_as_it_came_about() {
        let app = app("r3", vec![]);
        let failed = kept_out("r3", 0, "trial");
        let before_the_switch = ReleaseRecord { switched: None, ..failed.clone() };
        let of_an_earlier_making = ReleaseRecord { since: seconds_after(&failed), ..failed.clone() };
        let rows = [
            ("it was in force", failed.clone(), "r2", "`r2` is in force again"),
            ("it is in force yet", failed, "r3", "`r2` is the way back"),
            ("it never was", before_the_switch, "r2", "`r2` stays in force"),
            ("it was, and has been made anew since", of_an_earlier_making, "r2", "`r2` stays in force"),
        ];
        for (name, record, link, end) in rows {
            let observed = Observed { records: vec![record], aim: Aim::Back { to: id("r2") }, ..seen(link, vec![]) };
            let said = super::kept_out(&app, &observed).unwrap().message;
            assert!(said.ends_with(end), "{name}: {said}");
        }
    }

    fn seconds_after(record: &ReleaseRecord) -> jiff::Timestamp {
        record.switched.unwrap() + jiff::SignedDuration::from_secs(1)
    }

    #[test]
    fn stalled_differences_say_what_where_and_what_to_do() {
        let app = app("r9", vec![group("default", 4, supervisord())]);
        let name = GroupName::new("default").unwrap();
        let rows = [
            (
                Stalled::NoWayBack { release: id("r9") },
                "release `r9` is kept out, and no release was ever proven here to go back to\n\
                 commit a mended release, or try this one again: `trueup retry web`",
            ),
            (
                Stalled::RestartDidNotHelp {
                    group: name.clone(),
                    member: member(1),
                    process: process(7),
                    evidence: evidence(Runs::Release { id: id("r1") }),
                },
                "`web:web_01` (pid 7) came from a restart, and still runs r1 (as the test says)\n\
                 its command and working directory should lead through `/srv/app/current`, not name a release themselves",
            ),
            (
                Stalled::RestartDidNotHelp {
                    group: name.clone(),
                    member: member(1),
                    process: process(7),
                    evidence: evidence(Runs::Release { id: id("r9") }),
                },
                "`web:web_01` (pid 7) came from a restart, and by its start still seems older than what it reads\n\
                 was the host's clock set back? See to it, then restart the worker by hand",
            ),
            (
                Stalled::WorkerUnknown { group: name.clone(), member: member(1), detail: String::new() },
                "supervisord does not know the state of `web:web_01`\n\
                 look at it with supervisord's own tools; nothing is done to it until its state is known",
            ),
            (
                Stalled::ConfigUnreadable {
                    group: name,
                    path: RelativePath::new("shared/.env").unwrap(),
                    why: "permission denied".to_owned(),
                },
                "cannot tell whether `/srv/app/shared/.env` has changed: permission denied\n\
                 let the user who runs trueup read it, or take it off `restartOn` of `default`",
            ),
        ];
        for (given, expected) in rows {
            assert_eq!(text(&stalled(&app, &given)), expected);
        }
    }
}
