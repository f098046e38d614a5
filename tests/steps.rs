//! The steps of a release, as real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use support::local::{Site, requires_root, shim, wait_for};
use trueup::host::{proc, steps};
use trueup::model::app::{CommandLine, SecretSource};
use trueup::model::names::{RelativePath, ReleaseId, UserName};
use trueup::model::process::Pid;
use trueup::model::release::{CommandStep, EnvValue, Stage};
use trueup::ports::{HostError, HostErrorKind};

fn step(line: &str) -> CommandStep {
    CommandStep {
        run: CommandLine::Shell(line.to_owned()),
        timeout: Duration::from_mins(1),
        env: BTreeMap::new(),
        working_directory: None,
        user: None,
    }
}

fn with_env(line: &str, env: &[(&str, EnvValue)]) -> CommandStep {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    CommandStep { env, ..step(line) }
}

fn building(steps: Vec<CommandStep>) -> Site {
    let mut site = Site::new("true");
    site.app.release.build = steps;
    site
}

async fn run(site: &Site) -> Result<(), HostError> {
    steps::steps(&shim(), &site.app, Stage::Build, None, None, &|| true).await
}

fn log(site: &Site) -> String {
    fs::read_to_string(site.state("log/releases/1.log")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_one_after_the_other_with_what_they_need_to_know() {
    let line =
        "printf '%s|%s|%s|%s|%s|%s' $RELEASE_ID $RELEASE_PATH $ROOT $APP \"${PREVIOUS_RELEASE-none}\" $PWD > seen";
    let mut site = building(vec![step(line), step("cp seen seen2; echo \"$GREETING\" > greeting")]);
    site.app.release.build[1].env = [("GREETING".to_owned(), EnvValue::Plain("a  b".to_owned()))].into();
    run(&site).await.unwrap();
    let root = site.root().display();
    let release = site.root().join("releases/1");
    let seen = |file: &str| fs::read_to_string(release.join(file)).unwrap();
    assert_eq!(seen("seen2"), format!("1|{root}/releases/1|{root}|app|none|{root}/releases/1"));
    assert_eq!(seen("greeting"), "a  b\n");
    let previous = ReleaseId::new("0").unwrap();
    steps::steps(&shim(), &site.app, Stage::Build, Some(&previous), None, &|| true).await.unwrap();
    assert!(seen("seen").contains("|app|0|"));
    steps::steps(&shim(), &site.app, Stage::Migrate, None, None, &|| true).await.unwrap();

    let log = log(&site);
    assert!(log.lines().next().unwrap().ends_with("Z build 1/2: printf '%s|%s|%s|%s|%s|%s' $RELEASE_ID $RELEASE_PATH $ROOT $APP \"${PREVIOUS_RELEASE-none}\" $PWD > seen =="), "{log}");
    let ended = |line: &str| line.starts_with("== build 2/2: exit code 0 after ") && line.ends_with(" s ==");
    assert!(log.starts_with("== 20") && log.lines().any(ended), "{log}");
    assert_eq!(fs::metadata(site.state("log/releases/1.log")).unwrap().mode() & 0o777, 0o640);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_in_hand_ends_and_the_next_one_is_not_begun_when_asked_so() {
    let site = building(vec![step("touch first"), step("touch second")]);
    let first = site.root().join("releases/1/first");
    let goes_on = || !first.exists();
    let error = steps::steps(&shim(), &site.app, Stage::Build, None, None, &goes_on).await.unwrap_err();
    assert_eq!((error.kind, error.message.contains("build 2/2")), (HostErrorKind::Interrupted, true), "{error}");
    assert!(first.exists() && !site.root().join("releases/1/second").exists());
    assert!(log(&site).contains("build 2/2: not begun"), "{}", log(&site));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_ends_the_stage_and_is_told_with_its_last_output() {
    let site = building(vec![step("seq 1 30; echo wrong >&2; exit 4"), step("touch second")]);
    let error = run(&site).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Other);
    assert!(error.message.starts_with("build 1/2: `seq 1 30;") && error.message.contains("exit code 4"), "{error}");
    assert!(error.message.ends_with("\n29\n30\nwrong") && !error.message.contains("\n11\n"), "{error}");
    assert!(error.help.unwrap().contains(".trueup/log/releases/1.log"));
    assert!(!site.root().join("releases/1/second").exists());
    assert!(
        log(&site).contains("\n1\n2\n") && log(&site).contains("wrong\n== build 1/2: exit code 4"),
        "{}",
        log(&site)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_in_the_log_while_the_step_runs() {
    let site = building(vec![step("echo begun; while [ -d $ROOT ] && [ ! -e go ]; do sleep 0.01; done; printf ended")]);
    let watched = site.another();
    let running = tokio::spawn(async move { run(&site).await });
    wait_for(|| log(&watched).contains("\nbegun\n").then_some(()));
    assert!(!log(&watched).contains("\nended"));
    fs::write(watched.root().join("releases/1/go"), "").unwrap();
    running.await.unwrap().unwrap();
    assert!(log(&watched).contains("\nbegun\nended\n== build 1/1: exit code 0"), "{}", log(&watched));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_takes_too_long_is_ended_with_all_that_it_started() {
    let mut slow = step("echo thinking; sleep 600 & echo $! > pid; wait");
    slow.timeout = Duration::from_secs(3);
    let site = building(vec![slow]);
    let error = run(&site).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TimedOut);
    assert!(error.message.contains("longer than 3s") && error.message.ends_with("thinking"), "{error}");
    let child: u32 = fs::read_to_string(site.root().join("releases/1/pid")).unwrap().trim().parse().unwrap();
    assert_eq!(proc::identify(Pid(child)).unwrap(), None);
    assert!(log(&site).contains("thinking\n== build 1/1: "), "{}", log(&site));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_step_and_nothing_else() {
    let secret = "s3cret-value-of-this-test";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, format!("{secret}\nnot this\n")).unwrap();
    // Cargo sets this one for every test.
    let env = [
        ("TOKEN", EnvValue::Secret(SecretSource::File(file.clone()))),
        ("NAME", EnvValue::Secret(SecretSource::EnvironmentVariable("CARGO_MANIFEST_DIR".to_owned()))),
    ];
    let line = "printf %s \"$TOKEN\" > got; printf 's3cret-val'; echo ue-of-this-test $NAME >&2; exit 3";
    let site = building(vec![with_env(line, &env)]);
    let error = run(&site).await.unwrap_err();
    assert_eq!(fs::read_to_string(site.root().join("releases/1/got")).unwrap(), secret);
    assert!(error.message.ends_with("\n*** ***"), "{error}");
    assert!(log(&site).contains("\n*** ***\n"), "{}", log(&site));
    let whole = format!("{error:?}{}", log(&site));
    assert!(!whole.contains(secret) && !whole.contains(env!("CARGO_MANIFEST_DIR")), "{whole}");

    // Also of an earlier step, and where a step cannot be run at all.
    let mut second = step("cat got; exit 1");
    second.working_directory = Some(RelativePath::new(secret).unwrap());
    let site = building(vec![with_env("printf %s \"$TOKEN\" > got", &env), step("cat got; echo; exit 1")]);
    let error = run(&site).await.unwrap_err();
    assert!(error.message.ends_with("\n***"), "{error}");
    let site = building(vec![with_env("true", &env), second]);
    let error = run(&site).await.unwrap_err();
    assert!(error.message.contains("working directory") && !error.message.contains(secret), "{error}");

    fs::remove_file(&file).unwrap();
    let error = run(&site).await.unwrap_err();
    // The host lacks it, and the release is none the worse.
    assert_eq!(error.kind, HostErrorKind::Hindered);
    assert!(error.message.starts_with("build 1/2: there is no value for `TOKEN`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_works_inside_of_its_release() {
    let mut site = building(vec![step("pwd -P > $RELEASE_PATH/seen")]);
    let release = site.root().join("releases/1");
    fs::create_dir_all(release.join("deep/er")).unwrap();
    symlink("deep", release.join("inner")).unwrap();
    symlink(release.join("deep"), release.join("absolute")).unwrap();
    symlink("../2", release.join("other")).unwrap();
    symlink("/etc", release.join("etc")).unwrap();
    fs::write(release.join("file"), "").unwrap();
    let rows = [
        ("deep/er", Ok("deep/er")),
        ("inner/er", Ok("deep/er")),
        ("absolute", Ok("deep")),
        ("other", Err("leads out of the release")),
        ("etc", Err("leads out of the release")),
        ("file", Err("cannot use the working directory")),
        ("absent", Err("cannot use the working directory")),
    ];
    for (path, expected) in rows {
        site.app.release.build[0].working_directory = Some(RelativePath::new(path).unwrap());
        match (run(&site).await, expected) {
            (Ok(()), Ok(place)) => {
                let seen = fs::read_to_string(release.join("seen")).unwrap();
                assert_eq!(seen.trim(), release.canonicalize().unwrap().join(place).to_string_lossy(), "{path}");
            }
            (Err(error), Err(words)) => assert!(error.message.contains(words), "{path}: {error}"),
            (ended, _) => panic!("{path}: {ended:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_holds_the_lock() {
    let site =
        building(vec![step("true"), step("touch begun; while [ -d $ROOT ] && [ ! -e go ]; do sleep 0.01; done")]);
    let path = site.root().join("lock");
    let lock = fs::File::create(&path).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let (app, root) = (site.app.clone(), site.root().to_owned());
    let running =
        tokio::spawn(async move { steps::steps(&shim(), &app, Stage::Build, None, Some(lock.into()), &|| true).await });
    wait_for(|| root.join("releases/1/begun").exists().then_some(()));
    // What is left of a pass that is killed now is the step alone.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let other = fs::File::open(&path).unwrap();
    assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err(), "the step holds it");
    fs::write(root.join("releases/1/go"), "").unwrap();
    wait_for(|| flock(&other, FlockOperation::NonBlockingLockExclusive).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_put_aside_while_the_step_runs() {
    let site = building(vec![step("yes 0123456789 | head -c 9000000")]);
    run(&site).await.unwrap();
    let length = |name: &str| fs::metadata(site.state(name)).unwrap().len();
    let (new, old) = (length("log/releases/1.log"), length("log/releases/1.log.1"));
    assert!(old <= 8 << 20 && new <= 8 << 20 && new + old > 9_000_000, "{new} {old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_runs_as_its_user() {
    if !requires_root() {
        return;
    }
    let mut site = building(vec![step("id -un; exit 1")]).with_user("nobody");
    let error = run(&site).await.unwrap_err();
    assert!(error.message.ends_with("\nnobody"), "{error}");
    let owner = fs::metadata(site.state("log/releases/1.log")).unwrap().uid();
    assert_eq!(owner, 65534, "the log is the App's user's");
    site.app.release.build[0].user = Some(UserName::new("daemon").unwrap());
    let error = run(&site).await.unwrap_err();
    assert!(error.message.ends_with("\ndaemon"), "{error}");
    site.app.release.build[0].user = Some(UserName::new("no-such-user").unwrap());
    let error = run(&site).await.unwrap_err();
    assert!(error.message.contains("no user `no-such-user`"), "{error}");
}
