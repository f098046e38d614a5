//! What is printed for programs.

use serde_json::Value;

use super::chosen::One;
use crate::decide::fleet::Wave;
use crate::documents::fleet::{
    FleetDocument, FleetHostDocument, FleetList, Item, MigrationsDocument, WaveDocument, how, verdict,
};
use crate::documents::pass::pass;
use crate::fleet::groups::Looked;
use crate::fleet::report::{HostReport, Migrations, Rolled, Trouble};
use crate::model::report::{PassReport, Problem};
use crate::model::rollout::HostVerdict;

/// What came of a verb over the hosts of one App.
pub trait Told {
    /// Host by host.
    fn hosts(&self) -> &[HostReport];
    /// The waves in which they would change; none where it does not say what would be done.
    fn planned(&self, one: &One<'_>) -> Option<Vec<Wave>>;
    /// The rest of its document.
    fn document<'a>(&'a self, one: &'a One<'_>) -> FleetDocument<'a>;
}

impl Told for Rolled {
    fn hosts(&self) -> &[HostReport] {
        &self.hosts
    }

    /// It has been done.
    fn planned(&self, _: &One<'_>) -> Option<Vec<Wave>> {
        None
    }

    fn document<'a>(&'a self, one: &'a One<'_>) -> FleetDocument<'a> {
        let outcome = Some(how(self.ending.how));
        let came = (self.waves, self.migrations.clone());
        fleet(one, outcome, came, self.took.as_millis(), &self.hosts)
    }
}

impl Told for Looked {
    fn hosts(&self) -> &[HostReport] {
        &self.hosts
    }

    fn planned(&self, one: &One<'_>) -> Option<Vec<Wave>> {
        let all_seen = self.hosts.iter().all(|host| host.verdict != HostVerdict::Unseen);
        all_seen.then(|| self.waves(&one.loaded.app, &one.fleet))
    }

    fn document<'a>(&'a self, one: &'a One<'_>) -> FleetDocument<'a> {
        fleet(one, None, (0, self.migrations()), self.took.as_millis(), &self.hosts)
    }
}

/// The passes of this host and of all others.
pub fn pass_list<'a>(here: &'a [PassReport], apps: &'a [One<'_>], came: &'a [impl Told]) -> FleetList<'a> {
    let own = here.iter().map(|report| Item::Here(Box::new(pass(report)))).collect();
    let mut list = list("PassReportList", own, apps, came);
    for (document, (one, came)) in list.fleets.iter_mut().zip(apps.iter().zip(came)) {
        document.planned_waves = came.planned(one).map(|waves| waves.into_iter().map(wave).collect());
    }
    list
}

fn wave(Wave { is_canary, hosts }: Wave) -> WaveDocument {
    WaveDocument { canary: is_canary, hosts }
}

/// The Apps of this host and of all others, each with its status.
pub fn app_list<'a>(here: Vec<Value>, apps: &'a [One<'_>], came: &'a [impl Told]) -> FleetList<'a> {
    list("AppList", here.into_iter().map(Item::Own).collect(), apps, came)
}

fn list<'a>(kind: &'static str, mut items: Vec<Item<'a>>, apps: &'a [One<'_>], came: &'a [impl Told]) -> FleetList<'a> {
    let theirs = came.iter().flat_map(Told::hosts).filter_map(|host| host.document.as_deref());
    items.extend(theirs.map(Item::There));
    FleetList::new(kind, items, apps.iter().zip(came).map(|(one, came)| came.document(one)).collect())
}

fn fleet<'a>(
    one: &'a One<'_>,
    outcome: Option<&'static str>,
    (waves, Migrations { run_on, recorded_by }): (usize, Migrations),
    took_ms: u128,
    hosts: &'a [HostReport],
) -> FleetDocument<'a> {
    let app = &one.loaded.app;
    let migrations = MigrationsDocument { run_on, recorded_by };
    FleetDocument {
        app: &app.name,
        release: &app.release.id,
        outcome,
        waves,
        planned_waves: None,
        migrations: (!app.release.migrate.is_empty()).then_some(migrations),
        took_ms,
        hosts: hosts.iter().map(host).collect(),
    }
}

fn host(host: &HostReport) -> FleetHostDocument<'_> {
    let seen = host.summary.as_ref().filter(|summary| summary.observed);
    FleetHostDocument {
        host: &host.name,
        verdict: verdict(host.verdict),
        current: seen.and_then(|summary| summary.current.as_ref()),
        healthy: seen.and_then(|summary| summary.healthy),
        done: host.done,
        failed: host.failed,
        took_ms: host.took.as_millis(),
        problems: host.troubles.iter().map(problem).chain(untold(host)).collect(),
    }
}

fn untold(host: &HostReport) -> Option<Problem> {
    let message = format!("and {} more, which `trueup status` tells on the host", host.untold);
    (host.untold > 0).then_some(Problem { message, help: None, lasting: false })
}

fn problem(trouble: &Trouble) -> Problem {
    Problem { message: trouble.told(), help: trouble.help.clone(), lasting: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fleet::chosen;
    use crate::cli::options::fleet::Hosts;

    fn app(name: &str) -> String {
        format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  root: /srv/{name}\n  \
             hosts: [{{name: web1}}, {{name: web2}}]\n  release: {{id: r2}}\n"
        )
    }

    #[test]
    fn who_says_what_would_be_done_tells_the_waves() {
        let loaded = crate::manifest::load(&["-".into()], &mut app("shop").as_bytes()).unwrap();
        let apps = chosen(&loaded, &Hosts::default()).unwrap();
        let looked = |verdicts: [HostVerdict; 2]| {
            let mut looked = Looked::new(apps[0].names(), true);
            looked.hosts.iter_mut().zip(verdicts).for_each(|(host, verdict)| host.verdict = verdict);
            looked
        };
        let wave = |canary: bool, host: &str| serde_json::json!({"canary": canary, "hosts": [host]});
        let both = [wave(true, "web1"), wave(false, "web2")];
        let rows = [
            ([HostVerdict::NotReached, HostVerdict::NotReached], serde_json::json!(both)),
            ([HostVerdict::Settled, HostVerdict::NotReached], serde_json::json!([wave(false, "web2")])),
            ([HostVerdict::Settled, HostVerdict::Settled], serde_json::json!([])),
            // It would not be begun.
            ([HostVerdict::Unreachable, HostVerdict::NotReached], serde_json::json!([])),
            ([HostVerdict::NotReached, HostVerdict::Unseen], Value::Null),
        ];
        for (verdicts, expected) in rows {
            let each = [looked(verdicts)];
            let list = serde_json::to_value(pass_list(&[], &apps, &each)).unwrap();
            assert_eq!(list["fleets"][0]["plannedWaves"], expected, "{verdicts:?}");
            let list = serde_json::to_value(app_list(Vec::new(), &apps, &each)).unwrap();
            assert_eq!(list["fleets"][0]["plannedWaves"], Value::Null, "a status plans nothing");
        }
        let done = [Rolled::left_out(apps[0].names())];
        assert_eq!(
            serde_json::to_value(pass_list(&[], &apps, &done)).unwrap()["fleets"][0]["plannedWaves"],
            Value::Null
        );
    }

    #[test]
    fn an_app_whose_turn_did_not_come_is_named_with_its_hosts() {
        let text = [app("shop"), app("blog")].join("---\n");
        let loaded = crate::manifest::load(&["-".into()], &mut text.as_bytes()).unwrap();
        let apps = chosen(&loaded, &Hosts::default()).unwrap();
        let rolled: Vec<Rolled> = apps.iter().map(|one| Rolled::left_out(one.names())).collect();
        let looked: Vec<Looked> = apps.iter().map(|one| Looked::new(one.names(), true)).collect();
        let lists = [
            (serde_json::to_value(pass_list(&[], &apps, &rolled)), serde_json::json!("interrupted")),
            (serde_json::to_value(pass_list(&[], &apps, &looked)), Value::Null),
            (serde_json::to_value(app_list(Vec::new(), &apps, &looked)), Value::Null),
        ];
        for (list, outcome) in lists {
            let list = list.unwrap();
            let fleets = list["fleets"].as_array().unwrap();
            let told: Vec<_> = fleets.iter().map(|one| (one["app"].as_str().unwrap(), &one["outcome"])).collect();
            assert_eq!(told, [("shop", &outcome), ("blog", &outcome)]);
            for host in fleets.iter().flat_map(|one| one["hosts"].as_array().unwrap()) {
                assert!(host["verdict"] == "notLookedAt" && host["current"].is_null(), "{list}");
            }
            assert!(fleets.iter().all(|one| one["plannedWaves"].is_null()), "nobody was looked at: {list}");
        }
    }
}
