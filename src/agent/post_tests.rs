//! What an answer means for another try.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use reqwest::header::{HeaderName, HeaderValue};

use super::*;

/// Posts to somebody who gives that answer: a status line, headers, an empty line, a body.
async fn answered(poster: &Poster, answer: String) -> Result<(), NotSent> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        lines.read_exact(&mut vec![0; length]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let ended = poster.post(&url, &[], b"{}".to_vec()).await;
    server.join().unwrap();
    ended
}

/// An answer, and after how many seconds another try may do; none: it would end the same.
type Row<'a> = (&'a str, &'a str, &'a str, Option<u64>);

#[tokio::test]
async fn whoever_is_asked_too_often_is_asked_again_and_whoever_forbids_it_is_not() {
    const SECONDARY: &str = r#"{"documentation_url": "https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits", "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#;
    const NOT_YOURS: &str = r#"{"message": "Resource not accessible by personal access token", "status": "403"}"#;
    let rows: [Row<'_>; 15] = [
        ("403 Forbidden", "x-ratelimit-remaining: 0", r#"{"message": "no"}"#, Some(0)),
        ("403 Forbidden", "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 4000000000", "", Some(3600)),
        ("403 Forbidden", "retry-after: 60", "", Some(60)),
        ("403 Forbidden", "x-ratelimit-remaining: 4999", SECONDARY, Some(0)),
        ("403 Forbidden", "x: y", r#"{"message": "API rate limit exceeded for 192.0.2.1."}"#, Some(0)),
        ("429 Too Many Requests", "x-ratelimit-remaining: 4999", "", Some(0)),
        ("429 Too Many Requests", "retry-after: 30", "", Some(30)),
        ("408 Request Timeout", "x: y", "", Some(0)),
        ("500 Internal Server Error", "x: y", "", Some(0)),
        ("503 Service Unavailable", "retry-after: Fri, 01 May 2026 12:00:00 GMT", "", Some(0)),
        ("403 Forbidden", "x-ratelimit-remaining: 4999\r\nx-ratelimit-reset: 4000000000", NOT_YOURS, None),
        ("401 Unauthorized", "x-ratelimit-remaining: 58", r#"{"message": "Bad credentials"}"#, None),
        ("404 Not Found", "x-ratelimit-remaining: 0", "", None),
        ("422 Unprocessable Entity", "x-ratelimit-remaining: 4999", r#"{"message": "Validation Failed"}"#, None),
        ("302 Found", "location: https://example.org/", "", None),
    ];
    let poster = Poster::default();
    for (status, headers, body, again) in rows {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let told = match answered(&poster, answer).await.unwrap_err() {
            NotSent::Yet { why, after } => (why, Some(after.as_secs())),
            NotSent::Ever(why) => (why, None),
        };
        assert_eq!(told.1, again, "{status} {headers} {body}");
        assert!(told.0.contains(status), "{}", told.0);
    }
    assert_eq!(
        answered(&poster, "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_client_is_kept_until_a_post_reaches_nobody_or_it_is_old() {
    let poster = Poster::default();
    let made = || poster.kept().as_ref().map(|kept| kept.made);
    // Bound and not listening: nobody else is given it meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = taken.local_addr().unwrap();
    let answer = || "HTTP/1.1 500 no\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
    answered(&poster, answer()).await.unwrap_err();
    let first = made();
    answered(&poster, answer()).await.unwrap_err();
    assert!(first.is_some() && made() == first, "who answers is reached");
    poster.post(&format!("http://{gone}/x"), &[], Vec::new()).await.unwrap_err();
    assert_eq!(made(), None);
    answered(&poster, answer()).await.unwrap_err();
    let second = made();
    if let (Some(kept), Some(long_ago)) = (poster.kept().as_mut(), Instant::now().checked_sub(RENEWED)) {
        kept.made = long_ago;
    }
    answered(&poster, answer()).await.unwrap_err();
    assert!(made() > second, "what the system trusts may have changed");
    poster.client(false).await.map(drop).unwrap();
    assert!(poster.kept().as_ref().is_some_and(|kept| !kept.within));
}

/// Headers, and for how many seconds they ask to be left alone.
type Asks<'a> = (&'a [(&'a str, &'a str)], Option<u64>);

#[test]
fn somebody_is_left_alone_for_as_long_as_they_say_but_not_for_ever() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let rows: [Asks<'_>; 9] = [
        (&[], None),
        (&[("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "1000600")], None),
        (&[("x-ratelimit-remaining", "0")], Some(0)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000600")], Some(601)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "999000")], Some(1)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9000000")], Some(3600)),
        (&[("retry-after", "7"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000600")], Some(7)),
        (&[("retry-after", "99999999999999999999")], Some(0)),
        (&[("retry-after", "-1")], Some(0)),
    ];
    for (headers, expected) in rows {
        let all = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()));
        assert_eq!(put_off(&all.collect(), now).map(|pause| pause.as_secs()), expected, "{headers:?}");
    }
}
