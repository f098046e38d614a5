//! What has happened since the agent began, counted; counters only grow, and go with the App that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::names::AppName;
use crate::model::report::{Outcome, PassReport};
use crate::model::wake::Wake;

/// Upper limits of the histogram in seconds: from a settled host to a long deployment.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 1800.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfApp {
    app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Ended {
    app: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Woken {
    app: String,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Done {
    app: String,
    action: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    forge: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: String,
    method: String,
    code: u16,
}

/// A counter of one App. Families cannot say which they have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum OneOfApp {
    Ended(Ended),
    Woken(Woken),
    Done(Done),
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Counters {
    registry: Registry,
    passes: Family<Ended, Counter>,
    seconds: Family<OfApp, Histogram, fn() -> Histogram>,
    wakes: Family<Woken, Counter>,
    actions: Family<Done, Counter>,
    corrections: Family<OfApp, Counter>,
    rollbacks: Family<OfApp, Counter>,
    webhooks: Family<Delivery, Counter>,
    requests: Family<Asked, Counter>,
    /// What there is of each App.
    of_apps: Mutex<BTreeMap<String, BTreeSet<OneOfApp>>>,
}

impl Default for Counters {
    fn default() -> Self {
        let mut counters = Self {
            registry: Registry::with_prefix("trueup"),
            passes: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            wakes: Family::default(),
            actions: Family::default(),
            corrections: Family::default(),
            rollbacks: Family::default(),
            webhooks: Family::default(),
            requests: Family::default(),
            of_apps: Mutex::default(),
        };
        let registry = &mut counters.registry;
        registry.register("passes", "Passes, by how they ended", counters.passes.clone());
        registry.register("pass_duration_seconds", "How long passes took", counters.seconds.clone());
        registry.register("wakes", "Reasons for passes", counters.wakes.clone());
        registry.register("actions", "Actions that were tried, by what came of them", counters.actions.clone());
        registry.register(
            "corrections",
            "Actions that succeeded although the manifest had not changed since the host was brought to it",
            counters.corrections.clone(),
        );
        registry.register(
            "rollbacks",
            "Passes that put the last proven release in force again",
            counters.rollbacks.clone(),
        );
        registry.register("webhooks", "Webhooks that arrived, by what came of them", counters.webhooks.clone());
        registry.register("http_requests", "Requests that were answered", counters.requests.clone());
        counters
    }
}

impl Counters {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn woken(&self, app: &AppName, wake: &Wake) {
        self.inc(app.to_string(), OneOfApp::Woken(Woken { app: app.to_string(), cause: wake.kind() }));
    }

    /// `repair`: the manifest has not changed since the host was brought to it.
    pub(super) fn ended(&self, report: &PassReport, repair: bool) {
        let app = report.app.to_string();
        let outcome = report.outcome.word();
        self.inc(app.clone(), OneOfApp::Ended(Ended { app: app.clone(), outcome }));
        self.seconds.get_or_create(&OfApp { app: app.clone() }).observe(report.took.as_secs_f64());
        let mut done = 0;
        for tried in &report.tried {
            let result = if tried.problem.is_some() { "failed" } else { "done" };
            done += u64::from(tried.problem.is_none());
            self.inc(app.clone(), OneOfApp::Done(Done { app: app.clone(), action: tried.action.verb(), result }));
        }
        let of = OfApp { app };
        // Zero is a value, too: an alert needs it to see the first one.
        self.corrections.get_or_create(&of).inc_by(if repair { done } else { 0 });
        self.rollbacks.get_or_create(&of).inc_by(u64::from(report.outcome == Outcome::RolledBack));
    }

    /// Counts no more for an App that is gone: names come and go for as long as the agent runs.
    pub(super) fn forget(&self, app: &AppName) {
        let of = OfApp { app: app.to_string() };
        let known = self.of_apps.lock().unwrap_or_else(PoisonError::into_inner).remove(&of.app);
        for one in known.into_iter().flatten() {
            match one {
                OneOfApp::Ended(ended) => self.passes.remove(&ended),
                OneOfApp::Woken(woken) => self.wakes.remove(&woken),
                OneOfApp::Done(done) => self.actions.remove(&done),
            };
        }
        self.seconds.remove(&of);
        self.corrections.remove(&of);
        self.rollbacks.remove(&of);
    }

    fn inc(&self, app: String, one: OneOfApp) {
        match &one {
            OneOfApp::Ended(ended) => self.passes.get_or_create(ended).inc(),
            OneOfApp::Woken(woken) => self.wakes.get_or_create(woken).inc(),
            OneOfApp::Done(done) => self.actions.get_or_create(done).inc(),
        };
        self.of_apps.lock().unwrap_or_else(PoisonError::into_inner).entry(app).or_default().insert(one);
    }

    pub(super) fn webhook(&self, forge: &'static str, result: &'static str) {
        self.webhooks.get_or_create(&Delivery { forge, result }).inc();
    }

    pub(super) fn answered(&self, path: &str, method: &str, code: u16) {
        let asked = Asked { path: path.to_owned(), method: method.to_owned(), code };
        self.requests.get_or_create(&asked).inc();
    }
}
