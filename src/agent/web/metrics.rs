//! Metrics: what was counted since the agent began, and what is now.
//!
//! The crate writes `OpenMetrics`; whoever does not ask for that gets Prometheus' own text format, which names counters
//! in full and knows neither units nor an end.

use std::fmt::Write;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};

use super::WebState;
use super::answer::{Refusal, answer};
use super::api::quick_status;
use crate::agent::counters::Counters;
use crate::agent::view::{AppView, View};
use crate::model::status::{AppStatus, ConditionType, Reason, Truth};

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics`.
pub(super) async fn metrics(State(room): State<WebState>, headers: HeaderMap) -> Result<Response, Refusal> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let view = room.web.board.view();
    let queue = room.web.orders.max_capacity() - room.web.orders.capacity();
    let open = encoded(room.web.board.counters(), &now(&view, queue)?, &process(view.started))
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let wants_open = accept.contains("application/openmetrics-text");
    Ok(if wants_open { answer(OPEN, open) } else { answer(PLAIN, plain(&open)) })
}

/// All of them as one text in `OpenMetrics`.
fn encoded(counters: &Counters, now: &Registry, process: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, counters.registry())?;
    encode_registry(&mut text, now)?;
    encode_registry(&mut text, process)?;
    encode_eof(&mut text)?;
    Ok(text)
}

/// The same for those who know Prometheus' text format only.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The name depends on the type, which comes next.
            help = rest.split_once(' ');
            continue;
        }
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "# HELP {name}{suffix} {words}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfApp {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Info {
    app: String,
    desired: String,
    revision: String,
    sync: &'static str,
    health: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGroup {
    app: String,
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Workers {
    app: String,
    group: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InCondition {
    app: String,
    condition: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Commit {
    commit: String,
}

type Number<L> = Family<L, Gauge>;
type Moment<L> = Family<L, Gauge<f64, AtomicU64>>;

/// Gauges, made for one answer: an App that is gone leaves none behind.
#[derive(Default)]
struct Gauges {
    info: Number<Info>,
    conditions: Number<InCondition>,
    workers: Number<Workers>,
    desired: Number<OfGroup>,
    strays: Number<OfApp>,
    success: Moment<OfApp>,
    next: Moment<OfApp>,
    suspended: Number<OfApp>,
    withheld: Number<OfApp>,
    orphaned: Number<OfApp>,
    running: Number<OfApp>,
    pending: Number<OfApp>,
    failures: Number<OfApp>,
    corrections: Number<OfApp>,
}

fn now(view: &View, queue: usize) -> Result<Registry, Refusal> {
    let gauges = Gauges::default();
    for one in &view.apps {
        gauges.app(one, &quick_status(one, view)?);
    }
    let mut registry = Registry::with_prefix("trueup");
    gauges.register(&mut registry);
    let build: Number<Build> = Family::default();
    build.get_or_create(&Build { version: view.version.clone() }).set(1);
    registry.register("build_info", "The version of trueup", build);
    let commits: Number<Commit> = Family::default();
    if let Some(revision) = &view.revision {
        commits.get_or_create(&Commit { commit: revision.commit.clone() }).set(1);
    }
    registry.register("manifests_info", "The commit in force", commits);
    registry.register("manifests_refused", "Newer manifests cannot be used", one(view.refused.is_some()));
    let away = one(view.unreachable.is_some());
    registry.register("source_unreachable", "The source of manifests cannot be asked", away);
    registry.register("ready", "Manifests are in force and passes are made", one(view.ready));
    let queued: Gauge = Gauge::default();
    queued.set(number(queue));
    registry.register("orders_queued", "Orders that wait for the loop", queued);
    registry.register("start_time_seconds", "When the agent began, in seconds since 1970", moment(view.started));
    Ok(registry)
}

impl Gauges {
    fn app(&self, one: &AppView, status: &AppStatus) {
        let app = one.loaded.app.name.to_string();
        let of = OfApp { app: app.clone() };
        let info = Info {
            app: app.clone(),
            desired: one.loaded.app.release.id.to_string(),
            revision: status.last_applied_revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            sync: sync(status, one),
            health: health(status),
        };
        self.info.get_or_create(&info).set(1);
        for condition in &status.conditions {
            let name = condition.of.word();
            for (truth, word) in [(Truth::True, "true"), (Truth::False, "false"), (Truth::Unknown, "unknown")] {
                let state = InCondition { app: app.clone(), condition: name, status: word };
                self.conditions.get_or_create(&state).set(i64::from(condition.status == truth));
            }
        }
        for group in &status.workers {
            let name = group.name.to_string();
            let desired = OfGroup { app: app.clone(), group: name.clone() };
            self.desired.get_or_create(&desired).set(i64::from(group.desired));
            let Some(numbers) = group.numbers else { continue };
            for (state, number) in [("current", numbers.fresh), ("stale", numbers.stale), ("unknown", numbers.unknown)]
            {
                let workers = Workers { app: app.clone(), group: name.clone(), state };
                self.workers.get_or_create(&workers).set(i64::from(number));
            }
        }
        self.strays.get_or_create(&of).set(number(status.strays.len()));
        if let Some(at) = one.last_success {
            self.success.get_or_create(&of).set(seconds(at));
        }
        self.suspended.get_or_create(&of).set(i64::from(status.suspended.is_some()));
        self.withheld.get_or_create(&of).set(i64::from(is_left_on_purpose(status)));
        self.orphaned.get_or_create(&of).set(i64::from(one.orphaned));
        self.running.get_or_create(&of).set(i64::from(one.running.is_some()));
        self.pending.get_or_create(&of).set(number(one.pending.len()));
        if let Some(schedule) = &one.schedule {
            self.failures.get_or_create(&of).set(i64::from(schedule.failures));
            self.corrections.get_or_create(&of).set(i64::from(schedule.corrections));
            if let Some(at) = schedule.next {
                self.next.get_or_create(&of).set(seconds(at));
            }
        }
    }

    fn register(self, registry: &mut Registry) {
        registry.register(
            "app_info",
            "The desired release, the one in force (revision), whether they are in sync, and health",
            self.info,
        );
        registry.register(
            "app_condition",
            "The conditions of `trueup status`; 1 for the one that holds",
            self.conditions,
        );
        registry.register("workers", "Workers that run, by whether they run what is desired", self.workers);
        registry.register("workers_desired", "Workers that are wanted", self.desired);
        registry.register("strays", "Processes of releases that no group owns", self.strays);
        registry.register(
            "last_success_timestamp_seconds",
            "When a pass last ended converged and healthy, in seconds since 1970; absent before the first",
            self.success,
        );
        registry.register(
            "next_pass_timestamp_seconds",
            "When the next pass begins, in seconds since 1970; absent while one runs",
            self.next,
        );
        registry.register("suspended", "Nobody acts on the App", self.suspended);
        registry.register("withheld", "There is drift, and it is left on purpose", self.withheld);
        registry.register("orphaned", "The App has disappeared from the manifests", self.orphaned);
        registry.register("pass_running", "A pass is under way", self.running);
        registry.register("wakes_pending", "Reasons that wait for the next pass", self.pending);
        registry.register("failures_in_a_row", "Passes that failed, one after the other", self.failures);
        registry.register(
            "corrections_last_hour",
            "Passes of the last hour that put drift right that nobody had asked for, and did more than start workers",
            self.corrections,
        );
    }
}

/// What is not as it should be waits for its time, or for a person's word.
fn is_left_on_purpose(status: &AppStatus) -> bool {
    use Reason::{NoSelfHeal, NotAutomatic, OutsideWindow, Suspended};
    let ready = status.condition(ConditionType::Ready);
    ready.is_some_and(|ready| matches!(ready.reason, NoSelfHeal | NotAutomatic | OutsideWindow | Suspended))
}

fn sync(status: &AppStatus, one: &AppView) -> &'static str {
    match status.condition(ConditionType::Ready).map(|ready| ready.status) {
        None | Some(Truth::Unknown) => "unknown",
        Some(Truth::True) => "synced",
        // Not ready for its health alone is another matter.
        Some(Truth::False) => match &one.last {
            Some(made) if !made.report.remaining.is_empty() || status.quarantine.is_some() => "outOfSync",
            Some(made) if made.behind => "unknown",
            Some(_) => "synced",
            None => "outOfSync",
        },
    }
}

fn health(status: &AppStatus) -> &'static str {
    match (&status.health, status.condition(ConditionType::Healthy).map(|healthy| healthy.status)) {
        (Some(_), Some(Truth::True)) => "healthy",
        (Some(_), Some(Truth::False)) => "unhealthy",
        _ => "unknown",
    }
}

fn one(yes: bool) -> Gauge {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::from(yes));
    gauge
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whole milliseconds are exact in it for the next centuries.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have fewer bits than it keeps")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn moment(at: Timestamp) -> Gauge<f64, AtomicU64> {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(seconds(at));
    gauge
}

/// What every exporter tells of its own process, under the names that dashboards know: without a prefix of ours.
fn process(started: Timestamp) -> Registry {
    let set = |value: Option<u64>| {
        let gauge: Gauge = Gauge::default();
        value.map(|value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX)));
        gauge
    };
    let mut registry = Registry::with_prefix("process");
    registry.register("resident_memory_bytes", "Memory of the agent's process", set(resident()));
    registry.register("open_fds", "Open descriptors of the agent's process", set(descriptors()));
    registry.register("start_time_seconds", "When the agent's process began, in seconds since 1970", moment(started));
    let spent: Counter<f64, AtomicU64> = Counter::default();
    spent.inc_by(cpu().as_secs_f64());
    registry.register("cpu_seconds", "Processor time that the agent's process has taken", spent);
    registry
}

/// What all threads of this process have taken.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn descriptors() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(open).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_in_full_and_nothing_foreign_is_left() {
        let open = "# HELP trueup_passes Passes.\n# TYPE trueup_passes counter\ntrueup_passes_total{app=\"a\"} 1\n\
                    # HELP trueup_x Seconds.\n# TYPE trueup_x gauge\n# UNIT trueup_x seconds\ntrueup_x 2\n# EOF\n";
        let expected = "# HELP trueup_passes_total Passes.\n# TYPE trueup_passes_total counter\n\
                        trueup_passes_total{app=\"a\"} 1\n# HELP trueup_x Seconds.\n# TYPE trueup_x gauge\ntrueup_x 2\n";
        assert_eq!(plain(open), expected);
    }
}
