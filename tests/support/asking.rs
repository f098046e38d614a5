//! One host asked over real SSH by a test itself, as a rollout asks it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trueup::documents::wire::{self, Ended, Line, Operation, PROGRAM, Request, RunId, WIRE, What};
use trueup::fleet::reach::{ConnectionNews, HostSaid, Reach, Unreached};
use trueup::fleet::ssh::Ssh;
use trueup::fleet::ssh::control::ControlFolder;
use trueup::fleet::ssh::options::Options;
use trueup::model::fleet::{FleetHost, HostName, SshTarget};

use super::Host;
use super::network::{Network, slim_program};

/// What came of asking a host.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What happened on the way.
    pub ways: Vec<ConnectionNews>,
    /// What the far side said.
    pub lines: Vec<Line>,
}

impl Asked {
    /// The program was copied there.
    pub fn copied(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, ConnectionNews::Copying { .. }))
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        match self.lines.last()?.what {
            What::End(ended) => Some(ended),
            _ => None,
        }
    }

    /// All that was said came once and in order.
    #[track_caller]
    pub fn is_whole(&self) {
        let said: Vec<u64> = self.lines.iter().map(|line| line.seq).collect();
        assert!(said.windows(2).all(|pair| pair[0] + 1 == pair[1]) && said.first() == Some(&0), "{said:?}");
    }
}

/// What a test can wait for.
pub fn options(network: &Network) -> Options {
    Options {
        config: Some(network.config()),
        connect_timeout: Duration::from_secs(3),
        alive_interval: Duration::from_secs(2),
        idle: Duration::ZERO,
        patience: Duration::from_mins(1),
        ..Options::default()
    }
}

fn target(name: &str) -> FleetHost {
    let (labels, vars) = (BTreeMap::new(), BTreeMap::new());
    FleetHost { name: HostName::new(name).unwrap(), ssh: SshTarget::new(name).unwrap(), labels, vars }
}

/// An App in `/srv/app` with that in its `spec`.
pub fn app(spec: &str) -> String {
    format!(
        "{{\"apiVersion\": \"trueup/v1\", \"kind\": \"App\", \"metadata\": {{\"name\": \"app\"}}, \
         \"spec\": {{\"root\": \"/srv/app\", {spec}}}}}"
    )
}

/// A request of that kind, about an App that has nothing.
pub fn request(operation: Operation) -> Request {
    Request {
        wire: WIRE,
        program: PROGRAM.to_owned(),
        id: RunId::new(format!("test-{}", uuid())).unwrap(),
        from: wire::FIRST,
        who: "a person".to_owned(),
        host: HostName::new("web1").unwrap(),
        migrate: true,
        operation,
        manifest: app("\"release\": {\"id\": \"r1\"}"),
    }
}

/// A pass over an App of that release whose only step, a build, lasts until `/tmp/go`; it has begun when `/tmp/begun`
/// is there. See [`lay_out`].
pub fn held(release: &str) -> Request {
    let step = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done";
    let manifest = app(&format!(
        r#""release": {{"id": "{release}", "source": {{"dir": {{"path": "/srv/from"}}}}, "build": ["{step}"]}}"#
    ));
    let operation = Operation::Apply { wait: Duration::from_secs(5), ignore_windows: false, retry: false };
    Request { manifest, ..request(operation) }
}

/// What [`held`] needs on a host: an empty root, and what its release is made of.
pub fn lay_out(host: &Host) {
    host.sh("mkdir -p /srv/app/releases /srv/from; echo one >/srv/from/index.php; chown -R deploy: /srv/app").ok();
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

/// A run of the program, which may ask several times.
pub struct Run<'n> {
    network: &'n Network,
    ssh: Ssh,
}

impl<'n> Run<'n> {
    /// With nothing but what earlier ones left on disk.
    pub fn new(network: &'n Network, options: &Options) -> Self {
        let control = ControlFolder::at(network.room().join("c")).unwrap();
        Self { network, ssh: Ssh::with(options.clone(), control, slim_program().to_owned()) }
    }

    /// Asks.
    pub fn ask(&self, name: &str, request: &Request) -> (Asked, Result<(), Unreached>) {
        let heard = Arc::new(Mutex::new(Asked::default()));
        let came = self.ask_aloud(name, request, &heard);
        let asked = heard.lock().unwrap().clone();
        (asked, came)
    }

    /// Asks; what is heard can be read meanwhile.
    pub fn ask_aloud(&self, name: &str, request: &Request, heard: &Arc<Mutex<Asked>>) -> Result<(), Unreached> {
        let mut hear = |one: HostSaid| {
            let mut asked = heard.lock().unwrap();
            match one {
                HostSaid::Connection(way) => asked.ways.push(way),
                HostSaid::Line(line) => asked.lines.push(*line),
            }
        };
        self.inside(self.ssh.ask(&target(name), request, &mut hear))
    }

    /// Ends it.
    pub fn end(self) {
        self.inside(self.ssh.close());
    }

    fn inside<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        self.network.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work)
        })
    }
}

/// The ssh processes here that hold the connections to this network's hosts.
pub fn masters(network: &Network) -> Vec<i32> {
    let folder = network.room().join("c/").to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"ssh") && String::from_utf8_lossy(&line).contains(&folder)
    };
    pids.filter(holds).collect()
}

/// Asks once, as a run of the program would.
pub fn ask(network: &Network, options: &Options, name: &str, request: &Request) -> (Asked, Result<(), Unreached>) {
    let heard = Arc::new(Mutex::new(Asked::default()));
    let came = ask_aloud(network, options, name, request, &heard);
    let asked = heard.lock().unwrap().clone();
    (asked, came)
}

/// The same; what is heard can be read meanwhile.
pub fn ask_aloud(
    network: &Network,
    options: &Options,
    name: &str,
    request: &Request,
    heard: &Arc<Mutex<Asked>>,
) -> Result<(), Unreached> {
    let run = Run::new(network, options);
    let came = run.ask_aloud(name, request, heard);
    run.end();
    came
}
