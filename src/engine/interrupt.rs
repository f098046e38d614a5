//! Being asked to stop: the step in hand ends, nothing new begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A wish to stop, shared by who wishes and who works.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    woken: Notify,
}

impl Interrupt {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.woken.notify_waiters();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Returns once it is asked for.
    pub async fn asked(&self) {
        loop {
            let woken = self.0.woken.notified();
            if self.is_asked() {
                return;
            }
            woken.await;
        }
    }
}
