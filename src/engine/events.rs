//! Who is told what a pass does, while it does it.

pub use crate::model::event::Event;
use crate::model::names::AppName;

/// Who listens to a pass.
pub trait Listener: Send + Sync {
    /// Called at once, in order, for each App's events. Must not block.
    fn event(&self, app: &AppName, event: &Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _app: &AppName, _event: &Event) {}
}
