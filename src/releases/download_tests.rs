//! A real HTTPS server on the loopback.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use reqwest::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::decide::testing;
use crate::host::users::User;
use crate::model::names::Root;

/// What is answered to a path: status line, more headers, body.
type Answers = BTreeMap<&'static str, (&'static str, String, Vec<u8>)>;

struct Site {
    room: tempfile::TempDir,
    address: SocketAddr,
    place: Place,
}

impl Site {
    /// None where there is no `openssl`.
    fn new(answers: Answers) -> Option<Self> {
        let room = tempfile::tempdir().unwrap();
        let script = r#"
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=test CA" \
                -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=files.example" \
                -keyout key.pem -out request.pem
            printf 'subjectAltName=DNS:files.example\nbasicConstraints=CA:FALSE\n' >extensions
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                -extfile extensions -out cert.pem"#;
        let made = Command::new("sh").args(["-euc", script]).current_dir(room.path()).output().unwrap();
        if made.status.code() == Some(127) {
            assert!(std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_none(), "openssl is not installed");
            println!("skipped: openssl is not installed");
            return None;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let certificate = CertificateDer::from_pem_file(room.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(room.path().join("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (config, answers) = (Arc::new(config), Arc::new(answers));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away early is none of our business.
                let _ = serve(stream.unwrap(), config.clone(), &answers);
            }
        });
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(room.path().join("app")).unwrap();
        std::fs::create_dir(app.root.path()).unwrap();
        let place = Place::open(&app, &User::who_runs().unwrap()).unwrap();
        Some(Self { room, address, place })
    }

    /// A client that finds the server by its name.
    fn builder(&self) -> ClientBuilder {
        install_provider();
        Client::builder().no_proxy().resolve("files.example", self.address).resolve("other.example", self.address)
    }

    async fn fetch(&self, path: &str, limit: u64) -> Result<Vec<u8>, HostError> {
        let pem = std::fs::read(self.room.path().join("ca.pem")).unwrap();
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

fn serve(stream: std::net::TcpStream, config: Arc<rustls::ServerConfig>, answers: &Answers) -> std::io::Result<()> {
    let connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(connection, stream);
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte)?;
        request.extend_from_slice(&byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, headers, body) = answers.get(path).cloned().unwrap_or(("404 Not Found", String::new(), Vec::new()));
    write!(tls, "HTTP/1.1 {status}\r\n{headers}connection: close\r\n\r\n")?;
    tls.write_all(&body)?;
    tls.conn.send_close_notify();
    tls.flush()
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
    let pem = std::fs::read(site.room.path().join("ca.pem")).unwrap();
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
