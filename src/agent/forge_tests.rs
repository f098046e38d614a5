//! Statuses that a forge refuses, and what becomes of them.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::agent::publisher::Publisher;
use crate::documents::agent::Revision;

/// A forge that knows one token; tells the context and the token of each status that comes.
async fn forge() -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let (came, comes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            let body = loop {
                let mut chunk = [0; 4096];
                let read = stream.read(&mut chunk).await.unwrap();
                text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
                let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_str::<serde_json::Value>(body) {
                    break body;
                }
            };
            let token = text.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
            let code = if token == "good" { "201 Created" } else { "401 Unauthorized" };
            came.send((body["context"].as_str().unwrap().to_owned(), token.to_owned())).unwrap();
            let answer = format!("HTTP/1.1 {code}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (api, comes)
}

fn verdict(app: &str) -> CommitVerdict {
    let (app, reason) = (Some(AppName::new(app).unwrap()), "release r2 is in force".to_owned());
    CommitVerdict { commit: "3fa9c1d2".to_owned(), app, state: CommitState::Success, reason }
}

fn token(at: &Path, text: &str) -> SecretSource {
    std::fs::write(at, text).unwrap();
    SecretSource::File(at.to_owned())
}

#[tokio::test]
async fn what_was_refused_is_posted_once_the_token_is_another_one() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("token");
    let (api, mut came) = forge().await;
    let status = CommitStatus { forge: Forge::GitHub, api, project: "a/b".to_owned(), token: token(&path, "expired") };
    let (poster, _task) = StatusPoster::start(status, "web1");
    // Statuses are posted in the order of their names: one that is not posted is seen by the next that is.
    let rows: [(&str, &[&str]); 4] = [
        ("expired", &["trueup/web1/a expired", "trueup/web1/b1 expired"]),
        ("expired", &["trueup/web1/b2 expired"]),
        ("good", &["trueup/web1/a good", "trueup/web1/b3 good"]),
        ("good", &["trueup/web1/b4 good"]),
    ];
    for (number, (text, expected)) in (1..).zip(rows) {
        token(&path, text);
        poster.report(verdict("a"));
        poster.report(verdict(&format!("b{number}")));
        for expected in expected {
            let (context, token) = came.recv().await.unwrap();
            assert_eq!(format!("{context} {token}"), *expected, "{number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_tried_again_after_an_hour_and_what_is_posted_never() {
    let room = tempfile::tempdir().unwrap();
    let source = token(&room.path().join("token"), "same");
    let refused = Known { verdict: verdict("a"), at: Instant::now(), refused: Some(digest("same")) };
    let posted = Known { verdict: verdict("a"), at: Instant::now(), refused: None };
    assert!(refused.settles(&verdict("a"), &source).await && posted.settles(&verdict("a"), &source).await);
    let other = CommitVerdict { state: CommitState::Failure, ..verdict("a") };
    assert!(!refused.settles(&other, &source).await && !posted.settles(&other, &source).await);
    tokio::time::advance(REFUSED).await;
    assert!(!refused.settles(&verdict("a"), &source).await && posted.settles(&verdict("a"), &source).await);
}

#[tokio::test]
async fn what_is_known_of_statuses_is_bounded() {
    let mut posted = BTreeMap::new();
    for number in 0..3 * KNOWN {
        let known = Known { verdict: verdict("a"), at: Instant::now(), refused: None };
        know(&mut posted, format!("trueup/web1/{number:06}"), known);
    }
    assert_eq!((posted.len(), posted.contains_key(&format!("trueup/web1/{:06}", 3 * KNOWN - 1))), (KNOWN, true));
}

/// The forge was away when the commit came into force: its earlier word must not stand for ever.
#[tokio::test]
async fn that_manifests_are_in_force_is_said_at_each_look() {
    let (queue, mut taken) = mpsc::channel(8);
    let mut publisher = Publisher::new(None, Some(StatusPoster::into(queue)));
    let now = jiff::Timestamp::UNIX_EPOCH;
    let (subject, author) = ("shop: r2".to_owned(), "Anna".to_owned());
    let revision = Revision { commit: "3fa9c1d2".to_owned(), subject, author, at: now, signed_by: None };
    for _ in 0..2 {
        publisher.well(Some(&revision), now);
        let verdict = taken.try_recv().unwrap();
        assert_eq!((verdict.app, verdict.state), (None, CommitState::Success));
    }
}
