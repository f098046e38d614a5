//! What is made of the lines of a far side, and of what is none of its.

use std::collections::BTreeMap;

use super::*;
use crate::documents::wire::{Beat, FIRST, Hello, Operation, RunId, WIRE, What};
use crate::fleet::ssh::control::ControlFolder;
use crate::fleet::ssh::conversation::Took;
use crate::fleet::ssh::options::Options;
use crate::model::names::HostName;
use crate::model::ssh::SshTarget;

fn line(seq: u64, what: &What) -> String {
    serde_json::json!({"seq": seq, "at": "2026-05-01T12:00:00Z", "what": what}).to_string()
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
    let mut heard = |one: Heard| {
        if let Heard::Line(line) = one {
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
            let mut listening = Listening::new(asking);
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
    let failed =
        |seq| line(seq, &What::Failed(crate::documents::wire::Failed::new(crate::documents::wire::Fault::Other, "no")));
    let end = |seq| line(seq, &What::End(crate::documents::wire::Ended::Done));
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
        &What::Begun(crate::documents::wire::Begun {
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
            let mut listening = Listening::new(asking);
            let _ = lines.iter().any(|line| listening.hear(line) == Took::Enough);
            let end = listening.end;
            assert_eq!((asking.fruitful, asking.stuck), (lives, expected.is_some()), "{lines:?}");
            match (end, expected) {
                (None, None) => {}
                (Some(Err(trouble)), Some(words)) => {
                    // It is asked anew with the same id, as after any other loss.
                    assert_eq!((trouble.broken, trouble.again), (Broken::Lost, Again::Later), "{trouble:?}");
                    assert!(trouble.message.contains(words), "{trouble:?}");
                    asking.request.operation = Operation::Apply { wait: Duration::ZERO, ignore_windows: false };
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
