//! Talking to the agent from the network of its host, byte by byte.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sha2::Sha256;
use trueup::host::hex::hexadecimal;

use crate::support::Host;

/// Where the agent listens, inside the host.
pub const PORT: u16 = 9180;
/// What forges prove themselves with.
pub const SECRET: &str = "s3cret";
/// No answer takes so long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Moves the thread that calls it into the host's network, for good.
pub fn move_into(init: u32) {
    let network = File::open(format!("/proc/{init}/ns/net")).expect("the host runs");
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind).expect("we are root");
}

/// Connects to the port, from a thread that has moved.
pub fn connect() -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request that asks for its connection to be closed; the whole answer, empty where there was none.
pub fn talk(mut stream: impl Read + Write, request: &[u8]) -> String {
    // Whoever is refused early may see the connection closed before all is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks the agent's socket, from wherever we are.
pub fn get(host: &Host, path: &str) -> Option<String> {
    let stream = UnixStream::connect(host.root_path().join("run/trueup/agent.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let answer = talk(stream, format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// A request with this body.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What GitHub would send of a push of this commit; another number makes it another delivery.
pub fn push(commit: &str, number: u64) -> Vec<u8> {
    let body = format!(r#"{{"ref": "refs/heads/main", "after": "{commit}", "number": {number}}}"#);
    let headers = format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", sign(SECRET, body.as_bytes()));
    post("/webhooks/github", &headers, body.as_bytes())
}

/// HMAC-SHA256 in hexadecimal.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length does");
    mac.update(body);
    hexadecimal(&mac.finalize().into_bytes())
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Some number below that one.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("it is below a usize")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }
}

/// A webhook that proves nothing, or is none at all: each of the kinds in its turn.
pub fn wrong(number: u64, chance: &mut Chance) -> Vec<u8> {
    let noise: Vec<u8> = (0..chance.below(300)).map(|_| chance.next().to_le_bytes()[0]).collect();
    let forge = ["gitlab", "github", "gitea"][chance.below(3)];
    let path = format!("/webhooks/{forge}");
    let body = format!(r#"{{"ref": "refs/heads/main", "number": {number}}}"#).into_bytes();
    let proof = |secret: &str, body: &[u8]| match forge {
        "gitlab" => format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {secret}\r\n"),
        "github" => format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", sign(secret, body)),
        _ => format!("X-Gitea-Event: push\r\nX-Gitea-Signature: {}\r\n", sign(secret, body)),
    };
    match number % 8 {
        // A wrong secret; a signature of something else; none.
        0 | 1 => post(&path, &proof(&format!("{SECRET}{number}"), &body), &body),
        2 => post(&path, &proof("", b"something else"), &body),
        3 => post(&path, "", &body),
        // More than may be, said and sent.
        4 => post(&path, &proof("guess", b""), &vec![b'x'; (1 << 20) + 1]),
        5 => format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{{").into_bytes(),
        // No JSON, by somebody who knows the secret; no HTTP at all.
        6 => post(&path, &proof(SECRET, &noise), &noise),
        _ => noise,
    }
}
