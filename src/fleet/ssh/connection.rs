//! One connection to a host: an ssh process in the background that logs in once, and the conversations over it.
//!
//! The process is ssh itself, so keys, agents, jump hosts and configuration are what the user is used to. It belongs to
//! no terminal, asks nobody anything, and ends by itself when nobody has used it for a while. Conversations go through
//! its socket, without a process each.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use openssh::Session;
use tokio::process::Command;

use super::control::{ControlPath, is_dead};
use super::options::Options;
use super::resolved::resolved;
use super::trouble::{self, Again, Trouble};
use crate::fleet::reach::Broken;
use crate::model::ssh::SshTarget;

/// So much longer than the connection itself may logging in take: slow name services, keys on tokens.
const LOGIN: Duration = Duration::from_secs(30);

/// How long its process may take to hear that it is not needed any more.
const CLOSE: Duration = Duration::from_secs(2);

/// So much of ssh's words is read.
const WORDS: u64 = 64 * 1024;

/// A connection that stands, as far as is known.
#[derive(Debug)]
pub struct Connection {
    session: Session,
    place: ControlPath,
    /// It was there before this run; whoever made it may have gone long ago, and the network, too.
    pub old: bool,
}

impl Connection {
    /// The one that was kept, or a new one.
    ///
    /// # Errors
    /// There is no way to the host.
    pub async fn open(target: &SshTarget, options: &Options, place: ControlPath) -> Result<Self, Trouble> {
        let kept = place.kept();
        let old = kept.is_some();
        let socket = match kept {
            Some(socket) => socket,
            None => connect(target, options, &place).await?,
        };
        Ok(Self { session: Session::resume_mux(socket.into_boxed_path(), None), place, old })
    }

    /// For conversations.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its process has ended, as after [`Options::idle`] without a conversation, or with what it was connected to.
    /// That it has not says nothing of the network.
    pub fn is_gone(&self) -> bool {
        is_dead(self.session.control_socket())
    }

    /// Takes no more conversations: its process ends with the last one that it has.
    pub async fn close(&self) {
        self.place.forget();
        let socket = self.session.control_socket().into();
        // One that is gone already is closed, too; one that is stuck ends when its host stays silent.
        let _ = tokio::time::timeout(CLOSE, Session::resume_mux(socket, None).close()).await;
    }
}

async fn connect(target: &SshTarget, options: &Options, place: &ControlPath) -> Result<PathBuf, Trouble> {
    let local = |error: std::io::Error, what: &str| {
        let trouble = Trouble::new(Broken::Connect, format!("{what}: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => trouble.with_help("install OpenSSH's client (`ssh`) on this machine"),
            _ => trouble,
        }
    };
    let socket = place.fresh();
    // A file, not a pipe: the process in the background keeps it open. It is removed as this function ends.
    let words =
        place.words().map_err(|error| Trouble::new(Broken::Connect, format!("no file for ssh's log: {error}")))?;
    let mut ssh = command(target, options, &socket, words.path());
    let mut child = ssh.spawn().map_err(|error| local(error, "cannot run `ssh`"))?;
    let (began, limit) = (Instant::now(), options.connect_timeout + LOGIN);
    let Ok(waited) = tokio::time::timeout(limit, child.wait()).await else {
        let _ = child.kill().await;
        let said = read(words.path());
        let last = said.lines().last().map_or_else(String::new, |line| format!(": {}", line.trim()));
        let message = format!("`{target}` did not let us in within {} s{last}", limit.as_secs());
        return Err(Trouble::new(Broken::Connect, message).again(Again::Later));
    };
    let status = waited.map_err(|error| local(error, "cannot wait for `ssh`"))?;
    if !status.success() {
        let said = read(words.path());
        let mut trouble = trouble::connecting(target, None, &said);
        if trouble.broken == Broken::HostKey {
            // The commands that help know nothing of aliases.
            trouble = trouble::connecting(target, resolved(target, options).await.as_ref(), &said);
        }
        // Who is too busy says so at once. What ends after waiting for somebody would wait as long again.
        let late = trouble.again == Again::Soon && began.elapsed() > options.connect_timeout / 2;
        return Err(if late { trouble.again(Again::Later) } else { trouble });
    }
    // Without the link the connection serves this run only.
    if let Err(error) = place.keep(&socket) {
        tracing::debug!(%target, %error, "the connection cannot be kept");
    }
    Ok(socket)
}

/// A process that goes into the background as soon as it is let in, and writes what it has to say to `words`.
fn command(target: &SshTarget, options: &Options, socket: &Path, words: &Path) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-f", "-N", "-T", "-M", "-S"]).arg(socket);
    // Its standard error also has the banner, in which the host may say whatever it likes.
    ssh.arg("-E").arg(words).stderr(Stdio::null());
    if let Some(config) = &options.config {
        ssh.arg("-F").arg(config);
    }
    let strict = if options.accept_new { "accept-new" } else { "yes" };
    // At least a second: none at all would mean for ever.
    let seconds = |duration: Duration| duration.as_secs().max(1);
    let settings = [
        "BatchMode=yes".to_owned(),
        format!("StrictHostKeyChecking={strict}"),
        format!("ConnectTimeout={}", seconds(options.connect_timeout)),
        // By these a host is noticed that is not there any more; those of people are for firewalls' sake, and longer.
        format!("ServerAliveInterval={}", seconds(options.alive_interval)),
        "ServerAliveCountMax=3".to_owned(),
        format!("ControlPersist={}", seconds(options.idle)),
        // What a person's configuration has for a person's sessions.
        "ClearAllForwardings=yes".to_owned(),
        "RemoteCommand=none".to_owned(),
        "PermitLocalCommand=no".to_owned(),
        "VisualHostKey=no".to_owned(),
        // Quieter ones do not say why.
        "LogLevel=INFO".to_owned(),
    ];
    for setting in settings {
        ssh.arg("-o").arg(setting);
    }
    if let Some(user) = target.user() {
        ssh.arg("-l").arg(user);
    }
    if let Some(port) = target.port() {
        ssh.arg("-p").arg(port.to_string());
    }
    ssh.arg("--").arg(target.host());
    // A jump host's ssh does not inherit BatchMode: it asks this program, which has no answer.
    ssh.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force");
    // A group of its own: Ctrl-C is for us, who let hosts finish.
    ssh.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null());
    ssh
}

fn read(words: &Path) -> String {
    let mut said = Vec::new();
    // By its name: ssh appends through a descriptor of its own.
    match File::open(words).and_then(|file| file.take(WORDS).read_to_end(&mut said)) {
        Ok(_) => String::from_utf8_lossy(&said).into_owned(),
        Err(error) => format!("what ssh said cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(target: &str, options: &Options) -> String {
        let ssh = command(&SshTarget::new(target).unwrap(), options, Path::new("/s"), Path::new("/log"));
        let words: Vec<String> = ssh.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn nothing_is_asked_and_nothing_is_trusted_unless_said() {
        let strict = arguments("web1", &Options::default());
        for part in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ControlPersist=60",
            "ConnectTimeout=10",
            "-E /log",
            "-- web1",
        ] {
            assert!(strict.contains(part), "{part}: {strict}");
        }
        // How often it is attempted is the user's to say.
        assert!(!strict.contains("ConnectionAttempts"), "{strict}");
        assert!(!strict.contains(" -l ") && !strict.contains(" -p ") && !strict.contains(" -F "), "{strict}");
        let other = Options { accept_new: true, config: Some("/c".into()), idle: Duration::ZERO, ..Options::default() };
        let trusting = arguments("a@b@[::1]:2222", &other);
        for part in ["-F /c", "StrictHostKeyChecking=accept-new", "ControlPersist=1 ", "-l a@b -p 2222 -- ::1"] {
            assert!(trusting.contains(part), "{part}: {trusting}");
        }
    }
}
