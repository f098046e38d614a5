use serde_json::{Value, json};

use super::*;
use crate::model::action::Action;

fn request() -> Request {
    Request {
        wire: WIRE,
        program: PROGRAM.to_owned(),
        id: RunId::new("0190a5b2-web1").unwrap(),
        from: FIRST,
        who: "alice@laptop".to_owned(),
        host: HostName::new("web1").unwrap(),
        migrate: true,
        operation: Operation::Observe,
        manifest: "{}".to_owned(),
    }
}

pub(super) fn summary() -> Summary {
    Summary {
        release: ReleaseId::new("2").unwrap(),
        current: Some(ReleaseId::new("1").unwrap()),
        observed: true,
        differs: true,
        unreadable: false,
        actions: 3,
        withheld: None,
        kept_out: None,
        healthy: Some(false),
        complaint: Some("`status == 200` does not hold".to_owned()),
        migrated: false,
        proven: false,
        desired: 2,
        running: 2,
        fresh: 0,
        problems: vec![Problem { message: "no".to_owned(), help: Some("do".to_owned()), lasting: false }],
    }
}

pub(crate) fn report() -> Report {
    Report {
        exit_code: 3,
        outcome: Outcome::RolledBack,
        took: Duration::from_millis(12),
        done: 4,
        failed: 1,
        summary: summary(),
        shown: Some(Shown { diff: "-a\n+b\n".to_owned(), text: "…".to_owned() }),
        document: json!({"kind": "PassReport", "host": "web1"}).to_string(),
    }
}

#[test]
fn every_request_crosses_unchanged() {
    let wait = Duration::from_secs(30);
    let id = |text: &str| ReleaseId::new(text).unwrap();
    let back = |to: Option<&str>| {
        let reason = "two\nlines".to_owned();
        Operation::TakeBack { release: id("007"), to: to.map(id), reason, wait }
    };
    let rows = [
        (Operation::Observe, json!("observe"), false),
        (
            Operation::DryRun { ignore_windows: true, retry: false },
            json!({"dryRun": {"ignoreWindows": true, "retry": false}}),
            false,
        ),
        (
            Operation::Apply { wait, ignore_windows: false, retry: true },
            json!({"apply": {"waitMs": 30_000, "ignoreWindows": false, "retry": true}}),
            true,
        ),
        (
            back(None),
            json!({"takeBack": {"release": "007", "to": null, "reason": "two\nlines", "waitMs": 30_000}}),
            true,
        ),
        (
            back(Some("1e3")),
            json!({"takeBack": {"release": "007", "to": "1e3", "reason": "two\nlines", "waitMs": 30_000}}),
            true,
        ),
        (Operation::Health, json!("health"), false),
    ];
    for (operation, form, changes) in rows {
        let request = Request { operation, ..request() };
        let text = serde_json::to_string(&request).unwrap();
        assert!(!text.contains('\n'), "a request is one line: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["operation"], form);
        assert_eq!(read::request(text.as_bytes()).unwrap(), request);
        assert_eq!(request.operation.changes(), changes);
    }
}

#[test]
fn every_line_crosses_unchanged() {
    let process =
        ProcessId { pid: crate::model::process::Pid(7), start_ticks: crate::model::process::StartTicks(u64::MAX) };
    let restart = Action::RestartWorker {
        group: crate::model::names::GroupName::new("default").unwrap(),
        member: crate::model::names::MemberName::new("web:web_01").unwrap(),
        process: Some(process),
    };
    let verdict = HealthVerdict::unanswered("connection refused");
    let (took, report) = (Duration::from_millis(12), report());
    let rows = [
        What::Hello(Hello::own(true)),
        What::Beat(Beat { silent: Duration::from_millis(5_010) }),
        What::Begun(Begun { process, boot: "b".to_owned() }),
        What::Waiting("`/srv/shop` is locked".to_owned()),
        What::Event(Event::Begun { action: restart.clone(), reason: "runs 1".to_owned() }),
        What::Event(Event::Done { action: restart.clone(), took }),
        What::Event(Event::Failed { action: restart.clone(), error: "no".to_owned(), retry_in: Some(took) }),
        What::Event(Event::Failed { action: restart, error: "no".to_owned(), retry_in: None }),
        What::Event(Event::Settling { what: "it is starting".to_owned() }),
        What::Event(Event::KeptOut { release: ReleaseId::new("1e3").unwrap(), reason: "no".to_owned() }),
        What::Event(Event::Unhealthy { attempt: 1, of: 5, verdict: verdict.clone() }),
        What::Omitted(12),
        What::Status(Box::new(Status {
            exit_code: 2,
            summary: summary(),
            document: json!({"kind": "App"}).to_string(),
            text: "shop\n".to_owned(),
        })),
        What::Report(Box::new(report.clone())),
        What::Report(Box::new(Report { shown: None, ..report })),
        What::Health(Box::new(Health { verdict: Some(verdict), summary: summary() })),
        What::Failed(Failed::new(Fault::Manifest, "no").cause("a").help("b")),
        What::End(Ended::Done),
        What::End(Ended::Killed),
    ];
    for (seq, what) in (0..).zip(rows) {
        let line = Line { seq, at: "2026-05-01T12:00:00.5Z".parse().unwrap(), what };
        let text = serde_json::to_string(&line).unwrap();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(read::line(&text).unwrap(), line, "{text}");
    }
}

#[test]
fn other_versions_and_garbage_are_refused_and_never_guessed_at() {
    let ours = serde_json::to_value(request()).unwrap();
    let with = |key: &str, value: Value| {
        let mut other = ours.clone();
        other[key] = value;
        other.to_string()
    };
    let rows = [
        ("another wire", with("wire", json!(WIRE + 1)), Fault::Version),
        ("another program", with("program", json!("0.0.9")), Fault::Version),
        (
            "another wire whose request has nothing in common",
            json!({"wire": 9, "program": "9.0.0", "x": []}).to_string(),
            Fault::Version,
        ),
        ("an unknown key", with("wish", json!(1)), Fault::Request),
        ("an unknown operation", with("operation", json!("reboot")), Fault::Request),
        ("an operation without its words", with("operation", json!({"apply": {}})), Fault::Request),
        ("a path for an id", with("id", json!("../../etc/passwd")), Fault::Request),
        ("a number for an id", with("id", json!(12_345_678)), Fault::Request),
        ("nothing", String::new(), Fault::Request),
        ("half of it", ours.to_string().chars().take(40).collect(), Fault::Request),
        ("two of them", format!("{ours}{ours}"), Fault::Request),
        ("another language", "GET / HTTP/1.1\r\npassword: hunter2".to_owned(), Fault::Request),
        ("no object", "[1]".to_owned(), Fault::Request),
    ];
    for (name, text, fault) in rows {
        let failed = read::request(text.as_bytes()).unwrap_err();
        assert_eq!(failed.fault, fault, "{name}: {failed:?}");
        assert!(failed.help.is_some(), "{name}");
        assert!(!format!("{failed:?}").contains("hunter2"), "{name}");
    }
    assert!(read::request(b"\xff\xfe\x00").is_err());

    let hello = |wire: u32, program: &str| {
        let hello = json!({"wire": wire, "program": program, "attached": false});
        json!({"seq": 0, "at": "2026-05-01T12:00:00Z", "what": {"hello": hello}}).to_string()
    };
    assert!(read::line(&hello(WIRE, PROGRAM)).is_ok());
    let failed = read::line(&hello(WIRE, "0.2.0")).unwrap_err();
    assert_eq!(failed.fault, Fault::Version);
    assert!(failed.message.contains("0.2.0") && failed.message.contains(PROGRAM), "{failed:?}");
    assert_eq!(read::line(&hello(WIRE + 1, PROGRAM)).unwrap_err().fault, Fault::Version);
    assert_eq!(read::line("Welcome to web1!").unwrap_err().fault, Fault::Other);
}

/// As an older or newer program would write it: read for ever.
#[test]
fn a_refusal_is_understood_by_every_version() {
    let text = r#"{"seq":1,"at":"2030-01-01T00:00:00Z","new":1,"what":{"failed":{"fault":"eclipse","message":"no","since":"x"}}}"#;
    let What::Failed(failed) = read::line(text).unwrap().what else { panic!("{text}") };
    assert_eq!((failed.fault, failed.message.as_str(), failed.help), (Fault::Other, "no", None));
    let text = r#"{"seq":2,"at":"2030-01-01T00:00:00Z","what":{"end":"failed"}}"#;
    assert_eq!(read::line(text).unwrap().what, What::End(Ended::Failed));
}

#[test]
fn a_run_is_named_so_that_a_file_can_be() {
    let long = "a".repeat(64);
    for good in ["12345678", "0190A5b2-9c3d-7e4f-8a1b-2c3d4e5f6071", long.as_str()] {
        assert_eq!(RunId::new(good).unwrap().as_str(), good);
    }
    let longer = "a".repeat(65);
    for bad in ["", "1234567", "-1234567", "12345678/", "..12345678", "1234 5678", "1234567ä", longer.as_str()] {
        assert!(RunId::new(bad).is_err(), "{bad}");
    }
}
