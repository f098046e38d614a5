//! The process that makes a pass for a control side, and outlives the connection.
//!
//! It leads a session of its own, so that neither a hang-up nor the end of sshd's session reaches it. A wish to stop
//! (SIGTERM, SIGINT, however often) ends the pass after the step in hand. It touches its spool while it lives, whatever
//! its steps are at: whoever follows sees by that whether it was stopped, or waits for a dead disk.

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout, stdout};
use tokio::signal::unix::{SignalKind, signal};

use super::answer::{self, Renderers};
use super::spool::Spool;
use super::{app_of, who};
use crate::decide::aim::quarantine;
use crate::documents::wire::{BEAT, Begun, Ended, Failed, Fault, Operation, Request, What, read};
use crate::engine::batch::reconcile;
use crate::engine::events::{Event, Listener};
use crate::engine::interrupt::Interrupt;
use crate::engine::operate::{TakeBack, retry, rollback};
use crate::engine::pass;
use crate::host::proc;
use crate::local::LocalHost;
use crate::local::runtime::runtime;
use crate::manifest::Loaded;
use crate::model::names::{AppName, ReleaseId};
use crate::model::observed::Link;
use crate::model::process::Pid;
use crate::model::record::Quarantine;
use crate::model::report::{Mode, PassReport};
use crate::model::sync::Counting;
use crate::ports::{HostError, HostErrorKind, Ledger, Releases};

/// Descriptors below this one are used by whatever expects them.
const FREE: i32 = 3;

/// The spool, for all who say something.
type Shared = Arc<Mutex<Spool>>;

/// Makes the pass of the request that is on the standard input, and says all of it into the file on the standard output.
#[must_use]
pub fn runner(renderers: &Renderers) -> ExitCode {
    let spool = match settle().and_then(|spool| Ok((spool.try_clone()?, spool))) {
        Ok(both) => both,
        Err(error) => {
            tracing::error!(%error, "cannot begin");
            return ExitCode::FAILURE;
        }
    };
    let (pulse, spool) = spool;
    let spool = Arc::new(Mutex::new(Spool::new(spool)));
    let ended = match run(renderers, pulse, &spool) {
        Ok(report) => {
            say(&spool, report);
            Ended::Done
        }
        Err(failed) => {
            say(&spool, What::Failed(failed));
            Ended::Failed
        }
    };
    say(&spool, What::End(ended));
    spool.lock().unwrap_or_else(PoisonError::into_inner).give_back();
    ExitCode::SUCCESS
}

/// Leaves whoever started us, and takes the spool out of the way of what we start ourselves.
fn settle() -> io::Result<File> {
    // Fails only for one that leads a session already.
    let _ = rustix::process::setsid();
    let spool = fcntl_dupfd_cloexec(stdout(), FREE)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    dup2_stdout(null)?;
    Ok(File::from(spool))
}

fn run(renderers: &Renderers, pulse: File, spool: &Shared) -> Result<What, Failed> {
    let request = request()?;
    let one = app_of(&request)?;
    let unsure = |why: String| Failed::new(Fault::Host, "cannot tell which process this is").cause(why);
    let own = proc::identify(Pid(std::process::id())).map_err(|error| unsure(error.to_string()))?;
    let own = own.ok_or_else(|| unsure("it is not in /proc".to_owned()))?;
    let runtime = runtime().map_err(|error| HostError::io("cannot begin", &error))?;
    let interrupt = Interrupt::default();
    let made = runtime.block_on(async {
        listen_for_signals(&interrupt).map_err(|error| HostError::io("cannot begin", &error))?;
        tokio::spawn(stir(pulse));
        // From here on a wish to stop is heard.
        say(spool, What::Begun(Begun { process: own, boot: proc::boot_id() }));
        // Nobody would ever hear of this pass, nor that it was made.
        if spool.lock().unwrap_or_else(PoisonError::into_inner).is_broken() {
            return Err(Failed::new(Fault::Host, "cannot write down what the pass tells; it was not begun"));
        }
        Box::pin(pass(&request, &one, interrupt.clone(), spool)).await
    });
    // Whatever still blocks changes nothing any more.
    runtime.shutdown_background();
    let back = matches!(request.operation, Operation::TakeBack { .. });
    Ok(What::Report(Box::new(answer::report(&one, &made?, &request.host, renderers, back)?)))
}

fn request() -> Result<Request, Failed> {
    let mut text = Vec::new();
    let unread = |error: io::Error| Failed::new(Fault::Request, "cannot read the request").cause(error.to_string());
    io::stdin().read_to_end(&mut text).map_err(unread)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    null.and_then(dup2_stdin).map_err(|error| unread(error.into()))?;
    read::request(&text)
}

/// The pass that was asked for.
async fn pass(request: &Request, one: &Loaded, interrupt: Interrupt, spool: &Shared) -> Result<PassReport, Failed> {
    let who = who(request);
    let told = Arc::clone(spool);
    let host = LocalHost::new(format!("trueup far, for {who}"))
        .telling(move |why: &str| say(&told, What::Waiting(why.to_owned())));
    let listener = Telling(Arc::clone(spool));
    let wish = |verb: &str, wait, ignore_windows| pass::Request {
        mode: Mode::Apply,
        wait,
        trigger: format!("{verb} by {who}"),
        interrupt: interrupt.clone(),
        withheld: None,
        ignore_windows,
        counting: Counting::Off,
    };
    let wish = match &request.operation {
        Operation::Apply { wait, ignore_windows, retry: false } => wish("reconcile", *wait, *ignore_windows),
        Operation::Apply { wait, ignore_windows, retry: true } => {
            let wish = wish("retry", *wait, *ignore_windows);
            if is_kept_out(&host, one).await?
                && let Some(made) = Box::pin(retry(&host, &one.app, &wish, &listener)).await?
            {
                return Ok(made);
            }
            wish
        }
        Operation::TakeBack { to, reason, wait, .. } => {
            let wish = wish("rollback", *wait, true);
            if stands(&host, one, to.as_ref()).await? == Stands::Back {
                wish
            } else {
                let how = TakeBack { to: to.clone(), reason: reason.clone() };
                let refusal = match Box::pin(rollback(&host, &one.app, &how, &wish, &listener)).await {
                    Ok(made) => return Ok(made),
                    Err(refusal) => refusal,
                };
                // It may have waited for a pass that has gone back by itself.
                match stands(&host, one, to.as_ref()).await? {
                    Stands::Back => wish,
                    // Nothing to go back from: it is looked at. Not so while somebody else is at it.
                    Stands::Before if refusal.kind != HostErrorKind::Locked => {
                        pass::Request { mode: Mode::DryRun, ..wish }
                    }
                    Stands::Before | Stands::Here => return Err(refusal.into()),
                }
            }
        }
        Operation::Observe | Operation::DryRun { .. } | Operation::Health => {
            return Err(Failed::new(Fault::Request, "a runner is not needed for this"));
        }
    };
    let reports = reconcile(&host, &[&one.app], &wish, &listener).await;
    reports.into_iter().next().ok_or_else(|| Failed::new(Fault::Other, "there is no report"))
}

/// Whether the release is kept out. Where there is no root yet, nothing is, and there is no place for a lock.
async fn is_kept_out(host: &LocalHost, one: &Loaded) -> Result<bool, HostError> {
    Ok(quarantine(&one.app, &host.records(&one.app.root).await?).is_some())
}

/// How a host stands to a release that is to be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// It is kept out and left already, by the way that was asked for: an ordinary pass goes on from there.
    Back,
    /// Another one is in force, and this one has never been: what was to bring it has ended before the switch.
    Before,
    /// It is in force, or was left by another way.
    Here,
}

async fn stands(host: &LocalHost, one: &Loaded, to: Option<&ReleaseId>) -> Result<Stands, HostError> {
    let (layout, records) = (host.layout(&one.app).await?, host.records(&one.app.root).await?);
    let chosen = |quarantine: &Quarantine| to.is_none() || quarantine.back_to.as_ref() == to;
    let wanted = &one.app.release.id;
    let has_come = || records.iter().any(|record| record.id == *wanted && record.switched.is_some());
    Ok(match (&layout.link, quarantine(&one.app, &records)) {
        (Link::Release { id }, _) if id == wanted => Stands::Here,
        (_, Some(quarantine)) if chosen(quarantine) => Stands::Back,
        (Link::Release { .. }, None) if !has_come() => Stands::Before,
        _ => Stands::Here,
    })
}

/// Writes down what happens.
struct Telling(Shared);

impl Listener for Telling {
    fn event(&self, _app: &AppName, event: &Event) {
        say(&self.0, What::Event(event.clone()));
    }
}

fn say(spool: &Shared, what: What) {
    spool.lock().unwrap_or_else(PoisonError::into_inner).say(what);
}

/// Gives signs of life, as long as the pass's own thread comes to it.
async fn stir(spool: File) {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
        if let Err(error) = spool.set_modified(SystemTime::now()) {
            // The pass goes on: who follows it will think that it does not.
            tracing::warn!(%error, "cannot show that the pass goes on");
        }
    }
}

/// Every wish to stop asks for an end between two steps; hang-ups are not heard.
fn listen_for_signals(interrupt: &Interrupt) -> io::Result<()> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => interrupt.ask(),
                _ = term.recv() => interrupt.ask(),
                _ = hang_up.recv() => {}
            }
        }
    });
    Ok(())
}
