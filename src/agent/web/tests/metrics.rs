//! Metrics, as Prometheus reads them.

use std::io::Write;
use std::process::{Command, Stdio};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;

use super::picture;
use crate::agent::web::testing::{LOCAL, Stage, manifests, report, sick, well};
use crate::model::report::Outcome;
use crate::model::wake::Wake;

async fn scraped(stage: &Stage) -> String {
    let reply = stage.get("/metrics").await;
    assert_eq!(
        (reply.status, &reply.headers["content-type"]),
        (StatusCode::OK, &"text/plain; version=0.0.4; charset=utf-8".parse().unwrap())
    );
    reply.body
}

fn busy() -> Stage {
    let stage = Stage::looked();
    let loaded = manifests();
    let shop = &loaded[0].app.name;
    stage.pass(Wake::Link, &report(&loaded[0], sick(), well(), Outcome::Converged));
    stage.pass(Wake::Link, &report(&loaded[0], sick(), well(), Outcome::Converged));
    stage.pass(Wake::Hangup, &report(&loaded[0], well(), sick(), Outcome::RolledBack));
    stage.board.woken(shop, &Wake::Timer);
    stage
}

/// The samples of each family in the order of their labels, without what is of this moment or this process.
fn sorted(text: &str) -> String {
    let mut families: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if line.starts_with("# HELP") {
            families.push((Vec::new(), Vec::new()));
        }
        let (head, samples) = families.last_mut().expect("help comes first");
        if line.starts_with('#') { head.push(line) } else { samples.push(line) }
    }
    families.sort();
    let mut told = String::new();
    for (head, mut samples) in families {
        samples.sort_unstable();
        for line in head.iter().chain(&samples) {
            let moment = ["trueup_start_time_seconds ", "process_"].iter().any(|name| line.starts_with(name));
            let line = if moment { line.split(' ').next().unwrap_or_default() } else { line };
            told.push_str(line);
            told.push('\n');
        }
    }
    told
}

#[tokio::test]
async fn every_metric_is_as_documented() {
    picture("metrics", &sorted(&scraped(&busy()).await));
}

#[tokio::test]
async fn open_metrics_is_there_for_those_who_ask() {
    let request =
        Request::get("/metrics").header("accept", "application/openmetrics-text; version=1.0.0").body(Body::empty());
    let reply = busy().send(LOCAL, request.unwrap()).await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(reply.body.ends_with("# EOF\n") && reply.body.contains("# TYPE trueup_passes counter\n"), "{}", reply.body);
}

#[tokio::test]
async fn promtool_finds_nothing() {
    let text = scraped(&busy()).await;
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            let required = std::env::var("TRUEUP_TESTS_REQUIRE_HOST").is_ok_and(|value| value == "1");
            assert!(!required, "promtool: {error}");
            // Not `eprintln!`: the test runner hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "skipped: promtool: {error}");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// What promtool looks for, for machines without it.
#[tokio::test]
async fn each_family_has_help_and_a_type_and_counters_end_in_total() {
    let text = scraped(&busy()).await;
    let mut family = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
            family = Some(name.to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let of = family.as_deref().unwrap();
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(name == of || plain == of, "{line} stands below {of}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}
