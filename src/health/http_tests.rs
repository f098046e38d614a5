//! Real servers on the loopback, plain, over TLS and behind unix sockets.

use std::io::Write;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::mpsc;

use super::*;
use crate::host::testtls::TestTls;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Answers every connection with `reply` and passes on what was asked.
struct Server {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(reply: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        let reply: Arc<[u8]> = reply.into().into();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, reply.clone(), tell.clone()));
            }
        });
        Self { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Arc<[u8]>,
    tell: mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let _ = tell.send(String::from_utf8(request).unwrap().to_lowercase());
    let _ = stream.write_all(&reply).await;
    let _ = stream.flush().await;
    if reply.is_empty() || reply.ends_with(b"...") {
        // Silent, or an answer that never ends.
        let _ = stream.read_u8().await;
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A request with nothing special about it.
#[derive(Default)]
struct Ask {
    headers: BTreeMap<String, String>,
    connect_to: Option<ConnectTo>,
    ca_file: Option<PathBuf>,
    timeout: Option<Duration>,
}

impl Ask {
    async fn get(&self, url: &str) -> Result<ProbeAnswer, ProbeFailure> {
        let request = Request {
            url,
            headers: &self.headers,
            connect_to: self.connect_to.as_ref(),
            ca_file: self.ca_file.as_deref(),
        };
        Clients::default().probe(&request, self.timeout.unwrap_or(TIMEOUT)).await
    }

    fn at(address: SocketAddr) -> Self {
        Self { connect_to: Some(ConnectTo::Tcp(address)), ..Self::default() }
    }
}

/// A port that nobody listens on, and that nobody else is given while this is kept.
fn dead_port() -> (TcpSocket, SocketAddr) {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    (taken, address)
}

#[tokio::test]
async fn status_headers_body_and_latency_are_told() {
    let text = reply("503 Busy", "X-Tag: a\r\nx-tag: b\r\nContent-Type: application/json\r\n", r#"{"jobs": 3}"#);
    let mut server = Server::start(text).await;
    let answer = Ask::default().get(&server.url("/api/health?full=1")).await.unwrap();
    assert_eq!((answer.status, &answer.body, answer.age), (Some(503), &json!({"jobs": 3}), None));
    assert_eq!(answer.headers.get("x-tag").map(String::as_str), Some("a, b"));
    assert_eq!(answer.headers.get("content-type").map(String::as_str), Some("application/json"));
    assert!(answer.latency > Duration::ZERO && answer.latency < TIMEOUT);

    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with("get /api/health?full=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nhost: {}\r\n", server.address)), "{asked}");
    assert!(asked.contains("\r\nuser-agent: trueup/"), "{asked}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let mut server = Server::start(reply("302 Found", "location: /login\r\n", "")).await;
    let answer = Ask::default().get(&server.url("/")).await.unwrap();
    assert_eq!(answer.status, Some(302));
    assert_eq!(answer.headers.get("location").map(String::as_str), Some("/login"));
    server.asked.recv().await.unwrap();
    assert!(server.asked.try_recv().is_err());
}

#[tokio::test]
async fn connect_to_moves_the_connection_and_keeps_the_name() {
    let mut server = Server::start(reply("200 OK", "", "OK")).await;
    let rows = [
        ("http://yujix.example/health", "yujix.example"),
        ("http://yujix.example:8080/health", "yujix.example:8080"),
        ("http://192.0.2.1/health", "192.0.2.1"),
        ("http://[2001:db8::1]:81/health", "[2001:db8::1]:81"),
    ];
    for (url, host) in rows {
        let answer = Ask::at(server.address).get(url).await.unwrap();
        assert_eq!(answer.body, json!("OK"), "{url}");
        let asked = server.asked.recv().await.unwrap();
        assert!(asked.contains(&format!("\r\nhost: {host}\r\n")), "{asked}");
        assert_eq!(asked.matches("\r\nhost:").count(), 1, "{asked}");
    }
}

#[tokio::test]
async fn headers_are_sent_and_may_replace_the_host() {
    let mut server = Server::start(reply("200 OK", "", "")).await;
    let headers = [("Host", "other.example"), ("X-Probe", "1")];
    let headers: BTreeMap<String, String> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let plain = Ask { headers: headers.clone(), ..Ask::default() };
    let moved = Ask { headers, ..Ask::at(server.address) };
    for (ask, url) in [(plain, server.url("/")), (moved, "http://yujix.example/".to_owned())] {
        ask.get(&url).await.unwrap();
        let asked = server.asked.recv().await.unwrap();
        assert!(asked.contains("\r\nhost: other.example\r\n") && asked.contains("\r\nx-probe: 1\r\n"), "{asked}");
        assert_eq!(asked.matches("\r\nhost:").count(), 1, "{asked}");
    }
    for (name, value) in [("bad name", "x"), ("x-token", "se\ncret")] {
        let ask = Ask { headers: BTreeMap::from([(name.to_owned(), value.to_owned())]), ..Ask::default() };
        let failure = ask.get(&server.url("/")).await.unwrap_err();
        assert!(failure.message.contains(name) && !failure.message.contains("cret"), "{failure}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let ask = Ask { connect_to: Some(ConnectTo::Unix(path.clone())), ..Ask::default() };
    let url = "http://yujix.example/health";
    let failure = ask.get(url).await.unwrap_err();
    assert_eq!(failure.message, format!("there is no socket at {}", path.display()));

    let listener = UnixListener::bind(&path).unwrap();
    let (tell, mut asked) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, reply("200 OK", "", "true").into_bytes().into(), tell).await;
    });
    assert_eq!(ask.get(url).await.unwrap().body, json!(true));
    assert!(asked.recv().await.unwrap().contains("\r\nhost: yujix.example\r\n"));

    serving.await.unwrap();
    // Another test's child may hold the listener until it has come to its program.
    let began = Instant::now();
    while tokio::net::UnixStream::connect(&path).await.is_ok() {
        assert!(began.elapsed() < TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let failure = ask.get(url).await.unwrap_err();
    assert_eq!(failure.message, format!("connection refused at {}", path.display()));
}

#[tokio::test]
async fn silence_and_endless_answers_end_with_the_timeout() {
    let rows = [
        ("", "no answer from ADDRESS within 2s"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n...", "the answer of ADDRESS (status 200) did not end within 2s"),
    ];
    for (text, words) in rows {
        let server = Server::start(text).await;
        let ask = Ask { timeout: Some(Duration::from_secs(2)), ..Ask::default() };
        let failure = ask.get(&server.url("/")).await.unwrap_err();
        assert_eq!(failure.message, words.replace("ADDRESS", &server.address.to_string()));
    }
}

#[tokio::test]
async fn failures_say_what_happened_and_where() {
    let (_taken, dead) = dead_port();
    let failure = Ask::default().get(&format!("http://{dead}/?token=secret")).await.unwrap_err();
    assert_eq!(failure.message, format!("connection refused at {dead}"));
    let failure = Ask::at(dead).get("http://yujix.example/").await.unwrap_err();
    assert_eq!(failure.message, format!("connection refused at {dead}"));

    let failure = Ask::default().get("http://no-such-host.invalid/").await.unwrap_err();
    assert!(failure.message.starts_with("cannot resolve no-such-host.invalid:80: "), "{failure}");

    let server = Server::start("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let failure = Ask::default().get(&server.url("/?token=secret")).await.unwrap_err();
    assert!(failure.message.starts_with(&format!("asking {} failed: ", server.address)), "{failure}");
    assert!(!failure.message.contains("secret"), "{failure}");

    let server = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let failure = Ask::default().get(&server.url("/")).await.unwrap_err();
    assert!(failure.message.contains("broke off"), "{failure}");

    for url in ["ftp://yujix.example/", "yujix.example/health", "http://"] {
        let failure = Ask::default().get(url).await.unwrap_err();
        assert!(failure.message.contains(&format!("`{url}`")), "{failure}");
    }
}

#[tokio::test]
async fn a_body_may_have_one_mebibyte() {
    let server = Server::start(reply("200 OK", "", &" ".repeat(BODY_LIMIT))).await;
    assert!(Ask::default().get(&server.url("/")).await.is_ok());
    let server = Server::start(reply("200 OK", "", &" ".repeat(BODY_LIMIT + 1))).await;
    let failure = Ask::default().get(&server.url("/")).await.unwrap_err();
    assert!(failure.message.ends_with("is larger than 1 MiB"), "{failure}");
}

#[tokio::test]
async fn clients_are_kept_and_connections_are_not() {
    let mut server = Server::start(reply("200 OK", "connection: keep-alive\r\n", "")).await;
    let clients = Clients::default();
    let headers = BTreeMap::new();
    for path in ["/1", "/2", "/3"] {
        let url = server.url(path);
        let request = Request { url: &url, headers: &headers, connect_to: None, ca_file: None };
        clients.probe(&request, TIMEOUT).await.unwrap();
        // The server answers one request a connection.
        assert!(server.asked.recv().await.unwrap().contains(path));
    }
    assert_eq!(clients.made.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn apps_behind_one_server_share_a_client_whatever_they_are_called() {
    let mut server = Server::start(reply("200 OK", "", "")).await;
    let (clients, headers) = (Clients::default(), BTreeMap::new());
    let connect = ConnectTo::Tcp(server.address);
    for name in ["one.example", "two.example:81", "192.0.2.1"] {
        let url = format!("http://{name}/");
        let request = Request { url: &url, headers: &headers, connect_to: Some(&connect), ca_file: None };
        clients.probe(&request, TIMEOUT).await.unwrap();
        assert!(server.asked.recv().await.unwrap().contains(&format!("\r\nhost: {name}\r\n")));
    }
    // An address is no name that would have to be led elsewhere.
    assert_eq!(clients.made.lock().unwrap().len(), 2);
}

/// Answers with the name that the client asked for in its greeting.
fn greeted(tls: &TestTls) -> SocketAddr {
    tls.serve(|connection, _| {
        let name = connection.conn.server_name().unwrap_or("nothing").to_owned();
        connection.write_all(reply("200 OK", "connection: close\r\n", &name).as_bytes())
    })
}

#[tokio::test]
async fn https_checks_the_certificate_against_the_name_in_the_url() {
    let Some(certificates) = TestTls::new("yujix.example") else { return };
    let address = greeted(&certificates);
    let trusting = Ask { ca_file: Some(certificates.authority()), ..Ask::at(address) };
    for url in ["https://yujix.example/", "https://yujix.example:8443/"] {
        assert_eq!(trusting.get(url).await.unwrap().body, json!("yujix.example"), "{url}");
    }
    let failure = trusting.get("https://other.example/").await.unwrap_err();
    assert!(failure.message.starts_with(&format!("TLS with {address} failed: invalid peer certificate")), "{failure}");
    assert!(failure.message.contains("other.example"), "{failure}");

    let failure = trusting.get("https://192.0.2.1/").await.unwrap_err();
    assert!(failure.message.contains("name the host"), "{failure}");

    // A plain server behind an https URL.
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(reply("400 Bad Request", "", "").as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let plain = Ask { ca_file: Some(certificates.authority()), ..Ask::at(address) };
    let failure = plain.get("https://yujix.example/").await.unwrap_err();
    assert!(failure.message.starts_with(&format!("TLS with {address} failed: ")), "{failure}");
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("empty"), "").unwrap();
    let (_taken, dead) = dead_port();
    for (name, words) in [("absent", "cannot read"), ("empty", "holds no certificate")] {
        let ask = Ask { ca_file: Some(directory.path().join(name)), ..Ask::at(dead) };
        let failure = ask.get("https://yujix.example/").await.unwrap_err();
        assert!(failure.message.contains(words) && failure.message.contains(name), "{failure}");
    }
}

/// Run by the test below in a process that finds no system certificates.
#[tokio::test]
async fn probes_in_a_process_without_certificates() {
    if std::env::var_os("TRUEUP_TEST_NO_CERTIFICATES").is_none() {
        return;
    }
    let server = Server::start(reply("200 OK", "", "OK")).await;
    assert_eq!(Ask::default().get(&server.url("/")).await.unwrap().body, json!("OK"));

    let Some(certificates) = TestTls::new("yujix.example") else { return };
    let address = greeted(&certificates);
    let failure = Ask::at(address).get("https://yujix.example/").await.unwrap_err();
    assert!(failure.message.contains("no CA certificates"), "{failure}");
    let trusting = Ask { ca_file: Some(certificates.authority()), ..Ask::at(address) };
    assert_eq!(trusting.get("https://yujix.example/").await.unwrap().body, json!("yujix.example"));
}

#[test]
fn plain_http_needs_no_certificates_and_no_proxies() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "health::http::tests::probes_in_a_process_without_certificates"])
        .env("TRUEUP_TEST_NO_CERTIFICATES", "1")
        .env("SSL_CERT_FILE", directory.path().join("absent"))
        .env("SSL_CERT_DIR", directory.path());
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    for exempt in ["no_proxy", "NO_PROXY"] {
        command.env_remove(exempt);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
