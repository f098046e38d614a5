//! An HTTPS server for tests, with a certificate authority of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection, from the server's side.
pub(crate) type Connection = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority, and a certificate of it for one name.
pub(crate) struct TestTls(tempfile::TempDir);

impl TestTls {
    /// None where there is no `openssl`.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=test CA" \
                -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$NAME" \
                -keyout key.pem -out request.pem
            printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$NAME" >extensions
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                -extfile extensions -out cert.pem"#;
        let mut openssl = Command::new("sh");
        openssl.args(["-euc", script]).env("NAME", name).current_dir(directory.path());
        let made = openssl.output().unwrap();
        if made.status.code() == Some(127) {
            assert!(std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_none(), "openssl is not installed");
            println!("skipped: openssl is not installed");
            return None;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self(directory))
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// Has each connection's one question answered, of which `answer` gets the head.
    pub(crate) fn serve(
        &self,
        answer: impl Fn(&mut Connection, &str) -> io::Result<()> + Send + 'static,
    ) -> SocketAddr {
        let certificate = CertificateDer::from_pem_file(self.0.path().join("cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.0.path().join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away early is none of our business.
                let _ = serve_one(stream.unwrap(), Arc::clone(&config), &answer);
            }
        });
        address
    }
}

fn serve_one(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answer: impl Fn(&mut Connection, &str) -> io::Result<()>,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    answer(&mut tls, &String::from_utf8_lossy(&head))?;
    tls.conn.send_close_notify();
    tls.flush()
}
