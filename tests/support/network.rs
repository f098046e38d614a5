//! Several throwaway hosts on one switch, each with an sshd of its own, and a control host that may log in.
//!
//! In: a name and how many. Out: a [`Network`], whose cables can be cut, healed and slowed down, whose sshds can be
//! restarted, and whose host keys change, with one call each. The control host has the ssh configuration of a person;
//! [`Network::inside`] runs code of the test itself in its network.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::cable::{Cable, Means, Relay, netem};
use super::host::{Host, Unit, host_or_skip, wait_until};

/// How long an sshd may take to listen, or a link to carry.
const SOON: Duration = Duration::from_mins(1);

/// Where the rig keeps its own files on a host.
const RIG: &str = "/etc/ssh/rig";
/// What sshd is started with.
const OPTIONS: &str = "-f /etc/ssh/rig/sshd_config -E /var/log/rig-sshd.log";

/// A control host and others, all on one switch.
pub struct Network {
    /// Where a person would sit. Its ssh knows all hosts by name.
    pub control: Host,
    hosts: Vec<Host>,
    user: String,
    room: tempfile::TempDir,
    relay: Mutex<Option<Relay>>,
}

impl Network {
    /// `web1` to `webN` without systemd, reached as `deploy`; nothing, with a visible reason, where no host can be
    /// made.
    pub fn bare(count: usize) -> Option<Network> {
        Network::bare_as(count, "deploy")
    }

    /// The same, reached as that user.
    pub fn bare_as(count: usize, user: &str) -> Option<Network> {
        Network::new(count, user, Host::bare)
    }

    /// `web1` to `webN` with systemd and these units, reached as `deploy` through an sshd that is one of their units,
    /// with PAM as the distribution has it.
    pub fn booted(count: usize, units: &[Unit]) -> Option<Network> {
        Network::new(count, "deploy", |name| Host::boot(name, units))
    }

    fn new(count: usize, user: &str, boot: impl Fn(&str) -> Host + Sync) -> Option<Network> {
        // Says why there is none, or fails where there must be one.
        if Host::unavailable().is_some() {
            host_or_skip("network", &[]);
            return None;
        }
        // Short: sockets have short paths.
        let room = tempfile::Builder::new().prefix("rig").tempdir_in("/tmp").expect("a room for keys");
        let control = Host::bare("control");
        let hosts = thread::scope(|scope| {
            let boot = &boot;
            let booting: Vec<_> = (1..=count).map(|n| scope.spawn(move || boot(&format!("web{n}")))).collect();
            booting.into_iter().map(|host| host.join().expect("a host boots")).collect()
        });
        let network = Network { control, hosts, user: user.to_owned(), room, relay: Mutex::default() };
        network.lay();
        Some(network)
    }

    fn lay(&self) {
        self.net("ip link add br0 type bridge forward_delay 0; ip addr add 10.77.0.1/16 dev br0; ip link set br0 up");
        let key = self.room.path().join("id");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f"]).arg(&key));
        let public = fs::read_to_string(key.with_extension("pub")).expect("a key");
        let mut cables = String::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let pid = host.init_pid();
            let _ = write!(
                cables,
                "ip link add h{index} type veth peer name eth0 netns {pid}; ip link set h{index} master br0 up; "
            );
        }
        self.net(&cables);
        thread::scope(|scope| {
            for (index, host) in self.hosts.iter().enumerate() {
                let (user, public, address) = (&self.user, &public, address(index));
                scope.spawn(move || furnish(host, user, public, &address));
            }
        });
        self.trust_all();
        let config = |folder: &str| {
            let mut text = String::new();
            for (index, host) in self.hosts.iter().enumerate() {
                let _ = write!(text, "Host {}\n HostName {}\n", host.name(), address(index));
            }
            let user = &self.user;
            let _ = write!(
                text,
                "Host *\n User {user}\n IdentityFile {folder}/id\n IdentitiesOnly yes\n IdentityAgent none\n \
                 UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile /dev/null\n"
            );
            text
        };
        fs::write(self.config(), config(&self.room.path().to_string_lossy())).expect("a configuration");
        self.control.write("/root/.ssh/config", &config("/root/.ssh"));
        self.control.write("/root/.ssh/id", &fs::read_to_string(&key).expect("a key"));
        self.control.sh("chmod -R go= /root/.ssh").ok();
    }

    /// A host by its number, from 0.
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// All of them.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The configuration for ssh with which the test itself reaches the hosts; its folder is the test's to use.
    pub fn config(&self) -> PathBuf {
        self.room.path().join("config")
    }

    /// A folder of the test's own, at a short path.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    /// Runs code of the test, and all that it starts, in the network of the control host; files and processes are
    /// those of the outside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.control.init_pid();
        let work = move || {
            let network = fs::File::open(format!("/proc/{pid}/ns/net")).expect("the control host runs");
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
            work()
        };
        // A thread of its own: it stays there.
        thread::scope(|scope| match scope.spawn(work).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Takes the host's cable out: nothing arrives any more, and nobody is told.
    pub fn cut(&self, index: usize) {
        self.net(&format!("ip link set h{index} nomaster down"));
    }

    /// Puts it in again.
    pub fn heal(&self, index: usize) {
        self.net(&format!("ip link set h{index} master br0 up"));
    }

    /// The host's cable is such a one from now on. Who makes it so.
    pub fn cable(&self, index: usize, cable: Cable) -> Means {
        let control = self.control.init_pid();
        let mut relay = self.relay.lock().expect("no test has panicked with it");
        if relay.is_none() {
            let (pid, near) = (control.to_string(), netem(&format!("h{index}"), cable));
            let near = Command::new("nsenter").args(["--target", &pid, "--net", "--", "bash", "-euc", &near]).output();
            if near.expect("nsenter starts").status.success() {
                self.host(index).sh(&netem("eth0", cable)).ok();
                return Means::Netem;
            }
        }
        relay.get_or_insert_with(Relay::start).set(control, index, cable);
        Means::Relay
    }

    /// Ends the host's sshd with all its sessions.
    pub fn stop_sshd(&self, index: usize) {
        let host = self.host(index);
        if is_booted(host) {
            // It would start it again.
            host.run(&["systemctl", "stop", Unit::Ssh.name()]).ok();
        }
        host.wait_until("the end of its sshd", SOON, || {
            // Again and again: it may just be starting another one for whoever connects.
            host.sh("pkill -KILL -x sshd || :").ok();
            host.pids_of("sshd").is_empty()
        });
    }

    /// Starts it again.
    pub fn start_sshd(&self, index: usize) {
        start_sshd(self.host(index));
    }

    /// Gives the host another key, as one has that was made anew.
    pub fn change_host_key(&self, index: usize) {
        self.stop_sshd(index);
        self.host(index).sh(&new_host_key()).ok();
        self.start_sshd(index);
    }

    /// Makes the control side know all keys as they are now, and no others.
    pub fn trust_all(&self) {
        let mut known = String::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let key = host.read(&format!("{RIG}/host_key.pub"));
            let _ = writeln!(known, "{} {}", address(index), key.trim());
        }
        self.know(&known);
    }

    /// Replaces the known hosts of the control side.
    pub fn know(&self, known: &str) {
        fs::write(self.known_hosts(), known).expect("known hosts");
        self.control.write("/root/.ssh/known_hosts", known);
    }

    /// The known hosts of the test itself.
    pub fn known_hosts(&self) -> PathBuf {
        self.room.path().join("known_hosts")
    }

    /// Takes the program away that every throwaway host has in its PATH.
    pub fn take_program(&self, index: usize) {
        // Lazily: a process that has just ended may hold it for an instant more.
        self.host(index).sh("umount --lazy /usr/local/bin/trueup; rm -f /usr/local/bin/trueup").ok();
    }

    /// Puts a script in the place of the program that every throwaway host has in its PATH; it ends with the program,
    /// which it finds as `$real`.
    pub fn stand_in(&self, index: usize, script: &str) {
        let host = self.host(index);
        let real = "/opt/trueup";
        host.sh(&format!("touch {real}; mount --bind /usr/local/bin/trueup {real}")).ok();
        self.take_program(index);
        host.write("/usr/local/bin/trueup", &format!("#!/bin/sh\nreal={real}\n{script}\nexec $real \"$@\"\n"));
        host.sh("chmod 755 /usr/local/bin/trueup").ok();
    }

    /// Ends the logins at the host, and leaves its sshd there for others.
    pub fn log_out(&self, index: usize) {
        // None may be left to be killed.
        self.host(index).sh(&format!("pkill -KILL -f '^sshd: {}' || :", self.user)).ok();
    }

    /// Runs a script in the control host's network.
    fn net(&self, script: &str) {
        let pid = self.control.init_pid().to_string();
        run(Command::new("nsenter").args(["--target", &pid, "--net", "--", "bash", "-euc", script]));
    }
}

/// The address of a host.
pub fn address(index: usize) -> String {
    format!("10.77.{}.{}", (index + 2) / 250, (index + 2) % 250)
}

/// The program under test without what only a debugger reads: a tenth of the size, for copying.
pub fn slim_program() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_trueup"));
        let slim = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trueup-slim");
        let written = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        if written(&slim) < written(program) {
            let fresh = slim.with_extension(std::process::id().to_string());
            run(Command::new("strip").arg("-o").arg(&fresh).arg(program));
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("a file of ours");
            fs::rename(&fresh, &slim).expect("a file of ours");
        }
        slim
    })
}

fn furnish(host: &Host, user: &str, public: &str, address: &str) {
    // Without systemd there is nobody whom PAM could tell.
    let pam = if is_booted(host) { "yes" } else { "no" };
    let config = format!(
        "Port 22\nHostKey {RIG}/host_key\nAuthorizedKeysFile {RIG}/authorized\nStrictModes no\nUsePAM {pam}\nPidFile none\n\
         PermitRootLogin prohibit-password\nMaxStartups 100\nPrintMotd no\nPrintLastLog no\n"
    );
    host.write(&format!("{RIG}/sshd_config"), &config);
    host.write("/etc/default/ssh", &format!("SSHD_OPTS=\"{OPTIONS}\"\n"));
    // A password that nothing fits: without any the account is locked, and sshd lets nobody in.
    let script = format!(
        "mkdir -p /run/sshd; echo '{key}' >{RIG}/authorized; {new_key}; \
         id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --password '*' {user}; \
         ip addr add {address}/16 dev eth0; ip link set eth0 up",
        key = public.trim(),
        new_key = new_host_key(),
    );
    host.sh(&script).ok();
    start_sshd(host);
}

fn new_host_key() -> String {
    format!("rm -f {RIG}/host_key*; ssh-keygen -q -t ed25519 -N '' -C rig -f {RIG}/host_key")
}

fn start_sshd(host: &Host) {
    if is_booted(host) {
        host.run(&["systemctl", "start", Unit::Ssh.name()]).ok();
    } else {
        host.sh(&format!("/usr/sbin/sshd {OPTIONS}")).ok();
    }
    // It goes into the background before it listens.
    let sockets = format!("/proc/{}/net/tcp", host.init_pid());
    let listens = |line: &str| line.contains(":0016 ") && line.split_whitespace().nth(3) == Some("0A");
    wait_until("an sshd", SOON, || fs::read_to_string(&sockets).is_ok_and(|all| all.lines().any(listens)));
}

/// Whether the host has systemd.
fn is_booted(host: &Host) -> bool {
    host.root_path().join("run/systemd/private").exists()
}

/// Runs one of the rig's own programs.
pub fn run(command: &mut Command) {
    let done = command.output().expect("the rig's own programs are there");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
