//! One conversation over a connection: a command at the far end, what it is told, and what it says.

use std::time::Duration;

use openssh::Stdio;
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

/// Runs a command and has `hear` told each line of its standard output until that says that it has heard enough, or
/// there are no more.
///
/// # Errors
/// The conversation could not be opened, nothing that counts was said in time, or it lasted too long.
pub async fn converse(
    connection: &Connection,
    command: &str,
    input: Input,
    limits: Limits,
    hear: &mut (dyn FnMut(&str) -> Took + Send),
) -> Result<Option<Fallen>, Trouble> {
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
fn deepest(error: &openssh::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at.to_string()
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
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { first: Duration::from_mins(1), whole: Some(Duration::from_mins(2)), silence: None };

    fn take(line: &str) -> Took {
        match line {
            "end" => Took::Enough,
            line if line.starts_with('{') => Took::Word,
            _ => Took::Noise,
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_first_word_is_bounded_and_so_is_a_line() {
        let (noise, long) = ("x".repeat(999) + "\n", "x".repeat(NOISE_LIMIT + 1));
        let rows = [
            ("hi\n{1\nend\n".to_owned(), "Ok(true)"),
            ("{1\nen".to_owned(), "Ok(false)"),
            (noise.repeat(65) + "end\n", "Ok(true)"),
            (noise.repeat(66) + "end\n", "before its first word"),
            ("\n".repeat(NOISE_LIMIT + 1), "before its first word"),
            (long.clone(), "longer than 64 KiB"),
            (format!("{{1\n{}end\n", noise.repeat(66)), "Ok(true)"),
            (format!("{{1\n{{{long}\nend\n"), "Ok(true)"),
            (format!("{{1\n{{{}", "x".repeat(LINE_LIMIT)), "longer than 1024 KiB"),
        ];
        for (said, expected) in rows {
            let mut lines = Lines::new(said.as_bytes(), tokio::io::empty());
            let came = format!("{:?}", listen(&mut lines, LIMITS, &mut take).await);
            assert!(came.contains(expected), "{}: {came}", said.get(..20).unwrap_or(&said));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_that_counts_is_not_waited_for() {
        let endless = Limits { whole: None, ..LIMITS };
        let spent = Limits { whole: Some(Duration::from_secs(5)), ..LIMITS };
        let pass = Limits { whole: None, silence: Some(Duration::from_secs(45)), ..LIMITS };
        // What is said each second: when it is given up, why, and whether another try makes sense.
        let rows = [
            (LIMITS, "", 60, "nothing was said within 60 s", Again::Later),
            (LIMITS, "hi\n", 60, "nothing was said within 60 s", Again::Later),
            (endless, "hi\n", 60, "nothing was said within 60 s", Again::Later),
            (LIMITS, "{1\n", 120, "not done within 120 s", Again::Never),
            (spent, "", 5, "not done within 5 s", Again::Never),
            (pass, "", 60, "nothing was said within 60 s", Again::Later),
        ];
        for (limits, said, seconds, expected, again) in rows {
            let (mut far, near) = tokio::io::duplex(1024);
            let talk = async {
                loop {
                    far.write_all(said.as_bytes()).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let began = Instant::now();
            let (mut lines, mut hear) = (Lines::new(near, tokio::io::empty()), take);
            let came: Result<bool, Trouble> = tokio::select! {
                came = listen(&mut lines, limits, &mut hear) => came,
                () = talk => Ok(false),
            };
            let trouble = came.unwrap_err();
            assert_eq!((began.elapsed().as_secs(), trouble.again), (seconds, again), "{said:?}: {trouble:?}");
            assert!(trouble.message.contains(expected), "{said:?}: {trouble:?}");
        }
    }

    /// Bytes by when they come, in seconds, and when the silence after them is too long.
    #[tokio::test(start_paused = true)]
    async fn who_makes_a_pass_may_take_any_time_and_be_silent_for_some_of_it() {
        type Row<'a> = (&'a [(u64, &'a str)], u64, &'a str);
        let limits = Limits { whole: None, silence: Some(Duration::from_secs(45)), ..LIMITS };
        let rows: [Row<'_>; 5] = [
            (&[(0, "{1\n")], 45, "nothing was heard for 45 s"),
            (&[(50, "{1\n")], 95, "nothing was heard for 45 s"),
            (&[(0, "{1\n"), (44, "{2\n"), (88, "{3\n")], 133, "nothing was heard for 45 s"),
            // A line that comes slowly is no silence.
            (&[(0, "{1\n{"), (40, "x"), (80, "x"), (120, "x"), (160, "\n"), (200, "end\n")], 200, "Ok(true)"),
            (&[(0, "{1\n"), (3_600, "end\n")], 45, "nothing was heard for 45 s"),
        ];
        for (said, seconds, expected) in rows {
            let (mut far, near) = tokio::io::duplex(1024);
            let began = Instant::now();
            let talk = async {
                for (at, bytes) in said {
                    tokio::time::sleep_until(began + Duration::from_secs(*at)).await;
                    far.write_all(bytes.as_bytes()).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let (mut lines, mut hear) = (Lines::new(near, tokio::io::empty()), take);
            let came: Result<bool, Trouble> = tokio::select! {
                came = listen(&mut lines, limits, &mut hear) => came,
                () = talk => Ok(false),
            };
            let came = format!("{came:?}");
            assert!(began.elapsed().as_secs() == seconds && came.contains(expected), "{said:?}: {came} {began:?}");
        }
    }
}
