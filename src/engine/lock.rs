//! The App's lock, which whoever acts holds: when it is taken, and what it means to wait for it in vain.

use crate::decide::withhold::beforehand;
use crate::engine::pass::Request;
use crate::engine::withhold::acts;
use crate::model::app::App;
use crate::model::sync::Counting;
use crate::ports::{Host, HostError, HostErrorKind};

/// Takes the App's lock if the pass may act on it; looking needs none.
pub(super) async fn lock<H: Host>(host: &H, app: &App, request: &Request) -> Result<Option<H::Lock>, HostError> {
    if !acts(app, request) || beforehand(app, host.now(), request.permit()).is_some() {
        return Ok(None);
    }
    take_lock(host, app, request).await.map(Some)
}

/// Takes it, and waits for it as long as the request says.
pub(super) async fn take_lock<H: Host>(host: &H, app: &App, request: &Request) -> Result<H::Lock, HostError> {
    // The lock has its place below the root.
    if app.release.source.is_some() {
        host.make_root(app).await?;
    }
    host.lock(&app.root, request.wait).await.map_err(|error| kept_waiting(error, request))
}

/// Whoever counts makes pass after pass: to them somebody else's pass is no failure, and the next one waits on.
fn kept_waiting(error: HostError, request: &Request) -> HostError {
    let waits_on = request.counting != Counting::Off && !request.wait.is_zero();
    if error.kind != HostErrorKind::Locked || !waits_on {
        return error;
    }
    let message = format!("waiting for somebody else's pass: {}", error.message);
    HostError::new(HostErrorKind::Interrupted, message).with_help("this goes on as soon as that one has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::interrupt::Interrupt;
    use crate::model::report::Mode;

    #[test]
    fn only_somebody_elses_lock_is_somebody_elses_pass() {
        use HostErrorKind::{Interrupted, Locked, TimedOut, Unreachable};
        let minute = std::time::Duration::from_mins(1);
        let rows = [
            ("held by another", Locked, minute, Counting::Correction, Interrupted),
            ("a person does not wait on", Locked, minute, Counting::Off, Locked),
            ("it was not waited for", Locked, std::time::Duration::ZERO, Counting::Correction, Locked),
            ("a soft mount of NFS gives up", TimedOut, minute, Counting::Correction, TimedOut),
            ("a mount does not answer", Unreachable, minute, Counting::Correction, Unreachable),
        ];
        for (name, kind, wait, counting, expected) in rows {
            let request = Request {
                mode: Mode::Apply,
                wait,
                trigger: "timer".to_owned(),
                interrupt: Interrupt::default(),
                withheld: None,
                ignore_windows: false,
                counting,
            };
            assert_eq!(kept_waiting(HostError::new(kind, "no lock"), &request).kind, expected, "{name}");
        }
    }
}
