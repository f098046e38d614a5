//! What goes on with many hosts, as a log: for programs that read it.

use tracing::{info, warn};

use crate::cli::render::board::words;
use crate::fleet::phase::{Phase, Watch};
use crate::model::event::Event;
use crate::model::fleet::HostName;
use crate::model::names::AppName;

/// Tells whoever reads the log.
#[derive(Debug, Clone)]
pub struct Logged {
    app: AppName,
}

impl Logged {
    /// What goes on with the hosts of that App.
    #[must_use]
    pub fn new(app: &AppName) -> Self {
        Self { app: app.clone() }
    }
}

impl Watch for Logged {
    fn phase(&self, host: &HostName, phase: &Phase) {
        let (_, phase, detail) = words(phase);
        info!(app = %self.app, %host, phase, detail, "host");
    }

    fn event(&self, host: &HostName, event: &Event) {
        let told = serde_json::to_string(event).unwrap_or_default();
        match event {
            Event::Failed { .. } | Event::KeptOut { .. } | Event::Unhealthy { .. } => {
                warn!(app = %self.app, %host, event = told, "event");
            }
            Event::Begun { .. } | Event::Done { .. } | Event::Settling { .. } => {
                info!(app = %self.app, %host, event = told, "event");
            }
        }
    }

    fn says(&self, host: Option<&HostName>, text: &str) {
        if let Some(host) = host {
            info!(app = %self.app, %host, "{text}");
        } else {
            info!(app = %self.app, "{text}");
        }
    }
}
