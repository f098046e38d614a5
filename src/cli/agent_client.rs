//! The running agent, asked through its unix socket.
//!
//! One request on a connection of its own. What the agent answers is printed as it is: it has made the document, or
//! the text, that the verb would have made here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Failure;
use super::options::Format;
use super::output::{Output, say};
use super::render::problem::Complaint;
use super::render::style::{DIM, paint};
use super::render::words::safe;
use crate::agent::web::{EXIT_CODE, PERSON};
use crate::model::names::Root;

/// How long an agent may take to say what it looks after.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER: usize = 64 * 1024 * 1024;

/// The agent of this host, as far as there is one.
#[derive(Debug)]
pub struct AgentClient {
    socket: PathBuf,
    /// Who asks, as a courtesy for the history; the agent believes root only.
    person: String,
}

/// What the agent says of itself, as far as that matters here.
#[derive(Debug, Deserialize)]
pub struct About {
    /// The Apps that it looks after.
    pub apps: Vec<Known>,
}

/// An App that an agent looks after.
#[derive(Debug, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// It has disappeared from the manifests, so that the agent only watches.
    pub orphaned: bool,
}

/// Why the agent could not be asked.
#[derive(Debug)]
pub enum NoAnswer {
    /// There is none: nothing is there, or nobody listens.
    Absent,
    /// There may be one, and this is why it could not be asked.
    Trouble(String),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    code: Option<u8>,
    body: Vec<u8>,
}

/// Why an agent does not do something.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
    help: Option<String>,
}

impl AgentClient {
    /// The one whose socket is there.
    #[must_use]
    pub fn new(socket: &Path, person: String) -> Self {
        Self { socket: socket.to_owned(), person }
    }

    /// What the agent looks after.
    ///
    /// # Errors
    /// There is none, or it does not answer in time, or makes no sense.
    pub async fn about(&self) -> Result<About, NoAnswer> {
        let asked = self.ask(Method::GET, "/api/v1/agent", Format::Json, None);
        let late = || NoAnswer::Trouble(format!("it does not answer within {} s", PATIENCE.as_secs()));
        let answer = timeout(PATIENCE, asked).await.map_err(|_| late())??;
        if !answer.status.is_success() {
            return Err(NoAnswer::Trouble(format!("it answers with {}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| NoAnswer::Trouble(format!("it makes no sense: {error}")))
    }

    /// Asks for something to be done, however long that takes.
    ///
    /// # Errors
    /// There is no agent, or the connection breaks off.
    pub async fn post(&self, path: &str, body: &Value, output: Output) -> Result<Answer, NoAnswer> {
        let path = match output.width {
            Some(width) if path.contains('?') => format!("{path}&width={width}"),
            Some(width) => format!("{path}?width={width}"),
            None => path.to_owned(),
        };
        self.ask(Method::POST, &path, output.format, Some(body.to_string())).await
    }

    async fn ask(&self, method: Method, path: &str, form: Format, body: Option<String>) -> Result<Answer, NoAnswer> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => NoAnswer::Absent,
            _ => NoAnswer::Trouble(error.to_string()),
        })?;
        let broken = |error: hyper::Error| NoAnswer::Trouble(format!("the connection broke off: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let accept = match form {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Text | Format::Markdown => "text/plain",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .header(PERSON, self.person.as_str())
            .body(body.unwrap_or_default())
            .map_err(|error| NoAnswer::Trouble(error.to_string()))?;
        // Done with the sender, the connection is at its end.
        let asking = async move {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let code = response.headers().get(EXIT_CODE).and_then(|code| code.to_str().ok()?.parse().ok());
            let body = to_bytes(Body::new(response.into_body()), ANSWER).await;
            let body = body.map_err(|error| NoAnswer::Trouble(format!("the connection broke off: {error}")))?;
            Ok(Answer { status, code, body: body.to_vec() })
        };
        // The connection has nothing to tell that the answer does not.
        let (answer, _) = tokio::join!(asking, async { connection.await.err() });
        answer
    }

    /// Where it is, in words.
    #[must_use]
    pub fn place(&self) -> String {
        format!("the agent at `{}`", self.socket.display())
    }

    /// Says on the standard error who did something, or why another did.
    pub fn note(&self, what: &str) {
        say(&format!("{}: {}\n", paint(DIM, "note"), safe(&format!("{}{what}", self.place()))));
    }

    /// The agent was asked, and did not answer.
    #[must_use]
    pub fn broken_off(&self, why: &NoAnswer) -> Failure {
        let why = match why {
            NoAnswer::Absent => "it has ended",
            NoAnswer::Trouble(why) => why,
        };
        let complaint = Complaint::new(format!("{} was asked, and did not answer to the end", self.place())).cause(why);
        Failure::Complaint(complaint.help("`trueup status` and `trueup history` tell what was done; then ask again"))
    }

    /// There is no agent, and nothing else does.
    #[must_use]
    pub fn missing(&self, why: &NoAnswer) -> Failure {
        let complaint = match why {
            NoAnswer::Absent => Complaint::new(format!("no agent listens on `{}`", self.socket.display())).help(
                "start it (`systemctl start trueup-agent`), name its socket with `--socket`, or make a pass without it: \
                 `trueup reconcile`",
            ),
            NoAnswer::Trouble(why) => Complaint::new(format!("cannot ask {}", self.place())).cause(why).help(
                "its socket is for root and its operators: use sudo; else look into its log: `journalctl -u trueup-agent`",
            ),
        };
        Failure::Complaint(complaint)
    }
}

impl About {
    /// Whether the agent looks after that App, in that root where one is given.
    #[must_use]
    pub fn looks_after(&self, name: &str, root: Option<&Root>) -> bool {
        let right = |app: &Known| app.name == name && !app.orphaned && root.is_none_or(|root| app.root == root.path());
        self.apps.iter().any(right)
    }
}

impl Answer {
    /// Prints it; the exit code that comes with it.
    ///
    /// # Errors
    /// The agent refused, or nothing can be printed.
    pub fn show(self, output: Output) -> Result<u8, Failure> {
        if !self.status.is_success() {
            let refusal = serde_json::from_slice(&self.body)
                .unwrap_or_else(|_| Refusal { message: format!("the agent answers with {}", self.status), help: None });
            let Refusal { message, help } = refusal;
            return Err(Failure::Complaint(Complaint { message, causes: Vec::new(), help }));
        }
        match output.format {
            Format::Text | Format::Markdown => output.text(&String::from_utf8_lossy(&self.body))?,
            Format::Json | Format::Yaml => output.bytes(&self.body)?,
        }
        Ok(self.code.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_looks_after_an_app_by_name_and_root() {
        let app = |name: &str, root: &str, orphaned| Known { name: name.to_owned(), root: root.into(), orphaned };
        let about = About { apps: vec![app("shop", "/srv/shop", false), app("old", "/srv/old", true)] };
        let root = |path: &str| Root::new(path).unwrap();
        assert!(about.looks_after("shop", None) && about.looks_after("shop", Some(&root("/srv/shop"))));
        assert!(!about.looks_after("shop", Some(&root("/srv/elsewhere"))));
        assert!(!about.looks_after("old", None) && !about.looks_after("new", None));
    }

    #[tokio::test]
    async fn where_nobody_listens_there_is_no_agent() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        let client = AgentClient::new(&path, "anna".to_owned());
        assert!(matches!(client.about().await, Err(NoAnswer::Absent)));
        // A killed agent has left its socket.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(client.about().await, Err(NoAnswer::Absent)));
        // One that is no agent.
        std::fs::remove_file(&path).unwrap();
        let other = tokio::net::UnixListener::bind(&path).unwrap();
        let closing = async {
            let (stream, _) = other.accept().await.unwrap();
            drop(stream);
        };
        let (about, ()) = tokio::join!(client.about(), closing);
        assert!(matches!(about, Err(NoAnswer::Trouble(_))), "{about:?}");
    }
}
