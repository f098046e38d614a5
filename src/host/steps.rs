//! Runs the steps of one stage of a release: in it, each as its user, with a log of what they print.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::blocking;
use super::command::{Job, Wanted, describe, execute_heard, quote};
use super::secret;
use super::spawn::Shim;
use super::transcript::Transcript;
use super::users::User;
use crate::model::app::App;
use crate::model::length::in_seconds;
use crate::model::names::{RelativePath, ReleaseId};
use crate::model::release::{CommandStep, EnvValue, Stage};
use crate::ports::{GoesOn, HostError, HostErrorKind};

/// Runs the steps of one stage of the App's release, one after the other, each as its user, with `RELEASE_ID`,
/// `RELEASE_PATH`, `ROOT`, `APP` and, where there is one, `PREVIOUS_RELEASE` in its environment. `lock` is handed
/// to each if there is one.
///
/// What they print goes to `ROOT/.trueup/log/releases/ID.log` while they run, without the values of their secrets.
///
/// # Errors
/// The first that cannot be run, fails, or takes too long and was ended with all that it had started; the last lines
/// of its output stand in the error, without secrets, too. [`HostErrorKind::Interrupted`] where `goes_on` says no.
pub async fn steps(
    shim: &Shim,
    app: &App,
    stage: Stage,
    previous: Option<&ReleaseId>,
    lock: Option<OwnedFd>,
    goes_on: GoesOn<'_>,
) -> Result<(), HostError> {
    let steps = stage.steps(&app.release);
    if steps.is_empty() {
        return Ok(());
    }
    let (root, id) = (app.root.clone(), app.release.id.clone());
    let user = super::command::user_of(app).await?;
    let for_log = user.clone();
    let mut transcript = blocking(move || Transcript::open(&root, &id, &for_log)).await?;
    for (at, step) in steps.iter().enumerate() {
        let name = format!("{} {}/{}", stage.word(), at + 1, steps.len());
        if at > 0 && !goes_on() {
            let message = format!("{name}: not begun, for an end was asked for");
            transcript.line(&message);
            return Err(HostError::new(HostErrorKind::Interrupted, message));
        }
        let prepared = prepare(app, stage, step, &user, previous, lock.as_ref()).await;
        let done = match prepared {
            Ok((job, secrets)) => {
                for secret in &secrets {
                    transcript.mask.add(secret);
                }
                run(shim, job, &name, &mut transcript).await
            }
            Err(error) => Err(error),
        };
        done.map_err(|error| told(error, &name, &transcript))?;
    }
    Ok(())
}

/// The step and what to do about it, without its secrets.
fn told(error: HostError, name: &str, transcript: &Transcript) -> HostError {
    let mut help: Vec<String> = error.help.into_iter().collect();
    if let Some(path) = transcript.path() {
        help.push(format!("its whole output is in `{}`", path.display()));
    }
    let message = transcript.mask.text(&format!("{name}: {}", error.message));
    let told = HostError::new(error.kind, message);
    if help.is_empty() { told } else { told.with_help(transcript.mask.text(&help.join("; "))) }
}

async fn run(shim: &Shim, job: Job, name: &str, transcript: &mut Transcript) -> Result<(), HostError> {
    let command = job.command.to_string();
    let begun = Instant::now();
    transcript.headline(&format!("{:.0} {name}: {command}", Timestamp::now()));
    let ended = execute_heard(shim, job, Some(transcript)).await;
    let took = in_seconds(begun.elapsed());
    match ended {
        Ok(ended) => {
            transcript.line(&format!("{name}: {} after {took}", describe(ended.status)));
            if ended.status.success() {
                return Ok(());
            }
            let message = format!("`{command}` ended with {}{}", describe(ended.status), quote(&ended.output));
            Err(HostError::new(HostErrorKind::Other, message)
                .with_help("run it by hand in the release's directory as its user, or correct it in the manifest"))
        }
        Err(error) => {
            let first = error.message.lines().next().unwrap_or_default();
            transcript.line(&format!("{name}: {first}; after {took}"));
            Err(error)
        }
    }
}

/// The job, and the secrets in its environment.
async fn prepare(
    app: &App,
    stage: Stage,
    step: &CommandStep,
    user: &User,
    previous: Option<&ReleaseId>,
    lock: Option<&OwnedFd>,
) -> Result<(Job, Vec<String>), HostError> {
    let lock = lock.map(OwnedFd::try_clone).transpose();
    let lock = lock.map_err(|error| HostError::io("cannot hand the lock to the step", &error))?;
    let (app, step, user) = (app.clone(), step.clone(), user.clone());
    let previous = previous.cloned();
    blocking(move || {
        let user = match &step.user {
            Some(name) => User::named(name.as_str())?,
            None => user,
        };
        let mut environment = BTreeMap::new();
        let mut secrets = Vec::new();
        for (key, value) in &step.env {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret(source) => {
                    let value = secret::read(source, key).map_err(|error| lacking(error, stage))?;
                    secrets.push(value.clone());
                    value
                }
            };
            environment.insert(key.clone(), value);
        }
        let release = app.root.release(&app.release.id);
        let ours = [
            ("RELEASE_ID", Some(app.release.id.as_str().to_owned())),
            ("RELEASE_PATH", Some(release.to_string_lossy().into_owned())),
            ("ROOT", Some(app.root.to_string())),
            ("APP", Some(app.name.as_str().to_owned())),
            ("PREVIOUS_RELEASE", previous.map(String::from)),
        ];
        environment.extend(ours.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let directory = match &step.working_directory {
            Some(path) => inside(&app, path)?,
            None => release,
        };
        let (command, timeout) = (step.run, step.timeout);
        let job = Job { command, directory, user, environment, timeout, lock, output: Wanted::Tail };
        Ok((job, secrets))
    })
    .await?
}

/// A secret that the host lacks says nothing of a release that is not in force yet. After the switch it is gone back,
/// whatever the reason: what is put in force is not left half done.
fn lacking(error: HostError, stage: Stage) -> HostError {
    match stage {
        Stage::Build | Stage::Verify | Stage::Migrate | Stage::BeforeSwitch => {
            HostError { kind: HostErrorKind::Hindered, ..error }
        }
        Stage::AfterSwitch | Stage::AfterRollback => error,
    }
}

/// A directory of the release. Links on the way are followed as long as they stay in the release.
fn inside(app: &App, path: &RelativePath) -> Result<PathBuf, HostError> {
    let release = app.root.release(&app.release.id);
    let shown = release.join(path.as_path());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, &release, flags, Mode::empty())
        .and_then(|release| rustix::fs::openat2(&release, path.as_path(), flags, Mode::empty(), ResolveFlags::BENEATH));
    let resolved = match opened {
        Ok(directory) => {
            use std::os::fd::AsRawFd;
            return std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
                .map_err(|error| HostError::io(format!("cannot resolve `{}`", shown.display()), &error));
        }
        // An absolute link counts as leaving, even one that comes back; and the call may be missing or filtered.
        Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => {
            shown.canonicalize().and_then(|resolved| Ok((resolved, release.canonicalize()?)))
        }
        Err(error) => Err(error.into()),
    };
    match resolved {
        Ok((resolved, release)) if resolved.starts_with(&release) => Ok(resolved),
        Ok(_) => {
            let message = format!("the working directory `{}` leads out of the release", shown.display());
            Err(HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("name a directory of the release, and change into others in the command itself"))
        }
        Err(error) => Err(HostError::io(format!("cannot use the working directory `{}`", shown.display()), &error)),
    }
}
