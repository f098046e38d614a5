//! The rules for alerts on the page about the API, as Prometheus understands them.

use std::io::Write;
use std::process::Command;

use crate::agent::web::testing::{Stage, manifests, report, well};
use crate::model::report::Outcome;
use crate::model::wake::Wake;

/// Series over minutes, and which alerts they raise when. `up` is told by Prometheus itself.
const STORIES: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - name: an App that is not as it should be is told of, but not where that is on purpose or nobody looks after it
    interval: 1m
    input_series:
      - {series: 'trueup_app_condition{app="shop", condition="Ready", status="true"}', values: '0x60'}
      - {series: 'trueup_withheld{app="shop"}', values: '0x60'}
      - {series: 'trueup_orphaned{app="shop"}', values: '0x60'}
      - {series: 'trueup_app_condition{app="left", condition="Ready", status="true"}', values: '0x60'}
      - {series: 'trueup_withheld{app="left"}', values: '0x60'}
      - {series: 'trueup_orphaned{app="left"}', values: '1x60'}
      - {series: 'trueup_app_condition{app="suspended", condition="Ready", status="true"}', values: '0x60'}
      - {series: 'trueup_withheld{app="suspended"}', values: '1x60'}
      - {series: 'trueup_orphaned{app="suspended"}', values: '0x60'}
    alert_rule_test:
      - {eval_time: 9m, alertname: NotReady}
      - eval_time: 11m
        alertname: NotReady
        exp_alerts: [{exp_labels: {app: shop, condition: Ready, status: "true"}}]
  - name: an application that is ill
    interval: 1m
    input_series:
      - {series: 'trueup_app_condition{app="shop", condition="Healthy", status="false"}', values: '1x60'}
    alert_rule_test:
      - {eval_time: 1m, alertname: NotHealthy}
      - eval_time: 3m
        alertname: NotHealthy
        exp_alerts: [{exp_labels: {app: shop, condition: Healthy, status: "false"}}]
  - name: a pass is overdue, however long the interval is
    interval: 1m
    input_series:
      - {series: 'trueup_next_pass_timestamp_seconds{app="hourly"}', values: '3600x90'}
      - {series: 'trueup_next_pass_timestamp_seconds{app="busy"}', values: '60+60x90'}
    alert_rule_test:
      - {eval_time: 64m, alertname: PassOverdue}
      - eval_time: 72m
        alertname: PassOverdue
        exp_alerts: [{exp_labels: {app: hourly}}]
  - name: a pass that does not end, and passes that do
    interval: 1m
    input_series:
      - {series: 'trueup_pass_running{app="stuck"}', values: '1x180'}
      - {series: 'trueup_pass_running{app="building"}', values: '1x100 0x80'}
    alert_rule_test:
      - {eval_time: 119m, alertname: PassWithoutEnd}
      - eval_time: 121m
        alertname: PassWithoutEnd
        exp_alerts: [{exp_labels: {app: stuck}}]
  - name: an agent that is gone
    interval: 1m
    input_series:
      - {series: 'up{job="trueup", instance="web01"}', values: '1x10 0x30'}
      - {series: 'up{job="trueup", instance="web02"}', values: '1x40'}
    alert_rule_test:
      - {eval_time: 10m, alertname: AgentAway}
      - eval_time: 17m
        alertname: AgentAway
        exp_alerts: [{exp_labels: {job: trueup, instance: web01}}]
  - name: an agent that nobody asks
    interval: 1m
    input_series:
      - {series: 'up{job="another", instance="web01"}', values: '1x40'}
    alert_rule_test:
      - eval_time: 6m
        alertname: AgentAway
        exp_alerts: [{exp_labels: {job: trueup}}]
"#;

/// The rules as they are written, for one group.
fn documented() -> String {
    let page = include_str!("../../../../docs/api.md");
    let (_, rest) = page.split_once("```yaml\n- alert:").expect("rules");
    let rules = format!("- alert:{}", rest.split_once("```").expect("their end").0);
    format!("  {}", rules.trim_end().replace('\n', "\n  "))
}

#[tokio::test]
async fn the_rules_speak_of_metrics_that_there_are() {
    let stage = Stage::looked();
    stage.pass(Wake::Link, &report(&manifests()[0], well(), well(), Outcome::Converged));
    let metrics = stage.get("/metrics").await.body;
    let rules = documented();
    let names =
        rules.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).filter(|word| word.starts_with("trueup_"));
    let names: std::collections::BTreeSet<&str> = names.collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(metrics.contains(&format!("\n{name}{{app=\"shop\"")), "{name}");
    }
}

#[test]
fn the_rules_raise_an_alarm_when_there_is_reason_and_only_then() {
    let room = tempfile::tempdir().unwrap();
    let rules = format!("groups:\n- name: trueup\n  rules:\n{}", documented());
    std::fs::write(room.path().join("rules.yaml"), rules).unwrap();
    std::fs::write(room.path().join("stories.yaml"), STORIES).unwrap();
    let output = Command::new("promtool").args(["test", "rules", "stories.yaml"]).current_dir(room.path()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var("TRUEUP_TESTS_REQUIRE_HOST").is_ok_and(|value| value == "1");
            assert!(!required, "promtool: {error}");
            // Not `eprintln!`: the test runner hides what a passing test prints.
            let _ = writeln!(std::io::stderr(), "skipped: promtool: {error}");
            return;
        }
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
}
