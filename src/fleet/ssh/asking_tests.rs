//! What is made of the lines of a far side, and of what is none of its.

use std::collections::BTreeMap;

use super::*;
use crate::documents::wire::{Beat, Begun, Ended, FIRST, Failed, Fault, Hello, Operation, PROGRAM, RunId, WIRE, What};
use crate::fleet::ssh::control::ControlFolder;
use crate::fleet::ssh::conversation::Took;
use crate::fleet::ssh::options::Options;
use crate::model::names::HostName;
use crate::model::ssh::SshTarget;

fn line(seq: u64, what: &What) -> String {
    serde_json::json!({"seq": seq, "at": "2026-05-01T12:00:00Z", "what": what}).to_string()
}

fn apply() -> Operation {
    Operation::Apply { wait: Duration::ZERO, ignore_windows: false, retry: false }
}

/// A request that wants lines from that one on, on its way; with what it has heard in the end, by number.
fn with_asking(from: u64, work: impl FnOnce(&mut Asking<'_>)) -> Vec<u64> {
    let room = tempfile::tempdir().unwrap();
    let control = ControlFolder::at(room.path().join("c")).unwrap();
    let ssh = Ssh::with(Options::default(), control, "/proc/self/exe".into());
    let (labels, vars) = (BTreeMap::new(), BTreeMap::new());
    let name = HostName::new("web1").unwrap();
    let host = FleetHost { name: name.clone(), ssh: SshTarget::new("web1").unwrap(), labels, vars };
    let request = Request {
        wire: WIRE,
        program: PROGRAM.to_owned(),
        id: RunId::new("test-0123456789abcdef0123456789abcdef").unwrap(),
        from,
        who: "a person".to_owned(),
        host: name,
        migrate: false,
        operation: Operation::Observe,
        manifest: String::new(),
    };
    let mut said = Vec::new();
    let mut heard = |one: HostSaid| {
        if let HostSaid::Line(line) = one {
            said.push(line.seq);
        }
    };
    work(&mut Asking::new(&ssh, &host, &request, &mut heard));
    said
}

/// Has lines heard over one connection after the other: the numbers that were passed on, those of the hello
/// included, how the last connection ended, and which line is due.
fn hear(connections: &[Vec<String>], from: u64) -> (Vec<u64>, Option<Result<Turn, Trouble>>, u64) {
    let (mut end, mut due) = (None, from);
    let said = with_asking(from, |asking| {
        for lines in connections {
            let mut listening = Listening::new(asking, false);
            let _ = lines.iter().any(|line| listening.hear(line) == Took::Enough);
            end = listening.end;
        }
        due = asking.request.from;
    });
    (said, end, due)
}

/// Lines by connection, from where on: what is passed on, how it ends (words of what is wrong), what is due next.
type Row<'a> = (Vec<Vec<String>>, u64, &'a [u64], &'a str, u64);

#[test]
fn lines_are_heard_once_and_in_order_behind_a_hello() {
    let hello = || line(0, &What::Hello(Hello::own(false)));
    let event = |seq| line(seq, &What::Waiting("somebody".to_owned()));
    let failed = |seq| line(seq, &What::Failed(Failed::new(Fault::Other, "no")));
    let end = |seq| line(seq, &What::End(Ended::Done));
    let needed = || ["trueup-needed 1", "why=absent", "trueup-needed-end"].map(str::to_owned).to_vec();
    let text = |text: &str| text.to_owned();
    let beat = |seconds| line(0, &What::Beat(Beat { silent: Duration::from_secs(seconds) }));
    let rows: [Row<'_>; 18] = [
        (vec![vec![text("Welcome!"), hello(), event(1), end(2)]], FIRST, &[0, 1, 2], "ended", 3),
        (vec![needed()], FIRST, &[], "needed", 1),
        (vec![[vec![hello()], needed(), vec![end(1)]].concat()], FIRST, &[0, 1], "ended", 2),
        // Taken up again: the run's own lines, and those of a look that is made anew.
        (vec![vec![hello(), event(1)], vec![hello(), event(2), end(3)]], FIRST, &[0, 1, 2, 3], "ended", 4),
        (vec![vec![hello(), event(1)], vec![hello(), event(1), end(2)]], FIRST, &[0, 1, 2], "ended", 3),
        // Beats are none of the run's lines, wherever they come.
        (vec![vec![hello(), beat(0), event(1), beat(44), end(2), beat(0)]], FIRST, &[0, 1, 2], "ended", 3),
        (vec![vec![hello(), event(1), beat(9)], vec![hello(), beat(0), end(2)]], FIRST, &[0, 1, 2], "ended", 3),
        (vec![vec![hello(), beat(4)]], 7, &[0], "none", 7),
        // Refused at once, also where lines are known already.
        (vec![vec![failed(1), end(2)]], FIRST, &[1, 2], "ended", 3),
        (vec![vec![hello(), failed(1), end(2)]], 7, &[0, 1, 2], "ended", 7),
        // No far side of ours.
        (vec![vec![event(1), hello()]], FIRST, &[], "line 1 before its hello", 1),
        (vec![vec![beat(0), hello()]], FIRST, &[], "line 0 before its hello", 1),
        (vec![vec![hello(), event(1)], vec![event(2)]], FIRST, &[0, 1], "line 2 before its hello", 2),
        (vec![vec![hello(), event(2)]], FIRST, &[0], "line 2 where line 1 was due", 1),
        (vec![vec![hello(), end(2)]], FIRST, &[0], "line 2 where line 1 was due", 1),
        (vec![vec![hello(), event(u64::MAX)]], FIRST, &[0], "where line 1 was due", 1),
        (vec![vec![hello(), event(u64::MAX)]], u64::MAX, &[0], "was due", u64::MAX),
        (vec![vec![text("{odd")]], FIRST, &[], "does not say", 1),
    ];
    for (connections, from, passed, ending, due) in rows {
        let (said, end, next) = hear(&connections, from);
        let how = match end {
            None => "none".to_owned(),
            Some(Ok(Turn::Ended)) => "ended".to_owned(),
            Some(Ok(Turn::Needed(_))) => "needed".to_owned(),
            Some(Err(trouble)) => {
                assert_eq!((trouble.broken, trouble.again), (Broken::Wire, Again::Never), "{connections:?}");
                trouble.message
            }
        };
        assert!(said == passed && next == due && how.contains(ending), "{connections:?}: {said:?} {how} {next}");
    }
}

/// A row: what a far side says on one connection, whether that shows it alive, and words of what is wrong with it.
#[test]
fn a_runner_that_does_not_stir_is_told_from_a_far_side_that_does() {
    let hello = || line(0, &What::Hello(Hello::own(true)));
    let beat = |millis| line(0, &What::Beat(Beat { silent: Duration::from_millis(millis) }));
    let begun = line(
        1,
        &What::Begun(Begun {
            process: crate::model::process::ProcessId {
                pid: crate::model::process::Pid(4711),
                start_ticks: crate::model::process::StartTicks(1),
            },
            boot: "b".to_owned(),
        }),
    );
    let rows = [
        (vec![hello()], false, None),
        (vec![hello(), beat(4_999)], true, None),
        // A far side that was just begun has yet to see a sign.
        (vec![hello(), beat(5_000), beat(44_999)], false, None),
        (vec![hello(), beat(45_000)], false, Some("makes the pass on `web1` has given no sign of life for 45 s")),
        (vec![hello(), begun, beat(3), beat(60_100)], true, Some("`web1` (process 4711) has given no sign of life")),
    ];
    for (lines, lives, expected) in rows {
        with_asking(FIRST, |asking| {
            let mut listening = Listening::new(asking, false);
            let _ = lines.iter().any(|line| listening.hear(line) == Took::Enough);
            let end = listening.end;
            assert_eq!((asking.fruitful, asking.stuck), (lives, expected.is_some()), "{lines:?}");
            match (end, expected) {
                (None, None) => {}
                (Some(Err(trouble)), Some(words)) => {
                    // It is asked anew with the same id, as after any other loss.
                    assert_eq!((trouble.broken, trouble.again), (Broken::Lost, Again::Later), "{trouble:?}");
                    assert!(trouble.message.contains(words), "{trouble:?}");
                    asking.request.operation = apply();
                    let unreached = asking.unreached(trouble, true, Duration::from_secs(299));
                    let runner = asking.runner.map_or("PID".to_owned(), |pid| pid.to_string());
                    let help = unreached.help.clone().unwrap();
                    assert!(help.contains(&format!("kill -CONT {runner}")), "{help}");
                    assert!(unreached.in_hand && unreached.message.ends_with("given up after 299 s"), "{unreached:?}");
                }
                other => panic!("{lines:?}: {}", other.1.unwrap_or("ended")),
            }
        });
    }
}

#[test]
fn what_only_looks_is_never_in_hand() {
    let rows = [
        // What is asked for, whether it was sent, and heard of; and how far it has come.
        (Operation::Observe, false, false, Stage::Unmet),
        (Operation::Observe, true, false, Stage::Unmet),
        (Operation::DryRun { ignore_windows: false, retry: false }, true, true, Stage::Unmet),
        (Operation::Health, true, true, Stage::Unmet),
        (apply(), false, false, Stage::Unmet),
        (apply(), true, false, Stage::Begun),
        (apply(), true, true, Stage::Begun),
    ];
    for (operation, sent, met, expected) in rows {
        with_asking(FIRST, |asking| {
            let row = format!("{operation:?} {sent} {met}");
            (asking.request.operation, asking.sent, asking.met) = (operation, sent, met);
            assert_eq!(asking.stage(), expected, "{row}");
            asking.ssh.slot(&asking.host.ssh).stands();
            let stood = if expected == Stage::Unmet { Stage::Stood } else { expected };
            assert_eq!(asking.stage(), stood, "{row}, and the host was there");
        });
    }
}

#[test]
fn who_refuses_to_look_for_a_run_says_nothing_of_it() {
    let hello = |attached| line(0, &What::Hello(Hello::own(attached)));
    let failed = |seq| {
        let why = Failed::new(Fault::Host, "cannot keep runs in `/x`").cause("the disk is full").help("free some");
        line(seq, &What::Failed(why))
    };
    let (waiting, end) = (line(1, &What::Waiting("somebody".to_owned())), |seq| line(seq, &What::End(Ended::Failed)));
    // Whether the request was sent before, what it is, what is said then, and whether that is a refusal of this request
    // alone.
    let rows = [
        (false, apply(), vec![hello(false), failed(1), end(2)], true),
        (true, apply(), vec![hello(false), failed(1), end(2)], false),
        (true, apply(), vec![failed(1), end(2)], false),
        // The run's own words.
        (true, apply(), vec![hello(true), failed(1), end(2)], true),
        (true, apply(), vec![hello(false), waiting, failed(2), end(3)], true),
        (true, Operation::Health, vec![hello(false), failed(1), end(2)], true),
    ];
    for (sent, operation, lines, refused) in rows {
        with_asking(FIRST, |asking| {
            asking.request.operation = operation;
            let mut listening = Listening::new(asking, sent);
            let _ = lines.iter().any(|line| listening.hear(line) == Took::Enough);
            let Some(end) = listening.end else { panic!("{lines:?} have an end") };
            asking.sent = true;
            match end {
                Ok(Turn::Ended) => assert!(refused, "{lines:?}"),
                Ok(Turn::Needed(_)) => panic!("{lines:?} ask for no program"),
                Err(trouble) => {
                    assert!(!refused && trouble.again == Again::Never, "{lines:?}: {trouble:?}");
                    let unreached = asking.unreached(trouble, asking.stage() == Stage::Begun, Duration::ZERO);
                    assert_eq!((unreached.broken, unreached.in_hand), (Broken::Lost, true), "{unreached:?}");
                    assert_eq!(unreached.message, "cannot keep runs in `/x`: the disk is full");
                    assert!(unreached.help.unwrap().starts_with("free some; the host finishes"));
                }
            }
        });
    }
}
