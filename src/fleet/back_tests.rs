//! Who goes back and who does not, by hosts in memory that do as their row says.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::*;
use crate::decide::testing::id;
use crate::documents::wire::tests::report;
use crate::documents::wire::{Ended, Failed, Fault, Hello, Line, Operation, Report, Request, Summary, What};
use crate::fleet::ask::Asker;
use crate::fleet::phase::SilentFleet;
use crate::fleet::reach::{Broken, HostSaid, Unreached};
use crate::model::fleet::{FleetHost, HostName, SshTarget};
use crate::model::names::ReleaseId;
use crate::model::report::{Outcome, Problem};

/// How long a host takes for any answer.
const ANSWER: Duration = Duration::from_secs(1);

/// What a host is like, and how it takes being taken back from `r3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It goes from `r3` to `r2`.
    InForce,
    /// The release has never been there.
    Elsewhere,
    /// It keeps the release out, and has gone to `r2`.
    KeptOut,
    /// It has nothing to go back to.
    NoWay,
    /// It goes back, and is not healthy there.
    Sick,
    /// It goes back half the way.
    Stuck,
    /// Nobody answers.
    Silent,
    /// The connection breaks when it is to go back.
    Lost,
    /// It answers, and cannot be looked at.
    Blind,
    /// It answers, and refuses.
    Unwilling,
}

/// What hosts are like, where they are to go, what becomes of them, and the exit code.
type Row<'a> = (&'a [Kind], Option<&'a str>, &'a [HostVerdict], u8);
/// So long after the wish before.
type Wished = (Duration, StopWish);

struct Hosts {
    kinds: BTreeMap<HostName, Kind>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    now: usize,
    most: usize,
    looks: usize,
    /// Who was asked to go back, to which release, and how many hosts had been looked at by then.
    backs: Vec<(String, Option<ReleaseId>, usize)>,
}

impl Reach for Hosts {
    async fn ask(
        &self,
        host: &FleetHost,
        request: &Request,
        heard: &mut (dyn FnMut(HostSaid) + Send),
    ) -> Result<(), Unreached> {
        let kind = self.kinds[&host.name];
        {
            let mut seen = self.seen.lock().unwrap();
            seen.now += 1;
            seen.most = seen.most.max(seen.now);
            if let Operation::TakeBack { release, to, reason, .. } = &request.operation {
                assert_eq!((release, reason.as_str(), request.migrate), (&id("r3"), "orders are lost", false));
                let looks = seen.looks;
                seen.backs.push((host.name.to_string(), to.clone(), looks));
            }
        }
        sleep(ANSWER).await;
        let back = request.operation.changes();
        {
            let mut seen = self.seen.lock().unwrap();
            seen.now -= 1;
            seen.looks += usize::from(!back);
        }
        if kind == Kind::Silent || (back && kind == Kind::Lost) {
            let message = format!("cannot reach `{}`", host.name);
            return Err(Unreached { broken: Broken::Connect, message, help: None, in_hand: back });
        }
        let said = match (back, kind) {
            (_, Kind::Unwilling) => What::Failed(Failed::new(Fault::Host, "cannot begin")),
            (true, Kind::NoWay) => What::Failed(Failed::new(Fault::Host, "there is no release to go back to")),
            (true, _) => What::Report(Box::new(gone(kind))),
            (false, _) => What::Report(Box::new(looked_at(kind))),
        };
        let ended = if matches!(said, What::Failed(_)) { Ended::Failed } else { Ended::Done };
        for what in [What::Hello(Hello::own(false)), said, What::End(ended)] {
            heard(HostSaid::Line(Box::new(Line { seq: 0, at: jiff::Timestamp::UNIX_EPOCH, what })));
        }
        Ok(())
    }

    async fn close(&self) {}
}

fn told(outcome: Outcome, exit_code: u8, done: usize, current: &str, kept_out: bool) -> Report {
    let kept_out = kept_out.then(|| "orders are lost".to_owned());
    let problem = Problem { message: format!("as seen in {current}"), help: None, lasting: false };
    let summary = Summary { current: Some(id(current)), kept_out, problems: vec![problem], ..report().summary };
    Report { exit_code, outcome, done, failed: 0, summary, shown: None, ..report() }
}

fn looked_at(kind: Kind) -> Report {
    match kind {
        Kind::Elsewhere => told(Outcome::Drift, 0, 0, "r2", false),
        Kind::KeptOut => told(Outcome::Quarantined, 3, 0, "r2", true),
        Kind::Blind => {
            let blind = told(Outcome::Failed, 1, 0, "r3", false);
            Report { summary: Summary { observed: false, current: None, ..blind.summary }, ..blind }
        }
        _ => told(Outcome::Unhealthy, 3, 0, "r3", false),
    }
}

fn gone(kind: Kind) -> Report {
    match kind {
        Kind::Sick => told(Outcome::RolledBack, 3, 4, "r2", true),
        Kind::Stuck => told(Outcome::Failed, 1, 1, "r3", true),
        _ => told(Outcome::RolledBack, 0, 4, "r2", true),
    }
}

/// Has hosts of these kinds go back, two at a time; a person wishes so much so late.
fn taken_back(kinds: &[Kind], to: Option<&str>, wishes: &[Wished]) -> (Rolled, Seen) {
    let name = |at: usize| HostName::new(format!("web{at}")).unwrap();
    let hosts =
        Hosts { kinds: kinds.iter().enumerate().map(|(at, kind)| (name(at), *kind)).collect(), seen: Mutex::default() };
    let target = |at: usize| {
        let (ssh, labels, vars) = (SshTarget::new(name(at).as_str()).unwrap(), BTreeMap::new(), BTreeMap::new());
        Target { host: FleetHost { name: name(at), ssh, labels, vars }, manifest: String::new() }
    };
    let targets: Vec<Target> = (0..kinds.len()).map(target).collect();
    let way = RolloutOptions {
        release: id("r3"),
        wait: Duration::ZERO,
        ignore_windows: true,
        retry: false,
        back_to: to.map(id),
        others: 0,
        keep: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let rolled = runtime.block_on(async {
        let (sender, wish) = watch::channel(StopWish::GoOn);
        let asker = Asker::new("test");
        let work = Work::new(&hosts, &SilentFleet, &asker, 2, wish);
        let wished = async {
            for (after, wish) in wishes {
                sleep(*after).await;
                sender.send_replace(*wish);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            rolled = go_back(&work, &way, "orders are lost", &targets) => rolled,
            () = wished => panic!("nobody waits for a wish"),
        }
    });
    (rolled, hosts.seen.into_inner().unwrap())
}

fn verdicts(rolled: &Rolled) -> Vec<HostVerdict> {
    let told: Vec<HostVerdict> = rolled.hosts.iter().map(|host| host.verdict).collect();
    assert_eq!(told, rolled.ending.hosts.iter().map(|(_, verdict)| *verdict).collect::<Vec<_>>());
    told
}

#[test]
fn those_that_have_it_in_force_go_back_and_no_failure_keeps_others_from_it() {
    use HostVerdict::{Declined, GoneBack, NotHealthy, NotTakenBack, Settled, Unreachable, Untold};
    use Kind::{Blind, Elsewhere, InForce, KeptOut, Lost, NoWay, Sick, Silent, Stuck, Unwilling};
    let rows: [Row<'_>; 10] = [
        (&[InForce, InForce, InForce], None, &[GoneBack, GoneBack, GoneBack], 0),
        (&[KeptOut, Elsewhere, InForce], None, &[Settled, Settled, GoneBack], 0),
        (&[KeptOut, Elsewhere], None, &[Settled, Settled], 0),
        (&[KeptOut, Elsewhere, InForce], Some("r1"), &[GoneBack, Settled, GoneBack], 0),
        (&[KeptOut, InForce], Some("r2"), &[Settled, GoneBack], 0),
        (&[Silent, InForce, Blind, InForce], None, &[Unreachable, GoneBack, Untold, GoneBack], 1),
        (&[Unwilling, InForce], None, &[Declined, GoneBack], 1),
        (&[NoWay, InForce, InForce], None, &[NotTakenBack, GoneBack, GoneBack], 1),
        (&[Sick, InForce, Elsewhere], None, &[NotHealthy, GoneBack, Settled], 3),
        (&[Stuck, Lost, Sick, InForce], None, &[NotTakenBack, NotTakenBack, NotHealthy, GoneBack], 1),
    ];
    for (kinds, to, expected, code) in rows {
        let (rolled, seen) = taken_back(kinds, to, &[]);
        assert_eq!(verdicts(&rolled), expected, "{kinds:?}");
        assert_eq!(
            (rolled.ending.how, rolled.ending.exit_code(), rolled.waves),
            (RolloutOutcome::Complete, code, 0),
            "{kinds:?}"
        );
        assert_eq!(seen.most, 2, "{kinds:?}");
        for (host, asked, looks) in &seen.backs {
            assert_eq!((asked.as_ref(), *looks), (to.map(id).as_ref(), kinds.len()), "{host} of {kinds:?}");
        }
        for (kind, host) in kinds.iter().zip(&rolled.hosts) {
            let was_asked = seen.backs.iter().filter(|(name, _, _)| name == host.name.as_str()).count();
            let settled = matches!(host.verdict, Settled | Unreachable | Declined | Untold);
            assert_eq!(was_asked, usize::from(!settled), "{} of {kinds:?}", host.name);
            let told = !host.troubles.is_empty();
            assert_eq!(told, host.verdict != Settled, "{} of {kinds:?}: {:?}", host.name, host.troubles);
            let said = !matches!(kind, Silent | Unwilling | NoWay | Lost);
            assert_eq!(host.document.is_some(), said, "{} of {kinds:?}", host.name);
            assert_eq!(host.done > 0, !settled && !matches!(kind, NoWay | Lost), "{} of {kinds:?}", host.name);
        }
    }
}

#[test]
fn a_wish_for_the_end_begins_nobody_and_one_to_leave_waits_for_nobody() {
    use HostVerdict::{GoneBack, NotReached, NotTakenBack, Unseen};
    use Kind::InForce;
    let (two, half) = (ANSWER * 2, ANSWER / 2);
    let rows: [(&str, &[Wished], [HostVerdict; 4]); 4] = [
        ("as they are looked at", &[(half, StopWish::NoMore)], [Unseen; 4]),
        ("as the first go", &[(two + half, StopWish::NoMore)], [GoneBack, GoneBack, NotReached, NotReached]),
        (
            "left",
            &[(two + half, StopWish::NoMore), (Duration::from_millis(1), StopWish::Leave)],
            [NotTakenBack, NotTakenBack, NotReached, NotReached],
        ),
        ("when all have begun", &[(ANSWER * 3 + half, StopWish::NoMore)], [GoneBack; 4]),
    ];
    for (name, wishes, expected) in rows {
        let (rolled, seen) = taken_back(&[InForce; 4], None, wishes);
        assert_eq!(verdicts(&rolled), expected, "{name}");
        let whole = expected == [GoneBack; 4];
        assert_eq!(
            rolled.ending.how,
            if whole { RolloutOutcome::Complete } else { RolloutOutcome::Interrupted },
            "{name}"
        );
        assert_eq!(rolled.ending.exit_code(), u8::from(!whole), "{name}");
        let begun = expected.iter().filter(|verdict| !matches!(verdict, NotReached | Unseen)).count();
        assert_eq!(seen.backs.len(), begun, "{name}");
    }
}
