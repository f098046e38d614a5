//! Work on this host, from the command line: the runtime, the interruption, the listener.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::hang_up::{hang_ups, hung_up};
use super::load::full_places;
use super::options::Paths;
use super::output::say;
use super::own_name;
use super::render::problem::Complaint;
use super::render::words::safe;
use super::{Failure, INTERRUPTED};
use crate::engine::batch::reconcile;
use crate::engine::events::Listener;
use crate::engine::interrupt::Interrupt;
use crate::engine::pass::Request;
use crate::local::LocalHost;
use crate::local::runtime::runtime;
use crate::model::app::App;
use crate::model::report::{Mode, PassReport};
use crate::model::sync::Counting;

/// What others read about who holds a lock; a pass that only looks takes none.
const HOLDER: &str = "trueup reconcile";
/// The same of the agent.
pub(super) const AGENT: &str = "trueup agent";

/// What to do where somebody else holds a lock.
const WAIT_LONGER: &str = "wait for it with `--wait 5m`";

/// A pass that a person has asked for here.
#[must_use]
pub fn request(mode: Mode, wait: Duration, ignore_windows: bool) -> Request {
    let (trigger, interrupt) = ("command".to_owned(), Interrupt::default());
    Request { mode, wait, trigger, interrupt, withheld: None, ignore_windows, counting: Counting::Off }
}

/// Makes one pass over Apps from these manifests; the reports are in the order of the Apps. Without an `approval` of
/// the manifests, nothing of them is run, and no address in them is connected to. A wish to stop stays in the request.
///
/// # Errors
/// When no pass could begin at all; everything else is in the reports.
pub fn pass(
    manifests: &Paths,
    apps: &[&App],
    request: &Request,
    approval: bool,
    listener: &dyn Listener,
) -> Result<Vec<PassReport>, Failure> {
    let interrupt = (request.mode == Mode::Apply).then_some(&request.interrupt);
    let shape = |host: LocalHost| if approval { host } else { host.of_unapproved() };
    on(HOLDER, Some(manifests), interrupt, shape, async |host| {
        let mut reports = reconcile(host, apps, request, listener).await;
        if request.mode == Mode::DryRun {
            host.tell_who_is_at_work(&mut reports).await;
        }
        reports
    })
}

/// Does something on this host; `holder` is what others read about who holds a lock. With `manifests`, sudo may be
/// asked what their processes run. With an `interrupt`, the first wish to stop is handed to it.
///
/// # Errors
/// When it could not begin at all.
pub fn on_this_host<T>(
    holder: &str,
    manifests: Option<&Paths>,
    interrupt: Option<&Interrupt>,
    work: impl AsyncFnOnce(&LocalHost) -> T,
) -> Result<T, Failure> {
    on(holder, manifests, interrupt, |host| host, work)
}

/// The same on this host as `shape` makes it.
fn on<T>(
    holder: &str,
    manifests: Option<&Paths>,
    interrupt: Option<&Interrupt>,
    shape: impl FnOnce(LocalHost) -> LocalHost,
    work: impl AsyncFnOnce(&LocalHost) -> T,
) -> Result<T, Failure> {
    let manifests = manifests.map(full_places).transpose()?.flatten();
    let manifests = manifests.map(|manifests| [own_name::words(), manifests].concat());
    // A pass that only looks is one of `diff` or `status`.
    let what = if holder == HOLDER { "a pass".to_owned() } else { format!("`{holder}`") };
    let cannot_begin = |error: std::io::Error| cannot_begin(&what, &error);
    let runtime = runtime().map_err(cannot_begin)?;
    let done = runtime.block_on(async {
        if let Some(interrupt) = interrupt {
            listen_for_signals(interrupt, holder == AGENT).map_err(cannot_begin)?;
        }
        let host = LocalHost::new(holder);
        let host = shape(if holder == AGENT {
            // What an agent waits for belongs into its log, in the form of that; and nobody tells it how long to wait.
            host.telling(logs_a_wait)
        } else {
            host.telling(says_a_wait).advising(WAIT_LONGER)
        });
        let host = match &manifests {
            Some(manifests) => host.of_manifests(manifests),
            None => host,
        };
        Ok(work(&host).await)
    });
    // Whatever still blocks, such as a read of a dead mount that ran out of time, changes nothing any more.
    runtime.shutdown_background();
    done
}

/// Waits for `what`, which is done elsewhere; a wish to stop ends this program, and not that.
///
/// # Errors
/// It could not begin at all.
pub fn waiting<T>(what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = runtime().map_err(|error| cannot_begin(what, &error))?;
    Ok(runtime.block_on(work))
}

fn says_a_wait(why: &str) {
    say(&format!("waiting: {}\n", safe(why)));
}

fn logs_a_wait(why: &str) {
    tracing::info!(why, "a pass waits");
}

/// This cannot begin, for want of what the kernel gives.
pub(super) fn cannot_begin(what: &str, error: &std::io::Error) -> Failure {
    let complaint = Complaint::new(format!("{what} cannot begin")).cause(error.to_string());
    Failure::Complaint(complaint.help("is the limit of open files (`ulimit -n`) very low? A thousand are plenty"))
}

/// The first signal asks for an end between two steps, the second one ends everything at once. A hang-up asks for an
/// end, and for nothing else, however often it comes: shells pass on what the kernel sends already.
/// An agent `logs` that it was asked to end, and hears hang-ups itself.
fn listen_for_signals(interrupt: &Interrupt, logs: bool) -> std::io::Result<()> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut hang_ups = if logs { None } else { hang_ups()? };
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        loop {
            let pressed = tokio::select! {
                _ = int.recv() => true,
                _ = term.recv() => false,
                () = hung_up(&mut hang_ups) => {
                    if !interrupt.is_asked() {
                        interrupt.ask();
                        say("finishing the step in hand\n");
                    }
                    continue;
                }
            };
            if interrupt.is_asked() {
                std::process::exit(INTERRUPTED.into());
            }
            interrupt.ask();
            if pressed {
                say("finishing the step in hand; press again to leave at once\n");
            } else if !logs {
                say("finishing the step in hand\n");
            }
        }
    });
    Ok(())
}
