use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::app::CommandLine;
use crate::model::health::{HealthContract, HealthVerdict, ProbeAnswer, ProbeFailure, WorkerNumbers};
use crate::model::names::ReleaseId;

fn http() -> Probe {
    Probe::Http { url: "http://localhost/".to_owned(), headers: BTreeMap::new(), connect_to: None, ca_file: None }
}

fn contract(probe: Probe, rules: &[&str]) -> HealthContract {
    HealthContract {
        probe,
        timeout: Duration::from_secs(10),
        attempts: 5,
        interval: Duration::from_secs(3),
        watch: None,
        expect: rules.iter().map(|rule| Rule((*rule).to_owned())).collect(),
    }
}

fn answer() -> ProbeAnswer {
    ProbeAnswer {
        status: Some(200),
        headers: [("content-type", "application/json"), ("set-cookie", "session=secret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        body: json!({
            "status": "degraded", "ok": true, "release": "7", "queue": {"pending_jobs": 12, "rate": 1.5},
            "big": u64::MAX, "errors": [], "checks": [{"name": "db", "ok": true}, {"name": "redis", "ok": false}],
            "nothing": null, "long": "x".repeat(500), "bell": "\u{1b}[31m",
        }),
        latency: Duration::from_millis(1250),
        age: None,
    }
}

fn judged(contract: &HealthContract, answer: ProbeAnswer) -> HealthVerdict {
    let release = ReleaseId::new("7").unwrap();
    let numbers = WorkerNumbers { desired: 2, total: 3, fresh: 2, stale: 1, unknown: 0 };
    judge(contract, &Ok(answer), (&release, Path::new("/srv/app/releases/7")), &numbers, &Arc::default())
}

#[test]
fn rules_that_can_be_right_are_accepted() {
    let rows = [
        (ProbeKind::Http, "status == 200"),
        (ProbeKind::Http, "status >= 200 && status < 300 || status == 304"),
        (ProbeKind::Http, "body.status == \"healthy\""),
        (ProbeKind::Http, "body.ok"),
        (ProbeKind::Http, "body"),
        (ProbeKind::Http, "body[\"ok\"] && body.list[0].ok"),
        (ProbeKind::Http, "body.queue.pending_jobs < 1000"),
        (ProbeKind::Http, "body.release == release.id && release.path.endsWith(release.id)"),
        (ProbeKind::Http, "latency < duration(\"2s\")"),
        (ProbeKind::Http, "latency.getMilliseconds() < 2000"),
        (ProbeKind::Http, "headers[\"content-type\"].startsWith(\"application/json\")"),
        (ProbeKind::Http, "\"x-release\" in headers"),
        (ProbeKind::Http, "!has(body.error) && has(headers.server)"),
        (ProbeKind::Http, "has(body.error) ? body.error == \"\" : true"),
        (ProbeKind::Http, "body.checks.all(check, check.ok)"),
        (ProbeKind::Http, "body.checks.exists_one(c, c.ok && status == 200)"),
        (ProbeKind::Http, "size(body.checks.filter(c, !c.ok)) == 0"),
        (ProbeKind::Http, "body.checks.map(c, c.name) == [\"a\", \"b\"]"),
        (ProbeKind::Http, "headers.all(name, name.size() < 100)"),
        (ProbeKind::Http, "body.?queue.orValue(0) == 0"),
        (ProbeKind::Http, "optional.of(1).hasValue()"),
        (ProbeKind::Http, "body.name.matches(\"^[a-z]+$\")"),
        (ProbeKind::Http, "body.x == null && null != status"),
        (ProbeKind::Http, "type(body.x) == int"),
        (ProbeKind::Http, "timestamp(body.at) + duration(\"1h\") > timestamp(\"2026-01-01T00:00:00Z\")"),
        (ProbeKind::Http, "workers.stale == 0 && workers[\"fresh\"] == workers.desired && workers.unknown < 1"),
        (ProbeKind::Http, "workers.fresh * 2 > workers.total + 1 - -1"),
        (ProbeKind::Http, "double(workers.fresh) / double(workers.total) > 0.5"),
        (ProbeKind::Http, "true"),
        (ProbeKind::Command, "status == 0 && body.contains(\"ok\") && latency < duration(\"1m\")"),
        (ProbeKind::File, "age < duration(\"90s\") && body.healthy"),
    ];
    for (probe, rule) in rows {
        assert_eq!(check(rule, probe), Ok(()), "{rule}");
    }
}

#[test]
fn rules_that_cannot_be_right_are_refused_where_the_mistake_stands() {
    let rows: Vec<(ProbeKind, &str, Option<usize>, &str, &str)> = vec![
        (ProbeKind::Http, "", None, "empty", "status == 200"),
        (ProbeKind::Http, "status = 200", Some(7), "a single `=`", "`==`"),
        (ProbeKind::Http, "status == 200 &&", Some(16), "no CEL expression", "&&"),
        (ProbeKind::Http, "true &&\n  )", Some(10), "no CEL expression", "&&"),
        (ProbeKind::Http, "'ä' == 'b' && )", Some(15), "no CEL expression", "&&"),
        (ProbeKind::Http, "'ä' == typo", Some(8), "no `typo`", "`body`"),
        (ProbeKind::Http, "statsu == 200", Some(0), "no `statsu` in rules over http probes", "did you mean `status`?"),
        (ProbeKind::File, "status == 0", Some(0), "no `status`", "`age`"),
        (ProbeKind::Command, "headers.x == \"\"", Some(0), "no `headers`", "`status`"),
        (ProbeKind::Http, "age < duration(\"1s\")", Some(0), "no `age`", "`latency`"),
        (ProbeKind::Http, "workers.stail == 0", Some(7), "`workers` has no `stail`", "did you mean `stale`?"),
        (ProbeKind::Http, "release[\"name\"] == \"\"", Some(8), "`release` has no `name`", "`id`, `path`"),
        (ProbeKind::Http, "headers[\"Content-Type\"] == \"\"", Some(8), "lower case", "headers[\"content-type\"]"),
        (ProbeKind::Http, "status", Some(0), "this is a whole number", "status == 200"),
        (ProbeKind::Http, "\"yes\"", Some(0), "this is a text", "compare"),
        (ProbeKind::Http, "release.id", Some(7), "this is a text", "compare"),
        (ProbeKind::Http, "size(body)", Some(4), "this is a whole number", "compare"),
        (ProbeKind::Http, "[true]", Some(0), "this is a list", "compare"),
        (ProbeKind::Http, "{\"a\": true}", Some(0), "this is a map", "compare"),
        (ProbeKind::Http, "1 + 1", Some(2), "this is a whole number", "compare"),
        (ProbeKind::Http, "body.checks.map(c, c.ok)", None, "this is a list", "compare"),
        (ProbeKind::Http, "body.ok ? true : 1", Some(17), "this is a whole number", "compare"),
        (ProbeKind::Http, "status && true", Some(0), "true or false is needed", "compare"),
        (ProbeKind::Http, "!status", Some(1), "true or false is needed", "compare"),
        (ProbeKind::Http, "status == \"200\"", Some(7), "never compares", "without quotes"),
        (ProbeKind::Http, "latency < 2", Some(8), "never compares", "duration(\"2s\")"),
        (ProbeKind::Http, "duration(\"2 parsecs\") > latency", Some(8), "always fails", ""),
        (ProbeKind::Http, "body.matches(\"(\")", Some(12), "no regular expression", ""),
        (ProbeKind::Http, "status.code == 200", Some(6), "has no `code`", ""),
        (ProbeKind::Http, "status + \"\" == \"\"", Some(7), "`+` does not work", "string()"),
        (ProbeKind::Http, "lenght(body) == 1", Some(6), "no function `lenght`", ""),
        (ProbeKind::Http, "body.startWith(\"a\")", Some(14), "no function `startWith`", "did you mean `startsWith`?"),
        (ProbeKind::Http, "contains(body, \"a\")", Some(8), "no function `contains`", "body.contains"),
        (ProbeKind::Http, "body.checks.all(c, d.ok)", Some(19), "no `d`", ""),
        (ProbeKind::Http, "status in 200", Some(10), "looks into a list", ""),
    ];
    for (probe, rule, offset, message, help) in rows {
        let error = check(rule, probe).expect_err(rule);
        assert!(error.message.contains(message), "{rule}: {}", error.message);
        assert!(error.help.as_deref().unwrap_or_default().contains(help), "{rule}: {:?}", error.help);
        if offset.is_some() {
            assert_eq!(error.offset, offset, "{rule}: {}", error.message);
        }
    }
}

#[test]
fn rules_beyond_every_bound_are_errors_not_crashes() {
    let rows = [
        format!("status == 200 // {}", "x".repeat(RULE_LIMIT)),
        format!("{}true{}", "(".repeat(2000), ")".repeat(2000)),
        "(".repeat(4000),
        "[".repeat(40),
        format!("status == 1{}", "+1".repeat(2000)),
        format!("body{} == 1", ".a".repeat(2000)),
        format!("body{} == 1", "[0]".repeat(1300)),
        format!("body{}", ".size()".repeat(580)),
        "true?1:".repeat(580),
    ];
    for rule in &rows {
        assert!(check(rule, ProbeKind::Http).is_err(), "{rule:.40}");
        let verdict = judged(&contract(http(), &[rule]), answer());
        assert!(!verdict.healthy && verdict.rules[0].reason.is_some(), "{rule:.40}");
    }
    let deep = format!("{}status == 200{}", "(".repeat(30), ")".repeat(30));
    assert_eq!(check(&deep, ProbeKind::Http), Ok(()));
    assert!(judged(&contract(http(), &[&deep]), answer()).healthy);
}

#[test]
fn every_rule_is_judged_and_says_what_it_saw() {
    // rule, holds, seen, reason
    let rows = [
        ("status == 200", true, "status = 200", ""),
        ("status == 200u && status < 200.5", true, "status = 200", ""),
        ("body.status == \"healthy\"", false, "body.status = \"degraded\"", ""),
        ("body.queue.pending_jobs + 1 == 13", true, "body.queue.pending_jobs = 12", ""),
        (
            "body.queue.pending_jobs < 12.5 && body.queue.rate > 1",
            true,
            "body.queue.pending_jobs = 12, body.queue.rate = 1.5",
            "",
        ),
        ("body.big > 1", true, "body.big = 18446744073709551615", ""),
        ("body.ok", true, "body.ok = true", ""),
        ("body.release == release.id", true, "body.release = \"7\", release.id = \"7\"", ""),
        ("release.path == \"/srv/app/releases/7\"", true, "release.path = \"/srv/app/releases/7\"", ""),
        ("workers.stale == 0", false, "workers.stale = 1", ""),
        ("latency < duration(\"2s\")", true, "latency = 1.25s", ""),
        ("headers[\"content-type\"] == \"text/html\"", false, "headers[\"content-type\"] = \"application/json\"", ""),
        ("size(headers) == 1", false, "headers = 2 headers", ""),
        // Named time zones are ours to supply: in summer, in winter, and before there was summer time.
        ("timestamp(\"2026-07-01T12:00:00Z\").getHours(\"Europe/Berlin\") == 14", true, "", ""),
        ("timestamp(\"2026-10-25T01:00:00Z\").getHours(\"Europe/Berlin\") == 2", true, "", ""),
        ("timestamp(\"1901-01-01T03:00:00Z\").getDate(\"America/New_York\") == 31", true, "", ""),
        ("has(body.error)", false, "", ""),
        ("has(body.ok)", true, "body.ok = true", ""),
        ("body.checks[1].ok", false, "body.checks[1].ok = false", ""),
        (
            "body.checks.all(c, c.ok)",
            false,
            "body.checks = [{\"name\": \"db\", \"ok\": true}, {\"name\": \"redis\", \"ok\": false}]",
            "",
        ),
        ("body.bell == \"\"", false, "body.bell = \"\\u{1b}[31m\"", ""),
        ("body.queue.failed_jobs == 0", false, "", "there is no `body.queue.failed_jobs`"),
        ("body.cache.size.max == 0", false, "", "there is no `body.cache`"),
        (
            "body.status.text == \"\"",
            false,
            "",
            "there is no `body.status.text`: `body.status` is a text: \"degraded\"",
        ),
        ("body.nothing.x == 1", false, "", "there is no `body.nothing.x`: `body.nothing` is null"),
        ("body.checks[7].ok", false, "", "there is no `body.checks[7]`"),
        ("body.status", false, "body.status = \"degraded\"", "the result is \"degraded\" (string), not true or false"),
        (
            "body.status > 1",
            false,
            "body.status = \"degraded\"",
            "found no matching overload for '_>_' applied to '(string, int)'",
        ),
    ];
    let rules: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let verdict = judged(&contract(http(), &rules), answer());
    assert!(!verdict.healthy);
    assert_eq!(verdict.latency_ms, Some(1250));
    assert_eq!(verdict.rules.len(), rows.len());
    for ((rule, passed, seen, reason), verdict) in rows.iter().zip(&verdict.rules) {
        assert_eq!(verdict.passed, *passed, "{rule}");
        assert_eq!(verdict.seen, *seen, "{rule}");
        assert_eq!(verdict.reason.as_deref().unwrap_or_default(), *reason, "{rule}");
    }
}

#[test]
fn of_a_file_that_is_no_json_only_a_rule_that_names_its_text_shows_it() {
    let file = Probe::File { path: "/srv/health.json".into(), max_age: None };
    let text = || ProbeAnswer { body: json!("root:x:0"), ..answer() };
    let reason = |contract: &HealthContract| judged(contract, text()).rules.remove(0).reason.unwrap();
    let rules = ["body.status == \"healthy\""];
    assert_eq!(reason(&contract(file.clone(), &rules)), "there is no `body.status`: `body` is a text");
    assert_eq!(reason(&contract(http(), &rules)), "there is no `body.status`: `body` is a text: \"root:x:0\"");
    let named = judged(&contract(file, &["body == \"ready\""]), text()).rules.remove(0);
    assert_eq!(named.seen, "body = \"root:x:0\"");
}

#[test]
fn what_is_seen_is_short_and_shows_no_header_unasked() {
    let rules = ["body.long == \"\"", "body == 1", "headers == {}"];
    let verdict = judged(&contract(http(), &rules), answer());
    for verdict in &verdict.rules {
        assert!(verdict.seen.chars().count() < 100, "{}", verdict.seen);
        assert!(!verdict.seen.contains("secret"), "{}", verdict.seen);
    }
}

#[test]
fn an_answer_that_is_no_json_is_shown_with_one_rule_only() {
    let rules = ["body.status == \"ok\"", "status == 502", "body.release == release.id"];
    let text = ProbeAnswer { body: json!("<html>Bad Gateway</html>"), ..answer() };
    let complaint = judged(&contract(http(), &rules), text).complaint().unwrap();
    assert_eq!(complaint.matches("Bad Gateway").count(), 1, "{complaint}");
    assert!(
        complaint
            .contains("`body.release == release.id` does not hold: there is no `body.release`: `body` is that text"),
        "{complaint}"
    );
}

#[test]
fn no_answer_is_unhealthy_with_its_reason() {
    let failure = Err(ProbeFailure { message: "connection refused".to_owned() });
    let release = ReleaseId::new("7").unwrap();
    let (numbers, never) = (WorkerNumbers::default(), Arc::default());
    let verdict = judge(&contract(http(), &["true"]), &failure, (&release, Path::new("/")), &numbers, &never);
    assert_eq!(verdict, HealthVerdict::unanswered("connection refused"));
}

#[test]
fn a_file_is_judged_by_its_age_too() {
    let file = |max_age| Probe::File { path: PathBuf::from("/srv/app/health"), max_age };
    let rows =
        [(Some(60), Some(59), true), (Some(60), Some(61), false), (Some(60), None, false), (None, Some(9_999), true)];
    for (limit, age, healthy) in rows {
        let age = age.map(Duration::from_secs);
        let contract = contract(file(limit.map(Duration::from_secs)), &["true"]);
        let answer = ProbeAnswer { status: None, headers: BTreeMap::new(), age, ..answer() };
        assert_eq!(judged(&contract, answer).healthy, healthy, "{limit:?} {age:?}");
    }
    let contract = contract(file(None), &["age < duration(\"1m\")"]);
    let answer = ProbeAnswer { age: Some(Duration::from_secs(90)), ..answer() };
    assert_eq!(judged(&contract, answer).rules[0].seen, "age = 90s");
}

/// The body is a list of so many small maps.
fn long(length: usize) -> ProbeAnswer {
    ProbeAnswer { body: json!({"list": vec![json!({"ok": true, "id": 7}); length]}), ..answer() }
}

#[test]
fn macros_stand_two_inside_each_other_at_most() {
    let nested = |depth: usize| {
        let inner = "v0 >= 0".to_owned();
        (0..depth).rev().fold(inner, |inner, at| format!("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].all(v{at}, {inner})"))
    };
    for depth in [1, 2] {
        assert_eq!(check(&nested(depth), ProbeKind::Http), Ok(()), "{depth}");
    }
    for depth in [3, 9] {
        let error = check(&nested(depth), ProbeKind::Http).unwrap_err();
        assert!(error.message.contains("more than 2 macros"), "{error}");
        assert!(error.offset.is_some_and(|at| at > 35) && error.help.is_some(), "{error:?}");
        // Whatever the check let through, it does not run.
        assert!(!judged(&contract(http(), &[&nested(depth)]), answer()).healthy);
    }
    let chained = "body.list.filter(x, x.ok).map(x, x.id).filter(x, x == 7).all(x, x == 7)";
    assert_eq!(check(chained, ProbeKind::Http), Ok(()), "one after the other is not inside each other");
    let verdict = judged(&contract(http(), &[chained]), long(100));
    assert!(verdict.healthy, "{verdict:?}");
}

#[test]
fn what_a_rule_goes_through_is_bounded() {
    let rows = [
        ("body.list.all(x, x.ok)", 10_000, ""),
        ("body.list.filter(x, !x.ok) == []", 10_000, ""),
        ("body.list.map(x, x.id).all(x, x == 7)", 10_000, ""),
        ("body.list.all(x, x.ok) && body.list.exists_one(x, x.id == 1)", 10_001, "10001 elements"),
        ("body.list.exists(x, x.ok) || true", 10_001, "10001 elements"),
        ("body.list.all(x, body.list.all(y, x.id == y.id))", 300, ""),
        ("body.list.exists(x, body.list.exists(y, x.id != y.id)) || true", 5_000, "1000000 values"),
        ("size(body.list.map(x, body)) > 0", 5_000, "1000000 values"),
    ];
    for (rule, length, refused) in rows {
        assert_eq!(check(rule, ProbeKind::Http), Ok(()), "{rule}");
        let began = std::time::Instant::now();
        let verdict = judged(&contract(http(), &[rule]), long(length)).rules.remove(0);
        assert!(began.elapsed() < Duration::from_secs(20), "{rule}: {:?}", began.elapsed());
        assert_eq!(verdict.passed, refused.is_empty(), "{rule}: {verdict:?}");
        assert!(verdict.reason.unwrap_or_default().contains(refused), "{rule}");
    }
}

#[test]
fn a_rule_that_is_given_up_fails_with_that_reason() {
    let (release, numbers) = (ReleaseId::new("7").unwrap(), WorkerNumbers::default());
    let stop = Arc::new(AtomicBool::new(true));
    let contract = contract(http(), &["body.list.all(x, x.ok)", "status == 200"]);
    let verdict = judge(&contract, &Ok(long(10)), (&release, Path::new("/")), &numbers, &stop);
    for rule in verdict.rules {
        assert_eq!((rule.passed, rule.reason.as_deref()), (false, Some("the rule took too long")), "{}", rule.rule);
    }
}

#[test]
fn the_defaults_pass_their_own_check() {
    let run = CommandLine::Shell("true".to_owned());
    for probe in [http(), Probe::Command { run }, Probe::File { path: PathBuf::from("/x"), max_age: None }] {
        for rule in default_rules(&probe) {
            assert_eq!(check(&rule.0, ProbeKind::from(&probe)), Ok(()), "{rule}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever passes the check is judged without a crash, and so is what does not pass.
    #[test]
    fn no_rule_crashes(parts in proptest::collection::vec(
        prop_oneof![
            Just("status"), Just("body"), Just("headers"), Just("latency"), Just("workers"), Just(".x"), Just("[0]"),
            Just("["), Just("]"), Just("("), Just(")"), Just("{"), Just("}"), Just("!"), Just("-"), Just(" == "),
            Just(" && "), Just(" ? "), Just(" : "), Just(" in "), Just("+"), Just("/"), Just("%"), Just("0"), Just("1.5"),
            Just("\"a\""), Just("'"), Just("size("), Just(".all(x, "), Just("duration("), Just("ä"), Just("."), Just(","),
            Just("null"), Just(".?a"), Just("\\"), Just("9223372036854775807"), Just("timestamp("), Just("matches("),
        ], 0..12)) {
        let rule = parts.concat();
        let _ = check(&rule, ProbeKind::Http);
        let verdict = judged(&contract(http(), &[&rule]), answer());
        prop_assert_eq!(verdict.failure, None, "{}", rule);
    }
}
