//! Workers that are instances of a systemd template unit.
//!
//! In: groups and members; out: what systemd says of them, or a change that systemd has completed.
//! It is asked over the system bus, so a question costs no process. Where the bus refuses a change
//! because we are not root, `sudo -n /usr/bin/systemctl` makes it.
//! Begin at [`Systemd`]; `bus` speaks D-Bus, `unit` turns systemd's words into ours, `service` is about units that
//! serve the release without being workers.

mod bus;
pub(super) mod files;
mod service;
mod unit;

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};

use self::bus::Bus;
use self::unit::Details;
use super::systemctl::{self, Verb};
use crate::host::proc::identify;
use crate::model::app::{Manager, TemplateUnit};
use crate::model::names::MemberName;
use crate::model::process::{ProcessId, ProcessTable};
use crate::ports::{GroupOf, HostError, HostErrorKind, Listed, Managers};

/// How long systemd may take for a job beyond the time that the worker has for stopping.
const JOB: Duration = Duration::from_mins(2);
/// How long a worker must last that systemd calls active without any proof of it.
const STEADY: Duration = Duration::from_millis(200);

/// The systemd of this host; connects when it is first needed.
#[derive(Debug, Default)]
pub struct Systemd {
    bus: Bus,
}

impl Managers for Systemd {
    async fn list(&self, groups: &[GroupOf<'_>], _: &ProcessTable) -> Vec<Result<Vec<Listed>, HostError>> {
        let templates: Vec<Result<&TemplateUnit, HostError>> = groups.iter().map(template).collect();
        let patterns = templates.iter().flatten().map(|template| unit::pattern(template)).collect();
        let loaded = self.bus.units(patterns).await;
        let listings = templates.into_iter().zip(groups).map(async |(template, of)| {
            let loaded = loaded.as_ref().map_err(Clone::clone)?;
            self.list_group(template?, of.group.count, loaded).await
        });
        join_all(listings).await
    }

    async fn start(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        let unit = instance(&of, member)?;
        self.start_unit(unit, of.group.stop_timeout).await
    }

    async fn replace(&self, of: GroupOf<'_>, member: &MemberName, process: Option<ProcessId>) -> Result<(), HostError> {
        let unit = instance(&of, member)?;
        let main = self.bus.details(unit).await?.main_process;
        let now = main.map(identify).transpose()?.flatten();
        if now.is_none() || process.is_some_and(|process| now != Some(process)) {
            // Replaced already, by an earlier try of ours or by its own end.
            return self.start_unit(unit, of.group.stop_timeout).await;
        }
        self.bring_up(Verb::Restart, unit, of.group.stop_timeout).await
    }

    async fn stop(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        let unit = instance(&of, member)?;
        // First, so that a crash in between leaves a running surplus member, which is seen again.
        if self.bus.file_state(unit).await?.as_deref().is_some_and(unit::is_enabled) {
            self.change(Verb::Disable, unit).await?;
        }
        self.supervise(Verb::Stop, unit, of.group.stop_timeout).await?;
        let details = self.bus.details(unit).await?;
        if details.is_failed() {
            // It was killed, which is no failure of a worker that was to be stopped.
            self.change(Verb::ResetFailed, unit).await?;
        } else if !details.is_down() {
            return Err(HostError::new(
                HostErrorKind::Other,
                format!("`{unit}` was stopped, but is {} again", details.words()),
            )
            .with_help("find out what else starts it: `systemctl list-dependencies --reverse`"));
        }
        Ok(())
    }

    async fn enable(&self, of: GroupOf<'_>, member: &MemberName) -> Result<(), HostError> {
        let unit = instance(&of, member)?;
        self.enable_unit(unit).await
    }
}

impl Systemd {
    async fn list_group(
        &self,
        template: &TemplateUnit,
        count: u32,
        loaded: &[unit::Loaded],
    ) -> Result<Vec<Listed>, HostError> {
        let ours = loaded.iter().filter(|unit| !unit.is_missing());
        let ours: Vec<(u32, &unit::Loaded)> =
            ours.filter_map(|unit| Some((template.ordinal(&unit.name)?, unit))).collect();
        // An instance can be enabled without being loaded. One beyond `count` is not looked for: it does not run.
        let absent: Vec<u32> = (1..=count).filter(|ordinal| !ours.iter().any(|(taken, _)| taken == ordinal)).collect();
        if ours.is_empty() {
            self.require_template(template).await?;
        }
        let present = try_join_all(ours.into_iter().map(|(ordinal, unit)| self.list_loaded(ordinal, unit)));
        let enabled = try_join_all(absent.into_iter().map(|ordinal| self.list_unloaded(template, ordinal)));
        let (present, enabled) = futures_util::future::try_join(present, enabled).await?;
        let mut listed: Vec<Listed> = present.into_iter().chain(enabled).flatten().collect();
        listed.sort_by_key(|member| member.ordinal);
        Ok(listed)
    }

    async fn list_loaded(&self, ordinal: u32, unit: &unit::Loaded) -> Result<Option<Listed>, HostError> {
        let (file, facts) =
            futures_util::future::try_join(self.bus.file_state(&unit.name), self.bus.facts(unit)).await?;
        let enabled = file.as_deref().and_then(unit::comes_back);
        if unit.is_idle() && enabled != Some(true) {
            return Ok(None);
        }
        let (state, detail) = unit::state(&unit.active, &unit.sub, &facts.result);
        let member = member(&unit.name)?;
        Ok(Some(Listed {
            member,
            ordinal,
            state,
            detail,
            pid: facts.main_process,
            started: facts.started,
            enabled,
            outdated: false,
        }))
    }

    async fn list_unloaded(&self, template: &TemplateUnit, ordinal: u32) -> Result<Option<Listed>, HostError> {
        let name = template.instance(ordinal);
        let file = self.bus.file_state(&name).await?;
        if file.as_deref().and_then(unit::comes_back) != Some(true) {
            return Ok(None);
        }
        let (state, detail) = unit::state("inactive", "dead", "success");
        let member = member(&name)?;
        Ok(Some(Listed {
            member,
            ordinal,
            state,
            detail,
            pid: None,
            started: None,
            enabled: Some(true),
            outdated: false,
        }))
    }

    async fn require_template(&self, template: &TemplateUnit) -> Result<(), HostError> {
        match self.bus.file_state(&template.template()).await?.as_deref() {
            None => Err(no_template(&template.template())),
            Some(state @ ("masked" | "masked-runtime" | "bad")) => Err(HostError::new(
                HostErrorKind::Misconfigured,
                format!("the unit `{}` is {state}", template.template()),
            )
            .with_help("see `systemctl status` of it, and `systemctl unmask`")),
            Some(_) => Ok(()),
        }
    }

    async fn start_unit(&self, unit: &str, stop_timeout: Duration) -> Result<(), HostError> {
        let details = self.bus.details(unit).await?;
        if details.is_missing() {
            return Err(no_template(unit));
        }
        if details.is_up() {
            return Ok(());
        }
        // First, so that a crash in between leaves a member that is down, which is seen again.
        self.enable_unit(unit).await?;
        // A start waits for the pause before systemd's own try, which a restart cuts short.
        let verb = if details.is_between_tries() { Verb::Restart } else { Verb::Start };
        if details.is_failed() {
            self.change(Verb::ResetFailed, unit).await?;
        }
        self.bring_up(verb, unit, stop_timeout).await
    }

    async fn enable_unit(&self, unit: &str) -> Result<(), HostError> {
        match self.bus.file_state(unit).await?.as_deref() {
            None => Err(no_template(unit)),
            // Without an `[Install]` section there is nothing to enable.
            Some(state) if unit::comes_back(state) != Some(false) => Ok(()),
            Some(_) => self.change(Verb::Enable, unit).await,
        }
    }

    /// Starts or restarts a unit and sees it run.
    async fn bring_up(&self, verb: Verb, unit: &str, stop_timeout: Duration) -> Result<(), HostError> {
        self.supervise(verb, unit, stop_timeout).await?;
        let mut details = self.bus.details(unit).await?;
        if details.hit_start_limit() {
            // Restarts that were wanted count like those of a crash loop: forget them, once.
            self.change(Verb::ResetFailed, unit).await?;
            self.supervise(Verb::Start, unit, stop_timeout).await?;
            details = self.bus.details(unit).await?;
        }
        if details.is_up() && details.is_taken_on_trust() {
            tokio::time::sleep(STEADY).await;
            let later = self.bus.details(unit).await?;
            if later.main_process != details.main_process || !later.is_up() {
                return Err(worker_failed(unit, &later).await);
            }
        }
        if details.is_up() { Ok(()) } else { Err(worker_failed(unit, &details).await) }
    }

    /// Has systemd do a job and waits for its end. A worker that is still stopping when its time is over is killed.
    async fn supervise(&self, verb: Verb, unit: &str, stop_timeout: Duration) -> Result<(), HostError> {
        let began = Instant::now();
        let mut job = std::pin::pin!(self.change(verb, unit));
        if let Ok(ended) = tokio::time::timeout(stop_timeout, &mut job).await {
            return ended;
        }
        // What is no longer stopping is the successor, which may take its time.
        if self.bus.details(unit).await?.is_stopping() {
            tracing::warn!(unit, "still stopping after {} s: killed", stop_timeout.as_secs());
            self.change(Verb::Kill, unit).await?;
        }
        match tokio::time::timeout(JOB, job).await {
            Ok(ended) => ended,
            Err(_) => Err(HostError::new(
                HostErrorKind::TimedOut,
                format!("systemd did not {} `{unit}` within {} s", verb.word(), began.elapsed().as_secs()),
            )
            .with_help(format!("see `systemctl status {unit}` and `systemctl list-jobs`"))),
        }
    }

    /// Makes one change over the bus, or with sudo where the bus refuses; returns when it is done.
    ///
    /// A job that ends otherwise than hoped for is no error here: the unit's state tells the truth.
    async fn change(&self, verb: Verb, unit: &str) -> Result<(), HostError> {
        self.change_one_of(Verb::OF_WORKERS, verb, unit).await
    }

    /// The same for a unit to which all that may be done is `all`.
    async fn change_one_of(&self, all: &[Verb], verb: Verb, unit: &str) -> Result<(), HostError> {
        match self.bus.change(verb, unit).await {
            Err(refused) if refused.kind == HostErrorKind::Denied => systemctl::run(verb, unit, all, &refused).await,
            ended => ended,
        }
    }
}

fn template<'a>(of: &GroupOf<'a>) -> Result<&'a TemplateUnit, HostError> {
    match &of.group.manager {
        Manager::Systemd(systemd) => Ok(&systemd.unit),
        other @ (Manager::Supervisord(_) | Manager::Builtin(_)) => Err(HostError::new(
            HostErrorKind::Misconfigured,
            format!("the group `{}` belongs to {}, not to systemd", of.group.name, other.kind()),
        )),
    }
}

/// The member's unit, if it is one of the group's numbered instances.
fn instance<'a>(of: &GroupOf<'_>, member: &'a MemberName) -> Result<&'a str, HostError> {
    let template = template(of)?;
    if template.ordinal(member.as_str()).is_some() {
        return Ok(member.as_str());
    }
    Err(HostError::new(
        HostErrorKind::Misconfigured,
        format!("`{member}` is no numbered instance of `{}`", template.template()),
    ))
}

fn member(unit: &str) -> Result<MemberName, HostError> {
    MemberName::new(unit)
        .map_err(|error| HostError::new(HostErrorKind::Other, format!("a unit's name is {error}: `{unit}`")))
}

fn no_template(unit: &str) -> HostError {
    let template = match unit.split_once('@') {
        Some((prefix, _)) => format!("{prefix}@.service"),
        None => unit.to_owned(),
    };
    HostError::new(HostErrorKind::Misconfigured, format!("systemd knows no unit `{template}`")).with_help(format!(
        "install `/etc/systemd/system/{template}`, then `systemctl daemon-reload`; or correct `unit` in the manifest"
    ))
}

async fn worker_failed(unit: &str, details: &Details) -> HostError {
    let mut message = format!("`{unit}` does not stay up: {}", details.words());
    let said = systemctl::last_words(unit).await;
    if !said.is_empty() {
        message.push_str("; it said last: ");
        message.push_str(&said.join(" | "));
    }
    HostError::new(HostErrorKind::WorkerFailed, message)
        .with_help(format!("see `journalctl --unit={unit}` and `systemctl status {unit}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_template_is_named_with_its_place() {
        let error = no_template("yujix-worker@3.service");
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert_eq!(error.message, "systemd knows no unit `yujix-worker@.service`");
        assert!(error.help.unwrap().contains("/etc/systemd/system/yujix-worker@.service"));
    }
}
