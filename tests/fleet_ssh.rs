//! Hosts by real SSH: finding and copying the program, keys, connections that break, and what people are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Unit;
use support::asking::{Asked, Run, ask, ask_aloud, held, lay_out, masters, options, request};
use support::cable::Cable;
use support::network::{Network, address};
use trueup::documents::wire::{Ended, Operation};
use trueup::fleet::reach::{Broken, ConnectionNews};
use trueup::fleet::ssh::options::Options;

const CACHE: &str = "/home/deploy/.cache/trueup/bin";

const SOON: Duration = Duration::from_secs(30);

fn is_lost(way: &ConnectionNews) -> bool {
    matches!(way, ConnectionNews::Lost { .. })
}

#[track_caller]
fn answers(network: &Network, options: &Options, name: &str) -> Asked {
    let (asked, came) = ask(network, options, name, &request(Operation::Observe));
    came.unwrap();
    assert!(asked.ended().is_some(), "{asked:?}");
    asked.is_whole();
    asked
}

#[track_caller]
fn refused(network: &Network, options: &Options, name: &str, broken: Broken, words: &[&str]) {
    let (asked, came) = ask(network, options, name, &request(Operation::Observe));
    let unreached = came.unwrap_err();
    assert_eq!((unreached.broken, unreached.in_hand), (broken, false), "{unreached:?} {asked:?}");
    let told = format!("{unreached}\n{}", unreached.help.clone().unwrap_or_default());
    for word in words {
        assert!(told.contains(word), "{word} is not in: {told}");
    }
}

#[test]
fn the_program_is_copied_once_and_a_changed_copy_is_never_run() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    network.take_program(0);
    // What earlier versions left there, two of them when the host's clock was ahead.
    let old = format!(
        "mkdir -p {CACHE}; cd {CACHE}; for n in 1 2 3; do f=$(printf %064d $n); echo $n >$f; \
         touch -d \"yesterday + $((n - 1)) weeks\" $f; done; touch -d yesterday .new.abcdef; echo mine >notes; \
         chown -R deploy: /home/deploy/.cache"
    );
    host.sh(&old).ok();

    assert!(answers(&network, &options, "web1").copied(), "the first contact copies it");
    let kept = host.sh(&format!("cd {CACHE}; ls -A; stat -c %a .")).ok().to_owned();
    let ours: Vec<&str> = kept.lines().filter(|name| name.len() == 64 && !name.starts_with("00000000")).collect();
    let [name] = ours[..] else { panic!("{kept}") };
    let newest = format!("{:064}", 3);
    let mut expected = vec![name, &newest, "notes", "700"];
    expected.sort_unstable();
    let mut found: Vec<&str> = kept.lines().collect();
    found.sort_unstable();
    assert_eq!(found, expected, "ours stays, the newest of the others, and what is none of ours");
    assert!(!answers(&network, &options, "web1").copied(), "the second one finds it");

    // Whatever stands in its place, it is not run.
    let evil = "#!/bin/sh\\ntouch /tmp/owned\\necho trueup 0.1.0\\n";
    let file = format!("{CACHE}/{name}");
    for change in [
        format!("printf '{evil}' >{file}"),
        format!("printf x >>{file}"),
        format!("rm {file}; printf '{evil}' >/tmp/evil; chmod 755 /tmp/evil; ln -s /tmp/evil {file}"),
        format!("rm {file}; mkdir {file}; printf '{evil}' >{file}/evil; chown -R deploy: {file}"),
        format!("chmod 600 {file}"),
    ] {
        // What runs cannot be written to: who has said its last word has yet to end, with all its threads.
        host.wait_until(&change, SOON, || host.sh(&change).success());
        let asked = answers(&network, &options, "web1");
        assert!(asked.copied(), "{change}");
        let noted =
            asked.ways.iter().any(|way| matches!(way, ConnectionNews::Note(note) if note.contains("was not run")));
        assert!(noted, "{change}: {:?}", asked.ways);
        assert!(!host.exists("/tmp/owned"), "{change}");
        assert!(!answers(&network, &options, "web1").copied(), "{change}");
    }

    // One that was installed there is used as it is.
    network.stop_sshd(0);
    network.start_sshd(0);
    host.sh(&format!("install -m 755 {file} /usr/local/bin/trueup; rm -r {CACHE}")).ok();
    assert!(!answers(&network, &options, "web1").copied());
    assert!(!host.exists(CACHE));
    let other = "printf '#!/bin/sh\\necho trueup 0.0.9\\n' >/usr/local/bin/trueup";
    host.wait_until("the end of the one who talked", SOON, || host.sh(other).success());
    assert!(answers(&network, &options, "web1").copied(), "another version is not used");
}

#[test]
fn a_host_that_cannot_take_the_program_says_why() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    network.take_program(0);
    let rows: [(&str, &str, &[&str]); 6] = [
        (
            "printf '#!/bin/sh\\n[ $1 = -m ] && echo aarch64 || echo Linux\\n' >/usr/local/bin/uname; chmod 755 /usr/local/bin/uname",
            "rm /usr/local/bin/uname",
            &["not for aarch64", "install trueup"],
        ),
        (
            "printf '#!/bin/sh\\necho glibc 2.12\\n' >/usr/local/bin/getconf; chmod 755 /usr/local/bin/getconf",
            "rm /usr/local/bin/getconf",
            &["needs the GNU C library 2.", "that host has 2.12"],
        ),
        ("mv /usr/bin/sha256sum /usr/bin/sums", "mv /usr/bin/sums /usr/bin/sha256sum", &["no `sha256sum`"]),
        (
            "mkdir /home/deploy/.cache; mount -t tmpfs -o size=1m,mode=777 tmpfs /home/deploy/.cache",
            "umount /home/deploy/.cache",
            &["does not fit into `/home/deploy/.cache/trueup/bin`", "free some space"],
        ),
        (
            "mount -t tmpfs -o noexec,mode=777 tmpfs /home/deploy/.cache",
            "umount /home/deploy/.cache",
            &["noexec", "XDG_CACHE_HOME"],
        ),
        (
            "chmod 755 /home/deploy/.cache; chown root: /home/deploy/.cache",
            "chown deploy: /home/deploy/.cache",
            &["the cache cannot be made", "Permission denied"],
        ),
    ];
    for (make, undo, words) in rows {
        host.sh(make).ok();
        refused(&network, &options, "web1", Broken::Program, words);
        // There was nobody who could have begun anything.
        let apply = Operation::Apply { wait: SOON, ignore_windows: false, retry: false };
        let unreached = ask(&network, &options, "web1", &request(apply)).1.unwrap_err();
        assert_eq!((unreached.broken, unreached.in_hand), (Broken::Program, false), "{make}: {unreached:?}");
        host.sh(undo).ok();
    }
    host.sh("usermod -s /usr/sbin/nologin deploy").ok();
    refused(&network, &options, "web1", Broken::Program, &["not available", "shell"]);
    host.sh("usermod -s /bin/bash deploy").ok();
    // Nothing of all that has left a trace.
    assert_eq!(host.sh("find /home/deploy/.cache -type f").ok(), "");
    // Nor has what a shell says before, whether it ends its line or not.
    host.sh("printf 'echo Welcome\\nprintf hi\\n' >/home/deploy/.bashrc; chown deploy: /home/deploy/.bashrc").ok();
    assert_eq!(network.control.sh("ssh web1 true").stdout, "Welcome\nhi");
    assert!(answers(&network, &options, "web1").copied());
}

#[test]
fn only_known_keys_are_spoken_to_unless_new_ones_may_be_trusted() {
    let Some(network) = Network::bare(2) else { return };
    let strict = options(&network);
    let trusting = Options { accept_new: true, ..strict.clone() };
    answers(&network, &strict, "web1");

    network.know("");
    // `web1` is an alias, of which these two programs know nothing.
    let there = address(0);
    let shown = format!("ssh-keyscan {there}`");
    refused(&network, &strict, "web1", Broken::HostKey, &["is not known", "--accept-new", &shown]);
    answers(&network, &trusting, "web1");
    answers(&network, &strict, "web1");

    network.change_host_key(0);
    let place = format!("{}:1", network.known_hosts().display());
    let remove = format!("ssh-keygen -R {there} -f {}`", network.known_hosts().display());
    for options in [&strict, &trusting] {
        refused(&network, options, "web1", Broken::HostKey, &[&place, "SHA256:", &remove, "find out why"]);
    }
    network.trust_all();
    answers(&network, &strict, "web1");

    // A key that the host does not know.
    let id = network.room().join("id");
    let public = id.with_extension("pub");
    let right = [&id, &public].map(|file| std::fs::read(file).unwrap());
    std::fs::remove_file(&id).unwrap();
    let made = std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&id).status();
    assert!(made.unwrap().success());
    let words = ["permission denied (publickey", "authorized_keys"];
    refused(&network, &strict, "web2", Broken::Auth, &words);
    // One that asks for a passphrase: nobody is asked.
    let args = ["-q", "-p", "-P", "", "-N", "secret", "-f"];
    assert!(std::process::Command::new("ssh-keygen").args(args).arg(&id).status().unwrap().success());
    refused(&network, &strict, "web2", Broken::Auth, &["permission denied (publickey"]);
    std::fs::write(&id, &right[0]).unwrap();
    std::fs::write(&public, &right[1]).unwrap();
    answers(&network, &strict, "web2");
}

#[test]
fn a_host_that_is_not_there_is_told_soon() {
    let Some(network) = Network::bare(1) else { return };
    let options = options(&network);
    network.inside(|| ());
    refused(&network, &options, "no-such-host.invalid", Broken::Connect, &["no-such-host.invalid", "name"]);
    network.stop_sshd(0);
    refused(&network, &options, "web1", Broken::Connect, &["refuses the connection", "sshd"]);
    network.start_sshd(0);
    network.cut(0);
    let began = Instant::now();
    refused(&network, &options, "web1", Broken::Connect, &["does not answer"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    network.heal(0);
    answers(&network, &options, "web1");
}

#[test]
fn a_kept_connection_is_used_again_and_a_dead_one_is_no_trouble() {
    let Some(network) = Network::bare(1) else { return };
    let host = network.host(0);
    let options = Options { idle: Duration::from_mins(1), ..options(&network) };
    let sessions = || host.sh("grep -c 'Accepted publickey' /var/log/rig-sshd.log || :").ok().to_owned();
    let means = network.cable(0, Cable::long(Duration::from_millis(100)));
    let timed = || {
        let began = Instant::now();
        answers(&network, &options, "web1");
        began.elapsed()
    };
    let (first, second) = (timed(), timed());
    assert_eq!(sessions(), "1", "the second run has used the first one's connection");
    println!("100 ms there and back, {means}: {first:?}, then {second:?}");
    network.cable(0, Cable::default());

    // Its sshd was restarted, with all that hung on it.
    network.stop_sshd(0);
    network.start_sshd(0);
    answers(&network, &options, "web1");
    assert_eq!(sessions(), "2");

    // The network went and came while nobody looked.
    network.cut(0);
    network.stop_sshd(0);
    network.start_sshd(0);
    network.heal(0);
    answers(&network, &options, "web1");
    assert_eq!(sessions(), "3");
    let closing = Options { idle: Duration::ZERO, ..options.clone() };
    answers(&network, &closing, "web1");
    host.wait_until("the end of the closed one", SOON, || host.pids_of("sshd: deploy@notty").len() <= 1);
    network.stop_sshd(0);
}

#[test]
fn a_connection_that_ends_between_two_questions_of_a_run_is_no_trouble() {
    let Some(network) = Network::bare(1) else { return };
    let host = network.host(0);
    // At least one for each question. More where the machine is slow: within a question, too, a connection may be idle
    // for that second, such as while the program is packed.
    let sessions = || -> u32 {
        let accepted = host.sh("grep -c 'Accepted publickey' /var/log/rig-sshd.log || :");
        accepted.ok().trim().parse().unwrap()
    };
    let run = Run::new(&network, &Options { idle: Duration::from_secs(1), ..options(&network) });
    let answers = || {
        let (asked, came) = run.ask("web1", &request(Operation::Health));
        came.unwrap();
        assert!(asked.ended().is_some() && !asked.ways.iter().any(is_lost), "{asked:?}");
        asked.is_whole();
    };
    answers();
    // It ends by itself, as nobody needs it.
    host.wait_until("the end of the first one", SOON, || masters(&network).is_empty());
    let before = sessions();
    answers();
    assert!(sessions() > before, "{before}");
    // It is killed, and leaves its socket behind.
    for pid in masters(&network) {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    host.wait_until("the end of the second one", SOON, || masters(&network).is_empty());
    let before = sessions();
    answers();
    assert!(sessions() > before, "{before}");

    // Nothing was told to a host that has gone meanwhile, so nothing is in hand there, nor long waited for.
    network.stop_sshd(0);
    let gone = Options { idle: Duration::from_mins(1), recovery: Duration::from_secs(2), ..options(&network) };
    network.start_sshd(0);
    let run = Run::new(&network, &gone);
    run.ask("web1", &request(Operation::Observe)).1.unwrap();
    network.stop_sshd(0);
    let (began, apply) =
        (Instant::now(), Operation::Apply { wait: Duration::ZERO, ignore_windows: false, retry: false });
    let (asked, came) = run.ask("web1", &request(apply));
    let unreached = came.unwrap_err();
    assert_eq!((unreached.broken, unreached.in_hand), (Broken::Lost, false), "{unreached:?} {asked:?}");
    assert!(unreached.message.contains("refuses the connection"), "{unreached:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn what_only_looks_is_tried_again_where_the_host_was_there() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    let look = request(Operation::Health);
    // Its first loss is told; then `mend` is called, and it goes on.
    let recovers = |run: &Run<'_>, what: &str, mend: &(dyn Fn() + Sync)| {
        let heard = Arc::new(Mutex::new(Asked::default()));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| run.ask_aloud("web1", &look, &heard));
            let told = || heard.lock().unwrap().ways.iter().any(is_lost);
            host.wait_until(what, SOON, || told() || asking.is_finished());
            mend();
            asking.join().unwrap().unwrap();
        });
        let asked = heard.lock().unwrap().clone();
        assert!(asked.ways.iter().any(is_lost) && asked.ways.contains(&ConnectionNews::Back), "{what}: {asked:?}");
        assert!(asked.ended().is_some(), "{what}: {asked:?}");
        asked.is_whole();
        asked
    };

    // A far side that never says a word, once, over a connection that was made for it.
    network.stand_in(0, "[ \"$*\" = far ] && mkdir /tmp/asked 2>/dev/null && exec sleep infinity");
    let run = Run::new(&network, &options);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            host.wait_until("the far side", SOON, || host.exists("/tmp/asked"));
            network.log_out(0);
        });
        recovers(&run, "the loss before its hello", &|| ());
    });
    run.end();

    let options = Options { idle: Duration::from_mins(1), ..options };
    let run = Run::new(&network, &options);
    network.stop_sshd(0);
    let (asked, came) = run.ask("web1", &look);
    let unreached = came.unwrap_err();
    assert_eq!(unreached.broken, Broken::Connect, "{unreached:?}");
    assert!(!asked.ways.iter().any(is_lost), "one that was never there is not waited for: {asked:?}");
    network.start_sshd(0);
    run.ask("web1", &look).1.unwrap();

    network.stop_sshd(0);
    recovers(&run, "the end of its sshd", &|| network.start_sshd(0));
    // Nobody is told of this one.
    network.cut(0);
    recovers(&run, "the end of its link", &|| network.heal(0));
    // As without a VPN: who is asked for its name knows no such host.
    let config = std::fs::read_to_string(network.config()).unwrap();
    std::fs::write(network.config(), config.replace(&address(0), "web1..example")).unwrap();
    network.stop_sshd(0);
    network.start_sshd(0);
    let asked = recovers(&run, "the end of its name", &|| std::fs::write(network.config(), &config).unwrap());
    let nameless =
        |way: &ConnectionNews| matches!(way, ConnectionNews::Lost { why, .. } if why.contains("no host of the name"));
    assert!(asked.ways.iter().any(nameless), "{asked:?}");
    network.stop_sshd(0);
}

#[test]
fn what_only_looks_is_not_waited_for_as_a_pass_is() {
    let Some(network) = Network::bare(1) else { return };
    let options = Options { recovery: Duration::from_secs(2), patience: 4 * SOON, ..options(&network) };
    // It is there, and says no more.
    network.stand_in(0, "[ \"$*\" != far ] || $real far | { head -n 1; exec sleep infinity; }");
    let heard = Arc::new(Mutex::new(Asked::default()));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_aloud(&network, &options, "web1", &request(Operation::Health), &heard));
        let greeted = || !heard.lock().unwrap().lines.is_empty();
        network.host(0).wait_until("its hello", SOON, || greeted() || asking.is_finished());
        network.cut(0);
        network.host(0).wait_until("its end", 2 * SOON, || asking.is_finished());
        let unreached = asking.join().unwrap().unwrap_err();
        assert_eq!((unreached.broken, unreached.in_hand), (Broken::Lost, false), "{unreached:?}");
        assert!(unreached.message.contains("given up after"), "{unreached:?}");
    });
    // That it was noticed late is no part of the time in which it may come back.
    let asked = heard.lock().unwrap().clone();
    assert!(asked.ways.iter().any(is_lost) && !asked.ways.contains(&ConnectionNews::Back), "{asked:?}");
    network.heal(0);
    network.stop_sshd(0);
}

#[test]
fn a_refusal_behind_a_lost_request_is_no_sign_that_nothing_has_begun() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    // The first one takes its request and is never heard; the next one finds no place for runs.
    let script =
        "[ \"$*\" != far ] || { mkdir /tmp/asked 2>/dev/null && exec sleep infinity; export XDG_STATE_HOME=/proc; }";
    network.stand_in(0, script);
    let apply = || request(Operation::Apply { wait: Duration::ZERO, ignore_windows: false, retry: false });
    let (asked, came) = std::thread::scope(|scope| {
        scope.spawn(|| {
            host.wait_until("the far side", SOON, || host.exists("/tmp/asked"));
            network.log_out(0);
        });
        ask(&network, &options, "web1", &apply())
    });
    let unreached = came.unwrap_err();
    assert_eq!((unreached.broken, unreached.in_hand), (Broken::Lost, true), "{unreached:?} {asked:?}");
    assert!(unreached.message.starts_with("cannot keep runs in `/proc/trueup/far`"), "{unreached:?}");
    assert!(asked.ways.contains(&ConnectionNews::Back), "{asked:?}");
    // One that was never sent before is refused, and that is all.
    let (asked, came) = ask(&network, &options, "web1", &apply());
    came.unwrap();
    assert_eq!(asked.ended(), Some(Ended::Failed), "{asked:?}");
    network.stop_sshd(0);
}

#[test]
fn a_jump_host_that_fails_is_told_from_the_host_behind_it() {
    let Some(network) = Network::bare(2) else { return };
    let impatient = options(&network);
    // Two logins, one after the other: what is slow is not to be taken for what is not there.
    let strict = Options { connect_timeout: SOON, ..impatient.clone() };
    let trusting = Options { accept_new: true, ..strict.clone() };
    let config = std::fs::read_to_string(network.config()).unwrap();
    std::fs::write(network.config(), format!("Host web2\n ProxyJump web1\n{config}")).unwrap();
    answers(&network, &strict, "web2");

    let known = std::fs::read_to_string(network.known_hosts()).unwrap();
    let behind = known.lines().find(|line| line.starts_with(&address(1))).unwrap();
    network.know(&format!("{behind}\n"));
    for options in [&strict, &trusting] {
        let words = ["`web2` through its jump host", "`ssh -v web2`", "--accept-new is for the last hop only"];
        refused(&network, options, "web2", Broken::Connect, &words);
    }
    network.trust_all();
    answers(&network, &strict, "web2");

    network.cut(0);
    let began = Instant::now();
    refused(&network, &impatient, "web2", Broken::Connect, &["`web2`", "through its jump host", "`ssh -v web2`"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    network.heal(0);
    answers(&network, &strict, "web2");
}

#[test]
fn a_pass_goes_on_while_its_link_is_cut_and_is_found_again() {
    let Some(network) = Network::booted(1, &[Unit::Supervisor]) else { return };
    let (host, options) = (network.host(0), options(&network));
    lay_out(host);
    let request = held("r1");
    let heard = Arc::new(Mutex::new(Asked::default()));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_aloud(&network, &options, "web1", &request, &heard));
        let ways = |wanted: &dyn Fn(&ConnectionNews) -> bool| heard.lock().unwrap().ways.iter().any(wanted);
        let soon = Duration::from_secs(30);
        host.wait_until("the step", soon, || host.exists("/tmp/begun") || asking.is_finished());
        for _ in 0..2 {
            network.cut(0);
            host.wait_until("the loss to be told", soon, || ways(&|way| matches!(way, ConnectionNews::Lost { .. })));
            network.heal(0);
            host.wait_until("its return", soon, || ways(&|way| *way == ConnectionNews::Back));
            heard.lock().unwrap().ways.clear();
        }
        network.stop_sshd(0);
        network.start_sshd(0);
        host.wait_until("its return", soon, || ways(&|way| *way == ConnectionNews::Back));
        host.run(&["touch", "/tmp/go"]).ok();
        asking.join().unwrap().unwrap();
    });
    let asked = heard.lock().unwrap().clone();
    assert_eq!(asked.ended(), Some(Ended::Done), "{asked:?}");
    asked.is_whole();
    assert_eq!(host.read_link("/srv/app/current").as_deref(), Some("releases/r1"));
    let journal = host.read("/srv/app/.trueup/journal.jsonl");
    assert_eq!(journal.matches("passStarted").count(), 1, "{journal}");
}
