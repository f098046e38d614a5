//! Real hosts whose far side is there and does not stir: by real SSH, with real signals.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Unit;
use support::asking::{self, Asked, ask_aloud};
use support::network::Network;
use trueup::documents::wire::{BEAT, Ended, Request, RunId};
use trueup::fleet::reach::{Broken, ConnectionNews, Unreached};
use trueup::fleet::ssh::options::Options;

const SOON: Duration = Duration::from_mins(1);

/// A pass whose only step lasts until `/tmp/go`.
fn request(id: &str, release: &str) -> Request {
    Request { id: RunId::new(id).unwrap(), ..asking::held(release) }
}

fn ask(network: &Network, patience: Duration, request: &Request, heard: &Arc<Mutex<Asked>>) -> Result<(), Unreached> {
    let options = Options { patience, silence: BEAT * 2, ..asking::options(network) };
    ask_aloud(network, &options, "web1", request, heard)
}

#[test]
fn who_does_not_stir_is_asked_anew_and_not_waited_for_for_ever() {
    let Some(network) = Network::booted(1, &[Unit::Supervisor]) else { return };
    let host = network.host(0);
    asking::lay_out(host);
    let front = |signal: &str| host.sh(&format!("pkill -{signal} -f 'trueup far$'")).ok().to_owned();
    let runner = |signal: &str| host.sh(&format!("pkill -{signal} -f 'trueup far --run$'")).ok().to_owned();
    let lost =
        |way: &ConnectionNews, words: &str| matches!(way, ConnectionNews::Lost { why, .. } if why.contains(words));

    let (first, heard) = (request("first-00000001", "r1"), Arc::new(Mutex::new(Asked::default())));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&network, SOON, &first, &heard));
        let told = |is: &dyn Fn(&ConnectionNews) -> bool| heard.lock().unwrap().ways.iter().any(is);
        host.wait_until("the step", SOON, || host.exists("/tmp/begun") || asking.is_finished());
        // The connection stands, and sshd answers: only whoever copies the lines is stopped.
        front("STOP");
        host.wait_until("its silence", SOON, || told(&|way| lost(way, "nothing was heard for 10 s")));
        host.wait_until("another one", SOON, || told(&|way| *way == ConnectionNews::Back));
        runner("STOP");
        host.wait_until("its silence", SOON, || told(&|way| lost(way, "has given no sign of life for")));
        runner("CONT");
        // A step that says nothing for as long as that is no silence.
        let before = heard.lock().unwrap().ways.len();
        std::thread::sleep(BEAT * 3);
        let since = heard.lock().unwrap().ways[before..].to_vec();
        assert!(since.iter().filter(|way| matches!(way, ConnectionNews::Lost { .. })).count() <= 1, "{since:?}");
        host.run(&["touch", "/tmp/go"]).ok();
        asking.join().unwrap().unwrap();
    });
    let heard = heard.lock().unwrap();
    assert_eq!(heard.ended(), Some(Ended::Done), "{heard:?}");
    heard.is_whole();
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r1"));

    // Nobody lets this one go on.
    host.sh("rm /tmp/go /tmp/begun").ok();
    let (second, heard) = (request("second-0000001", "r2"), Arc::new(Mutex::new(Asked::default())));
    let began = Instant::now();
    let unreached = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&network, BEAT * 4, &second, &heard));
        host.wait_until("the step", SOON, || host.exists("/tmp/begun") || asking.is_finished());
        runner("STOP");
        asking.join().unwrap().unwrap_err()
    });
    assert!(began.elapsed() < SOON * 3, "{:?}", began.elapsed());
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
    assert_eq!(heard.lock().unwrap().ended(), Some(Ended::Done));
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r2"));
    let journal = host.read("/srv/app/.trueup/journal.jsonl");
    assert_eq!(journal.matches("passStarted").count(), 2, "{journal}");
}
