//! Starts children through a shim of our own: `trueup spawn`, a hidden verb of the same program.
//!
//! The shim is a fresh process with one thread, where changing user, groups, session and directory is safe
//! without any `unsafe`; then it becomes the command. In: a [`Launch`]. Out: a child that has become the
//! command, or the reason why it could not. Begin at [`Shim::start`]; [`main`] is the far side.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::proc;
use super::users::User;
use crate::model::process::{Pid, ProcessId};
use crate::ports::{HostError, HostErrorKind, is_hindrance};

/// The verb that makes the program a shim.
pub const VERB: &str = "spawn";

/// In every child's environment: which process it was started as, by its number and its start ticks.
/// A process in whose environment another one stands is a descendant of that one.
pub const PROCESS_VARIABLE: &str = "TRUEUP_PROCESS";

/// How long a shim may take to become its command. Only a dead file server takes longer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where a child keeps a lock that it inherits: out of the way of what scripts number themselves.
const LOCK_DESCRIPTOR: i32 = 99;

/// The value of [`PROCESS_VARIABLE`] for a process.
#[must_use]
pub fn process_mark(process: ProcessId) -> String {
    format!("{}@{}", process.pid, process.start_ticks.0)
}

/// What a child knows of its user and of the machine; nothing else of our own environment reaches it.
#[must_use]
pub fn base_environment(user: &User) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> = ["LANG", "LC_ALL", "LC_CTYPE", "TZ"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    let path = std::env::var("PATH").ok().filter(|path| !path.is_empty());
    let default = || "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    environment.insert("PATH".to_owned(), path.unwrap_or_else(default));
    environment.insert("HOME".to_owned(), user.home.to_string_lossy().into_owned());
    environment.insert("USER".to_owned(), user.name.clone());
    environment.insert("LOGNAME".to_owned(), user.name.clone());
    environment.insert("SHELL".to_owned(), user.shell.to_string_lossy().into_owned());
    environment
}

/// What is to be started, and how.
#[derive(Debug)]
pub struct Launch {
    /// Program and arguments; a program without a slash is looked for in the `PATH` of `environment`.
    pub command: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Whom it runs as.
    pub user: User,
    /// Its whole environment, besides [`PROCESS_VARIABLE`].
    pub environment: BTreeMap<String, String>,
    /// Takes what it prints.
    pub output: OwnedFd,
    /// Only what it prints to its standard output; its complaints are thrown away.
    pub discard_errors: bool,
    /// A lock that it holds for as long as it, or something that it started, lives.
    pub lock: Option<OwnedFd>,
}

/// The program that serves as the shim.
#[derive(Debug, Clone)]
pub struct Shim {
    program: PathBuf,
}

impl Shim {
    /// Uses that program, which must be trueup.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Uses the running program itself, even when its file was replaced or deleted by an upgrade meanwhile.
    #[must_use]
    pub fn own() -> Self {
        Self::new("/proc/self/exe")
    }

    /// Starts a child in a session of its own and returns when it has become the command.
    ///
    /// The child is not killed when it is dropped; whoever takes it must wait for it, lest it stay a zombie.
    ///
    /// # Errors
    /// The user may not be taken on, the directory or the program is not there or may not be used.
    pub async fn start(&self, launch: Launch) -> Result<Child, HostError> {
        let failed = |error: std::io::Error| HostError::io("cannot start a child", &error);
        let mut command = Command::new(&self.program);
        command.arg0("trueup").arg(VERB).arg("--chdir").arg(&launch.directory);
        if let Some(identity) = identity(&launch.user)? {
            command.args(["--as", &identity]);
        }
        command.env_clear().envs(&launch.environment).stdout(Stdio::piped()).stderr(launch.output);
        if launch.discard_errors {
            command.arg("--discard-errors");
        }
        match launch.lock {
            Some(lock) => command.arg("--lock-on-stdin").stdin(lock),
            None => command.stdin(Stdio::null()),
        };
        command.arg("--").args(&launch.command).kill_on_drop(false);
        let mut child = command.spawn().map_err(failed)?;
        // Held here no longer: our own copy of the lock is the caller's business.
        drop(command);
        let Some(mut report) = child.stdout.take() else { return Ok(child) };
        let mut text = String::new();
        match tokio::time::timeout(START_LIMIT, report.read_to_string(&mut text)).await {
            Ok(Ok(0)) => Ok(child),
            Ok(read) => {
                child.wait().await.map_err(failed)?;
                read.map_err(failed)?;
                Err(Failure::parse(&text).into())
            }
            Err(_) => {
                child.start_kill().map_err(failed)?;
                tokio::spawn(async move { child.wait().await });
                let what = launch.command.first().map_or("", String::as_str);
                Err(HostError::new(
                    HostErrorKind::TimedOut,
                    format!("`{what}` in `{}` did not begin within {START_LIMIT:?}", launch.directory.display()),
                )
                .with_help("see whether the file system answers there"))
            }
        }
    }
}

/// What the shim is told about the user; none where nothing needs to be changed.
fn identity(user: &User) -> Result<Option<String>, HostError> {
    let own = geteuid().as_raw();
    if own == user.uid {
        return Ok(None);
    }
    if own != 0 {
        return Err(HostError::new(HostErrorKind::Denied, format!("only root may start processes as `{}`", user.name))
            .with_help(format!("run as root or as `{}`", user.name)));
    }
    let groups: Vec<String> = user.groups.iter().map(ToString::to_string).collect();
    Ok(Some(format!("{}:{}:{}", user.uid, user.gid, groups.join(","))))
}

/// Why the shim could not become its command: a word for the kind, the message, the help, one line each.
#[derive(Debug)]
struct Failure {
    kind: HostErrorKind,
    message: String,
    help: String,
}

const KINDS: [(&str, HostErrorKind); 4] = [
    ("denied", HostErrorKind::Denied),
    ("hindered", HostErrorKind::Hindered),
    ("misconfigured", HostErrorKind::Misconfigured),
    ("other", HostErrorKind::Other),
];

impl Failure {
    fn new(doing: impl std::fmt::Display, error: &std::io::Error, help: &str) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::PermissionDenied => HostErrorKind::Denied,
            ErrorKind::NotFound | ErrorKind::NotADirectory => HostErrorKind::Misconfigured,
            _ if is_hindrance(error) => HostErrorKind::Hindered,
            _ => HostErrorKind::Other,
        };
        Self { kind, message: format!("{doing}: {error}"), help: help.to_owned() }
    }

    fn line(&self) -> String {
        let kind = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("other", |(word, _)| word);
        format!("{kind}\n{}\n{}\n", self.message.replace('\n', " "), self.help)
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let word = lines.next().unwrap_or_default();
        match (KINDS.iter().find(|(known, _)| *known == word), lines.next()) {
            (Some((_, kind)), Some(message)) => {
                Self { kind: *kind, message: message.to_owned(), help: lines.next().unwrap_or_default().to_owned() }
            }
            // Such as a panic's, or another program's than ours.
            _ => Self {
                kind: HostErrorKind::Other,
                message: format!("the shim failed: {}", text.trim()),
                help: String::new(),
            },
        }
    }
}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> Self {
        let error = Self::new(failure.kind, failure.message);
        if failure.help.is_empty() { error } else { error.with_help(failure.help) }
    }
}

/// The shim itself: must be called first of all in the process, before any thread is started.
///
/// Returns only when it could not become the command; the reason stands on what was its standard output.
#[must_use]
pub fn main() -> ExitCode {
    // Moved away, so that the command prints elsewhere; closed when the command begins, which tells the parent.
    let Ok(report) = fcntl_dupfd_cloexec(stdout(), 3) else { return ExitCode::from(126) };
    let Err(failure) = become_command(&report);
    // A parent that is gone has nobody left to be told.
    let _ = rustix::io::write(&report, failure.line().as_bytes());
    ExitCode::from(126)
}

fn become_command(report: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    let io = |doing: &'static str| move |error: rustix::io::Errno| Failure::new(doing, &error.into(), "");
    let mut directory: Option<OsString> = None;
    let mut identity: Option<String> = None;
    let mut lock = false;
    let mut discard_errors = false;
    let mut arguments = std::env::args_os().skip(2);
    loop {
        let argument = arguments.next().unwrap_or_default();
        match argument.to_str() {
            Some("--chdir") => directory = arguments.next(),
            Some("--as") => identity = arguments.next().and_then(|identity| identity.into_string().ok()),
            Some("--lock-on-stdin") => lock = true,
            Some("--discard-errors") => discard_errors = true,
            Some("--") => break,
            _ => return Err(usage(&argument)),
        }
    }
    let (Some(program), Some(directory)) = (arguments.next(), directory) else { return Err(usage("".as_ref())) };

    dup2_stdout(stderr()).map_err(io("cannot set the output up"))?;
    close_inherited(report)?;
    let null = |flags| {
        let null = rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty());
        null.map_err(io("cannot open `/dev/null`"))
    };
    if discard_errors {
        dup2_stderr(null(OFlags::WRONLY)?).map_err(io("cannot set the output up"))?;
    }
    if lock {
        // Not closed by the exec: the command and its children keep the lock when we are gone.
        let kept = fcntl_dupfd_cloexec(stdin(), LOCK_DESCRIPTOR).or_else(|_| fcntl_dupfd_cloexec(stdin(), 10));
        let kept = kept.map_err(io("cannot hand the lock over"))?;
        fcntl_setfd(&kept, FdFlags::empty()).map_err(io("cannot hand the lock over"))?;
        let _ = kept.into_raw_fd();
        dup2_stdin(null(OFlags::RDONLY)?).map_err(io("cannot set the input up"))?;
    }
    rustix::process::setsid().map_err(io("cannot make a session"))?;
    if let Some(identity) = identity {
        take_on(&identity)?;
    }
    let directory = Path::new(&directory);
    std::env::set_current_dir(directory).map_err(|error| {
        let help = "its user must be able to reach it";
        Failure::new(format_args!("cannot change into `{}`", directory.display()), &error, help)
    })?;
    let mut command = std::process::Command::new(&program);
    if let Ok(Some(own)) = proc::identify(Pid(std::process::id())) {
        command.env(PROCESS_VARIABLE, process_mark(own));
    }
    let error = command.args(arguments).exec();
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => "see whether it, and what its first line (`#!`) names, is there and in PATH",
        std::io::ErrorKind::PermissionDenied => "see whether its user may execute it",
        _ => "",
    };
    let doing = format!("cannot run `{}` in `{}`", program.display(), directory.display());
    Err(Failure::new(doing, &error, help))
}

/// Whatever was open in whoever started trueup (a cron job's own `flock`, say) must not live on in a worker.
fn close_inherited(report: &OwnedFd) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    let failed = |error: std::io::Error| Failure::new("cannot read `/proc/self/fd`", &error, "");
    let mut numbers: Vec<i32> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(failed)? {
        numbers.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers {
        if number > 2 && number != report.as_fd().as_raw_fd() {
            // The one that listed the others is closed already.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

/// Becomes another user for good: groups first, while that is still allowed.
fn take_on(identity: &str) -> Result<(), Failure> {
    let mut parts =
        identity.split(':').map(|part| part.split(',').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>());
    let (Some(Ok(uid)), Some(Ok(gid)), Some(Ok(groups))) = (parts.next(), parts.next(), parts.next()) else {
        return Err(usage(identity.as_ref()));
    };
    let (&[uid], &[gid]) = (uid.as_slice(), gid.as_slice()) else { return Err(usage(identity.as_ref())) };
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|error| Failure::new(format_args!("cannot become the user {uid}"), &error.into(), "run as root"))
}

fn usage(argument: &std::ffi::OsStr) -> Failure {
    Failure {
        kind: HostErrorKind::Other,
        message: format!("the shim does not understand `{}`", argument.display()),
        help: "`trueup spawn` is for trueup's own use".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::StartTicks;

    #[test]
    fn a_failure_crosses_the_pipe_unchanged() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let failure = Failure::new("cannot run `a\nb`", &missing, "look");
        let error = HostError::from(Failure::parse(&failure.line()));
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert!(error.message.starts_with("cannot run `a b`: "), "{error}");
        assert_eq!(error.help.as_deref(), Some("look"));
        for odd in ["", "denied", "panicked at x\ny\nz"] {
            assert_eq!(HostError::from(Failure::parse(odd)).kind, HostErrorKind::Other, "{odd:?}");
        }
    }

    #[test]
    fn a_mark_names_pid_and_start() {
        assert_eq!(process_mark(ProcessId { pid: Pid(12), start_ticks: StartTicks(345) }), "12@345");
    }

    #[test]
    fn little_of_our_own_environment_reaches_a_child() {
        let user = User::named("root").unwrap();
        let environment = base_environment(&user);
        assert_eq!(environment.get("HOME").map(String::as_str), user.home.to_str());
        assert_eq!(environment.get("USER").map(String::as_str), Some("root"));
        assert!(environment.get("PATH").is_some_and(|path| !path.is_empty()));
        // Cargo sets this for every test.
        assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok() && !environment.contains_key("CARGO_MANIFEST_DIR"));
    }
}
