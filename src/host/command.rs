//! Runs one of an App's own commands to its end: in its release, as its user, within a time limit.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::fs::{MemfdFlags, OFlags};
use tokio::time::{Instant, MissedTickBehavior};

use super::spawn::{Launch, Shim, base_environment};
use super::transcript::Transcript;
use super::users::User;
use super::{blocking, proc, signal};
use crate::model::app::{App, CommandLine};
use crate::model::length;
use crate::model::process::{Pid, ProcessId, ProcessTable};
use crate::ports::{HostError, HostErrorKind};

/// How long a command that ran out of time, or what one left behind, may take to end before it is killed.
pub const COMMAND_GRACE: Duration = Duration::from_secs(5);

/// So much of the end of a step's output is kept.
pub const OUTPUT_LIMIT: u64 = 16 * 1024;

/// So many of its last lines stand in an error.
const ERROR_LINES: usize = 20;

/// Output beyond this is thrown away while the command runs, so that a babbling one does not eat the memory.
const OUTPUT_CEILING: u64 = 32 * 1024 * 1024;

/// How often that is looked after: a program writes at most some tens of megabytes meanwhile.
const OUTPUT_CHECK: Duration = Duration::from_millis(10);

/// One command to be run.
#[derive(Debug)]
pub struct Job {
    /// What to run.
    pub command: CommandLine,
    /// Where.
    pub directory: PathBuf,
    /// As whom.
    pub user: User,
    /// Added to what every child of that user has.
    pub environment: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Held by the command for as long as it, or something that it started, lives: a killed trueup's
    /// command still keeps the next pass out.
    pub lock: Option<OwnedFd>,
    /// What of its output is wanted.
    pub output: Wanted,
}

/// What of a command's output is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The end of both streams, as they came, at most [`OUTPUT_LIMIT`] bytes: for people.
    Tail,
    /// The end of its standard output, at most so many bytes: for programs.
    Answer(u64),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// What it printed, as far as it was wanted.
    pub output: String,
}

/// Runs a command of an App in the directory of its desired release, as its user, with `RELEASE_ID` and
/// `RELEASE_PATH` in its environment. `lock` is handed to it if there is one.
///
/// # Errors
/// It could not be run, took longer than `timeout`, or ended with another exit code than 0;
/// then the last lines of its output stand in the error.
pub async fn run(
    shim: &Shim,
    app: &App,
    command: &CommandLine,
    timeout: Duration,
    lock: Option<OwnedFd>,
) -> Result<(), HostError> {
    let user = user_of(app).await?;
    let directory = app.root.release(&app.release.id);
    let environment = BTreeMap::from([
        ("RELEASE_ID".to_owned(), app.release.id.as_str().to_owned()),
        ("RELEASE_PATH".to_owned(), directory.to_string_lossy().into_owned()),
    ]);
    let job = Job { command: command.clone(), directory, user, environment, timeout, lock, output: Wanted::Tail };
    let ended = execute(shim, job).await?;
    if ended.status.success() {
        return Ok(());
    }
    let message = format!("`{command}` ended with {}{}", describe(ended.status), quote(&ended.output));
    Err(HostError::new(HostErrorKind::Other, message)
        .with_help("run it by hand in the release's directory as its user, or correct it in the manifest"))
}

/// Looks up whom an App's commands run as, on a thread where that may block.
///
/// # Errors
/// As [`User::of`].
pub async fn user_of(app: &App) -> Result<User, HostError> {
    let app = app.clone();
    blocking(move || User::of(&app)).await?
}

/// Runs one command and returns how it ended, whatever its exit code.
///
/// A command has ended when its first process has: what that left running in its session is ended, too, because it
/// would keep the lock. A command goes on when this future is dropped.
///
/// # Errors
/// It could not be run, or took longer than its timeout and was ended with all its session.
pub async fn execute(shim: &Shim, job: Job) -> Result<Ended, HostError> {
    execute_heard(shim, job, None).await
}

/// The same, while a transcript is made of what the command prints; what is shown of it is then taken from there.
pub(super) async fn execute_heard(
    shim: &Shim,
    job: Job,
    mut transcript: Option<&mut Transcript>,
) -> Result<Ended, HostError> {
    let name = job.command.to_string();
    let mut output = Output::new()?;
    let mut environment = base_environment(&job.user);
    environment.extend(job.environment);
    let launch = Launch {
        command: job.command.argv(),
        directory: job.directory,
        user: job.user,
        environment,
        output: output.writer()?,
        discard_errors: job.output != Wanted::Tail,
        lock: job.lock,
    };
    let limit = Instant::now().checked_add(job.timeout);
    let mut child = shim.start(launch).await?;
    let first = child.id().map(Pid).map(proc::identify_child).transpose()?.flatten();
    let session = child.id().map(Pid);
    let mut check = tokio::time::interval(OUTPUT_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waited = loop {
        tokio::select! {
            status = child.wait() => break Some(status),
            () = until(limit) => break None,
            _ = check.tick() => {
                output.heard_by(transcript.as_deref_mut())?;
                output.bound()?;
            }
        }
    };
    let rest = move |table: &ProcessTable| Ok(in_session(table, first, session));
    let ended = signal::terminate_all(rest, COMMAND_GRACE).await;
    output.heard_by(transcript.as_deref_mut())?;
    let tail = match transcript {
        Some(transcript) => transcript.finish(),
        None => output.tail()?,
    };
    let Some(status) = waited else {
        tokio::spawn(async move { child.wait().await });
        ended?;
        let message = format!("`{name}` took longer than {} and was ended{}", length::limit(job.timeout), quote(&tail));
        return Err(HostError::new(HostErrorKind::TimedOut, message).with_help("give it a longer `timeout`"));
    };
    let status = status.map_err(|error| HostError::io(format!("cannot wait for `{name}`"), &error))?;
    ended?;
    let output = match job.output {
        Wanted::Tail => tail,
        // The end of it would be taken for the whole.
        Wanted::Answer(_) if output.cut => {
            let message = format!("`{name}` printed more than {} MiB", OUTPUT_CEILING >> 20);
            return Err(HostError::new(HostErrorKind::Other, message).with_help("let it print its answer only"));
        }
        Wanted::Answer(limit) => output.last(limit)?,
    };
    Ok(Ended { status, output })
}

async fn until(limit: Option<Instant>) {
    match limit {
        Some(limit) => tokio::time::sleep_until(limit).await,
        None => std::future::pending().await,
    }
}

/// Everything of the command's session and below its first process.
fn in_session(table: &ProcessTable, first: Option<ProcessId>, session: Option<Pid>) -> Vec<ProcessId> {
    // The kernel gives a number to nobody else while a session bears it; a living leader that
    // is not the first process is the sign that the session has ended and the number was used again.
    let holder = session.and_then(|session| table.get(session)).filter(|holder| !holder.zombie);
    if holder.is_some_and(|holder| Some(holder.id) != first) {
        return Vec::new();
    }
    let below = holder.map(|holder| table.descendants(holder.id.pid)).unwrap_or_default();
    let inside = table.processes.iter().filter(|process| !process.zombie && Some(process.session) == session);
    let mut ids: Vec<ProcessId> = inside.chain(below).map(|process| process.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// An exit code or signal in words.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// The last lines of an output as the end of a message; nothing when there was none.
#[must_use]
pub fn quote(output: &str) -> String {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let skipped = lines.len().saturating_sub(ERROR_LINES);
    let last: Vec<&str> = lines.into_iter().skip(skipped).collect();
    if last.is_empty() { String::new() } else { format!("; its last output:\n{}", last.join("\n")) }
}

/// What a command prints: a file in memory. Unlike a pipe it does not kill the command when trueup is
/// killed, is not kept open by what the command leaves behind, and works on a full disk. Nothing in the kernel bounds
/// it without harm: a limit of file sizes holds for every file that the command writes, and a sealed size fails its
/// writes. So it is looked at often, and cut.
struct Output {
    file: File,
    /// So much of it stands in the transcript.
    heard: u64,
    /// Something was thrown away.
    cut: bool,
}

impl Output {
    fn new() -> Result<Self, HostError> {
        let failed = |error: rustix::io::Errno| HostError::io("cannot make a place for the output", &error.into());
        let file = rustix::fs::memfd_create("trueup-output", MemfdFlags::CLOEXEC).map_err(failed)?;
        // Also those that open `/dev/stderr` anew write at its end.
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND).map_err(failed)?;
        Ok(Self { file: File::from(file), heard: 0, cut: false })
    }

    fn writer(&self) -> Result<OwnedFd, HostError> {
        self.file.try_clone().map(Into::into).map_err(|error| HostError::io("cannot hand the output over", &error))
    }

    fn length(&self) -> Result<u64, HostError> {
        self.file.metadata().map(|found| found.len()).map_err(|error| HostError::io("cannot read the output", &error))
    }

    fn heard_by(&mut self, transcript: Option<&mut Transcript>) -> Result<(), HostError> {
        let Some(transcript) = transcript else { return Ok(()) };
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let read = self.file.read_at(&mut bytes, self.heard);
            let length = read.map_err(|error| HostError::io("cannot read the output", &error))?;
            if length == 0 {
                return Ok(());
            }
            transcript.hear(bytes.get(..length).unwrap_or_default());
            self.heard += length as u64;
        }
    }

    fn bound(&mut self) -> Result<(), HostError> {
        if self.length()? > OUTPUT_CEILING {
            self.heard = 0;
            self.cut = true;
            self.file.set_len(0).map_err(|error| HostError::io("cannot shorten the output", &error))?;
        }
        Ok(())
    }

    fn tail(&self) -> Result<String, HostError> {
        self.last(OUTPUT_LIMIT)
    }

    fn last(&self, limit: u64) -> Result<String, HostError> {
        tail(&self.file, 0, limit).map_err(|error| HostError::io("cannot read the output", &error))
    }
}

/// The end of a file behind `from`, at most `limit` bytes of it, as text.
///
/// # Errors
/// It cannot be read.
pub fn tail(file: &File, from: u64, limit: u64) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(limit).max(from.min(length));
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_the_last_lines_only() {
        let rows =
            [("", ""), ("\n\n", ""), ("one", "; its last output:\none"), ("a\nb\n\n", "; its last output:\na\nb")];
        for (output, quoted) in rows {
            assert_eq!(quote(output), quoted, "{output:?}");
        }
        let long: Vec<String> = (1..=50).map(|line| line.to_string()).collect();
        let quoted = quote(&long.join("\n"));
        assert!(quoted.contains("\n31\n") && quoted.ends_with("\n50") && !quoted.contains("\n30\n"), "{quoted}");
    }

    #[test]
    fn the_tail_of_a_file_begins_where_it_should() {
        use std::io::Write;
        let output = Output::new().unwrap();
        File::from(output.writer().unwrap()).write_all(b"0123456789").unwrap();
        let rows = [((0, 100), "0123456789"), ((4, 100), "456789"), ((0, 3), "789"), ((4, 3), "789"), ((99, 3), "")];
        for ((from, limit), expected) in rows {
            assert_eq!(tail(&output.file, from, limit).unwrap(), expected, "{from} {limit}");
        }
    }
}
