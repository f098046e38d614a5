//! Ten thousand wrong webhooks, and those who never finish a sentence: the agent goes on with its work.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::SOON;
use crate::estate::Estate;
use crate::net::{Chance, connect, get, move_into, talk, wrong};
use crate::support::require_host;
use crate::traces::Holds;

const WRONG: u64 = 10_000;
const LANES: u64 = 8;
/// Fewer than the agent lets in at a time.
const SLOW: usize = 40;
/// No answer to a question of a person or a probe takes longer, on the busiest machine.
const BOUND: Duration = Duration::from_secs(30);

#[test]
fn ten_thousand_wrong_webhooks_are_refused_and_the_agent_goes_on_deploying() {
    let host = require_host!("flood", []);
    // Nothing but a webhook tells it of a commit.
    let mut estate = Estate::new(&host, 2, "1h");
    estate.start();
    host.wait_until("the first releases", SOON, || estate.differs().is_empty());
    let pid = estate.agent.as_ref().unwrap().pid();
    let init = host.init_pid();
    // Once of each kind before anything is measured.
    let once = std::thread::spawn(move || {
        move_into(init);
        (0..8).for_each(|number| drop(talk(connect().unwrap(), &wrong(number, &mut Chance(number)))));
    });
    once.join().unwrap();
    // One hold on each worker, and another one on each as its child.
    let pidfds = 2 * estate.wishes.iter().map(|wish| wish.count as usize).sum::<usize>();
    let mut before = Holds::of(&host, pid);
    host.wait_until("the agent to hold its workers", SOON, || {
        before = Holds::of(&host, pid);
        before.pidfds == pidfds
    });

    let (over, worst) = (AtomicBool::new(false), std::sync::Mutex::new(Duration::ZERO));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || lane_of(lane, init))).collect();
        let slow = scope.spawn(|| never_finish(init, &over));
        let asked = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert_eq!(get(&host, "/healthz").as_deref(), Some("ok\n"));
                let mut worst = worst.lock().unwrap();
                *worst = worst.max(asked.elapsed());
                drop(worst);
                // So often a person or a monitor may ask: one who asked without a pause would be a flood of its own.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        // In the midst of it, somebody works.
        for release in ["r1", "r2", "r3"] {
            estate.wishes.iter_mut().for_each(|wish| release.clone_into(&mut wish.release));
            estate.commit(release);
            let taken = estate.tell();
            assert!(taken.starts_with("HTTP/1.1 202 "), "{taken}");
            host.wait_until(release, SOON, || estate.differs().is_empty());
        }
        let deployed = began.elapsed();
        let refused: u64 = lanes.into_iter().map(|lane| lane.join().unwrap()).sum();
        eprintln!("three commits in force after {deployed:?}, the flood is over after {:?}", began.elapsed());
        over.store(true, Ordering::Relaxed);
        slow.join().unwrap();
        asked.join().unwrap();
        assert!(refused > WRONG / 2, "{refused} were answered");
    });
    let worst = *worst.lock().unwrap();
    assert!(worst < BOUND, "a question took {worst:?}");

    let mut after = Holds::of(&host, pid);
    let began = Instant::now();
    while let Some(why) = after.beyond(&before) {
        assert!(began.elapsed() < SOON, "{why}\nbefore {before:?}\nafter {after:?}");
        std::thread::sleep(Duration::from_millis(200));
        after = Holds::of(&host, pid);
    }
    let metrics = get(&host, "/metrics").unwrap();
    let counted = metrics.lines().filter(|line| line.starts_with("trueup_webhooks_total{") && line.contains("refused"));
    let counted: u64 = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(counted > WRONG / 4, "{metrics}");
    let log = estate.agent.as_ref().unwrap().stderr();
    assert!(log.lines().count() < 200, "the log is not flooded: {} lines", log.lines().count());
    eprintln!("the slowest answer took {worst:?}; {counted} refused\nbefore {before:?}\nafter  {after:?}");
    estate.end("TERM");
}

/// One sender after the other; tells how many were answered.
fn lane_of(lane: u64, init: u32) -> u64 {
    move_into(init);
    let (mut chance, mut answered) = (Chance(lane), 0);
    for number in 0..WRONG / LANES {
        let Ok(stream) = connect() else { continue };
        let answer = talk(stream, &wrong(number * LANES + lane, &mut chance));
        let refused = answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4");
        assert!(refused || answer.is_empty(), "{number}: {answer}");
        answered += u64::from(refused);
    }
    answered
}

/// Connections that say a part and then nothing, anew whenever one is left, until it is over.
fn never_finish(init: u32, over: &AtomicBool) {
    move_into(init);
    let parts: [&[u8]; 4] = [
        b"",
        b"POST /webhooks/git",
        b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nX-Hub-",
        b"POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"ref",
    ];
    let mut open = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // The agent leaves them in the end; what it says then is of no interest.
        open.retain_mut(|stream: &mut TcpStream| {
            stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        while open.len() < SLOW {
            let Ok(mut stream) = connect() else { break };
            let begun = stream.write_all(parts[open.len() % parts.len()]).and_then(|()| stream.set_nonblocking(true));
            if begun.is_ok() {
                open.push(stream);
            }
        }
        // Those that were left are made up for so often, and not at once: they are slow.
        std::thread::sleep(Duration::from_millis(200));
    }
}
