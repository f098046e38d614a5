//! Being asked to stop: the step in hand ends, nothing new begins.
//!
//! One wish is for everybody and for good. The other is for one pass: the release that it prepares is not wanted any more.
//! That one ends only preparations. From the switch on, a pass is what keeps the site right: it brings the workers along
//! and takes back what fails, and whatever comes next may have a long build before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::model::action::Phase;

/// A wish to stop, shared by who wishes and who works.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    all: Arc<Inner>,
    superseded: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    woken: Notify,
}

impl Interrupt {
    /// The same wish, for one pass that may be superseded by itself.
    #[must_use]
    pub fn of_one_pass(&self) -> Self {
        Self { all: Arc::clone(&self.all), superseded: Arc::default() }
    }

    /// Asks for the end.
    pub fn ask(&self) {
        self.all.asked.store(true, Ordering::SeqCst);
        self.all.woken.notify_waiters();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.all.asked.load(Ordering::SeqCst)
    }

    /// Returns once it is asked for.
    pub async fn asked(&self) {
        loop {
            let woken = self.all.woken.notified();
            if self.is_asked() {
                return;
            }
            woken.await;
        }
    }

    /// Another release is wanted than the one that this pass is made for.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::SeqCst);
    }

    /// Whether a pass ends before this phase. `preparing`: what it brings about is the wanted release, which is not in
    /// force yet.
    #[must_use]
    pub fn ends_before(&self, phase: Phase, preparing: bool) -> bool {
        let superseded = || self.superseded.load(Ordering::SeqCst);
        self.is_asked() || (preparing && phase <= Phase::Switch && superseded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_preparations_are_superseded() {
        let rows = [
            (Phase::Build, true, true),
            (Phase::Migrate, true, true),
            (Phase::Switch, true, true),
            (Phase::Replace, true, false),
            (Phase::Prove, true, false),
            // On the way back, or in force and not judged yet.
            (Phase::Switch, false, false),
            (Phase::Link, false, false),
        ];
        for (phase, preparing, ends) in rows {
            let all = Interrupt::default();
            let (one, other) = (all.of_one_pass(), all.of_one_pass());
            assert!(!one.ends_before(phase, preparing), "{phase:?}");
            one.supersede();
            assert_eq!(one.ends_before(phase, preparing), ends, "{phase:?} {preparing}");
            assert!(!other.ends_before(phase, preparing) && !one.is_asked(), "{phase:?}");
            all.ask();
            assert!(other.ends_before(phase, preparing) && one.ends_before(phase, preparing), "{phase:?}");
        }
    }
}
