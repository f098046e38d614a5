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
use super::options::Format;
use super::output::{Output, say};
use super::render::problem::Complaint;
use super::render::style::{DIM, paint};
use super::render::words::safe;
use crate::agent::web::{EXIT_CODE, NOTE, PERSON};
use crate::model::length::in_seconds;
use crate::model::names::Root;

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

/// What the agent says of itself, as far as that matters here.
#[derive(Debug, Deserialize)]
pub struct About {
    /// Of trueup.
    pub version: Option<String>,
    /// The commit in force; none outside of git.
    pub revision: Option<Commit>,
    /// Newer manifests that cannot be used.
    pub refused: Option<Trouble>,
    /// Why newer manifests cannot be asked for.
    pub unreachable: Option<Trouble>,
    /// The Apps that it looks after.
    pub apps: Vec<Known>,
}

/// A commit.
#[derive(Debug, Clone, Deserialize)]
pub struct Commit {
    /// Its name, in full.
    pub commit: String,
}

/// What keeps newer manifests from coming into force.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Trouble {
    /// Which commit has it; none outside of git, or where none could be had.
    pub revision: Option<Commit>,
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// All that is wrong in the manifests; empty where it is something else.
    #[serde(default)]
    pub mistakes: Vec<Wrong>,
}

/// A mistake in a manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Wrong {
    /// The file.
    pub file: String,
    /// Counted from 1; none when the file could not be read.
    pub line: Option<usize>,
    /// Counted from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A list of documents.
#[derive(Debug, Deserialize)]
struct Documents {
    items: Vec<Value>,
}

/// An App that an agent looks after.
#[derive(Debug, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// The file that its manifest stands in, by its full path; of a commit, the path in the repository.
    pub file: Option<PathBuf>,
    /// The line that it begins in.
    pub line: Option<usize>,
    /// It has disappeared from the manifests, so that the agent only watches.
    pub orphaned: bool,
    /// The pass that runs.
    pub running: Option<Runs>,
}

/// A pass that runs.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Runs {}

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
                    about = self.about() => format!("{}: {}", in_seconds(so_far), about.map_or_else(|_| self.place(), |about| about.busy())),
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

impl About {
    /// What the manifests in force name.
    pub fn in_force(&self) -> impl Iterator<Item = &Known> {
        self.apps.iter().filter(|app| !app.orphaned)
    }

    /// What it is at, in a few words.
    fn busy(&self) -> String {
        let runs: Vec<String> =
            self.apps.iter().filter(|app| app.running.is_some()).map(|app| format!("`{}`", app.name)).collect();
        if runs.is_empty() {
            return "the agent looks for newer manifests".to_owned();
        }
        format!("the agent makes a pass over {}", runs.join(", "))
    }

    /// Why newer manifests than those in force do not count, in one line; none: there are none.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let first = |trouble: &Trouble| {
            let lines = trouble.message.lines();
            lines.clone().next().unwrap_or_default().trim_end_matches(':').to_owned()
        };
        if let Some(refused) = &self.refused {
            let (line, more) = (first(refused), refused.mistakes.len().saturating_sub(1));
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return Some(format!("newer manifests cannot be used: {line}{more}"));
        }
        self.unreachable.as_ref().map(|trouble| format!("newer manifests cannot be asked for: {}", first(trouble)))
    }

    /// Whether the agent looks after that App, in that root where one is given.
    #[must_use]
    pub fn looks_after(&self, name: &str, root: Option<&Root>) -> bool {
        let right = |app: &Known| app.name == name && !app.orphaned && root.is_none_or(|root| app.root == root.path());
        self.apps.iter().any(right)
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

    #[test]
    fn an_agent_looks_after_an_app_by_name_and_root() {
        let app = |name: &str, root: &str, orphaned| Known {
            name: name.to_owned(),
            root: root.into(),
            file: None,
            line: None,
            orphaned,
            running: None,
        };
        let about = About {
            version: None,
            revision: None,
            refused: None,
            unreachable: None,
            apps: vec![app("shop", "/srv/shop", false), app("old", "/srv/old", true)],
        };
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
