//! Files that workers and services read, between two passes: when they are looked at, and what that gives reason for.
//!
//! Editors write a file in several steps, or put another one in its place. So a look comes after a quiet moment, and a
//! file that is gone is believed to be gone when it still is at a second look: what reads it now would fail.

use std::time::Duration;

use jiff::Timestamp;

use super::debounce::{Absence, Debounce};
use crate::model::names::RelativePath;
use crate::model::observed::ObservedConfig;
use crate::model::process::Known;
use crate::model::wake::Wake;

/// They are looked at when nothing has changed for this long, …
const CALM: Duration = Duration::from_millis(150);
/// … and this long after the first change at the latest.
const CALM_AT_MOST: Duration = Duration::from_secs(3);
/// Whoever removes a file to make it anew needs this long at most.
const GAP: Duration = Duration::from_secs(1);

/// A file, and the digest of what is in it; none inside when it is absent.
pub(super) type Found = (RelativePath, Known<Option<String>>);

/// Changes of an App's files that nobody has looked at.
pub(super) struct Edits {
    stirred: Debounce,
    /// A file was not there at the last look.
    gap: Absence,
}

impl Edits {
    pub(super) fn new() -> Self {
        Self { stirred: Debounce::new(CALM, CALM_AT_MOST), gap: Absence::new(GAP) }
    }

    pub(super) fn stir(&mut self, now: Timestamp) {
        self.stirred.stir(now);
    }

    /// They are looked at now, between two passes.
    pub(super) fn settle(&mut self) {
        self.stirred.settle();
    }

    /// A pass has looked at everything.
    pub(super) fn forget(&mut self) {
        self.gap.close();
    }

    /// When to look; none: nothing has stirred.
    pub(super) fn due(&self) -> Option<Timestamp> {
        [self.stirred.due(), self.gap.due()].into_iter().flatten().min()
    }

    /// What a look gives reason for, by what the last pass has `seen`; none: it has seen nothing. Its own deeds give
    /// none.
    pub(super) fn notice(&mut self, found: &[Found], seen: Option<&[ObservedConfig]>, now: Timestamp) -> Option<Wake> {
        let before = |path: &RelativePath| seen?.iter().find(|file| file.path == *path).map(|file| &file.content);
        let Some((path, content)) = found.iter().find(|(path, content)| before(path) != Some(content)) else {
            // What was away for a moment is there again.
            self.gap.close();
            return None;
        };
        if !matches!(content, Known::Known(Some(_))) && self.gap.opens(now) {
            return None;
        }
        self.gap.close();
        Some(Wake::File { path: path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::GroupName;

    fn path() -> RelativePath {
        RelativePath::new("shared/.env").unwrap()
    }

    fn content(text: &str) -> Known<Option<String>> {
        match text {
            "unreadable" => Known::Unknown("no".to_owned()),
            "absent" => Known::Known(None),
            _ => Known::Known(Some(text.to_owned())),
        }
    }

    #[test]
    fn another_content_is_news_and_a_gap_is_when_it_lasts() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
        let seen = |text: &str| {
            let group = GroupName::new("default").unwrap();
            vec![ObservedConfig { group, path: path(), content: content(text), modified: None, applied: None }]
        };
        // What the last pass saw, what looks find and when, and after which of them there is news.
        let rows = [
            ("one", &[("one", 0), ("one", 2_000)][..], None),
            ("one", &[("two", 0)], Some(0)),
            ("one", &[("absent", 0), ("one", 1_000)], None),
            ("one", &[("absent", 0), ("two", 1_000)], Some(1)),
            ("one", &[("absent", 0), ("absent", 999), ("absent", 1_000)], Some(2)),
            ("one", &[("unreadable", 0), ("unreadable", 1_000)], Some(1)),
            ("absent", &[("absent", 0), ("absent", 5_000), ("one", 5_001)], Some(2)),
        ];
        for (before, looks, news) in rows {
            let (mut edits, before) = (Edits::new(), seen(before));
            let mut noticed = looks.iter().map(|(text, when)| {
                edits.settle();
                edits.notice(&[(path(), content(text))], Some(&before), at(*when))
            });
            assert_eq!(noticed.position(|wake| wake == Some(Wake::File { path: path() })), news, "{looks:?}");
        }
        assert!(Edits::new().notice(&[(path(), content("one"))], None, at(0)).is_some(), "nobody has looked yet");
    }

    #[test]
    fn it_is_looked_at_after_a_quiet_moment_and_again_after_a_gap() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
        let mut edits = Edits::new();
        assert_eq!(edits.due(), None);
        edits.stir(at(0));
        edits.stir(at(100));
        assert_eq!(edits.due(), Some(at(250)));
        edits.settle();
        assert_eq!(edits.notice(&[(path(), content("absent"))], None, at(250)), None);
        assert_eq!(edits.due(), Some(at(1_250)));
        edits.forget();
        assert_eq!(edits.due(), None);
    }

    #[test]
    fn a_file_that_is_back_as_it_was_is_not_looked_at_for_ever() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
        let (group, modified) = (GroupName::new("default").unwrap(), None);
        let seen = [ObservedConfig { group, path: path(), content: content("one"), modified, applied: None }];
        let mut edits = Edits::new();
        assert_eq!(edits.notice(&[(path(), content("absent"))], Some(&seen), at(0)), None);
        assert_eq!(edits.due(), Some(at(1_000)));
        assert_eq!(edits.notice(&[(path(), content("one"))], Some(&seen), at(500)), None);
        assert_eq!(edits.due(), None);
        // A gap that comes later is another one.
        assert_eq!(edits.notice(&[(path(), content("absent"))], Some(&seen), at(5_000)), None);
        assert_eq!(edits.due(), Some(at(6_000)));
    }
}
