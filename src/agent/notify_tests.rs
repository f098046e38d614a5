//! Who is told what, and for how long it is tried.

use super::*;
use crate::model::names::AppName;
use crate::model::telling::{News, Severity};

fn telling(app: Option<&str>, news: News) -> Telling {
    Telling {
        app: app.map(|app| AppName::new(app).unwrap()),
        news,
        message: String::new(),
        release: None,
        revision: None,
        at: Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

#[test]
fn only_what_concerns_somebody_is_told_to_them() {
    let notification = |severity, apps: &[&str]| {
        let apps = apps.iter().map(|app| AppName::new(*app).unwrap()).collect();
        let to = Recipient::Slack { url: Address::Plain(String::new()) };
        Notification { name: "chat".to_owned(), to, severity, apps }
    };
    let rows = [
        (Severity::Info, &[][..], Some("shop"), News::Deployed, true),
        (Severity::Error, &[], Some("shop"), News::Deployed, false),
        (Severity::Error, &[], Some("shop"), News::RolledBack, true),
        (Severity::Info, &["blog"], Some("shop"), News::RolledBack, false),
        (Severity::Info, &["blog", "shop"], Some("shop"), News::RolledBack, true),
        (Severity::Info, &["blog"], None, News::SourceRefused, true),
    ];
    for (severity, apps, app, news, expected) in rows {
        assert_eq!(
            concerns(&notification(severity, apps), &telling(app, news)),
            expected,
            "{severity} {apps:?} {app:?} {news}"
        );
    }
}

#[test]
fn an_outage_is_waited_out_for_a_day() {
    let first: Duration = tries().take(RETRIES).map(|(pause, _)| pause).sum();
    assert!((Duration::from_mins(3)..Duration::from_mins(11)).contains(&first), "{first:?}");
    let all: Duration = tries().take(2_000).map(|(pause, _)| pause).sum();
    assert!(all > Duration::from_hours(24), "{all:?}");
    assert!(tries().skip(RETRIES).take(5).all(|(pause, so_far)| pause == OFTEN && so_far >= RETRIES));
    let telling = telling(None, News::Unhealthy);
    let after = |hours| telling.at + SignedDuration::from_hours(hours);
    assert_eq!([0, 23, 25].map(|hours| is_old(&telling, after(hours))), [false, false, true]);
}
