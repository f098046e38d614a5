//! What a pass writes down about releases: which is good, which is kept out, and for how long.

use tracing::warn;

use crate::decide::freshness::leads_to_desired;
use crate::decide::gate;
use crate::decide::making::is_whole;
use crate::engine::events::Event;
use crate::engine::execute::Executor;
use crate::engine::pass::Pass;
use crate::model::app::App;
use crate::model::health::HealthVerdict;
use crate::model::journal::JournalEvent;
use crate::model::observed::{Aim, Observed};
use crate::model::record::{Judge, ReleaseRecord};
use crate::observe::Probing;
use crate::ports::{Host, HostError, HostErrorKind};

impl<H: Host> Pass<'_, H> {
    /// Notes that a release which somebody else put in force is good.
    pub(super) async fn adopt(&mut self, observed: &mut Observed) {
        let Some(record) = gate::adoption(self.app, observed) else { return };
        match self.host.record(&self.app.root, &record).await {
            Ok(()) => {
                observed.records.retain(|known| known.id != record.id);
                observed.records.push(record);
            }
            // It only costs the way back.
            Err(error) => warn!(%error, "cannot write down that the release in force is good"),
        }
    }

    /// Puts the release into quarantine and looks again, for that changes what is aimed at.
    pub(super) async fn keep_out(
        &mut self,
        executor: &Executor<'_, H>,
        observed: &Observed,
        reason: String,
    ) -> Option<Observed> {
        let at = self.host.now();
        // What was in force while it failed before its switch was another one.
        let served = leads_to_desired(executor.app, &observed.layout.link);
        let seen = observed.health.iter().filter(|_| served);
        let evidence = seen.filter_map(HealthVerdict::complaint).collect();
        let record = gate::keep_out(executor.app, observed, at, reason.clone(), evidence);
        executor.tell(&Event::KeptOut { release: record.id.clone(), reason: reason.clone() });
        self.kept_out = true;
        let release = record.id.clone();
        if let Err(error) = executor.journal(JournalEvent::Quarantined { release, reason, by: Judge::Gate }).await {
            warn!(%error, "cannot write the journal");
        }
        if let Err(error) = self.write_down(executor.app, observed, &record).await {
            self.problem(&error);
            return None;
        }
        self.look_again(Probing::Not, observed).await
    }

    /// Writes a record of a release that failed. What there is of half a release is worth less than that: on a full
    /// disk it gives its room.
    async fn write_down(&self, app: &App, observed: &Observed, record: &ReleaseRecord) -> Result<(), HostError> {
        let written = self.host.record(&app.root, record).await;
        match written {
            Err(error) if error.kind == HostErrorKind::Storage && !is_whole(app, observed) => {
                warn!(%error, release = %record.id, "half a release is removed to make room");
                self.host.remove(&app.root, &record.id).await?;
                self.host.record(&app.root, record).await
            }
            written => written,
        }
    }

    /// If the release that was gone back to is no healthier, the fault may be elsewhere: the other one is held
    /// only for as long as that is so.
    pub(super) async fn hold(&mut self, observed: &mut Observed) {
        let sick = observed.health.as_ref().is_some_and(|verdict| !verdict.healthy);
        // Only a way back that was gone to its end says something about the fault.
        let is_back = matches!(observed.aim, Aim::Back { .. }) && self.report.remaining.is_empty();
        if !self.kept_out || !sick || !is_back {
            return;
        }
        let Some(at) = observed.records.iter().position(|record| record.id == self.app.release.id) else { return };
        let Some(quarantine) = observed.records.get_mut(at).and_then(|record| record.quarantine.as_mut()) else {
            return;
        };
        quarantine.held = true;
        let record = observed.records.get(at).cloned();
        if let Some(record) = record
            && let Err(error) = self.host.record(&self.app.root, &record).await
        {
            self.problem(&error);
        }
    }
}
