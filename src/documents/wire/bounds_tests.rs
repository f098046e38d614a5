//! Whatever a host says, it fits.

use jiff::Timestamp;

use super::super::{Ended, Fault, read};
use super::*;
use crate::documents::wire::tests::{report, summary};
use crate::model::health::{Rule, RuleVerdict};
use crate::model::names::ReleaseId;
use crate::model::report::Problem;

fn said(what: What) -> Line {
    Line { seq: 7, at: Timestamp::UNIX_EPOCH, what }
}

/// What could be longest, made of that text.
fn longest(text: &str) -> Vec<What> {
    let long = || text.to_owned();
    let short = || text.chars().take(6_000).collect::<String>();
    let many = |one: &str| vec![one.to_owned(); 10_000];
    let problem = |help: bool| Problem { message: short(), help: help.then(short), lasting: false };
    let full = || {
        let mut summary = summary();
        summary.problems = (0..300).map(|number| problem(number % 2 == 0)).collect();
        (summary.withheld, summary.kept_out, summary.complaint) = (Some(long()), Some(long()), Some(long()));
        summary
    };
    let verdict = || {
        let rule = || RuleVerdict { rule: Rule(short()), passed: false, seen: short(), reason: Some(short()) };
        HealthVerdict {
            healthy: false,
            rules: (0..200).map(|_| rule()).collect(),
            failure: Some(long()),
            latency_ms: None,
        }
    };
    let document = || format!("{{\"text\":{}}}", json!(text));
    let shown = Some(Shown { diff: long(), text: many("+ a line\n").concat() });
    let failed = Failed { causes: many("no"), ..Failed::new(Fault::Host, long()).cause(long()).help(long()) };
    let release = ReleaseId::new("r2").unwrap();
    vec![
        What::Waiting(long()),
        What::Event(Event::Settling { what: long() }),
        What::Event(Event::KeptOut { release, reason: long() }),
        What::Event(Event::Unhealthy { attempt: 1, of: 2, verdict: verdict() }),
        What::Failed(failed),
        What::Health(Box::new(Health { verdict: Some(verdict()), summary: full() })),
        What::Status(Box::new(Status { exit_code: 1, summary: full(), document: document(), text: long() })),
        What::Report(Box::new(Report { summary: full(), shown, document: document(), ..report() })),
        What::End(Ended::Done),
    ]
}

#[test]
fn every_line_fits_and_says_what_it_lacks() {
    // The last ones take six bytes for each of theirs.
    for text in ["x", "ä€", "\u{1}", "\u{1}\n"] {
        for (name, what) in longest(&text.repeat(450_000 / text.len())).into_iter().enumerate() {
            let text = line(said(what.clone())).unwrap();
            assert!(text.len() <= LINE && text.ends_with(b"\n"), "{name}: {}", text.len());
            let mut read = read::line(std::str::from_utf8(&text).unwrap()).unwrap().what;
            let is_cut = read != what;
            assert!(is_cut || matches!(read, What::End(_)), "{name}");
            let told = format!("{read:?}");
            assert!(!is_cut || told.contains(" more"), "{name}");
            // Whoever hears it cuts it no further.
            let before = read.clone();
            read.bound(&Bounds::USUAL);
            assert!(read == before, "{name}");
        }
    }
}

#[test]
fn what_is_not_too_long_is_left_alone() {
    for what in [What::Report(Box::new(report())), What::Failed(Failed::new(Fault::Host, "x".repeat(4096)))] {
        let mut bounded = what.clone();
        bounded.bound(&Bounds::USUAL);
        assert_eq!(bounded, what);
    }
}

#[test]
fn problems_that_are_too_many_are_counted() {
    let problem = |number: usize| Problem { message: format!("problem {number}"), help: None, lasting: false };
    let mut made = report();
    made.summary.problems = (0..100).map(problem).collect();
    made.bound(&Bounds::USUAL);
    assert_eq!(made.summary.problems.len(), 64);
    let last = &made.summary.problems[63].message;
    assert!(last.starts_with("problem 63") && last.contains("36 more problems"), "{last}");
}

#[test]
fn a_document_that_is_too_long_says_what_it_lacks() {
    let small = json!({"kind": "App", "text": "x".repeat(10_000)});
    assert_eq!(document(small.clone()), small.to_string());
    let texts = json!({"kind": "App", "keep": [1], "list": vec!["x".repeat(10_000); 60]});
    let parts = json!({"kind": "App", "keep": [1], "tried": vec![1; 200_000], "plan": vec!["x"; 50_000]});
    let rows = [(texts, json!({"parts": [], "texts": 60})), (parts, json!({"parts": ["tried"], "texts": 0}))];
    for (long, expected) in rows {
        let text = document(long);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["leftOut"], &read["keep"], &read["kind"]), (&expected, &json!([1]), &json!("App")));
        assert!(text.len() <= DOCUMENT, "{}", text.len());
    }
    // What cannot be taken apart is left out whole.
    for odd in [json!("x".repeat(DOCUMENT)), json!([vec![0; DOCUMENT]])] {
        assert_eq!(document(odd), r#"{"leftOut":{"parts":["all"],"texts":0}}"#);
    }
}
