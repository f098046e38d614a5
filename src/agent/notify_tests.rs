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

/// The second try hangs, and the agent ends.
#[tokio::test]
async fn what_was_told_before_the_end_is_not_told_by_the_next_agent() {
    let room = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Address::Plain(format!("http://{}/", listener.local_addr().unwrap()));
    let chat = Notification {
        name: "chat".to_owned(),
        to: Recipient::Slack { url },
        severity: Severity::Info,
        apps: Vec::new(),
    };
    let outbox = Outbox::open(room.path());
    let (teller, tasks) = NotificationQueue::start(&Shim::own(), "web01", vec![chat], &outbox);
    for app in ["one", "two", "three"] {
        teller.tell(telling(Some(app), News::Unhealthy));
    }
    let mut first = listener.accept().await.unwrap().0;
    // Whoever is answered before it has asked asks once more.
    let mut asked = Vec::new();
    while !asked.ends_with(b"}") {
        assert!(tokio::io::AsyncReadExt::read_buf(&mut first, &mut asked).await.unwrap() > 0, "it asks");
    }
    tokio::io::AsyncWriteExt::write_all(&mut first, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let hangs = listener.accept().await.unwrap();
    tasks.finish(Duration::ZERO).await;
    let next = Outbox::open(room.path());
    next.is_for(&["chat"]);
    let app = |place| next.next("chat", place).and_then(|telling| telling.app.clone());
    assert_eq!(
        [0, 1, 2].map(app).map(|app| app.map(|app| app.to_string())),
        [Some("two".to_owned()), Some("three".to_owned()), None]
    );
    drop((hangs, teller));
}
