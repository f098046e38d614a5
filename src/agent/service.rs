//! What systemd is told: that the agent is ready, what it does, and that it lives.
//!
//! Without systemd (no `NOTIFY_SOCKET`) all of this is nothing.

use std::cell::RefCell;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// The line to the service manager.
#[derive(Debug)]
pub struct Service {
    /// How often it must hear from us.
    watchdog: Option<Duration>,
    status: RefCell<String>,
}

impl Service {
    /// Reads once what the service manager wants.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), status: RefCell::default() }
    }

    /// Talks to nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { watchdog: None, status: RefCell::default() }
    }

    /// How often [`Service::alive`] is to be called: three times as often as somebody asks after us.
    #[must_use]
    pub fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 3)
    }

    /// The loop turns.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// The first look is over, or a reload is.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The manifests are read again because somebody asked.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "no time to tell the service manager"),
        }
    }

    /// Nothing new begins any more.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`; the same line twice is told once.
    pub fn status(&self, line: &str) {
        if *self.status.borrow() != line {
            line.clone_into(&mut self.status.borrow_mut());
            tell(&[NotifyState::Status(line)]);
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager cannot be told");
    }
}
