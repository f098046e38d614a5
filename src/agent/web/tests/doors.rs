//! Real sockets: limits, slow clients, garbage, other users, and the end.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::agent::orders::{Operated, Order};
use crate::agent::web::connection::{self, Limits};
use crate::agent::web::testing::{Stage, secret, watched};
use crate::agent::web::{Door, Port, Reach, Socket, Webhooks};

/// No wait in here is meant to be this long.
const GENEROUS: Duration = Duration::from_secs(30);

/// An agent that really listens.
struct Open {
    stage: Stage,
    socket: PathBuf,
    port: SocketAddr,
    serving: Vec<JoinHandle<()>>,
    _place: tempfile::TempDir,
}

impl Open {
    fn new(stage: Stage, limits: Limits) -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = place.path().join("agent.sock");
        let socket = Socket::bind(&path, None).unwrap();
        let port = Port::bind("127.0.0.1:0".parse().unwrap(), Reach::Loopback).unwrap();
        let address = port.address().unwrap();
        let serving = [Door::Socket(socket), Door::Port(port)]
            .map(|door| tokio::spawn(connection::serve(door, stage.router.clone(), limits, stage.stop.subscribe())));
        Self { stage, socket: path, port: address, serving: serving.into(), _place: place }
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.port).await.unwrap()
    }

    /// Ends it; everything is over soon.
    async fn end(self) {
        self.stage.stop.send(true).unwrap();
        for one in self.serving {
            timeout(GENEROUS, one).await.expect("it ends").unwrap();
        }
        assert!(!self.socket.exists());
    }
}

/// Sends some bytes and reads until the other side closes.
async fn talk(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) -> String {
    // Whoever is refused early may see its connection closed before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(GENEROUS, stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

fn short() -> Limits {
    Limits {
        connections: 4,
        head: Duration::from_secs(2),
        life: Duration::from_secs(4),
        grace: Duration::from_millis(500),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_doors_answer_and_only_the_socket_takes_orders() {
    let mut open = Open::new(Stage::looked(), Limits::default());
    for answer in [talk(open.unix().await, &get("/healthz")).await, talk(open.tcp().await, &get("/healthz")).await] {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    }
    let post = b"POST /api/v1/reconcile?wait=false HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let refused = talk(open.tcp().await, post).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert!(open.stage.orders.try_recv().is_err());
    let taken = talk(open.unix().await, post).await;
    // The tests may run as anybody: whoever runs the agent may order.
    assert!(taken.starts_with("HTTP/1.1 202 "), "{taken}");
    assert!(open.stage.orders.try_recv().is_ok());
    open.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_left_and_hold_nobody_up() {
    let open = Open::new(Stage::looked(), short());
    // More than there are places, each with a head, a body, or a reading that never ends.
    let mut slow = Vec::new();
    for begun in
        ["", "GET /healthz HT", "GET / HTTP/1.1\r\nX: ", "POST /webhooks/github HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"]
    {
        for _ in 0..3 {
            let mut stream = open.tcp().await;
            stream.write_all(begun.as_bytes()).await.unwrap();
            slow.push(stream);
        }
    }
    // The socket has places of its own, and the port's become free again.
    let answered = async {
        // On a busy machine even an honest client may be too slow for such limits.
        while !talk(open.unix().await, &get("/healthz")).await.ends_with("ok\n") {}
        while !talk(open.tcp().await, &get("/healthz")).await.ends_with("ok\n") {}
    };
    timeout(GENEROUS, answered).await.expect("an answer");
    for stream in slow {
        talk(stream, b"").await;
    }
    open.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_held_back_keeps_its_connection_and_one_that_nobody_reads_does_not() {
    let limits = Limits { life: Duration::from_secs(3), ..short() };
    let mut open = Open::new(Stage::looked(), limits);
    let post =
        b"POST /api/v1/apps/shop/retry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let waiting = tokio::spawn(talk(open.unix().await, post));
    let Some(Order::Operate { reply, .. }) = open.stage.orders.recv().await else { panic!("no order") };
    // What is to be seen is that nothing happens at the end of a connection's life.
    tokio::time::sleep(limits.life * 2).await;
    reply.send(Ok(Operated::NotKeptOut)).unwrap();
    let answer = waiting.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    // Far more answers than any buffer holds, and nobody reads them.
    let mut deaf = open.unix().await;
    let many = "GET /api/v1/apps HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    let _ = timeout(GENEROUS, deaf.write_all(many.as_bytes())).await.expect("the connection is left");
    open.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_is_kept() {
    let open = Open::new(Stage::looked(), Limits::default());
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: 1\r\n".repeat(100));
    let body = "POST /api/v1/apps/shop/retry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n";
    for (request, code) in [(head.as_str(), "431"), (many.as_str(), "431"), (body, "413")] {
        let answer = talk(open.unix().await, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{code}: {answer}");
    }
    open.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pieces_of_garbage_change_nothing() {
    let webhooks =
        Webhooks { gitlab: Some(secret("a")), github: Some(secret("b")), gitea: Some(secret("c")), watched: watched() };
    let mut open = Open::new(Stage::set(webhooks), Limits { head: Duration::from_secs(2), ..Limits::default() });
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(talk(open.tcp().await, &get("/healthz")).await.ends_with("ok\n"));
    let before = descriptors();
    let port = open.port;
    let mut senders = Vec::new();
    for lane in 0..8_u64 {
        senders.push(tokio::spawn(async move {
            let mut chance = lane * 0x9e37_79b9 + 1;
            let mut next = move || {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                chance >> 33
            };
            for number in 0..1250 {
                let bytes = garbage(number, &mut next);
                let mut stream = TcpStream::connect(port).await.unwrap();
                let _ = stream.write_all(&bytes).await;
                // No more comes: what is incomplete ends here.
                let _ = stream.shutdown().await;
                let mut answer = Vec::new();
                let _ = timeout(GENEROUS, stream.read_to_end(&mut answer)).await.expect("an end");
                let answer = String::from_utf8_lossy(&answer);
                let fine =
                    answer.is_empty() || ["HTTP/1.1 4", "HTTP/1.0 4"].iter().any(|start| answer.starts_with(start));
                assert!(fine, "{:?}: {answer}", String::from_utf8_lossy(&bytes));
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(open.stage.orders.try_recv().is_err(), "no pass came of it");
    assert!(talk(open.tcp().await, &get("/healthz")).await.ends_with("ok\n"));
    let counted = talk(open.unix().await, &get("/metrics")).await;
    assert!(counted.contains("trueup_webhooks_total{forge=\"github\",result=\"refused\"}"), "{counted}");
    let settled = async {
        // Other tests open and close descriptors beside this one.
        while descriptors() > before + 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(GENEROUS, settled).await.expect("nothing stays open");
    open.end().await;
}

/// Something that is no request, or none that may do anything.
fn garbage(number: u64, next: &mut impl FnMut() -> u64) -> Vec<u8> {
    let noise: Vec<u8> = (0..next() % 300).map(|_| (next() & 0xff) as u8).collect();
    let forge = ["gitlab", "github", "gitea"][(next() % 3) as usize];
    let with_body = |head: &str, body: &[u8]| {
        let head = format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    match number % 6 {
        0 => noise,
        1 => [b"GET /".as_slice(), &noise, b" HTTP/1.1\r\n\r\n"].concat(),
        2 => with_body(&format!("POST /webhooks/{forge} HTTP/1.1\r\nX-Hub-Signature-256: sha256=00"), &noise),
        3 => with_body(
            &format!("POST /webhooks/{forge} HTTP/1.1\r\nX-Gitlab-Token: guess{number}\r\nX-Gitlab-Event: Push Hook"),
            br#"{"ref":"refs/heads/main"}"#,
        ),
        4 => with_body("POST /api/v1/apps/shop/rollback HTTP/1.1", &noise),
        _ => with_body(&format!("POST /webhooks/{forge} HTTP/1.1\r\nContent-Encoding: gzip"), &vec![b'x'; 1 << 16]),
    }
}

/// Another user of this machine who asks with curl.
async fn as_nobody(socket: &std::path::Path, groups: &str) -> Option<(bool, String)> {
    if !nix::unistd::geteuid().is_root() {
        let required = std::env::var("TRUEUP_TESTS_REQUIRE_HOST").is_ok_and(|value| value == "1");
        assert!(!required, "must run as root");
        return None;
    }
    let output = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", groups, "curl", "--silent", "--show-error", "--max-time", "30"])
        .args(["--request", "POST", "http://localhost/api/v1/reconcile?wait=false", "--unix-socket"])
        .arg(socket)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_do_not_even_get_in() {
    let mut open = Open::new(Stage::looked(), Limits::default());
    let Some((done, said)) = as_nobody(&open.socket, "--clear-groups").await else { return };
    // It is the kernel that keeps them out.
    assert!(!done && said.contains("curl: (7)"), "{said}");
    // And where the file's rights were changed by hand, the peer's name does.
    std::fs::set_permissions(&open.socket, PermissionsExt::from_mode(0o666)).unwrap();
    let (done, said) = as_nobody(&open.socket, "--clear-groups").await.unwrap();
    assert!(done && said.contains("\"code\": 403") && said.contains("may not change anything"), "{said}");
    assert!(open.stage.orders.try_recv().is_err());
    open.end().await;
}
