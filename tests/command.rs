//! An App's own commands, as real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs::File;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use support::local::{Site, requires_root, shim, wait_for};
use trueup::host::{command, proc};
use trueup::model::app::CommandLine;
use trueup::model::process::Pid;
use trueup::ports::{HostError, HostErrorKind};

const LONG: Duration = Duration::from_mins(1);

async fn run(site: &Site, line: &str, timeout: Duration) -> Result<(), HostError> {
    command::run(&shim(), &site.app, &CommandLine::Shell(line.to_owned()), timeout, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_its_release() {
    let site = Site::new("true");
    run(&site, "printf '%s %s %s' \"$RELEASE_ID\" \"$RELEASE_PATH\" \"$(pwd)\" > seen; env > env", LONG).await.unwrap();
    let release = site.root().join("releases/1");
    let seen = std::fs::read_to_string(release.join("seen")).unwrap();
    assert_eq!(seen, format!("1 {0} {0}", release.display()));
    let environment = std::fs::read_to_string(release.join("env")).unwrap();
    assert!(environment.contains("HOME=/") && !environment.contains("CARGO_"), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_shows_its_last_output() {
    let site = Site::new("true");
    let error = run(&site, "seq 1 30; echo wrong >&2; exit 4", LONG).await.unwrap_err();
    assert!(error.message.contains("exit code 4"), "{error}");
    assert!(error.message.ends_with("\n29\n30\nwrong") && !error.message.contains("\n11\n"), "{error}");
    let error = run(&site, "kill -9 $$", LONG).await.unwrap_err();
    assert!(error.message.ends_with("signal 9"), "{error}");
    std::fs::remove_dir(site.root().join("releases/1")).unwrap();
    let error = run(&site, "true", LONG).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    assert!(error.message.contains("releases/1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_its_children() {
    let site = Site::new("true");
    let pid = site.root().join("pid");
    let line = format!("echo thinking; sleep 600 & echo $! > {}; wait", pid.display());
    let error = run(&site, &line, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TimedOut);
    assert!(error.message.contains("longer than 3s") && error.message.ends_with("thinking"), "{error}");
    let child: u32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert_eq!(proc::identify(Pid(child)), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_left_running_ends_with_it() {
    let site = Site::new("true");
    let pid = site.root().join("pid");
    run(&site, &format!("sleep 600 & echo $! > {}", pid.display()), LONG).await.unwrap();
    let child: u32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert_eq!(proc::identify(Pid(child)), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_keeps_the_lock_when_trueup_is_gone_and_a_worker_does_not() {
    let site = Site::new("exec sleep 600");
    std::fs::create_dir(site.state("")).unwrap();
    let path = site.state("lock");
    let lock = File::create(&path).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    site.start(1).await.unwrap();

    let go = site.root().join("go");
    let (room, over) = (site.root().display(), go.display());
    let line = format!("touch begun; while [ -d {room} ] && [ ! -e {over} ]; do sleep 0.01; done");
    let (app, handed) = (site.app.clone(), lock.try_clone().unwrap());
    let step =
        tokio::spawn(
            async move { command::run(&shim(), &app, &CommandLine::Shell(line), LONG, Some(handed.into())).await },
        );
    let begun = site.root().join("releases/1/begun");
    wait_for(|| begun.exists().then_some(()));
    // What a killed trueup does: it lets go, and its command goes on.
    drop(lock);
    let other = File::open(&path).unwrap();
    assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err(), "the command holds it");
    std::fs::write(&go, "").unwrap();
    step.await.unwrap().unwrap();
    // The worker does not hold it; what a neighbouring test starts does until it has come to its program.
    wait_for(|| flock(&other, FlockOperation::NonBlockingLockExclusive).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_as_the_apps_user() {
    if !requires_root() {
        return;
    }
    let site = Site::new("true").with_user("nobody");
    let error = run(&site, "id -un; id -Gn; exit 1", LONG).await.unwrap_err();
    assert!(error.message.ends_with("\nnobody\nnogroup"), "{error}");
    // Without `spec.user`: the owner of the root.
    let site = Site::new("true");
    std::os::unix::fs::chown(site.root(), Some(65534), Some(65534)).unwrap();
    let error = run(&site, "echo again > /dev/stderr; id -un; exit 1", LONG).await.unwrap_err();
    assert!(error.message.ends_with("\nagain\nnobody"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_babbling_command_does_not_eat_the_memory() {
    let site = Site::new("true");
    let most = site.root().join("most");
    let script = format!(
        "import os, time
piece = b'x' * (1 << 20)
end, most, total = time.time() + 1.5, 0, 0
while time.time() < end or total < 1 << 30:
    total += os.write(1, piece)
    most = max(most, os.fstat(1).st_size)
open('{}', 'w').write(f'{{most}} {{total}}')",
        most.display()
    );
    let line = CommandLine::Arguments(vec!["python3".to_owned(), "-c".to_owned(), script]);
    command::run(&shim(), &site.app, &line, LONG, None).await.unwrap();
    let told = std::fs::read_to_string(most).unwrap();
    let (most, total) = told.split_once(' ').unwrap();
    let (most, total): (u64, u64) = (most.parse().unwrap(), total.parse().unwrap());
    // How much comes between two looks at it is the machine's business; that all of it is kept is not.
    assert!(most * 2 < total, "{} of {} MiB at once", most >> 20, total >> 20);
}
