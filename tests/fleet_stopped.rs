//! Real hosts whose far side is there and does not stir: by real SSH, with real signals.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Unit;
use support::network::{Network, slim_program};
use trueup::documents::wire::{self, BEAT, Ended, Operation, PROGRAM, Request, RunId, WIRE, What};
use trueup::fleet::reach::{Broken, Heard, Reach, Unreached, Way};
use trueup::fleet::ssh::Ssh;
use trueup::fleet::ssh::control::ControlFolder;
use trueup::fleet::ssh::options::Options;
use trueup::model::fleet::{FleetHost, HostName, SshTarget};

const SOON: Duration = Duration::from_mins(1);

/// A pass whose only step lasts until `/tmp/go`.
fn request(id: &str, release: &str) -> Request {
    let step = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done";
    let manifest = serde_json::json!({
        "apiVersion": "trueup/v1",
        "kind": "App",
        "metadata": {"name": "app"},
        "spec": {
            "root": "/srv/app",
            "release": {"id": release, "source": {"dir": {"path": "/srv/from"}}, "build": [step]},
        },
    });
    Request {
        wire: WIRE,
        program: PROGRAM.to_owned(),
        id: RunId::new(id).unwrap(),
        from: wire::FIRST,
        who: "a person".to_owned(),
        host: HostName::new("web1").unwrap(),
        migrate: true,
        operation: Operation::Apply { wait: Duration::from_secs(5), ignore_windows: false },
        manifest: manifest.to_string(),
    }
}

#[derive(Debug, Default)]
struct Asked {
    ways: Vec<Way>,
    lines: Vec<(u64, What)>,
}

fn ask(network: &Network, patience: Duration, request: &Request, heard: &Arc<Mutex<Asked>>) -> Result<(), Unreached> {
    let options = Options {
        config: Some(network.config()),
        connect_timeout: Duration::from_secs(3),
        alive_interval: Duration::from_secs(1),
        idle: Duration::ZERO,
        patience,
        silence: BEAT + Duration::from_secs(2),
        ..Options::default()
    };
    let ssh = Ssh::with(options, ControlFolder::at(network.room().join("c")).unwrap(), slim_program().to_owned());
    let (labels, vars) = (BTreeMap::new(), BTreeMap::new());
    let host = FleetHost { name: HostName::new("web1").unwrap(), ssh: SshTarget::new("web1").unwrap(), labels, vars };
    network.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut hear = |one: Heard| {
                let mut asked = heard.lock().unwrap();
                match one {
                    Heard::Way(way) => asked.ways.push(way),
                    Heard::Line(line) => asked.lines.push((line.seq, line.what)),
                }
            };
            let came = ssh.ask(&host, request, &mut hear).await;
            ssh.close().await;
            came
        })
    })
}

#[test]
fn who_does_not_stir_is_asked_anew_and_not_waited_for_for_ever() {
    let Some(network) = Network::booted(1, &[Unit::Supervisor]) else { return };
    let host = network.host(0);
    host.sh("mkdir -p /srv/app/releases /srv/from; echo one >/srv/from/index.php; chown -R deploy: /srv/app").ok();
    let front = |signal: &str| host.sh(&format!("pkill -{signal} -f 'trueup far$'")).ok().to_owned();
    let runner = |signal: &str| host.sh(&format!("pkill -{signal} -f 'trueup far --run$'")).ok().to_owned();
    let lost = |way: &Way, words: &str| matches!(way, Way::Lost { why, .. } if why.contains(words));

    let (first, heard) = (request("first-00000001", "r1"), Arc::new(Mutex::new(Asked::default())));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&network, SOON, &first, &heard));
        let told = |is: &dyn Fn(&Way) -> bool| heard.lock().unwrap().ways.iter().any(is);
        host.wait_until("the step", SOON, || host.exists("/tmp/begun") || asking.is_finished());
        // The connection stands, and sshd answers: only whoever copies the lines is stopped.
        front("STOP");
        host.wait_until("its silence", SOON, || told(&|way| lost(way, "nothing was heard for 7 s")));
        host.wait_until("another one", SOON, || told(&|way| *way == Way::Back));
        runner("STOP");
        host.wait_until("its silence", SOON, || told(&|way| lost(way, "has given no sign of life for")));
        runner("CONT");
        // A step that says nothing for as long as that is no silence.
        let before = heard.lock().unwrap().ways.len();
        std::thread::sleep(BEAT * 3);
        let since = heard.lock().unwrap().ways[before..].to_vec();
        assert!(since.iter().filter(|way| matches!(way, Way::Lost { .. })).count() <= 1, "{since:?}");
        host.run(&["touch", "/tmp/go"]).ok();
        asking.join().unwrap().unwrap();
    });
    let heard = heard.lock().unwrap();
    assert_eq!(heard.lines.last().unwrap().1, What::End(Ended::Done), "{heard:?}");
    let said: Vec<u64> = heard.lines.iter().map(|(seq, _)| *seq).collect();
    assert!(said.windows(2).all(|pair| pair[0] + 1 == pair[1]), "each line once: {said:?}");
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r1"));

    // Nobody lets this one go on.
    host.sh("rm /tmp/go /tmp/begun").ok();
    let (second, heard) = (request("second-0000001", "r2"), Arc::new(Mutex::new(Asked::default())));
    let began = Instant::now();
    let unreached = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&network, BEAT * 2, &second, &heard));
        host.wait_until("the step", SOON, || host.exists("/tmp/begun") || asking.is_finished());
        runner("STOP");
        asking.join().unwrap().unwrap_err()
    });
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((unreached.broken, unreached.in_hand), (Broken::Lost, true), "{unreached:?}");
    let pid = host.sh("pgrep -f 'trueup far --run$'").ok().trim().to_owned();
    assert!(unreached.message.contains(&format!("(process {pid}) has given no sign of life")), "{unreached:?}");
    assert!(unreached.message.contains("given up after"), "{unreached:?}");
    let help = unreached.help.unwrap();
    assert!(help.contains(&format!("kill -CONT {pid}")) && help.contains(&format!("ps -o pid,stat,wchan:32 -p {pid}")));
    // As it says.
    host.sh(&format!("kill -CONT {pid}; touch /tmp/go")).ok();
    let heard = Arc::new(Mutex::new(Asked::default()));
    ask(&network, SOON, &second, &heard).unwrap();
    assert_eq!(heard.lock().unwrap().lines.last().unwrap().1, What::End(Ended::Done));
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r2"));
    let journal = host.read("/srv/app/.trueup/journal.jsonl");
    assert_eq!(journal.matches("passStarted").count(), 2, "{journal}");
}
