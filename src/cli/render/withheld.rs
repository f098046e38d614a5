//! Why nothing is done about drift, and until when; when an App's windows open and close.

use jiff::Timestamp;

use super::remedy::typed;
use super::style::{DIM, GOOD, HELP, WARN, paint};
use super::words::safe;
use crate::decide::windows::{Opening, opening};
use crate::decide::withhold::{help, moment, words};
use crate::model::app::App;
use crate::model::length::age;
use crate::model::sync::Withheld;

/// Why, until when, and how long that is: `no window is open until 2026-05-02 00:00 CEST, in 10 h`.
#[must_use]
pub fn why(withheld: &Withheld, now: Timestamp) -> String {
    let ahead = withheld.until().map(|until| format!(", in {}", age(now, until))).unwrap_or_default();
    safe(&format!("{}{ahead}", words(withheld)))
}

/// What a person can do about it, as one line.
#[must_use]
pub fn way_out(app: &App, withheld: &Withheld) -> String {
    format!("   {}: {}\n", paint(HELP, "help"), safe(&typed(&help(app, withheld))))
}

/// One line on the App's windows; nothing where it has none.
#[must_use]
pub fn windows(app: &App, now: Timestamp) -> String {
    let Some(first) = app.sync.windows.first() else { return String::new() };
    let (word, rest) = match opening(&app.sync.windows, now) {
        Opening::Open { until: Some(until) } => {
            let until_when = format!("until {}, in {}", moment(until, &first.time_zone), age(now, until));
            (paint(GOOD, "open"), format!("changes are made {until_when}"))
        }
        Opening::Open { until: None } => (paint(GOOD, "open"), "changes are made".to_owned()),
        Opening::Closed(closed) => (paint(WARN, "closed"), why(&closed.into(), now)),
    };
    format!("  windows {word}  {}\n", paint(DIM, rest))
}
