//! Bad news of manifests, and when it is believed.
//!
//! A checkout, an editor or a slow copy leads through states that nobody has wished for: half a file, or one that is
//! gone for a moment. So bad news is believed when two looks show the same, a second of calm apart. Good news ends all
//! doubt.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::decide::schedule::later;
use crate::model::names::AppName;

/// Nothing has stirred for so long when bad news is believed, …
const CALM: Duration = Duration::from_secs(1);
/// … unless something always stirs: then it has been the same for so long.
const AT_MOST: Duration = Duration::from_secs(30);

/// Bad news of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadNews {
    /// They do not load, for this reason.
    Wrong(String),
    /// They do not name these Apps any more.
    Gone(BTreeSet<AppName>),
}

/// Bad news that was seen, and is not believed yet.
#[derive(Debug, Default)]
pub(super) struct PendingBadNews(Option<Doubted>);

#[derive(Debug)]
struct Doubted {
    news: BadNews,
    /// When it was first seen.
    since: Timestamp,
    /// Nothing has stirred since.
    calm: Timestamp,
}

impl PendingBadNews {
    /// A look has shown this; none: nothing bad. When to look again before it is believed; none: it may be believed.
    pub(super) fn hear(&mut self, news: Option<BadNews>, now: Timestamp) -> Option<Timestamp> {
        let known = self.0.take();
        let news = news?;
        let doubted = known.filter(|known| known.news == news).unwrap_or(Doubted { news, since: now, calm: now });
        let due = later(doubted.calm, CALM).min(later(doubted.since, AT_MOST));
        if due <= now {
            return None;
        }
        self.0 = Some(doubted);
        Some(due)
    }

    /// Something stirs where manifests are.
    pub(super) fn stir(&mut self, now: Timestamp) {
        if let Some(doubted) = &mut self.0 {
            doubted.calm = now;
        }
    }

    /// The clock was set back: times mean nothing any more.
    pub(super) fn clock_was_set(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What looks show and when (`-`: something stirs), and the first at which it is believed.
    type Row<'a> = (&'a str, &'a [(&'a str, i64)], Option<i64>);

    #[test]
    fn bad_news_is_believed_after_a_second_of_calm_when_it_is_the_same() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
        let news = |text: &str| match text {
            "fine" => None,
            "-" => panic!("not a look"),
            _ => match text.strip_prefix("no ") {
                Some(names) => Some(BadNews::Gone(names.split(' ').map(|name| AppName::new(name).unwrap()).collect())),
                None => Some(BadNews::Wrong(text.to_owned())),
            },
        };
        let rows: [Row<'_>; 8] = [
            ("seen once", &[("no web", 0)], None),
            ("seen again too soon", &[("no web", 0), ("no web", 150), ("no web", 999)], None),
            ("it lasts", &[("no web", 0), ("no web", 1_000)], Some(1_000)),
            ("gone for a moment", &[("no web", 0), ("fine", 1_000), ("no web", 1_100)], None),
            ("another one each time", &[("no web", 0), ("no web blog", 1_000), ("web.yaml:3: no", 2_000)], None),
            (
                "other words",
                &[("web.yaml:3: no", 0), ("web.yaml:9: no", 1_000), ("web.yaml:9: no", 2_000)],
                Some(2_000),
            ),
            (
                "a slow copy",
                &[("no web", 0), ("-", 600), ("no web", 750), ("no web", 1_000), ("no web", 1_599), ("no web", 1_600)],
                Some(1_600),
            ),
            (
                "no rest at all",
                &[("no web", 0), ("-", 29_000), ("no web", 29_150), ("-", 29_900), ("no web", 30_000)],
                Some(30_000),
            ),
        ];
        for (name, looks, believed) in rows {
            let mut doubt = PendingBadNews::default();
            let mut found = None;
            for (shown, when) in looks {
                if *shown == "-" {
                    doubt.stir(at(*when));
                    continue;
                }
                let bad = news(shown);
                let is_bad = bad.is_some();
                let again = doubt.hear(bad, at(*when));
                assert!(again.is_none_or(|again| again > at(*when)), "{name}: it is waited for");
                if is_bad && again.is_none() {
                    found = found.or(Some(*when));
                }
            }
            assert_eq!(found, believed, "{name}");
        }
    }
}
