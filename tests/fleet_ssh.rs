//! Hosts by real SSH: finding and copying the program, keys, connections that break, and what people are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::Unit;
use support::asking::{Asked, app, ask, ask_aloud, options, request};
use support::cable::Cable;
use support::network::Network;
use trueup::documents::wire::{Ended, Operation, Request};
use trueup::fleet::reach::{Broken, Way};
use trueup::fleet::ssh::options::Options;

const CACHE: &str = "/home/deploy/.cache/trueup/bin";

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
    // What earlier versions left there.
    let old = format!(
        "mkdir -p {CACHE}; cd {CACHE}; for n in 1 2 3; do f=$(printf %064d $n); echo $n >$f; touch -d \"$n days ago\" $f; done; \
         touch -d yesterday .new.abcdef; echo mine >notes; chown -R deploy: /home/deploy/.cache"
    );
    host.sh(&old).ok();

    assert!(answers(&network, &options, "web1").copied(), "the first contact copies it");
    let kept = host.sh(&format!("cd {CACHE}; ls -A; stat -c %a .")).ok().to_owned();
    let ours: Vec<&str> = kept.lines().filter(|name| name.len() == 64 && !name.starts_with("00000000")).collect();
    let [name] = ours[..] else { panic!("{kept}") };
    let newest = format!("{:064}", 1);
    let mut expected = vec![name, &newest, "notes", "700"];
    expected.sort_unstable();
    let mut found: Vec<&str> = kept.lines().collect();
    found.sort_unstable();
    assert_eq!(found, expected, "the two newest stay, and what is none of ours");
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
        host.sh(&change).ok();
        let asked = answers(&network, &options, "web1");
        assert!(asked.copied(), "{change}");
        let noted = asked.ways.iter().any(|way| matches!(way, Way::Note(note) if note.contains("was not run")));
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
    host.sh("printf '#!/bin/sh\\necho trueup 0.0.9\\n' >/usr/local/bin/trueup").ok();
    assert!(answers(&network, &options, "web1").copied(), "another version is not used");
}

#[test]
fn a_host_that_cannot_take_the_program_says_why() {
    let Some(network) = Network::bare(1) else { return };
    let (host, options) = (network.host(0), options(&network));
    network.take_program(0);
    let rows: [(&str, &str, &[&str]); 7] = [
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
        ("usermod -s /usr/sbin/nologin deploy", "usermod -s /bin/bash deploy", &["not available", "shell"]),
    ];
    for (make, undo, words) in rows {
        host.sh(make).ok();
        refused(&network, &options, "web1", Broken::Program, words);
        host.sh(undo).ok();
    }
    // Nothing of all that has left a trace.
    assert_eq!(host.sh("find /home/deploy/.cache -type f").ok(), "");
    host.sh("echo 'echo Welcome; echo {odd' >>/home/deploy/.profile; chsh -s /bin/sh deploy").ok();
    assert!(answers(&network, &options, "web1").copied());
}

#[test]
fn only_known_keys_are_spoken_to_unless_new_ones_may_be_trusted() {
    let Some(network) = Network::bare(2) else { return };
    let strict = options(&network);
    let trusting = Options { accept_new: true, ..strict.clone() };
    answers(&network, &strict, "web1");

    network.know("");
    refused(&network, &strict, "web1", Broken::HostKey, &["is not known", "--accept-new", "ssh-keyscan web1`"]);
    answers(&network, &trusting, "web1");
    answers(&network, &strict, "web1");

    network.change_host_key(0);
    let place = format!("{}:1", network.known_hosts().display());
    let remove = format!("ssh-keygen -R web1 -f {}`", network.known_hosts().display());
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
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
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
    assert!(second < first, "{first:?}, then {second:?}");
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
    host.wait_until("the end of the closed one", Duration::from_secs(10), || {
        host.pids_of("sshd: deploy@notty").len() <= 1
    });
    network.stop_sshd(0);
}

#[test]
fn a_pass_goes_on_while_its_link_is_cut_and_is_found_again() {
    let Some(network) = Network::booted(1, &[Unit::Supervisor]) else { return };
    let (host, options) = (network.host(0), options(&network));
    host.sh("mkdir -p /srv/app/releases /srv/from; echo one >/srv/from/index.php; chown -R deploy: /srv/app").ok();
    let step = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done";
    let spec = format!(
        "\"release\": {{\"id\": \"r1\", \"source\": {{\"dir\": {{\"path\": \"/srv/from\"}}}}, \"build\": [\"{step}\"]}}"
    );
    let operation = Operation::Apply { wait: Duration::from_secs(5), ignore_windows: false };
    let request = Request { manifest: app(&spec), ..request(operation) };
    let heard = Arc::new(Mutex::new(Asked::default()));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_aloud(&network, &options, "web1", &request, &heard));
        let ways = |wanted: &dyn Fn(&Way) -> bool| heard.lock().unwrap().ways.iter().any(wanted);
        let soon = Duration::from_secs(30);
        host.wait_until("the step", soon, || host.exists("/tmp/begun") || asking.is_finished());
        for _ in 0..2 {
            network.cut(0);
            host.wait_until("the loss to be told", soon, || ways(&|way| matches!(way, Way::Lost { .. })));
            network.heal(0);
            host.wait_until("its return", soon, || ways(&|way| *way == Way::Back));
            heard.lock().unwrap().ways.clear();
        }
        network.stop_sshd(0);
        network.start_sshd(0);
        host.wait_until("its return", soon, || ways(&|way| *way == Way::Back));
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
