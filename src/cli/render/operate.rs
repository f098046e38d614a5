//! What a person has changed by hand, in one line or two.

use std::fmt::Write;

use super::problem::Complaint;
use super::remedy::typed;
use super::report;
use super::style::{DIM, GOOD, STRONG, WARN, paint};
use super::words::safe;
use crate::model::app::App;
use crate::model::report::{Outcome, PassReport};
use crate::model::sync::Withheld;

/// There is nothing to try again.
#[must_use]
pub fn not_kept_out(app: &App) -> String {
    let release = safe(app.release.id.as_str());
    format!("{}  {release}  {}, nothing to try again\n", paint(STRONG, &app.name), paint(GOOD, "not kept out"))
}

/// The pass of a release that may be tried again, and where that has led to nothing yet, why it has not.
#[must_use]
pub fn retried(app: &App, pass: &PassReport, width: Option<usize>) -> String {
    let mut text = report::report(app, pass, width);
    if pass.outcome == Outcome::Withheld && matches!(pass.withheld, Some(Withheld::Suspended { .. })) {
        let release = safe(app.release.id.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: release `{release}` is no longer kept out, but it is not tried before the App is resumed",
            paint(DIM, "note")
        );
    }
    text
}

/// Whether the App is left alone now, and what that changes.
#[must_use]
pub fn suspension(app: &App, before: Option<&str>, now: Option<&str>) -> String {
    let name = paint(STRONG, &app.name);
    let because = |why: &str| paint(DIM, format!("; because: {}", safe(why)));
    let mut text = match (before, now) {
        (None, Some(now)) => format!("{name}  {}: passes change nothing{}\n", paint(WARN, "suspended"), because(now)),
        (Some(before), Some(now)) if before == now => {
            format!("{name}  {} as before{}\n", paint(WARN, "suspended"), because(now))
        }
        (Some(before), Some(now)) => {
            let line = format!("{name}  {} as before{}\n", paint(WARN, "suspended"), because(now));
            format!("{line}{}: it was suspended already: {}\n", paint(DIM, "note"), safe(before))
        }
        (Some(before), None) => {
            let was = paint(DIM, format!("; was: {}", safe(before)));
            format!("{name}  {}: the next pass acts{was}\n", paint(GOOD, "resumed"))
        }
        (None, None) => format!("{name}  {} on this host\n", paint(GOOD, "not suspended")),
    };
    if now.is_some() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", paint(DIM, "note"), typed(&format!("`trueup resume {}` lifts it", app.name)));
    } else if app.sync.suspend {
        let complaint = Complaint::new("the manifest suspends it on every host: `spec.sync.suspend`");
        text.push_str(&complaint.help("remove that from the manifest").render_as_warning());
    }
    text
}
