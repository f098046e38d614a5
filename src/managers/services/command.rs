//! Services that are renewed by commands of the manifest, and of which nothing else is known.

use std::collections::BTreeMap;

use crate::host::blocking;
use crate::host::command::{Job, Wanted, describe, execute, quote, user_of};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::app::{App, CommandLine};
use crate::model::names::UserName;
use crate::model::service::{Renewal, Service, ServiceState};
use crate::ports::{HostError, HostErrorKind};

/// Its state: taken to be up, for nobody can tell.
pub(super) fn state(reload: Option<&CommandLine>) -> ServiceState {
    ServiceState { up: true, detail: "unknown".to_owned(), can_reload: reload.is_some(), ..ServiceState::default() }
}

/// Runs the command in `current` as its own user, the App's unless it names another: whoever may write to `current`
/// says what is run there.
///
/// It does not inherit the root's lock as steps do: a daemon that it starts would hold that for as long as it lives.
///
/// # Errors
/// There is no such command; or it could not be run, took too long, or ended with another exit code than 0.
pub(super) async fn renew(
    shim: &Shim,
    app: &App,
    service: &Service,
    (command, user): (Option<&CommandLine>, Option<&UserName>),
    how: Renewal,
) -> Result<(), HostError> {
    let Some(command) = command else { return Err(missing(service, how)) };
    let user = match user.cloned() {
        None => user_of(app).await?,
        Some(name) => blocking(move || User::named(name.as_str())).await??,
    };
    let name = user.name.clone();
    let environment = BTreeMap::from([
        ("APP".to_owned(), app.name.to_string()),
        ("ROOT".to_owned(), app.root.to_string()),
        ("RELEASE_ID".to_owned(), app.release.id.to_string()),
        ("RELEASE_PATH".to_owned(), app.root.release(&app.release.id).to_string_lossy().into_owned()),
    ]);
    let job = Job {
        command: command.clone(),
        directory: app.root.current(),
        user,
        environment,
        timeout: service.timeout,
        lock: None,
        output: Wanted::Tail,
    };
    let ended = execute(shim, job).await?;
    if ended.status.success() {
        return Ok(());
    }
    let message = format!(
        "`{command}`, which is to {} the service `{}`, ended with {}{}",
        how.word(),
        service.name,
        describe(ended.status),
        quote(&ended.output)
    );
    Err(HostError::new(HostErrorKind::Other, message).with_help(format!(
        "run it by hand as `{name}`, or correct it in the manifest; if it needs another user, name him beside it: \
             `user: root`"
    )))
}

fn missing(service: &Service, how: Renewal) -> HostError {
    let (word, other) = match how {
        Renewal::Reload => (how.word(), Renewal::Restart.word()),
        Renewal::Restart => (how.word(), Renewal::Reload.word()),
    };
    let message = format!("the service `{}` names no command to {word} it", service.name);
    HostError::new(HostErrorKind::Misconfigured, message)
        .with_help(format!("add `manager.command.{word}` to it, or set its `onRelease: {other}`"))
}
