//! The other client to supervisord: `sudo -n supervisorctl`, for a user that may not open the socket.
//!
//! The socket is usually root's alone. These are the only commands run, with exactly these arguments, so a
//! sudoers line can name each (in sudoers every `:` in an argument is written `\:`):
//!
//! ```text
//! deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl status, \
//!     /usr/bin/supervisorctl start GROUP\:NAME, \
//!     /usr/bin/supervisorctl stop GROUP\:NAME, \
//!     /usr/bin/supervisorctl signal TERM GROUP\:NAME, \
//!     /usr/bin/supervisorctl signal KILL GROUP\:NAME
//! ```
//!
//! With a socket in the manifest, `-s unix://SOCKET` stands before the verb. `signal` is not run for workers
//! that trueup may signal itself, those of its own user. A password for supervisord has to stand in its own
//! configuration, where supervisorctl finds it.
//!
//! It is the poorer client: a call takes some 170 ms, the program's own stop signal and times cannot be asked
//! for (TERM is sent, and a start may take 30 s), nor can a worker's log be read.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::sudoers::escaped;
use super::supervisord::client::{Client, Info, Pace, Settings, StartAnswer, StopSignal, since, unknown_member};
use crate::model::names::MemberName;
use crate::model::observed::MemberState;
use crate::model::process::Pid;
use crate::ports::{HostError, HostErrorKind};

/// What is run by sudo.
pub(super) const PROGRAM: &str = "/usr/bin/supervisorctl";
/// Reading commands answer well within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// No more is read of what it says: it repeats what answers at a socket, and that need not be supervisord.
const SAID_LIMIT: u64 = 4 << 20;
/// `start` and `stop` wait for their outcome. We watch for that ourselves, and leave them to it after this.
const REFUSAL_WITHIN: Duration = Duration::from_secs(2);

/// A worker's `startsecs` cannot be asked for; one that is still starting after less than this is no failure.
const START_TIME: Duration = Duration::from_secs(30);

/// One supervisord, reached by its command.
#[derive(Debug, Clone)]
pub(super) struct Supervisorctl {
    /// Program and first arguments; never a shell.
    command: Vec<String>,
    socket: Option<PathBuf>,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Supervisorctl {
    /// Runs `command`; told of the socket unless it is none.
    pub(super) fn new(command: Vec<String>, socket: Option<PathBuf>) -> Self {
        Self { command, socket }
    }

    fn arguments(&self, verb: &[&str]) -> Vec<String> {
        let socket = self.socket.iter().flat_map(|socket| ["-s".to_owned(), format!("unix://{}", socket.display())]);
        self.command.iter().cloned().chain(socket).chain(verb.iter().map(|&word| word.to_owned())).collect()
    }

    /// None when it had not ended `within`; it goes on then.
    async fn run(&self, verb: &[&str], within: Duration) -> Result<Option<Said>, HostError> {
        let arguments = self.arguments(verb);
        let line = arguments.join(" ");
        let Some((program, rest)) = arguments.split_first() else {
            return Err(HostError::new(HostErrorKind::Misconfigured, "no command for supervisorctl"));
        };
        let child = Command::new(program)
            .args(rest)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                HostError::new(
                    HostErrorKind::Denied,
                    format!("may not open supervisord's socket, and cannot run `{line}`: {error}"),
                )
                .with_help("run trueup as root, or install sudo with a rule for this command")
            })?;
        // In a task of its own, so that it is waited for even when we no longer do.
        let running = tokio::spawn(said(child));
        let said = match timeout(within, running).await {
            Err(_) => return Ok(None),
            Ok(Ok(Ok(said))) => said,
            Ok(Ok(Err(error))) => return Err(HostError::io(format!("cannot run `{line}`"), &error)),
            Ok(Err(error)) => {
                return Err(HostError::new(HostErrorKind::Other, format!("cannot run `{line}`: {error}")));
            }
        };
        match said.complaint() {
            Some(complaint) => Err(complain(complaint, &said, &line)),
            None => Ok(Some(said)),
        }
    }

    fn unclear(&self, said: &Said, verb: &[&str]) -> HostError {
        let line = self.arguments(verb).join(" ");
        let code = said.code.map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
        HostError::new(HostErrorKind::Other, format!("`{line}` ended with {code}: {}", said.words()))
    }
}

impl Client for Supervisorctl {
    async fn all(&self) -> Result<Vec<Info>, HostError> {
        let said = self.run(&["status"], ANSWER_WITHIN).await?.ok_or_else(|| {
            let message = format!("`supervisorctl status` gave no answer for {} s", ANSWER_WITHIN.as_secs());
            HostError::new(HostErrorKind::TimedOut, message).with_help("supervisord hangs or is stopped: see its log")
        })?;
        match said.code {
            // 3: not all of them run.
            Some(0 | 3) => said.out.lines().map(|line| status(line, Timestamp::now().as_second())).collect(),
            _ => Err(self.unclear(&said, &["status"])),
        }
    }

    async fn info(&self, member: &MemberName) -> Result<Info, HostError> {
        let all = self.all().await?;
        all.into_iter().find(|info| info.full_name() == member.as_str()).ok_or_else(|| unknown_member(member))
    }

    async fn start(&self, member: &MemberName) -> Result<StartAnswer, HostError> {
        let verb = ["start", member.as_str()];
        let Some(said) = self.run(&verb, REFUSAL_WITHIN).await? else { return Ok(StartAnswer::Accepted) };
        match said.reason() {
            None if said.code == Some(0) => Ok(StartAnswer::Accepted),
            Some("already started" | "spawn error" | "abnormal termination") => Ok(StartAnswer::Accepted),
            Some(why @ ("no such file" | "file is not executable")) => Ok(StartAnswer::Refused(why.to_owned())),
            Some("no such process" | "no such group") => Err(unknown_member(member)),
            _ => Err(self.unclear(&said, &verb)),
        }
    }

    async fn stop(&self, member: &MemberName) -> Result<(), HostError> {
        let verb = ["stop", member.as_str()];
        match self.run(&verb, REFUSAL_WITHIN).await? {
            None => Ok(()),
            Some(said) => self.ended(&said, &verb, member),
        }
    }

    async fn signal(&self, member: &MemberName, signal: StopSignal) -> Result<(), HostError> {
        let signal = signal.to_string();
        let verb = ["signal", signal.as_str(), member.as_str()];
        match self.run(&verb, ANSWER_WITHIN).await? {
            None => Ok(()),
            Some(said) => self.ended(&said, &verb, member),
        }
    }

    async fn settings(&self, _member: &MemberName) -> Settings {
        Settings { start_time: START_TIME, ..Settings::default() }
    }

    async fn last_words(&self, _member: &MemberName) -> String {
        String::new()
    }

    fn pace(&self) -> Pace {
        Pace { first: Duration::from_millis(100), then: Duration::from_millis(100) }
    }
}

impl Supervisorctl {
    fn ended(&self, said: &Said, verb: &[&str], member: &MemberName) -> Result<(), HostError> {
        match said.reason() {
            None if said.code == Some(0) => Ok(()),
            Some("not running") => Ok(()),
            Some("no such process" | "no such group") => Err(unknown_member(member)),
            _ => Err(self.unclear(said, verb)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Sudo,
    Unreachable,
    Credentials,
}

/// Waits for a command that was started, with all that it says.
async fn said(mut child: Child) -> io::Result<Said> {
    let (out, err) = tokio::join!(text(child.stdout.take()), text(child.stderr.take()));
    let code = child.wait().await?.code();
    Ok(Said { code, out: out?, err: err? })
}

/// What comes through a pipe, which is closed when it is too much: that ends whoever goes on writing.
async fn text(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(pipe) = pipe else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    pipe.take(SAID_LIMIT + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > SAID_LIMIT {
        return Err(io::Error::other(format!("it says more than {} MiB", SAID_LIMIT >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

impl Said {
    /// Both outputs in one line.
    fn words(&self) -> String {
        let lines = self.out.lines().chain(self.err.lines()).map(str::trim).filter(|line| !line.is_empty());
        lines.take(6).collect::<Vec<_>>().join("; ")
    }

    /// What stands in `NAME: ERROR (…)`.
    fn reason(&self) -> Option<&str> {
        self.out.lines().find_map(|line| line.split_once(": ERROR (")?.1.strip_suffix(')'))
    }

    /// A refusal that has nothing to do with the process asked for.
    fn complaint(&self) -> Option<Complaint> {
        if self.code == Some(0) {
            return None;
        }
        let first = self.err.lines().next().unwrap_or_default();
        if first.starts_with("sudo:") || first.starts_with("Sorry, user") || first.starts_with("sorry, ") {
            return Some(Complaint::Sudo);
        }
        let lost = ["refused connection", "no such file", "SHUTDOWN_STATE", "is not running"];
        if self.out.contains("unix://") && lost.iter().any(|word| self.out.contains(word)) {
            return Some(Complaint::Unreachable);
        }
        if self.out.contains("SHUTDOWN_STATE") {
            return Some(Complaint::Unreachable);
        }
        self.out.contains("requires authentication").then_some(Complaint::Credentials)
    }
}

fn complain(complaint: Complaint, said: &Said, line: &str) -> HostError {
    let words = said.words();
    match complaint {
        Complaint::Sudo => HostError::new(
            HostErrorKind::Denied,
            format!("may not open supervisord's socket, and `{line}` is refused: {words}"),
        )
        .with_help(format!(
            "run trueup as root, or add the rules that `trueup sudoers --user USER` prints; it lacks \
             `USER ALL=(root) NOPASSWD: {}`",
            sudoers(line)
        )),
        Complaint::Unreachable => {
            HostError::new(HostErrorKind::Unreachable, format!("supervisord does not answer: {words}"))
                .with_help("start it (`systemctl start supervisor`)")
        }
        Complaint::Credentials => {
            HostError::new(HostErrorKind::Denied, format!("supervisord refuses supervisorctl: {words}"))
                .with_help("set `username` and `password` in `[supervisorctl]` of supervisord's configuration")
        }
    }
}

/// The command as a sudoers line spells it.
fn sudoers(line: &str) -> String {
    escaped(line.strip_prefix("sudo -n ").unwrap_or(line))
}

/// Everything that is run for these members of one supervisord, as sudoers lines spell it; a service may also
/// be told to reload by a signal.
pub(super) fn commands(socket: Option<PathBuf>, members: &[MemberName], reloads: bool) -> Vec<String> {
    let program = Supervisorctl::new(vec![PROGRAM.to_owned()], socket);
    let mut signals = vec![StopSignal::TERM, StopSignal::KILL];
    if reloads {
        signals.extend([StopSignal::HUP, StopSignal::USR2]);
    }
    let mut lines = vec![program.arguments(&["status"])];
    for member in members.iter().map(MemberName::as_str) {
        lines.extend([program.arguments(&["start", member]), program.arguments(&["stop", member])]);
        lines.extend(signals.iter().map(|signal| program.arguments(&["signal", &signal.to_string(), member])));
    }
    lines.iter().map(|words| words.iter().map(|word| escaped(word)).collect::<Vec<_>>().join(" ")).collect()
}

/// One line of `status`, read at `now` (seconds since 1970).
fn status(line: &str, now: i64) -> Result<Info, HostError> {
    let strange =
        || HostError::new(HostErrorKind::Other, format!("cannot understand `{line}` in supervisorctl's status"));
    let (name, rest) = line.trim().split_once(char::is_whitespace).ok_or_else(strange)?;
    let rest = rest.trim_start();
    let (state, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let detail = detail.trim();
    let state = match state {
        "STOPPED" => MemberState::Stopped,
        "STARTING" => MemberState::Starting,
        "RUNNING" => MemberState::Running,
        "BACKOFF" => MemberState::Backoff,
        "STOPPING" => MemberState::Stopping,
        "EXITED" => MemberState::Exited,
        "FATAL" => MemberState::Failed,
        "UNKNOWN" => MemberState::Unknown,
        _ => return Err(strange()),
    };
    // A process in a group of the same name is shown by its name alone.
    let (group, name) = name.split_once(':').unwrap_or((name, name));
    let (pid, started) = match state {
        MemberState::Running => running(detail, now).ok_or_else(strange)?,
        _ => (None, None),
    };
    let detail = match state {
        _ if pid.is_some() => String::new(),
        MemberState::Stopped | MemberState::Exited => since(detail),
        _ => detail.to_owned(),
    };
    Ok(Info { group: group.to_owned(), name: name.to_owned(), state, detail, pid, started })
}

/// `pid 123, uptime 1 day, 0:01:02`.
fn running(detail: &str, now: i64) -> Option<(Option<Pid>, Option<i64>)> {
    let (pid, uptime) = detail.strip_prefix("pid ")?.split_once(", uptime ")?;
    let (days, clock) = match uptime.split_once(", ") {
        Some((days, clock)) => (days.split_once(' ')?.0.parse::<i64>().ok()?, clock),
        None => (0, uptime),
    };
    let mut seconds = 0;
    for part in clock.split(':') {
        seconds = seconds * 60 + part.parse::<i64>().ok()?;
    }
    Some((Some(Pid(pid.parse().ok()?)), Some(now - days * 86_400 - seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn status_lines() {
        let rows = [
            ("w:w_00   RUNNING   pid 123, uptime 0:01:02", "w:w_00", MemberState::Running, "", Some(123), Some(62)),
            (
                "w:w_00   RUNNING   pid 1, uptime 1 day, 0:00:01",
                "w:w_00",
                MemberState::Running,
                "",
                Some(1),
                Some(86_401),
            ),
            (
                "w:w_00   RUNNING   pid 1, uptime 12 days, 1:00:00",
                "w:w_00",
                MemberState::Running,
                "",
                Some(1),
                Some(1_040_400),
            ),
            ("lone     STARTING  ", "lone:lone", MemberState::Starting, "", None, None),
            ("w:w_00   STOPPED   Not started", "w:w_00", MemberState::Stopped, "Not started", None, None),
            ("w:w_00   BACKOFF   Exited too quickly", "w:w_00", MemberState::Backoff, "Exited too quickly", None, None),
            (
                "w:w_00   FATAL     can't find command 'x'",
                "w:w_00",
                MemberState::Failed,
                "can't find command 'x'",
                None,
                None,
            ),
            ("w:w_00   EXITED    Jan 05 10:00 AM", "w:w_00", MemberState::Exited, "since Jan 05 10:00 AM", None, None),
            ("w:w_00   STOPPED   Nov 23 04:15 PM", "w:w_00", MemberState::Stopped, "since Nov 23 04:15 PM", None, None),
            ("w:w_00   STOPPING", "w:w_00", MemberState::Stopping, "", None, None),
            ("w:w_00   UNKNOWN", "w:w_00", MemberState::Unknown, "", None, None),
        ];
        for (line, name, state, detail, pid, uptime) in rows {
            let info = status(line, NOW).unwrap();
            assert_eq!((info.full_name().as_str(), info.state, info.detail.as_str()), (name, state, detail), "{line}");
            assert_eq!((info.pid, info.started), (pid.map(Pid), uptime.map(|up: i64| NOW - up)), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_status_are_errors() {
        for line in ["", "w", "error: <class 'OSError'>, …", "w:w_00 RUNNING pid x, uptime 1", "w RUNNING"] {
            assert!(status(line, NOW).is_err(), "{line}");
        }
    }

    #[test]
    fn complaints_and_reasons() {
        let rows = [
            (0, "w: started", "", None, None),
            (7, "w:w_00: ERROR (spawn error)", "", None, Some("spawn error")),
            (1, "w:w_00: ERROR (no such file)", "", None, Some("no such file")),
            (1, "", "sudo: a password is required", Some(Complaint::Sudo), None),
            (1, "", "Sorry, user d is not allowed to execute 'x' as root on h.", Some(Complaint::Sudo), None),
            (4, "unix:///run/s.sock no such file", "", Some(Complaint::Unreachable), None),
            (4, "unix:///run/s.sock refused connection", "", Some(Complaint::Unreachable), None),
            (1, "Server requires authentication\nerror: x", "", Some(Complaint::Credentials), None),
        ];
        for (code, out, err, complaint, reason) in rows {
            let said = Said { code: Some(code), out: out.to_owned(), err: err.to_owned() };
            assert_eq!((said.complaint(), said.reason()), (complaint, reason), "{out}{err}");
        }
    }

    /// Writes its arguments down, and takes a minute for a stop, if it is still there then.
    const SCRIPT: &str = r#"echo "$*" >>"$0.said"
        [ "$1" != stop ] || for _ in $(seq 600); do [ -e "$0" ] || break; sleep 0.1; done"#;

    #[tokio::test]
    async fn only_the_documented_commands_are_run_and_a_slow_stop_is_left_to_itself() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("ctl");
        std::fs::write(&script, SCRIPT).unwrap();
        // By way of a shell: another test's child may hold the file open for writing, and then it cannot be run itself.
        let client = Supervisorctl::new(vec!["sh".to_owned(), script.display().to_string()], None);
        let member = MemberName::new("w:w_00").unwrap();
        assert!(client.all().await.unwrap().is_empty());
        assert_eq!(client.info(&member).await.unwrap_err().kind, HostErrorKind::Misconfigured);
        assert_eq!(client.start(&member).await.unwrap(), StartAnswer::Accepted);
        client.signal(&member, StopSignal::TERM).await.unwrap();
        let begun = std::time::Instant::now();
        client.stop(&member).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        let said = std::fs::read_to_string(dir.path().join("ctl.said")).unwrap();
        assert_eq!(said, "status\nstatus\nstart w:w_00\nsignal TERM w:w_00\nstop w:w_00\n");
    }

    #[tokio::test]
    async fn a_command_that_talks_without_end_is_not_heard_to_it() {
        for stream in ["", " >&2"] {
            let talker = ["sh".to_owned(), "-c".to_owned(), format!("exec yes{stream}")];
            let error = Supervisorctl::new(talker.to_vec(), None).all().await.unwrap_err();
            assert!(error.message.ends_with("it says more than 4 MiB"), "{error}");
        }
    }

    #[test]
    fn a_sudoers_line_escapes_what_sudoers_reads_itself() {
        let command = ["sudo", "-n", "/usr/bin/supervisorctl"].map(str::to_owned).to_vec();
        let plain = Supervisorctl::new(command.clone(), None);
        let line = plain.arguments(&["start", "w:w_00"]).join(" ");
        assert_eq!(sudoers(&line), "/usr/bin/supervisorctl start w\\:w_00");
        let told = Supervisorctl::new(command, Some("/run/a.sock".into()));
        assert_eq!(
            told.arguments(&["status"]).join(" "),
            "sudo -n /usr/bin/supervisorctl -s unix:///run/a.sock status"
        );
    }
}
