//! The same is not told over and over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::names::AppName;
use crate::model::telling::Telling;

/// The same is not told again sooner.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Keeps the same from being told over and over: what was told within [`WINDOW`] waits for its end, and is told then
/// if it still is what there is to tell.
#[derive(Debug, Default)]
pub struct Repeats {
    apps: BTreeMap<Option<AppName>, Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    /// When each key was told.
    told: BTreeMap<String, Timestamp>,
    /// The key that was told last of all.
    last: Option<String>,
    /// What waits.
    held: Option<Telling>,
}

/// Whether something was told within the last [`WINDOW`]; what is still to come was told before the clock was set back.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < WINDOW
}

impl Repeats {
    /// Something is to be told: whether it may be now.
    pub fn admit(&mut self, telling: Telling, now: Timestamp) -> Option<Telling> {
        self.forget(now);
        let lately = self.apps.entry(telling.app.clone()).or_default();
        let key = telling.key();
        if lately.told.contains_key(&key) {
            if !telling.news.is_aside() {
                // Told last, it is what people think anyway.
                lately.held = (lately.last.as_ref() != Some(&key)).then_some(telling);
            }
            return None;
        }
        Some(lately.tell(telling, key, now))
    }

    /// What was told long ago keeps nothing back: names of Apps come and go.
    fn forget(&mut self, now: Timestamp) {
        self.apps.retain(|_, lately| {
            lately.told.retain(|_, at| is_recent(*at, now));
            !lately.told.is_empty() || lately.held.is_some()
        });
    }

    /// What has waited long enough.
    pub fn due(&mut self, now: Timestamp) -> Vec<Telling> {
        let due = |lately: &mut Lately| {
            let held = lately.held.take()?;
            let key = held.key();
            if lately.told.get(&key).is_some_and(|at| is_recent(*at, now)) {
                lately.held = Some(held);
                return None;
            }
            Some(lately.tell(held, key, now))
        };
        self.apps.values_mut().filter_map(due).collect()
    }

    /// What waits, whether long enough or not: nobody will tell it later.
    pub fn drain(&mut self) -> Vec<Telling> {
        self.apps.values_mut().filter_map(|lately| lately.held.take()).collect()
    }

    /// When something will have waited long enough; none: nothing waits.
    pub fn next(&self) -> Option<Timestamp> {
        let ends = |lately: &Lately| {
            let key = lately.held.as_ref()?.key();
            lately.told.get(&key).and_then(|at| at.checked_add(WINDOW).ok())
        };
        self.apps.values().filter_map(ends).min()
    }
}

impl Lately {
    fn tell(&mut self, telling: Telling, key: String, now: Timestamp) -> Telling {
        self.told.insert(key.clone(), now);
        // What is told by the way says nothing of how the App is: what waits is still to be told.
        if !telling.news.is_aside() {
            self.last = Some(key);
            self.held = None;
        }
        telling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::noon;
    use crate::model::telling::News;

    fn source(news: News, message: &str) -> Telling {
        Telling { app: None, news, message: message.to_owned(), release: None, revision: None, at: noon() }
    }

    #[test]
    fn what_goes_to_and_fro_is_told_at_the_end_of_the_window_if_it_still_is_so() {
        let minutes = |minutes: i64| noon().checked_add(SignedDuration::from_mins(minutes)).unwrap();
        let (sick, well) = (|| source(News::Unhealthy, "sick"), || source(News::Recovered, "well"));
        let mut repeats = Repeats::default();
        assert!(repeats.admit(sick(), minutes(0)).is_some());
        assert!(repeats.admit(sick(), minutes(1)).is_none(), "told already");
        assert_eq!(repeats.next(), None, "and that is what people think");
        assert!(repeats.admit(well(), minutes(1)).is_some());
        assert!(repeats.admit(sick(), minutes(2)).is_none());
        assert!(repeats.admit(well(), minutes(3)).is_none(), "people think so anyway");
        assert_eq!(repeats.due(minutes(60)), []);
        // The last word counts.
        let mut repeats = Repeats::default();
        repeats.admit(sick(), minutes(0));
        repeats.admit(well(), minutes(1));
        assert!(repeats.admit(sick(), minutes(2)).is_none());
        assert_eq!(repeats.next(), Some(minutes(5)));
        assert_eq!(repeats.due(minutes(4)), []);
        assert_eq!(repeats.due(minutes(5)), [sick()]);
        assert_eq!((repeats.due(minutes(60)), repeats.next()), (vec![], None));
        assert!(repeats.admit(sick(), minutes(60)).is_some(), "long after, it is news");
        // What else is told does not speak against it, and at the end nothing is kept back.
        let mut repeats = Repeats::default();
        repeats.admit(sick(), minutes(0));
        repeats.admit(well(), minutes(1));
        assert!(repeats.admit(sick(), minutes(2)).is_none());
        let aside = || Telling { news: News::DriftWithheld, ..sick() };
        assert!(repeats.admit(aside(), minutes(3)).is_some());
        assert!(repeats.admit(aside(), minutes(4)).is_none(), "told already");
        assert_eq!(repeats.drain(), [sick()]);
        assert_eq!((repeats.drain(), repeats.next()), (vec![], None));
    }

    #[test]
    fn names_that_come_and_go_are_not_remembered_for_ever() {
        let mut repeats = Repeats::default();
        for number in 0..1000_i64 {
            let app = Some(AppName::new(format!("app-{number}")).unwrap());
            let (message, at) = ("it is gone".to_owned(), noon() + SignedDuration::from_mins(number));
            let telling = Telling { app, news: News::Orphaned, message, release: None, revision: None, at };
            assert!(repeats.admit(telling, at).is_some());
        }
        assert!(repeats.apps.len() <= 5, "of the last five minutes: {}", repeats.apps.len());
    }
}
