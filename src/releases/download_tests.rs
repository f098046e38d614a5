//! A real HTTPS server on the loopback.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Certificate;

use super::*;
use crate::decide::testing;
use crate::host::testtls::{Connection, TestTls};
use crate::host::users::User;
use crate::model::names::Root;

/// What is answered to a path: status line, more headers, body.
type Answers = BTreeMap<&'static str, (&'static str, String, Vec<u8>)>;

struct Site {
    _room: tempfile::TempDir,
    tls: TestTls,
    address: SocketAddr,
    place: ReleaseDirectory,
}

impl Site {
    /// None where there is no `openssl`.
    fn new(answers: Answers) -> Option<Self> {
        let tls = TestTls::new("files.example")?;
        let address = tls.serve(move |connection, head| answer(connection, head, &answers));
        let room = tempfile::tempdir().unwrap();
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(room.path().join("app")).unwrap();
        std::fs::create_dir(app.root.path()).unwrap();
        let place = ReleaseDirectory::open(&app, &User::who_runs().unwrap()).unwrap();
        Some(Self { _room: room, tls, address, place })
    }

    /// A client that finds the server by its name.
    fn builder(&self) -> ClientBuilder {
        install_provider();
        Client::builder().no_proxy().resolve("files.example", self.address).resolve("other.example", self.address)
    }

    async fn fetch(&self, path: &str, limit: u64) -> Result<Vec<u8>, HostError> {
        let pem = std::fs::read(self.tls.authority()).unwrap();
        let builder = self.builder().tls_certs_only(Certificate::from_pem_bundle(&pem).unwrap());
        self.fetch_with(builder, &format!("https://me:secret@files.example{path}?token=secret"), limit).await
    }

    async fn fetch_with(&self, builder: ClientBuilder, url: &str, limit: u64) -> Result<Vec<u8>, HostError> {
        let fetched = fetch_with(builder, &self.place, url, limit).await.map(|mut file| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let state = self.place.root.state();
        let left: Vec<PathBuf> = std::fs::read_dir(&state)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        assert_eq!(left, Vec::<PathBuf>::new(), "{url}");
        fetched
    }
}

fn answer(to: &mut Connection, request: &str, answers: &Answers) -> std::io::Result<()> {
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, headers, body) = answers.get(path).cloned().unwrap_or(("404 Not Found", String::new(), Vec::new()));
    write!(to, "HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n")?;
    to.write_all(&body)
}

fn answers() -> Answers {
    let length = |length: usize| format!("content-length: {length}\r\n");
    let to = |location: &str| format!("location: {location}\r\ncontent-length: 0\r\n");
    let moved = "302 Found";
    BTreeMap::from([
        ("/good", ("200 OK", length(5), b"12345".to_vec())),
        ("/silent", ("200 OK", String::new(), b"12345".to_vec())),
        ("/half", ("200 OK", length(9), b"12345".to_vec())),
        ("/secret", ("403 Forbidden", length(0), Vec::new())),
        ("/broken", ("503 Service Unavailable", length(0), Vec::new())),
        ("/busy", ("429 Too Many Requests", length(0), Vec::new())),
        ("/empty", ("204 No Content", String::new(), Vec::new())),
        ("/plain", (moved, to("http://files.example/good?token=secret"), Vec::new())),
        ("/file", (moved, to("file:///etc/passwd"), Vec::new())),
        ("/for-ever", (moved, to("/for-ever"), Vec::new())),
        ("/1", (moved, to("/2"), Vec::new())),
        ("/2", (moved, to("/3"), Vec::new())),
        ("/3", (moved, to("/4"), Vec::new())),
        ("/4", (moved, to("/5"), Vec::new())),
        ("/5", (moved, to("https://files.example/good"), Vec::new())),
        ("/0", (moved, to("/1"), Vec::new())),
    ])
}

#[tokio::test]
async fn a_file_comes_over_redirects_and_leaves_no_name() {
    let Some(site) = Site::new(answers()) else { return };
    for path in ["/good", "/silent", "/5", "/1"] {
        assert_eq!(site.fetch(path, 5).await.unwrap(), b"12345", "{path}");
    }
}

#[tokio::test]
async fn what_does_not_come_is_said_with_its_kind() {
    use HostErrorKind::{Denied, Misconfigured, Unreachable};
    let Some(site) = Site::new(answers()) else { return };
    let rows = [
        ("/absent", Misconfigured, "answered 404 Not Found"),
        ("/empty", Misconfigured, "answered 204"),
        ("/secret", Denied, "answered 403 Forbidden"),
        ("/broken", Unreachable, "answered 503"),
        ("/busy", Unreachable, "answered 429"),
        ("/half", Unreachable, "cannot fetch"),
        ("/plain", Misconfigured, "leads on to `http://files.example/good`, which is not `https`"),
        ("/file", Misconfigured, "answered 302 Found"),
        ("/0", Misconfigured, "more than 5 times"),
        ("/for-ever", Misconfigured, "more than 5 times"),
    ];
    for (path, kind, words) in rows {
        let error = site.fetch(path, 9).await.unwrap_err();
        assert_eq!(error.kind, kind, "{path}: {error:?}");
        assert!(error.message.contains(words), "{path}: {error:?}");
        assert!(error.message.contains(&format!("`https://files.example{path}`")), "{path}: {error:?}");
        assert!(!format!("{error:?}").contains("secret@") && !format!("{error:?}").contains("token"), "{error:?}");
    }
    for path in ["/good", "/silent"] {
        let error = site.fetch(path, 4).await.unwrap_err();
        assert!(error.kind == Misconfigured && error.message.contains("larger"), "{path}: {error:?}");
    }
}

#[tokio::test]
async fn only_a_trusted_server_that_is_there_is_asked() {
    let Some(site) = Site::new(answers()) else { return };
    // Taken, so that nobody else is given it, and nobody listens there.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = taken.local_addr().unwrap();
    let pem = std::fs::read(site.tls.authority()).unwrap();
    let trusting = || site.builder().tls_certs_only(Certificate::from_pem_bundle(&pem).unwrap());
    let rows = [
        (
            site.builder().tls_certs_only([]),
            "https://files.example/good".to_owned(),
            HostErrorKind::Misconfigured,
            "certificate",
        ),
        (trusting(), "https://other.example/good".to_owned(), HostErrorKind::Misconfigured, "certificate"),
        (trusting(), format!("https://{dead}/good"), HostErrorKind::Unreachable, "refused"),
        (trusting(), "https://no-such-host.invalid/".to_owned(), HostErrorKind::Unreachable, "cannot fetch"),
        (trusting(), format!("http://{}/good", site.address), HostErrorKind::Misconfigured, "only `https`"),
        (trusting(), "file:///etc/passwd".to_owned(), HostErrorKind::Misconfigured, "only `https`"),
        (trusting(), "nonsense".to_owned(), HostErrorKind::Misconfigured, "not a URL"),
    ];
    for (builder, url, kind, words) in rows {
        let error = site.fetch_with(builder, &url, 5).await.unwrap_err();
        assert_eq!(error.kind, kind, "{url}: {error:?}");
        assert!(error.message.contains(words) && error.help.is_some(), "{url}: {error:?}");
    }
}
