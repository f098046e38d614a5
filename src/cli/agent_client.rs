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
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::about::About;
use super::options::Format;
use super::output::{Output, say};
use super::render::problem::Complaint;
use super::render::style::{DIM, paint};
use super::render::words::safe;
use crate::agent::web::{EXIT_CODE, NOTE, PERSON};
use crate::model::length::in_seconds;

/// How long an agent may take to say what it looks after.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whoever waits is told so this often.
const AGAIN: Duration = Duration::from_secs(30);
/// What is said sooner than this is said for the first time.
const SOON_AGAIN: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const ANSWER: usize = 64 * 1024 * 1024;

/// The agent of this host, as far as there is one.
#[derive(Debug)]
pub struct AgentClient {
    socket: PathBuf,
    /// Who asks, as a courtesy for the history; the agent believes root only.
    person: String,
}

/// A list of documents.
#[derive(Debug, Deserialize)]
struct Documents {
    items: Vec<Value>,
}

/// What is said to whoever waits for an agent.
#[derive(Debug, Clone, Copy)]
pub struct Waits<'a> {
    /// What the agent does, as the rest of a sentence.
    pub what: &'a str,
    /// What takes no longer than this is waited for silently.
    pub silence: Duration,
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
    note: Option<String>,
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
        self.get("/api/v1/agent").await
    }

    /// The documents of its Apps, each with its status.
    ///
    /// # Errors
    /// As [`Self::about`].
    pub async fn documents(&self) -> Result<Vec<Value>, NoAnswer> {
        let list: Documents = self.get("/api/v1/apps").await?;
        Ok(list.items)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        let late = || NoAnswer::Trouble(format!("it does not answer within {} s", PATIENCE.as_secs()));
        let answer = timeout(PATIENCE, self.ask(Method::GET, path, Format::Json, None)).await.map_err(|_| late())??;
        if !answer.status.is_success() {
            return Err(NoAnswer::Trouble(format!("it answers with {}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| NoAnswer::Trouble(format!("it makes no sense: {error}")))
    }

    /// Asks for something to be done, however long that takes, and says what is waited for: after `silence`, and again
    /// from time to time.
    ///
    /// # Errors
    /// There is no agent, or the connection breaks off.
    pub async fn post(&self, path: &str, body: &Value, output: Output, waits: Waits<'_>) -> Result<Answer, NoAnswer> {
        let asked = self.post_silently(path, body, output);
        tokio::pin!(asked);
        let began = Instant::now();
        let mut silence = waits.silence;
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return answer,
                () = sleep(silence) => {}
            }
            let so_far = began.elapsed();
            let what = if so_far < SOON_AGAIN {
                // Whether there is an agent at all is known by now, or told by the answer.
                format!("{} {}", self.place(), waits.what)
            } else {
                tokio::select! {
                    biased;
                    answer = &mut asked => return answer,
                    about = self.about() => {
                        let about = about.map_or_else(|_| self.place(), |about| about.busy());
                        format!("{}: {about}", in_seconds(so_far))
                    }
                }
            };
            say(&format!("{}: {}\n", paint(DIM, "waiting"), safe(&what)));
            silence = AGAIN;
        }
    }

    async fn post_silently(&self, path: &str, body: &Value, output: Output) -> Result<Answer, NoAnswer> {
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
            let note = response.headers().get(NOTE).map(|note| String::from_utf8_lossy(note.as_bytes()).into_owned());
            let body = to_bytes(Body::new(response.into_body()), ANSWER).await;
            let body = body.map_err(|error| NoAnswer::Trouble(format!("the connection broke off: {error}")))?;
            Ok(Answer { status, code, note, body: body.to_vec() })
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

    /// The agent was asked what it has in force, and does not tell.
    #[must_use]
    pub fn left_unsaid(&self, why: &NoAnswer) -> Failure {
        let why = match why {
            NoAnswer::Absent => "it has ended",
            NoAnswer::Trouble(why) => why,
        };
        let complaint = Complaint::new(format!("{} does not tell what it has in force", self.place())).cause(why);
        Failure::Complaint(complaint.help("ask again; `--no-agent` goes by the manifests of this place"))
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

impl Answer {
    /// Why what was done was done by older manifests than the newest.
    #[must_use]
    pub fn older_because(&self) -> Option<&str> {
        self.note.as_deref()
    }

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

    #[tokio::test]
    async fn where_nobody_listens_there_is_no_agent() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent.sock");
        let client = AgentClient::new(&path, "anna".to_owned());
        assert!(matches!(client.about().await, Err(NoAnswer::Absent)));
        // A killed agent has left its socket.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let began = std::time::Instant::now();
        // Another test's child may hold the listener until it has come to its program.
        while tokio::net::UnixStream::connect(&path).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(30));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
