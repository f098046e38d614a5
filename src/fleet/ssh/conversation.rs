//! One conversation over a connection: a command at the far end, what it is told, and what it says. Begin at
//! [`Conversation::open`].

use std::time::Duration;

use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::trouble::{Again, Trouble};
use crate::documents::wire::bounds::LINE;
use crate::fleet::reach::Broken;

/// How long the host may take to open a conversation, and its end to come after the last word.
const TURN: Duration = Duration::from_secs(15);

/// Most bytes of a line without its end: what a far side keeps to. Many hosts are heard at a time.
const LINE_LIMIT: usize = LINE;

/// Most bytes of what comes before the first word that counts: the greetings of shells.
const NOISE_LIMIT: usize = 64 * 1024;

/// So much is kept of what was said to nobody: the end of it.
const ASIDE_LIMIT: usize = 4 * 1024;

/// What the far end is told.
pub enum Input {
    /// These bytes, and then nothing more for as long as the conversation lasts: its end is our going away.
    Open(Vec<u8>),
    /// This file, to its end.
    File(tokio::fs::File),
}

/// How long a conversation may last.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the first word that counts.
    pub first: Duration,
    /// Until its end; none: for as long as there is somebody.
    pub whole: Option<Duration>,
    /// After the first word that counts, without a byte; none: as long as it likes.
    pub silence: Option<Duration>,
}

/// What a listener makes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// Nothing: what counts has yet to begin.
    Noise,
    /// It counts, and so does what follows.
    Word,
    /// It was the last that is wanted.
    Enough,
}

/// How a conversation ended that the listener has not ended.
#[derive(Debug)]
pub struct Fallen {
    /// The exit code of the command; none when the connection broke, or a signal ended it.
    pub code: Option<i32>,
    /// The end of its standard error.
    pub errors: String,
}

/// A command that runs at the far end, and has been told nothing yet.
pub struct Conversation<'c> {
    child: Child<&'c Session>,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl<'c> Conversation<'c> {
    /// Has the host run a command. It has said so when this returns.
    ///
    /// # Errors
    /// The connection is not there any more, or the host does not take another conversation, which lasts.
    pub async fn open(connection: &'c Connection, command: &str) -> Result<Self, Trouble> {
        let mut session = connection.session().raw_command(command);
        session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let opened = tokio::time::timeout(TURN, session.spawn()).await;
        let mut child = match opened {
            Ok(Ok(child)) => child,
            Ok(Err(error)) => return Err(unopened(&error)),
            Err(_) => return Err(broken(format!("no conversation could be opened within {} s", TURN.as_secs()))),
        };
        match (child.stdin().take(), child.stdout().take(), child.stderr().take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(Self { child, stdin, stdout, stderr }),
            _ => Err(broken("the conversation has no streams")),
        }
    }

    /// Tells it `input`, and has `hear` told each line of its standard output until that says that it has heard enough,
    /// or there are no more.
    ///
    /// # Errors
    /// Nothing that counts was said in time, or it lasted too long.
    pub async fn hold(
        self,
        input: Input,
        limits: Limits,
        hear: &mut (dyn FnMut(&str) -> Took + Send),
    ) -> Result<Option<Fallen>, Trouble> {
        let Self { child, mut stdin, stdout, stderr } = self;
        let tell = async {
            // Who does not want to hear it says why, or goes; neither is an error of ours.
            let _ = match input {
                Input::Open(bytes) => {
                    let _ = stdin.write_all(&bytes).await;
                    std::future::pending().await
                }
                Input::File(mut file) => tokio::io::copy(&mut file, &mut stdin).await,
            };
            drop(stdin);
            std::future::pending::<()>().await;
        };
        let mut lines = Lines::new(stdout, stderr);
        let enough = tokio::select! {
            heard = listen(&mut lines, limits, hear) => heard?,
            () = tell => false,
        };
        if enough {
            return Ok(None);
        }
        let status = tokio::time::timeout(TURN, child.wait()).await;
        let code = match status {
            Ok(Ok(status)) => status.code(),
            Ok(Err(openssh::Error::Remote(_))) => Some(127),
            Ok(Err(_)) | Err(_) => None,
        };
        Ok(Some(Fallen { code, errors: lines.errors() }))
    }
}

/// A connection that is gone is made anew; a host that refuses would refuse again.
fn unopened(error: &openssh::Error) -> Trouble {
    let cause = deepest(error);
    let what = format!("no conversation could be opened: {cause}");
    let refused = matches!(error, openssh::Error::SshMux(_)) && !cause.is::<std::io::Error>();
    if refused {
        Trouble::new(Broken::Connect, what).with_help("its sshd may allow no sessions (MaxSessions)")
    } else {
        broken(what)
    }
}

fn broken(what: impl Into<String>) -> Trouble {
    Trouble::new(Broken::Lost, what).again(Again::Later)
}

/// Has each line heard; true: that was enough, false: there are no more.
pub(super) async fn listen<O: AsyncRead + Unpin, E: AsyncRead + Unpin>(
    lines: &mut Lines<O, E>,
    limits: Limits,
    hear: &mut (dyn FnMut(&str) -> Took + Send),
) -> Result<bool, Trouble> {
    let began = Instant::now();
    // Whoever looks that slowly does so the next time, too.
    let slow = |limit: Duration| Trouble::new(Broken::Lost, format!("it was not done within {} s", limit.as_secs()));
    let late = |limit: Duration| broken(format!("nothing was said within {} s", limit.as_secs()));
    let (mut begun, mut noise) = (false, 0);
    loop {
        let limit = match limits.whole {
            Some(whole) if begun || whole < limits.first => Some((whole, slow(whole))),
            _ if begun => None,
            _ => Some((limits.first, late(limits.first))),
        };
        let line = match (limit, limits.silence.filter(|_| begun)) {
            (Some((limit, trouble)), _) => timeout_at(began + limit, lines.next()).await.map_err(|_| trouble)?,
            (None, Some(silence)) => match timeout_at(lines.heard + silence, lines.next()).await {
                Ok(line) => line,
                // A long line over a slow network is no silence.
                Err(_) if lines.heard.elapsed() < silence => continue,
                Err(_) => return Err(broken(format!("nothing was heard for {} s", silence.as_secs()))),
            },
            (None, None) => lines.next().await,
        };
        let Some(line) = line.map_err(|error| broken(error.to_string()))? else { return Ok(false) };
        match hear(&line) {
            Took::Enough => return Ok(true),
            Took::Word => {
                begun = true;
                lines.limit = LINE_LIMIT;
            }
            Took::Noise if begun => {}
            Took::Noise => {
                noise += line.len() + 1;
                if noise > NOISE_LIMIT {
                    let what = format!("more than {} KiB came before its first word", NOISE_LIMIT >> 10);
                    return Err(Trouble::new(Broken::Program, what).with_help(
                        "its shell must not print so much when it is not used by a person: see its `.bashrc`",
                    ));
                }
            }
        }
    }
}

/// The innermost cause: the crate's own words say only who complains.
fn deepest(error: &openssh::Error) -> &(dyn std::error::Error + 'static) {
    let mut at: &(dyn std::error::Error + 'static) = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at
}

/// The lines of one stream, while the other one is kept from running full.
pub(super) struct Lines<O, E> {
    stdout: BufReader<O>,
    stderr: Option<E>,
    /// Most bytes of a line.
    limit: usize,
    line: Vec<u8>,
    aside: Vec<u8>,
    /// When the last bytes came.
    heard: Instant,
}

impl<O: AsyncRead + Unpin, E: AsyncRead + Unpin> Lines<O, E> {
    pub(super) fn new(stdout: O, stderr: E) -> Self {
        let (line, aside) = (Vec::new(), Vec::new());
        let heard = Instant::now();
        Self { stdout: BufReader::new(stdout), stderr: Some(stderr), limit: NOISE_LIMIT, line, aside, heard }
    }

    /// The next line without its end; none when there are no more. May be dropped half-way and called again.
    async fn next(&mut self) -> std::io::Result<Option<String>> {
        let mut piece = [0; 1024];
        loop {
            tokio::select! {
                biased;
                read = read_some(&mut self.stderr, &mut piece) => {
                    self.aside.extend_from_slice(piece.get(..read).unwrap_or_default());
                    let beyond = self.aside.len().saturating_sub(ASIDE_LIMIT);
                    self.aside.drain(..beyond);
                }
                filled = self.stdout.fill_buf() => {
                    let bytes = filled?;
                    self.heard = Instant::now();
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.line.extend_from_slice(bytes.get(..end.unwrap_or(taken)).unwrap_or_default());
                    self.stdout.consume(taken);
                    // What is no whole line was not said.
                    if taken == 0 {
                        return Ok(None);
                    }
                    if self.line.len() > self.limit {
                        let what = format!("a line is longer than {} KiB", self.limit >> 10);
                        return Err(std::io::Error::other(what));
                    }
                    if end.is_some() {
                        let line = std::mem::take(&mut self.line);
                        let line = String::from_utf8(line);
                        return Ok(Some(line.unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned())));
                    }
                }
            }
        }
    }

    fn errors(&self) -> String {
        String::from_utf8_lossy(&self.aside).trim().to_owned()
    }
}

/// Waits for ever where there is nothing more to read.
async fn read_some(stream: &mut Option<impl AsyncRead + Unpin>, piece: &mut [u8]) -> usize {
    if let Some(open) = stream {
        match open.read(piece).await {
            Ok(read) if read > 0 => return read,
            _ => *stream = None,
        }
    }
    std::future::pending().await
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
