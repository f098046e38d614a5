//! How long deciding takes, for groups of 10, 1,000 and 10,000 workers: `cargo bench --bench plan`.
//!
//! `plan` looks for drift itself, as a dry run does; `diff` is the part of it that names the drift.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use jiff::{Timestamp, ToSpan};
use trueup::decide::diff::diff;
use trueup::decide::plan::plan;
use trueup::model::app::{App, Manager, Systemd, TemplateUnit, WorkerGroup};
use trueup::model::memory::Helpless;
use trueup::model::names::{AppName, GroupName, ReleaseId, Root};
use trueup::model::observed::{
    Evidence, Layout, Link, MemberState, Observed, ObservedGroup, ObservedRelease, Rung, Runs, Worker,
};
use trueup::model::process::{Inode, Pid, ProcessId, StartTicks};
use trueup::model::record::ReleaseRecord;
use trueup::model::release::Release;

const SIZES: [u32; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

/// What differs from what is wanted.
#[derive(Debug, Clone, Copy)]
enum Host {
    /// Nothing.
    Settled,
    /// The link and every worker.
    AllStale,
    /// No worker is there yet.
    Empty,
    /// Every worker is stale, and restarting it has not helped before.
    Helpless,
    /// As many again as are wanted.
    TwiceAsMany,
}

fn id(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap_or_else(|_| unreachable!("a plain word is an id"))
}

fn app(count: u32) -> Option<App> {
    let manager = Manager::Systemd(Systemd { unit: TemplateUnit::new("web@")? });
    let group = WorkerGroup::new(GroupName::new("default").ok()?, count, manager);
    let named = App::new(AppName::new("web").ok()?, Root::new("/srv/app").ok()?, Release::present(id("r2")));
    Some(App { workers: vec![group], ..named })
}

fn seen(app: &App, host: Host) -> Observed {
    let at = Timestamp::UNIX_EPOCH + 20_000.hours();
    let group = &app.workers[0];
    let (link, runs, present) = match host {
        Host::Settled => ("r2", "r2", group.count),
        Host::AllStale => ("r1", "r1", group.count),
        Host::Empty => ("r2", "r2", 0),
        Host::Helpless => ("r2", "r1", group.count),
        Host::TwiceAsMany => ("r2", "r2", group.count * 2),
    };
    let process = |ordinal| ProcessId { pid: Pid(100 + ordinal), start_ticks: StartTicks(u64::from(ordinal)) };
    let workers: Vec<Worker> = (1..=present)
        .filter_map(|ordinal| {
            Some(Worker {
                member: group.member(ordinal)?,
                ordinal,
                state: MemberState::Running,
                detail: String::new(),
                process: Some(process(ordinal)),
                started: Some(at - 1.minute()),
                evidence: Evidence {
                    runs: Runs::Release { id: id(runs) },
                    rung: Some(Rung::EntryScript),
                    seen: format!("open file /srv/app/releases/{runs}/artisan"),
                },
                enabled: Some(true),
                outdated: false,
            })
        })
        .collect();
    let helpless = match host {
        Host::Helpless => workers
            .iter()
            .map(|worker| Helpless {
                group: group.name.clone(),
                member: worker.member.clone(),
                process: process(worker.ordinal),
                release: id("r2"),
            })
            .collect(),
        Host::Settled | Host::AllStale | Host::Empty | Host::TwiceAsMany => Vec::new(),
    };
    let releases = ["r1", "r2"]
        .iter()
        .zip(1..)
        .map(|(name, number)| ObservedRelease::new(id(name), Inode { device: 1, number }, Some(at - 1.hour())));
    let layout = Layout {
        link: Link::Release { id: id(link) },
        link_changed: Some(at - 30.minutes()),
        changed_by_now: None,
        releases_path: "/srv/app/releases".into(),
        releases: releases.collect(),
    };
    let groups = vec![ObservedGroup { group: group.name.clone(), members: Ok(workers) }];
    let records = ["r1", "r2"].map(|name| ReleaseRecord { proven: Some(at), ..ReleaseRecord::adopted(id(name), at) });
    Observed { groups, helpless, records: records.to_vec(), ..Observed::new(at, layout) }
}

fn measure<T>(bencher: Bencher<'_, '_>, host: Host, count: u32, decide: impl Fn(&App, &Observed) -> T + Sync) {
    let Some(app) = app(count) else { return };
    let observed = seen(&app, host);
    bencher.counter(ItemsCount::new(count)).bench(|| decide(black_box(&app), black_box(&observed)));
}

macro_rules! of_every_host {
    ($($name:ident: $host:expr),* $(,)?) => {
        /// Drift and the steps that close it.
        mod planned {
            use super::*;
            $(#[divan::bench(args = SIZES)]
            fn $name(bencher: Bencher<'_, '_>, count: u32) {
                measure(bencher, $host, count, plan);
            })*
        }

        /// Drift alone.
        mod compared {
            use super::*;
            $(#[divan::bench(args = SIZES)]
            fn $name(bencher: Bencher<'_, '_>, count: u32) {
                measure(bencher, $host, count, diff);
            })*
        }
    };
}

of_every_host! {
    settled: Host::Settled,
    all_stale: Host::AllStale,
    empty: Host::Empty,
    helpless: Host::Helpless,
    twice_as_many: Host::TwiceAsMany,
}
