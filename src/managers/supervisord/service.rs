//! Programs of supervisord that serve the release: how they are, and making them serve another one.
//!
//! supervisord has no notion of a reload, only of signals, and does not tell which signal makes a program reload;
//! the wrong one ends it. So only programs whose signal is known are reloaded: php-fpm and nginx, by what their
//! main process calls itself. All others can be restarted.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::act::Act;
use super::client::{Client, Info, StopSignal};
use super::{Supervisord, Way, members};
use crate::host::proc;
use crate::managers::old_processes::{self, OldProcesses};
use crate::managers::services::{self, php_fpm};
use crate::model::app::Supervisord as Configured;
use crate::model::names::{GroupName, MemberName};
use crate::model::observed::MemberState;
use crate::model::process::{Pid, ProcessTable};
use crate::model::service::{Renewal, ServiceState};
use crate::ports::{HostError, HostErrorKind};

impl Supervisord {
    /// What supervisord and `/proc` show of all processes of the group, or of its one program.
    ///
    /// # Errors
    /// supervisord cannot be asked, or has no such group or program.
    pub(in crate::managers) async fn serving(
        &self,
        manager: &Configured,
        table: &ProcessTable,
    ) -> Result<ServiceState, HostError> {
        let infos = self.ask_all(&self.address(manager)?).await?;
        let processes = members::all_of(&infos, manager)?;
        let mut state = state(&processes, table);
        for main in processes.iter().filter_map(|info| info.pid) {
            state.warning = state.warning.or(services::warning(table, main).await);
        }
        Ok(state)
    }

    /// The names of all processes of the group, or of its one program, and the socket where the manifest names it.
    ///
    /// # Errors
    /// supervisord cannot be asked, or has no such group or program.
    pub(in crate::managers) async fn names(
        &self,
        manager: &Configured,
    ) -> Result<(Option<PathBuf>, Vec<MemberName>), HostError> {
        let address = self.address(manager)?;
        let infos = self.ask_all(&address).await?;
        let processes = members::all_of(&infos, manager)?;
        let names = processes.into_iter().map(Info::member).collect::<Result<_, _>>()?;
        Ok((address.named.then_some(address.socket), names))
    }

    /// Reloads or restarts all processes of the group, or of its one program, and returns when none of before is
    /// left. They are taken one after the other, so that the others answer meanwhile; each may take `timeout`.
    ///
    /// # Errors
    /// None of them runs, one cannot be reloaded, takes too long, or does not stay up.
    pub(in crate::managers) async fn renew(
        &self,
        manager: &Configured,
        how: Renewal,
        service: &GroupName,
        timeout: Duration,
    ) -> Result<(), HostError> {
        let address = self.address(manager)?;
        let infos = self.ask_all(&address).await?;
        let processes = members::all_of(&infos, manager)?;
        // What somebody stopped is not started.
        let running: Vec<&Info> = processes.into_iter().filter(|info| info.state != MemberState::Stopped).collect();
        if running.is_empty() {
            let message =
                format!("cannot {} the service `{service}`: supervisord's `{}` is stopped", how.word(), manager.group);
            return Err(HostError::new(HostErrorKind::Other, message)
                .with_help(format!("start it: `supervisorctl start {}:*`", manager.group)));
        }
        match self.way(&address)? {
            Way::Socket(rpc) => renew_all(&*rpc, &running, how, timeout).await,
            Way::Command(command) => renew_all(&command, &running, how, timeout).await,
        }
    }
}

fn state(processes: &[&Info], table: &ProcessTable) -> ServiceState {
    let is_up = |info: &&&Info| info.state == MemberState::Running;
    let up = processes.iter().filter(is_up).count();
    let words = |info: &&Info| match info.detail.as_str() {
        "" => format!("{} {}", info.name, info.state),
        detail => format!("{} {} ({detail})", info.name, info.state),
    };
    let detail = match processes {
        [one] if one.detail.is_empty() => one.state.to_string(),
        [one] => format!("{} ({})", one.state, one.detail),
        all if up == all.len() => format!("{up} running"),
        all => format!(
            "{up} of {} running: {}",
            all.len(),
            all.iter().filter(|one| !is_up(one)).map(words).collect::<Vec<_>>().join(", ")
        ),
    };
    let mut state = ServiceState { up: up == processes.len(), detail, ..ServiceState::default() };
    if !state.up {
        return state;
    }
    // Each process has to be new before the service is: the oldest of all counts. One that cannot be told hides all.
    let mains = || processes.iter().map(|info| info.pid.map(|main| (info, main)));
    let started = |(info, main): (&&Info, Pid)| table.get(main).map(|process| process.started).or(info.moment());
    state.oldest = earliest(mains().map(|main| main.and_then(|(_, main)| old_processes::oldest(table, main))));
    state.started = earliest(mains().map(|main| main.and_then(started)));
    state.renewed = state.oldest.or(state.started);
    state.can_reload =
        mains().all(|main| main.and_then(|(_, main)| reload_signal(&table.get(main)?.command)).is_some());
    state
}

/// The earliest of all moments; none where one of them is not known.
fn earliest(moments: impl Iterator<Item = Option<jiff::Timestamp>>) -> Option<jiff::Timestamp> {
    let all: Option<Vec<jiff::Timestamp>> = moments.collect();
    all?.into_iter().min()
}

/// What makes the daemon with this command line reload; none where nobody can tell.
fn reload_signal(main: &[String]) -> Option<StopSignal> {
    if php_fpm::is_main(main) {
        return Some(StopSignal::USR2);
    }
    let nginx = main.first().is_some_and(|title| title.starts_with("nginx: master process"));
    nginx.then_some(StopSignal::HUP)
}

async fn renew_all<D: Client>(
    client: &D,
    processes: &[&Info],
    how: Renewal,
    timeout: Duration,
) -> Result<(), HostError> {
    for info in processes {
        let member = info.member()?;
        match how {
            Renewal::Restart => restart(client, &member, timeout).await?,
            Renewal::Reload => reload(client, &member, timeout).await?,
        }
    }
    Ok(())
}

async fn restart<D: Client>(client: &D, member: &MemberName, timeout: Duration) -> Result<(), HostError> {
    Act::on(client, member, timeout).await.replace(None).await
}

async fn reload<D: Client>(client: &D, member: &MemberName, timeout: Duration) -> Result<(), HostError> {
    let deadline = Instant::now() + timeout;
    let info = client.info(member).await?;
    let Some(main) = info.pid.filter(|_| info.state == MemberState::Running) else {
        let message = format!("cannot reload `{member}`, which does not run: it is {}", info.state);
        return Err(HostError::new(HostErrorKind::Other, message)
            .with_help(format!("see `supervisorctl tail {member} stderr` for why")));
    };
    let before = proc::identify(main)?;
    let old_processes = OldProcesses::below(main).await?;
    let table = old_processes::walk().await?;
    let signal = table.get(main).and_then(|process| reload_signal(&process.command));
    let signal = signal.ok_or_else(|| unknown_signal(member))?;
    client.signal(member, signal).await?;
    old_processes.see_gone(Some(main), deadline).await.map_err(|error| {
        let message = format!("{timeout:?} after the reload of `{member}` {}", error.message);
        HostError { message, ..error }
            .with_help("give the service a longer `timeout` if they finish what they have in hand")
    })?;
    if !old_processes.is_empty() {
        old_processes::see_new(main).await?;
    }
    if before.is_some() && proc::identify(main)? == before {
        return Ok(());
    }
    // php-fpm ends by a reload where its configuration is wrong: told with its last words, if it does not come back.
    Act::on(client, member, timeout).await.replace(before).await
}

fn unknown_signal(member: &MemberName) -> HostError {
    let message = format!("supervisord cannot tell how `{member}` is reloaded: it is neither php-fpm nor nginx");
    HostError::new(HostErrorKind::Misconfigured, message).with_help(
        "set `onRelease: restart` for this service, or use `manager: {command: {reload: …}}` with the right signal",
    )
}
