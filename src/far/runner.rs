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

use super::answer::{self, Faces};
use super::spool::Spool;
use super::{app_of, who};
use crate::decide::aim::quarantine;
use crate::documents::wire::{BEAT, Begun, Ended, Failed, Fault, Operation, Request, What, read};
use crate::engine::batch::reconcile;
use crate::engine::events::{Event, Listener};
use crate::engine::interrupt::Interrupt;
use crate::engine::operate::{TakeBack, rollback};
use crate::engine::pass;
use crate::host::proc;
use crate::local::LocalHost;
use crate::local::runtime::runtime;
use crate::manifest::Loaded;
use crate::model::names::AppName;
use crate::model::observed::Link;
use crate::model::process::Pid;
use crate::model::report::{Mode, PassReport};
use crate::model::sync::Counting;
use crate::ports::{HostError, Ledger, Releases};

/// Descriptors below this one are used by whatever expects them.
const FREE: i32 = 3;

/// The spool, for all who say something.
type Shared = Arc<Mutex<Spool>>;

/// Makes the pass of the request that is on the standard input, and says all of it into the file on the standard output.
#[must_use]
pub fn runner(faces: &Faces) -> ExitCode {
    let spool = match settle().and_then(|spool| Ok((spool.try_clone()?, spool))) {
        Ok(both) => both,
        Err(error) => {
            tracing::error!(%error, "cannot begin");
            return ExitCode::FAILURE;
        }
    };
    let (pulse, spool) = spool;
    let spool = Arc::new(Mutex::new(Spool::new(spool)));
    let ended = match run(faces, pulse, &spool) {
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

fn run(faces: &Faces, pulse: File, spool: &Shared) -> Result<What, Failed> {
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
    Ok(What::Report(Box::new(answer::report(&one, &made?, &request.host, faces, back)?)))
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
        Operation::Apply { wait, ignore_windows } => wish("reconcile", *wait, *ignore_windows),
        Operation::TakeBack { reason, wait, .. } => {
            let wish = wish("rollback", *wait, true);
            if !is_taken_back(&host, one).await? {
                let how = TakeBack { to: None, reason: reason.clone() };
                return Ok(Box::pin(rollback(&host, &one.app, &how, &wish, &listener)).await?);
            }
            wish
        }
        Operation::Observe | Operation::DryRun { .. } | Operation::Health | Operation::Stop => {
            return Err(Failed::new(Fault::Request, "a runner is not needed for this"));
        }
    };
    let reports = reconcile(&host, &[&one.app], &wish, &listener).await;
    reports.into_iter().next().ok_or_else(|| Failed::new(Fault::Other, "there is no report"))
}

/// Whether the release is kept out and left already: an ordinary pass goes on from there.
async fn is_taken_back(host: &LocalHost, one: &Loaded) -> Result<bool, HostError> {
    let (layout, records) = (host.layout(&one.app).await?, host.records(&one.app.root).await?);
    let here = layout.link == Link::Release { id: one.app.release.id.clone() };
    Ok(!here && quarantine(&one.app, &records).is_some())
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
