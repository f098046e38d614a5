//! Units that serve the release: how they are, and making them serve another one.
//!
//! systemd calls a reload done as soon as the unit's `ExecReload` has ended, and that of php-fpm is a bare
//! `kill`. So after the job the unit's processes are waited for.
//!
//! # Limits
//! The processes of a unit are those below its main process: what a request left running in the background is
//! none of them. Of a unit whose main process systemd does not know nothing can be told but its state.

use std::time::Duration;

use futures_util::future::OptionFuture;

use tokio::time::{Instant, timeout_at};

use super::unit::{self, Details};
use super::{STEADY, Systemd};
use crate::host::proc::identify;
use crate::managers::old_processes::{self, OldProcesses};
use crate::managers::services;
use crate::managers::systemctl::{self, Verb};
use crate::model::process::{Pid, ProcessTable};
use crate::model::service::{Renewal, ServiceState};
use crate::ports::{HostError, HostErrorKind};

/// How long systemd may take to notice that a main process has ended.
const NOTICE: Duration = Duration::from_secs(1);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(10);

impl Systemd {
    /// What systemd and `/proc` show of a unit.
    ///
    /// # Errors
    /// systemd cannot be asked, or knows no such unit.
    pub(in crate::managers) async fn serving(
        &self,
        unit: &str,
        table: &ProcessTable,
    ) -> Result<ServiceState, HostError> {
        require_service(unit)?;
        let serving = self.bus.serving(unit).await?;
        let details = &serving.details;
        if details.is_missing() {
            return Err(no_unit(unit));
        }
        let (_, detail) = unit::state(&details.active, &details.sub, &details.result);
        let state = ServiceState { up: details.is_up(), detail, can_reload: serving.can_reload, ..Default::default() };
        let Some(main) = details.main_process.filter(|_| state.up) else { return Ok(state) };
        let oldest = old_processes::oldest(table, main);
        Ok(ServiceState {
            oldest,
            children: u32::try_from(table.descendants(main).len()).unwrap_or(u32::MAX),
            started: table.get(main).map(|process| process.started).or(serving.started),
            renewed: serving.completed().max(oldest),
            warning: services::warning(table, main).await,
            ..state
        })
    }

    /// Reloads or restarts a unit and returns when no process of before is left.
    ///
    /// # Errors
    /// It does not run, cannot reload, refuses, takes too long, or does not run any more afterwards.
    pub(in crate::managers) async fn renew(
        &self,
        unit: &str,
        how: Renewal,
        timeout: Duration,
    ) -> Result<(), HostError> {
        require_service(unit)?;
        let deadline = Instant::now() + timeout;
        let before = self.bus.serving(unit).await?;
        may_renew(unit, &before.details, how)?;
        match how {
            Renewal::Reload if !before.can_reload => Err(cannot_reload(unit)),
            Renewal::Reload => self.reload(unit, &before.details, deadline, timeout).await,
            Renewal::Restart => self.restart(unit, &before.details, deadline, timeout).await,
        }
    }

    async fn reload(
        &self,
        unit: &str,
        before: &Details,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), HostError> {
        let old_processes = OptionFuture::from(before.main_process.map(OldProcesses::below)).await.transpose()?;
        self.see_done(Verb::Reload, unit, deadline, timeout).await?;
        let now = self.bus.serving(unit).await?;
        if now.reload_result != "success" {
            let message = format!("`{unit}` does not reload: {}", now.reload_result);
            return Err(with_last_words(unit, message).await);
        }
        if let Some(old_processes) = old_processes {
            let gone = old_processes.see_gone(now.details.main_process, deadline).await;
            gone.map_err(|error| too_old(unit, Renewal::Reload, timeout, &error))?;
            if let Some(main) = now.details.main_process.filter(|_| !old_processes.is_empty()) {
                old_processes::see_new(main).await?;
            }
        }
        self.see_up(unit, Renewal::Reload).await
    }

    async fn restart(
        &self,
        unit: &str,
        before: &Details,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), HostError> {
        let old_processes = OptionFuture::from(before.main_process.map(OldProcesses::with)).await.transpose()?;
        self.see_done(Verb::Restart, unit, deadline, timeout).await?;
        if self.bus.details(unit).await?.hit_start_limit() {
            // Restarts that were wanted count like those of a crash loop: forget them, once.
            self.change_one_of(Verb::OF_SERVICES, Verb::ResetFailed, unit).await?;
            self.see_done(Verb::Restart, unit, deadline, timeout).await?;
        }
        self.see_up(unit, Renewal::Restart).await?;
        match old_processes {
            Some(old_processes) => {
                let gone = old_processes.see_gone(None, deadline).await;
                gone.map_err(|error| too_old(unit, Renewal::Restart, timeout, &error))
            }
            None => Ok(()),
        }
    }

    /// Has systemd do a job and waits for its end.
    async fn see_done(&self, verb: Verb, unit: &str, deadline: Instant, timeout: Duration) -> Result<(), HostError> {
        match timeout_at(deadline, self.change_one_of(Verb::OF_SERVICES, verb, unit)).await {
            Ok(ended) => ended,
            Err(_) => Err(HostError::new(
                HostErrorKind::TimedOut,
                format!("systemd did not {} `{unit}` within {timeout:?}", verb.word()),
            )
            .with_help(format!(
                "see `systemctl status {unit}` and `systemctl list-jobs`; or give the service a longer `timeout`"
            ))),
        }
    }

    /// A daemon may also end by what it was asked: php-fpm does where its configuration is wrong.
    async fn see_up(&self, unit: &str, how: Renewal) -> Result<(), HostError> {
        let mut now = self.bus.details(unit).await?;
        // systemd has yet to notice the end of a process that is gone.
        let patience = Instant::now() + NOTICE;
        while now.is_up() && now.main_process.is_some_and(is_gone) && Instant::now() < patience {
            tokio::time::sleep(LOOK).await;
            now = self.bus.details(unit).await?;
        }
        if how == Renewal::Restart && now.is_up() && now.is_taken_on_trust() {
            tokio::time::sleep(STEADY).await;
            let later = self.bus.details(unit).await?;
            if later.main_process == now.main_process && later.is_up() {
                return Ok(());
            }
            now = later;
        } else if now.is_up() {
            return Ok(());
        }
        let message = format!("`{unit}` does not run after its {}: {}", how.word(), now.words());
        Err(with_last_words(unit, message).await)
    }
}

/// Whether `/proc` shows no living process of that number.
fn is_gone(pid: Pid) -> bool {
    // One that cannot be looked at is not gone.
    identify(pid).is_ok_and(|found| found.is_none())
}

/// What somebody stopped is not started; what failed may be, by a restart.
fn may_renew(unit: &str, now: &Details, how: Renewal) -> Result<(), HostError> {
    if now.is_missing() {
        return Err(no_unit(unit));
    }
    if now.is_up() || (how == Renewal::Restart && (now.is_failed() || now.is_between_tries())) {
        return Ok(());
    }
    let message = format!("cannot {} `{unit}`, which does not run: it is {}", how.word(), now.words());
    let help = if now.is_failed() || now.is_between_tries() {
        format!("see `systemctl status {unit}` and `journalctl --unit={unit}` for why, then start it")
    } else {
        format!("start it: `systemctl start {unit}`; or take the service out of the manifest")
    };
    Err(HostError::new(HostErrorKind::Other, message).with_help(help))
}

fn require_service(unit: &str) -> Result<(), HostError> {
    if unit.ends_with(".service") {
        return Ok(());
    }
    Err(HostError::new(HostErrorKind::Misconfigured, format!("`{unit}` is no service unit"))
        .with_help("name one such as `php8.2-fpm.service` in `manager.systemd.unit`"))
}

fn no_unit(unit: &str) -> HostError {
    HostError::new(HostErrorKind::Misconfigured, format!("systemd knows no unit `{unit}`"))
        .with_help("see `systemctl list-units --type=service`, and correct `manager.systemd.unit` in the manifest")
}

fn cannot_reload(unit: &str) -> HostError {
    HostError::new(HostErrorKind::Misconfigured, format!("`{unit}` cannot be reloaded: it has no `ExecReload=`"))
        .with_help("set `onRelease: restart` for this service, or add `ExecReload=` to the unit")
}

fn too_old(unit: &str, how: Renewal, timeout: Duration, error: &HostError) -> HostError {
    let message = format!("{timeout:?} after the {} of `{unit}` {}", how.word(), error.message);
    let help = match (error.kind, how) {
        (HostErrorKind::TimedOut, Renewal::Reload) => {
            "give the service a longer `timeout` if they finish what they have in hand; if its reload replaces no \
             processes: `onRelease: restart`"
        }
        (HostErrorKind::TimedOut, Renewal::Restart) => "look at `KillMode=` of the unit: it leaves them running",
        _ => return error.clone(),
    };
    HostError::new(error.kind, message).with_help(help)
}

async fn with_last_words(unit: &str, mut message: String) -> HostError {
    let said = systemctl::last_words(unit).await;
    if !said.is_empty() {
        message.push_str("; it said last: ");
        message.push_str(&said.join(" | "));
    }
    HostError::new(HostErrorKind::Other, message)
        .with_help(format!("see `systemctl status {unit}` and `journalctl --unit={unit}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(active: &str, sub: &str) -> Details {
        Details {
            load: "loaded".to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: "success".to_owned(),
            kind: "notify".to_owned(),
            main_process: None,
            exit_code: 0,
            exit_status: 0,
        }
    }

    #[test]
    fn what_was_stopped_is_not_started() {
        let rows = [
            ("active", "running", true, true),
            ("reloading", "reload", true, true),
            ("inactive", "dead", false, false),
            ("deactivating", "stop-sigterm", false, false),
            ("activating", "start", false, false),
            ("failed", "failed", false, true),
            ("activating", "auto-restart", false, true),
            ("active", "exited", false, false),
        ];
        for (active, sub, reload, restart) in rows {
            let now = details(active, sub);
            assert_eq!(may_renew("x.service", &now, Renewal::Reload).is_ok(), reload, "{active} {sub}");
            assert_eq!(may_renew("x.service", &now, Renewal::Restart).is_ok(), restart, "{active} {sub}");
        }
        let error = may_renew("x.service", &details("inactive", "dead"), Renewal::Reload).unwrap_err();
        assert_eq!(error.message, "cannot reload `x.service`, which does not run: it is inactive (dead)");
    }

    #[test]
    fn only_service_units_are_services() {
        assert!(require_service("php8.2-fpm.service").is_ok());
        assert_eq!(require_service("app.target").unwrap_err().kind, HostErrorKind::Misconfigured);
    }
}
