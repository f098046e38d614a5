//! One conversation over a connection: a command at the far end, what it is told, and what it says.

use std::ops::ControlFlow;
use std::time::Duration;

use openssh::{ChildStderr, ChildStdout, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::connection::Connection;
use super::trouble::{Again, Trouble};
use crate::fleet::reach::Broken;

/// How long the host may take to open a conversation, and its end to come after the last word.
const TURN: Duration = Duration::from_secs(15);

/// Most bytes of a line: a report of some hundred thousand workers.
const LINE_LIMIT: usize = 64 << 20;

/// So much is kept of what was said to nobody: the end of it.
const ASIDE_LIMIT: usize = 4 * 1024;

/// What the far end is told.
pub enum Input {
    /// These bytes, and then nothing more for as long as the conversation lasts: its end is our going away.
    Open(Vec<u8>),
    /// This file, to its end.
    File(tokio::fs::File),
}

/// How a conversation ended that the listener has not ended.
#[derive(Debug)]
pub struct Fallen {
    /// The exit code of the command; none when the connection broke, or a signal ended it.
    pub code: Option<i32>,
    /// The end of its standard error.
    pub errors: String,
}

/// Runs a command and has `hear` told each line of its standard output until that says that it has heard enough, or
/// there are no more. Before the first line, the conversation may last at most `first`.
///
/// # Errors
/// The conversation could not be opened, or nothing was said in time.
pub async fn converse(
    connection: &Connection,
    command: &str,
    input: Input,
    first: Duration,
    hear: &mut (dyn FnMut(&str) -> ControlFlow<()> + Send),
) -> Result<Option<Fallen>, Trouble> {
    let broken = |what: String| Trouble::new(Broken::Lost, what).again(Again::Later);
    let mut session = connection.session().raw_command(command);
    session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let opened = tokio::time::timeout(TURN, session.spawn()).await;
    let mut child = match opened {
        Ok(Ok(child)) => child,
        Ok(Err(error)) => return Err(broken(format!("no conversation could be opened: {}", deepest(&error)))),
        Err(_) => return Err(broken(format!("no conversation could be opened within {} s", TURN.as_secs()))),
    };
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin().take(), child.stdout().take(), child.stderr().take())
    else {
        return Err(broken("the conversation has no streams".to_owned()));
    };
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
    let listen = async {
        let mut patience = Some(first);
        loop {
            let line = match patience {
                Some(limit) => tokio::time::timeout(limit, lines.next())
                    .await
                    .map_err(|_| broken(format!("nothing was said within {} s", limit.as_secs())))?,
                None => lines.next().await,
            };
            patience = None;
            match line {
                Ok(Some(line)) if hear(&line).is_break() => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                Err(error) => return Err(broken(error.to_string())),
            }
        }
    };
    let enough = tokio::select! {
        heard = listen => heard?,
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

/// The innermost cause: the crate's own words say only who complains.
fn deepest(error: &openssh::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at.to_string()
}

/// The lines of one stream, while the other one is kept from running full.
struct Lines {
    stdout: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
    line: Vec<u8>,
    aside: Vec<u8>,
}

impl Lines {
    fn new(stdout: ChildStdout, stderr: ChildStderr) -> Self {
        Self { stdout: BufReader::new(stdout), stderr: Some(stderr), line: Vec::new(), aside: Vec::new() }
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
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.line.extend_from_slice(bytes.get(..end.unwrap_or(taken)).unwrap_or_default());
                    self.stdout.consume(taken);
                    // What is no whole line was not said.
                    if taken == 0 {
                        return Ok(None);
                    }
                    if end.is_some() {
                        let line = std::mem::take(&mut self.line);
                        return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                    }
                    if self.line.len() > LINE_LIMIT {
                        return Err(std::io::Error::other(format!("a line is longer than {} MiB", LINE_LIMIT >> 20)));
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
async fn read_some(stream: &mut Option<ChildStderr>, piece: &mut [u8]) -> usize {
    if let Some(open) = stream {
        match open.read(piece).await {
            Ok(read) if read > 0 => return read,
            _ => *stream = None,
        }
    }
    std::future::pending().await
}
