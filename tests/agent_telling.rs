//! What really reaches those who are told: receivers, and stand-ins for forges, on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::Value;
use trueup::agent::forge::{CommitVerdict, StatusPoster};
use trueup::agent::notify::{DeliveryTasks, NotificationQueue};
use trueup::agent::outbox::Outbox;
use trueup::decide::telling::CommitState;
use trueup::host::spawn::Shim;
use trueup::model::agent::{Address, CommitStatus, Forge, Notification, Recipient};
use trueup::model::app::{CommandLine, SecretSource};
use trueup::model::names::AppName;
use trueup::model::telling::{News, Severity, Telling};

/// The longest that anything may take.
const LONG: Duration = Duration::from_secs(30);

/// One request that has arrived.
struct Got {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Answers with these statuses one after the other, then with the last of them.
fn receiver(answers: &'static [&'static str]) -> (SocketAddr, Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), serve_all(listener, answers))
}

fn serve_all(listener: TcpListener, answers: &'static [&'static str]) -> Receiver<Got> {
    let (hand_over, received) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let answer = answers.get(number).or(answers.last()).unwrap();
            if serve(stream.unwrap(), answer, &hand_over).is_none() {
                return;
            }
        }
    });
    received
}

fn serve(mut stream: std::net::TcpStream, answer: &str, hand_over: &Sender<Got>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        lines.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    lines.read_exact(&mut body).unwrap();
    let (status, text) = answer.split_once('\n').unwrap_or((answer, ""));
    let length = text.len();
    // Before the answer: whoever has that may look whether it is here.
    let handed = hand_over.send(Got { line: line.trim_end().to_owned(), headers, body }).ok();
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}").unwrap();
    handed
}

fn secret(room: &Path, name: &str, text: &str) -> SecretSource {
    std::fs::write(room.join(name), text).unwrap();
    SecretSource::File(room.join(name))
}

fn telling(app: &str, news: News, message: &str) -> Telling {
    let (app, message) = (AppName::new(app).ok(), message.to_owned());
    Telling { app, news, message, release: None, revision: None, at: Timestamp::now() }
}

fn notification(name: &str, to: Recipient, severity: Severity) -> Notification {
    Notification { name: name.to_owned(), to, severity, apps: Vec::new() }
}

fn start(all: Vec<Notification>) -> (NotificationQueue, DeliveryTasks) {
    start_with(all, &Outbox::none())
}

fn start_with(all: Vec<Notification>, outbox: &Outbox) -> (NotificationQueue, DeliveryTasks) {
    NotificationQueue::start(&Shim::new(env!("CARGO_BIN_EXE_trueup")), "web01", all, outbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_what_concerns_them_in_order_and_once() {
    let room = tempfile::tempdir().unwrap();
    let (events, event) = receiver(&["503 Busy", "200 OK"]);
    let (chat, line) = receiver(&["200 OK"]);
    let out = room.path().join("out");
    let run = CommandLine::Shell(format!("cat >>{0}; echo >>{0}", out.display()));
    let url = |address: SocketAddr| format!("http://{address}/hook/path-secret");
    let (teller, tasks) = start(vec![
        notification(
            "events",
            Recipient::Webhook {
                url: Address::Plain(url(events)),
                secret: Some(secret(room.path(), "key", "s3cret\n")),
            },
            Severity::Info,
        ),
        notification(
            "chat",
            Recipient::Slack { url: Address::Secret(secret(room.path(), "url", &url(chat))) },
            Severity::Error,
        ),
        notification("pager", Recipient::Command { command: run, timeout: LONG }, Severity::Error),
    ]);
    teller.tell(telling("shop", News::Deployed, "release `r2` is in force"));
    teller.tell(telling("shop", News::Unhealthy, "no answer within 3s"));
    teller.tell(telling("shop", News::Unhealthy, "no answer within 4s"));
    teller.tell(telling("blog", News::Unhealthy, "no answer within 4s"));
    drop(teller);
    tasks.finish(LONG).await;

    let got: Vec<Got> = event.try_iter().collect();
    let told: Vec<String> = got
        .iter()
        .map(|got| format!("{} {}", got.json()["involvedObject"]["name"], got.json()["reason"]).replace('"', ""))
        .collect();
    // The first was refused for a moment, and came again.
    assert_eq!(told, ["shop Deployed", "shop Deployed", "shop Unhealthy", "blog Unhealthy"]);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(&got[0].body);
    let made = trueup::host::hex::hexadecimal(&mac.finalize().into_bytes());
    assert_eq!(got[0].header("x-signature"), format!("sha256={made}"));
    assert_eq!(got[0].line, "POST /hook/path-secret HTTP/1.1");
    assert_eq!(got[0].header("content-type"), "application/json");

    let lines: Vec<Value> = line.try_iter().map(|got| got.json()["text"].clone()).collect();
    assert_eq!(lines, ["Unhealthy: web01/shop", "Unhealthy: web01/blog"]);
    let paged = std::fs::read_to_string(&out).unwrap();
    let paged: Vec<Value> = paged.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(paged.len(), 2);
    assert_eq!(
        (&paged[0]["severity"], &paged[0]["message"]),
        (&Value::from("error"), &Value::from("no answer within 3s"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_does_not_answer_holds_up_nobody() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (good, got) = receiver(&["200 OK"]);
    let hook =
        |address: SocketAddr| Recipient::Webhook { url: Address::Plain(format!("http://{address}")), secret: None };
    let (teller, tasks) = start(vec![
        notification("deaf", hook(deaf.local_addr().unwrap()), Severity::Info),
        notification(
            "unsafe",
            Recipient::Slack { url: Address::Plain("http://192.0.2.1/x".to_owned()) },
            Severity::Info,
        ),
        notification("good", hook(good), Severity::Info),
    ]);
    // More than any queue holds: handing over never waits.
    for number in 0..1_000 {
        let name = char::from(b'a' + u8::try_from(number % 26).unwrap());
        teller.tell(telling(&format!("{name}{number}"), News::Deployed, "in force"));
    }
    let first = tokio::task::spawn_blocking(move || (got.recv_timeout(LONG).unwrap(), got)).await.unwrap();
    assert_eq!(first.0.json()["involvedObject"]["name"], "a0");
    drop(teller);
    tasks.finish(Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_took_before_the_end_is_told_by_the_next_agent() {
    let room = tempfile::tempdir().unwrap();
    let waits = || std::fs::read_to_string(room.path().join("outbox.json")).unwrap_or_default();
    // Bound and not listening: nobody else is given it meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = taken.local_addr().unwrap();
    let (good, got) = receiver(&["200 OK"]);
    let (teller, tasks) = start_with(vec![hook("away", away), hook("good", good)], &Outbox::open(room.path()));
    teller.tell(telling("shop", News::Unhealthy, "one"));
    teller.tell(telling("shop", News::Recovered, "two"));
    let first = tokio::task::spawn_blocking(move || [got.recv_timeout(LONG).unwrap(), got.recv_timeout(LONG).unwrap()]);
    assert_eq!(first.await.unwrap().map(|got| got.json()["message"].clone()), ["one", "two"]);
    let began = std::time::Instant::now();
    while !(waits().contains("away") && waits().contains("two") && !waits().contains("good")) {
        assert!(began.elapsed() < LONG, "{}", waits());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(teller);
    tasks.finish(Duration::from_millis(1)).await;

    // In vain again, then in order and once; another one has nothing to do with it.
    let (teller, tasks) = start_with(vec![hook("away", away)], &Outbox::open(room.path()));
    drop(teller);
    tasks.finish(Duration::from_millis(1)).await;
    let (back, got) = receiver(&["200 OK"]);
    let (other, nothing) = receiver(&["200 OK"]);
    let (teller, tasks) = start_with(vec![hook("away", back), hook("good", other)], &Outbox::open(room.path()));
    drop(teller);
    tasks.finish(LONG).await;
    let messages: Vec<Value> = got.try_iter().map(|got| got.json()["message"].clone()).collect();
    assert_eq!(messages, ["one", "two"]);
    assert_eq!(nothing.try_iter().count(), 0);
    assert!(!waits().contains("away"), "{}", waits());
}

/// What is told by a webhook at an address.
fn hook(name: &str, address: SocketAddr) -> Notification {
    let to = Recipient::Webhook { url: Address::Plain(format!("http://{address}")), secret: None };
    notification(name, to, Severity::Info)
}

fn messages(got: impl IntoIterator<Item = Got>) -> Vec<String> {
    got.into_iter().map(|got| got.json()["message"].as_str().unwrap().to_owned()).collect()
}

/// A switch fails, and each of them says so at once.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_hundreds_of_apps_fail_together() {
    let room = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let outbox = Outbox::open(room.path());
    let (teller, tasks) = start_with(vec![hook("busy", busy.local_addr().unwrap())], &outbox);
    let all: Vec<String> = (0..1_000).map(|number| format!("why {number}")).collect();
    for (number, why) in all.iter().enumerate() {
        teller.tell(telling(&format!("app{number}"), News::Failed, why));
    }
    let began = std::time::Instant::now();
    let waits = || -> Option<usize> {
        let text = std::fs::read(room.path().join("outbox.json")).ok()?;
        Some(serde_json::from_slice::<Value>(&text).unwrap()["waiting"]["busy"].as_array()?.len())
    };
    while waits() != Some(all.len()) {
        assert!(began.elapsed() < LONG, "{:?}", waits());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let got = serve_all(busy, &["200 OK"]);
    drop(teller);
    tasks.finish(2 * LONG).await;
    // One that was sent before anybody took it may come twice.
    let mut told = messages(got.try_iter());
    told.dedup();
    assert_eq!(told, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_told_of_after_a_reload_get_what_waited_at_their_new_address() {
    let room = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(room.path());
    let (wrong, in_vain) = receiver(&["503 Busy"]);
    let (right, got) = receiver(&["200 OK"]);
    let (teller, before) = start_with(vec![hook("chat", wrong), hook("gone", wrong)], &outbox);
    for why in ["one", "two"] {
        teller.tell(telling(why, News::Failed, why));
    }
    let tried = tokio::task::spawn_blocking(move || (in_vain.recv_timeout(LONG).unwrap(), in_vain)).await.unwrap();
    before.relieve();
    let (new, tasks) = start_with(vec![hook("chat", right)], &outbox);
    // Until it is in force, the loop tells those who told before.
    teller.tell(telling("three", News::Failed, "three"));
    drop(teller);
    before.finish(LONG).await;
    new.tell(telling("four", News::Failed, "four"));
    drop(new);
    tasks.finish(LONG).await;
    assert_eq!(messages(got.try_iter()), ["one", "two", "three", "four"]);
    let in_vain = messages(tried.1.try_iter());
    assert!(!in_vain.iter().any(|told| told == "three" || told == "four"), "to the old address: {in_vain:?}");
    let left = std::fs::read_to_string(room.path().join("outbox.json")).unwrap();
    assert!(!left.contains("gone"), "{left}");
}

fn verdict(app: Option<&str>, state: CommitState, reason: &str) -> CommitVerdict {
    let app = app.map(|app| AppName::new(app).unwrap());
    CommitVerdict { commit: "c0ffee".repeat(6) + "c0ff", app, state, reason: reason.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_statuses_have_the_shape_that_each_forge_wants() {
    let room = tempfile::tempdir().unwrap();
    let token = secret(room.path(), "token", "t0ken\n");
    let commit = verdict(None, CommitState::Pending, "").commit;
    for forge in [Forge::GitLab, Forge::GitHub] {
        let (address, got) = receiver(&["500 Oh", "201 Created"]);
        let api = format!("http://{address}/api");
        let status = CommitStatus { forge, api, project: "ops/hosts".to_owned(), token: token.clone() };
        let (poster, task) = StatusPoster::start(status, "web01");
        let next = || got.recv_timeout(LONG).unwrap();
        poster.report(verdict(Some("shop"), CommitState::Pending, "deploying"));
        let (refused, pending) = (next(), next());
        assert_eq!(refused.body, pending.body, "tried again");
        poster.report(verdict(Some("shop"), CommitState::Failure, "took 3s\nand more"));
        let failure = next();
        poster.report(verdict(Some("shop"), CommitState::Failure, "took 4s"));
        poster.report(verdict(None, CommitState::Failure, "web.yaml:3:1: wrong"));
        let of_all = next();
        poster.report(verdict(Some("shop"), CommitState::Success, "release r2 is in force"));
        let success = next();
        // Right after each other: a newer commit leaves none pending.
        let newer =
            CommitVerdict { commit: "f00d".repeat(10), ..verdict(Some("shop"), CommitState::Pending, "deploying") };
        poster.report(verdict(Some("shop"), CommitState::Superseded, "a newer commit came"));
        poster.report(newer.clone());
        let mut last = [next(), next()];
        last.sort_by_key(|got| got.line.contains(&newer.commit));
        let [superseded, of_newer] = last;
        let (path, header, key, bad, cancelled) = match forge {
            Forge::GitLab => {
                ("/api/projects/ops%2Fhosts/statuses/", ("private-token", "t0ken"), "name", "failed", "canceled")
            }
            Forge::GitHub => {
                ("/api/repos/ops/hosts/statuses/", ("authorization", "Bearer t0ken"), "context", "failure", "error")
            }
        };
        assert_eq!(pending.line, format!("POST {path}{commit} HTTP/1.1"));
        assert_eq!(pending.header(header.0), header.1);
        let said = |got: &Got| {
            let body = got.json();
            ["state", key, "description"].map(|field| body[field].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(said(&pending), ["pending", "trueup/web01/shop", "deploying"]);
        assert_eq!(said(&failure), [bad, "trueup/web01/shop", "took 3s"]);
        assert_eq!(said(&of_all), [bad, "trueup/web01", "web.yaml:3:1: wrong"]);
        assert_eq!(said(&success), ["success", "trueup/web01/shop", "release r2 is in force"]);
        assert_eq!(said(&superseded), [cancelled, "trueup/web01/shop", "a newer commit came"]);
        assert_eq!(superseded.line, pending.line);
        assert_eq!(said(&of_newer), ["pending", "trueup/web01/shop", "deploying"]);
        assert_eq!(of_newer.line, format!("POST {path}{} HTTP/1.1", newer.commit));
        drop(poster);
        tokio::time::timeout(LONG, task).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_forge_refuses_for_good_is_not_tried_again() {
    let room = tempfile::tempdir().unwrap();
    let token = secret(room.path(), "token", "t0ken");
    let refusals: &[&str] =
        &["404 Not Found\nno such project", "400 Bad Request\nCannot transition status via :run", "201 Created"];
    let (address, got) = receiver(refusals);
    let api = format!("http://{address}");
    let status = CommitStatus { forge: Forge::GitLab, api, project: "7".to_owned(), token };
    let (poster, _task) = StatusPoster::start(status, "web01");
    for state in [CommitState::Pending, CommitState::Failure, CommitState::Success] {
        poster.report(verdict(Some("shop"), state, "why"));
        let body = got.recv_timeout(LONG).unwrap().json();
        let expected = match state {
            CommitState::Pending => "pending",
            CommitState::Failure => "failed",
            CommitState::Success => "success",
            CommitState::Superseded => "canceled",
        };
        assert_eq!(body["state"], expected);
    }
}
