//! The simulated host's releases, services and commands: how a release is made, switched to and removed.

use std::time::Duration;

use jiff::Timestamp;

use super::faults::{Call, Fault};
use super::host::SimHost;
use super::world::{Flaw, SERVICE, World};
use crate::model::action::Action;
use crate::model::app::{App, CommandLine};
use crate::model::names::{RelativePath, ReleaseId, Root};
use crate::model::observed::{Layout, Link, ObservedRelease};
use crate::model::process::{Inode, Known, ProcessTable};
use crate::model::record::{Making, ReleaseRecord};
use crate::model::release::Stage;
use crate::model::service::{ObservedService, Renewal, Service, ServiceState};
use crate::ports::{Commands, GoesOn, HostError, HostErrorKind, Inspection, Releases, Services};

fn inode(id: &ReleaseId) -> Inode {
    Inode { device: 1, number: u64::from(id.as_str().as_bytes()[1]) }
}

/// The release itself does not do, as its source or one of its commands says.
fn flawed(what: &str) -> HostError {
    HostError::new(HostErrorKind::Misconfigured, format!("{what} is wrong"))
}

impl Releases for SimHost {
    async fn layout(&self, app: &App) -> Result<Layout, HostError> {
        self.before(Call::Layout).await?;
        let world = self.world();
        let made = |id: &ReleaseId| world.fetched.filter(|_| *id == app.release.id).unwrap_or(world.made);
        let releases = world.releases.iter().map(|id| ObservedRelease::new(id.clone(), inode(id), Some(made(id))));
        Ok(Layout {
            link: world.link.clone(),
            link_changed: world.link_changed,
            changed_by_now: None,
            releases_path: app.root.releases(),
            releases: releases.collect(),
        })
    }

    async fn inspect(&self, app: &App) -> Result<Inspection, HostError> {
        let world = self.world();
        if !world.releases.contains(&app.release.id) {
            return Err(HostError::new(HostErrorKind::Other, "it is not there"));
        }
        let unlinked = app.release.shared.dirs.iter().filter(|_| !world.linked.contains(&app.release.id));
        Ok(Inspection { unlinked: unlinked.cloned().collect(), ..Inspection::default() })
    }

    async fn make_root(&self, _: &App) -> Result<(), HostError> {
        Ok(())
    }

    async fn fetch(&self, app: &App) -> Result<Option<String>, HostError> {
        let fault = self.before(Call::Fetch).await?;
        let id = app.release.id.clone();
        {
            let mut world = self.world();
            world.check_action("fetching", |action| matches!(action, Action::FetchRelease { .. }));
            world.check_overwritten(&id);
            let (now, version) = (world.clock(), world.config_version);
            world.fetched = Some(now);
            // Its first worker reads the file as it is: nothing was made of it in there before.
            world.config_cached.insert(id.clone(), version);
            world.linked.remove(&id);
            world.half.insert(id.clone());
            if !world.releases.contains(&id) {
                world.releases.push(id.clone());
                world.releases.sort();
            }
        }
        if fault == Some(Fault::CrashAfter) {
            return self.die().await;
        }
        if self.world().flaw == Some(Flaw::Source) {
            return Err(flawed("the checksum"));
        }
        self.world().half.remove(&id);
        self.after(Call::Fetch, fault).await?;
        Ok(Some("abc".to_owned()))
    }

    async fn link(&self, app: &App) -> Result<(), HostError> {
        let fault = self.before(Call::Link).await?;
        {
            let mut world = self.world();
            world.check_action("linking", |action| matches!(action, Action::LinkShared { .. }));
            world.linked.insert(app.release.id.clone());
        }
        self.after(Call::Link, fault).await
    }

    async fn settle(&self, _: &Root) -> Result<(), HostError> {
        Ok(())
    }

    async fn sweep(&self, _: &Root) -> Result<(), HostError> {
        Ok(())
    }

    async fn remove(&self, _: &Root, id: &ReleaseId) -> Result<(), HostError> {
        let fault = self.before(Call::Remove).await?;
        {
            let mut world = self.world();
            world.check_action(
                "removing a release",
                |action| matches!(action, Action::PruneRelease { id: of } if of == id),
            );
            world.check_removed(id);
            world.releases.retain(|release| release != id);
        }
        self.after(Call::Remove, fault).await
    }

    async fn switch(&self, _: &Root, to: &ReleaseId) -> Result<(), HostError> {
        let fault = self.before(Call::Switch).await?;
        {
            let mut world = self.world();
            world.check_action("the switch", |action| matches!(action, Action::SwitchCurrent { .. }));
            world.check_switched(to);
            world.link = Link::Release { id: to.clone() };
            world.link_changed = Some(world.clock());
        }
        self.after(Call::Switch, fault).await
    }

    async fn content(&self, _: &Root, _: &RelativePath) -> Known<Option<(String, Timestamp)>> {
        let world = self.world();
        if let Some(why) = &world.config_unreadable {
            return Known::Unknown(why.clone());
        }
        Known::Known(Some((world.config_version.to_string(), world.config_written)))
    }
}

impl Services for SimHost {
    async fn services(&self, apps: &[&App], _: &ProcessTable) -> Vec<Vec<ObservedService>> {
        let world = self.world();
        let seen = |service: &Service| {
            let (oldest, renewed) = (Some(world.service_renewed), Some(world.service_renewed));
            let state =
                ServiceState { up: true, oldest, renewed, children: 3, can_reload: true, ..ServiceState::default() };
            let seen = world.unobservable(&service.name).map_or(Ok(state), |error| Err(error.into_unreadable()));
            ObservedService { service: service.name.clone(), seen }
        };
        apps.iter().map(|app| app.services.iter().map(seen).collect()).collect()
    }

    async fn renew(&self, _: &App, service: &Service, _: Renewal) -> Result<(), HostError> {
        let fault = self.before(Call::Renew).await?;
        {
            let mut world = self.world();
            world.check_action(SERVICE, |action| matches!(action, Action::RenewService { .. }));
            world.check_renewed(service);
            let (now, link) = (world.clock(), world.link.clone());
            world.service_renewed = now;
            if let Link::Release { id } = link {
                world.service_serves = id;
            }
        }
        self.after(Call::Renew, fault).await
    }
}

impl Commands for SimHost {
    async fn run(&self, app: &App, _: &CommandLine, _: Duration) -> Result<(), HostError> {
        let fault = self.before(Call::ApplyConfig).await?;
        {
            let mut world = self.world();
            world.check_action("a step", |action| matches!(action, Action::ApplyConfig { .. }));
            let version = world.config_version;
            world.config_cached.insert(app.release.id.clone(), version);
        }
        self.after(Call::ApplyConfig, fault).await
    }

    async fn steps(&self, app: &App, stage: Stage, _: Option<&ReleaseId>, _: GoesOn<'_>) -> Result<(), HostError> {
        let fault = self.before(Call::Steps).await?;
        let id = &app.release.id;
        {
            let mut world = self.world();
            world.check_action("a stage", |action| {
                matches!(action, Action::RunStage { stage: of, .. } if *of == stage)
                    || (stage == Stage::BeforeSwitch && matches!(action, Action::SwitchCurrent { .. }))
            });
            world.check_stage(id, stage);
            if stage == Stage::Build {
                world.half.insert(id.clone());
            }
        }
        if fault == Some(Fault::CrashAfter) {
            return self.die().await;
        }
        self.world().run_stage(id, stage)?;
        self.after(Call::Steps, fault).await
    }
}

impl World {
    fn run_stage(&mut self, id: &ReleaseId, stage: Stage) -> Result<(), HostError> {
        match (stage, self.flaw) {
            (Stage::Build, Some(Flaw::Build)) => return Err(flawed("the build")),
            (Stage::Verify, Some(Flaw::Verification)) => return Err(flawed("the verification")),
            (Stage::Build, _) => {
                self.half.remove(id);
            }
            (Stage::Migrate, _) => *self.migrations.entry(id.clone()).or_default() += 1,
            _ => {}
        }
        Ok(())
    }

    /// A record never promises what is not there.
    pub fn check_record(&mut self, record: &ReleaseRecord) {
        if record.made == Making::Built && self.half.contains(&record.id) {
            self.violation(format!("{} is called built, and is half a release", record.id));
        }
        let newly = record.proven.is_some()
            && self.records.get(&record.id).is_none_or(|known| known.proven.is_none())
            && (self.link == Link::Release { id: record.id.clone() });
        if newly && self.app.health.is_some() && !self.is_healthy() && self.flaw == Some(Flaw::Unhealthy) {
            self.violation(format!("{} is called proven, and was never healthy", record.id));
        }
    }

    fn check_overwritten(&mut self, id: &ReleaseId) {
        let known = self.records.get(id).map(|record| record.made);
        let whole = self.releases.contains(id) && (known.is_none() || known == Some(Making::Built));
        if self.app.release.source.is_none() || whole {
            self.violation(format!("{id} is fetched without need"));
        }
        if self.link == (Link::Release { id: id.clone() }) {
            self.violation(format!("{id} is fetched while it is in force"));
        }
    }

    fn check_switched(&mut self, to: &ReleaseId) {
        if *to != self.target() || !self.releases.contains(to) {
            self.violation(format!("current is switched to {to}, the target is {}", self.target()));
        }
        let good = |id: &ReleaseId| self.records.get(id).is_some_and(ReleaseRecord::is_good);
        let desired = &self.app.release.id;
        if let Link::Release { id } = &self.link
            && id != desired
            && to != desired
            && self.releases.contains(id)
            && good(id)
        {
            self.violation(format!("{id}, which is good, is left for {to} because {desired} has failed"));
        }
        let half = self.records.get(to).is_some_and(|record| record.made != Making::Built);
        if half || self.half.contains(to) {
            self.violation(format!("current is switched to {to}, which is half a release"));
        }
        let wants_links = !self.app.release.shared.dirs.is_empty() && *to == self.app.release.id;
        if wants_links && !self.linked.contains(to) {
            self.violation(format!("current is switched to {to}, which has no links"));
        }
        let migrates = !self.app.release.migrate.is_empty() && *to == self.app.release.id;
        let migrated =
            self.migrations.contains_key(to) || self.records.get(to).is_some_and(|one| one.migrated.is_some());
        if migrates && !migrated {
            self.violation(format!("current is switched to {to}, which was not migrated"));
        }
    }

    fn check_removed(&mut self, id: &ReleaseId) {
        let current = self.link == (Link::Release { id: id.clone() });
        let own = self.own;
        let parent = self.processes.get(&own).map(|process| process.parent);
        let used = self
            .processes
            .values()
            .any(|process| process.runs == *id && process.id.pid != own && Some(process.id.pid) != parent);
        if current || used || *id == self.app.release.id || *id == self.target() {
            self.violation(format!("{id} is removed: current {current}, used {used}"));
        }
        let good = |of: &ReleaseId| self.records.get(of).is_some_and(ReleaseRecord::is_good);
        if good(id) && !self.releases.iter().any(|other| other != id && *other != self.target() && good(other)) {
            self.violation(format!("{id} is removed, the only way back from {}", self.target()));
        }
        let ours = self
            .records
            .get(id)
            .is_some_and(|record| record.recipe.is_some() || record.proven.or(record.switched).is_some());
        if !ours {
            self.violation(format!("{id} is removed, which somebody else has put there"));
        }
    }

    fn check_stage(&mut self, id: &ReleaseId, stage: Stage) {
        let record = self.records.get(id);
        let again = match stage {
            Stage::Migrate => record.is_some_and(|record| record.migrated.is_some()),
            Stage::Verify => record.is_some_and(|record| record.verified.is_some()),
            _ => false,
        };
        if again {
            self.violation(format!("{} runs for {id} once more", stage.word()));
        }
        let before = matches!(stage, Stage::Build | Stage::Verify | Stage::Migrate);
        if before && self.link == (Link::Release { id: id.clone() }) {
            self.violation(format!("{} runs in {id} while it is in force", stage.word()));
        }
    }

    fn check_renewed(&mut self, service: &Service) {
        let since = self
            .link_changed
            .is_some_and(|switched| crate::decide::freshness::is_clearly_after(self.service_renewed, switched));
        if since && service.restart_on.is_empty() {
            self.violation("the service is renewed once more after a switch");
        }
        if !matches!(&self.link, Link::Release { id } if *id == self.target()) {
            self.violation("the service is renewed before the switch");
        }
    }
}
