//! `rollback`, `retry`, `suspend`, `resume`: what a person does by hand, one App at a time.
//!
//! Each writes something down under the App's lock; the first two then make an ordinary pass. Over the hosts of an App
//! these two are the matter of [`by_hand`].

use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use super::agent_client::{AgentClient, NoAnswer, Waits};
use super::fleet::by_hand;
use super::host::{on_this_host, waiting};
use super::in_force::NotThere;
use super::live::listener;
use super::load::{as_here, named, not_here};
use super::options::fleet::Hosts;
use super::options::operate::{Agent, One, Resume, Retry, Rollback, Suspend};
use super::options::{Format, Global};
use super::output::Output;
use super::own_name;
use super::person::person;
use super::render::{operate as text, report};
use crate::documents::pass::passes;
use crate::documents::suspension::Suspension;
use crate::engine::interrupt::Interrupt;
use crate::engine::operate::{self, Suspended, TakeBack};
use crate::engine::pass::Request;
use crate::local::LocalHost;
use crate::manifest::Loaded;
use crate::model::app::App;
use crate::model::names::{ReleaseId, Root};
use crate::model::report::{Mode, PassReport};
use crate::model::sync::Counting;

/// An agent that takes no longer is waited for silently.
const SOON: Duration = Duration::from_secs(2);

/// Takes the desired release back; 0: an earlier one is in force, and healthy where that can be told.
///
/// # Errors
/// When the manifests are wrong, there is nothing to take back or nothing to go back to, or no pass could begin.
pub fn rollback(options: &Rollback, global: &Global, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("rollback")?;
    let body = json!({"to": options.to.as_ref().map(ReleaseId::as_str), "reason": options.reason});
    let app = match whose(
        &options.one,
        Some(&options.hosts),
        &AgentRequest { verb: "rollback", body, at: &options.agent, output },
    )? {
        Whose::Agents(code) => return Ok(code),
        Whose::Theirs(written) => return by_hand::rollback(&written, options, global, output),
        Whose::Ours(app) => app,
    };
    let reason = operate::reason_to_take_back(options.reason.as_deref(), &person());
    let how = TakeBack { to: options.to.clone(), reason };
    let request = request("rollback", options.wait.wait, true);
    let listener = listener(global);
    let report = on_this_host("trueup rollback", Some(&options.one.paths), Some(&request.interrupt), async |host| {
        Box::pin(operate::rollback(host, &app, &how, &request, &*listener)).await
    })??;
    drop(listener);
    show(&app, std::slice::from_ref(&report), report::report, output)?;
    Ok(report.exit_code_of_rollback())
}

/// Tries the desired release again; the exit code of the pass, 0 where nothing keeps it out.
///
/// # Errors
/// When the manifests are wrong, or no pass could begin.
pub fn retry(options: &Retry, global: &Global, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("retry")?;
    let body = json!({ "ignoreWindows": options.ignore_windows });
    let app = match whose(
        &options.one,
        Some(&options.hosts),
        &AgentRequest { verb: "retry", body, at: &options.agent, output },
    )? {
        Whose::Agents(code) => return Ok(code),
        Whose::Theirs(written) => return by_hand::retry(&written, options, global, output),
        Whose::Ours(app) => app,
    };
    let request = request("retry", options.wait.wait, options.ignore_windows);
    let listener = listener(global);
    let made = on_this_host("trueup retry", Some(&options.one.paths), Some(&request.interrupt), async |host| {
        Box::pin(operate::retry(host, &app, &request, &*listener)).await
    })??;
    drop(listener);
    let reports: Vec<PassReport> = made.into_iter().collect();
    show(&app, &reports, text::retried, output)?;
    Ok(reports.first().map_or(0, |report| report.exit_code(false)))
}

/// Leaves an App alone on this host.
///
/// # Errors
/// When the manifests are wrong, or it cannot be written down.
pub fn suspend(options: &Suspend, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("suspend")?;
    let body = json!({"reason": options.reason});
    let app = match whose(&options.one, None, &AgentRequest { verb: "suspend", body, at: &options.agent, output })? {
        Whose::Agents(code) => return Ok(code),
        Whose::Theirs(written) => return Err(not_here(&written)),
        Whose::Ours(app) => app,
    };
    let (reason, by, wait) = (options.reason.as_deref(), person(), options.wait.wait);
    let work = async |host: &LocalHost| operate::suspend(host, &app, reason, &by, wait).await;
    tell(&app, &on_this_host("trueup suspend", None, None, work)??, output)
}

/// Acts on an App again.
///
/// # Errors
/// When the manifests are wrong, or it cannot be written down.
pub fn resume(options: &Resume, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("resume")?;
    let app =
        match whose(&options.one, None, &AgentRequest { verb: "resume", body: json!({}), at: &options.agent, output })?
        {
            Whose::Agents(code) => return Ok(code),
            Whose::Theirs(written) => return Err(not_here(&written)),
            Whose::Ours(app) => app,
        };
    let wait = options.wait.wait;
    let work = async |host: &LocalHost| operate::resume(host, &app, wait).await;
    tell(&app, &on_this_host("trueup resume", None, None, work)??, output)
}

/// Whose matter it is, what was asked for.
enum Whose {
    /// The agent's of this host, which has done it: the exit code.
    Agents(u8),
    /// This host's.
    Ours(Box<App>),
    /// That of other hosts: the App as it is written.
    Theirs(Box<Loaded>),
}

/// Finds the App, and has the agent do it that looks after it here, if there is one.
///
/// Without a PATH the agent's own manifest counts: it may come from git, and not be anywhere here. Whoever chooses
/// among `hosts` means these, whatever this host is.
fn whose(which: &One, hosts: Option<&Hosts>, request: &AgentRequest<'_>) -> Result<Whose, Failure> {
    if hosts.is_some_and(Hosts::is_choice) {
        return Ok(Whose::Theirs(Box::new(named(&which.app, &which.paths)?)));
    }
    // Read once: it may be the standard input.
    let known = if which.paths.paths.is_empty() { None } else { Some(found(which)?) };
    let root = match &known {
        Some(Whose::Ours(app)) => Some(&app.root),
        Some(Whose::Agents(_) | Whose::Theirs(_)) | None => None,
    };
    let by_agent =
        if matches!(known, Some(Whose::Theirs(_))) { ByAgent::Not(None) } else { by_agent(&which.app, root, request)? };
    let unknown = match by_agent {
        ByAgent::Done(code) => return Ok(Whose::Agents(code)),
        ByAgent::Not(unknown) => unknown,
    };
    // A name that nobody knows is no reason to say who does it.
    let found = known.map_or_else(|| found(which), Ok);
    let Some((agent, why)) = unknown else { return found };
    let found = found.map_err(|failure| why.explain(failure))?;
    agent.note(&format!(" does not look after `{}`: it is done here", which.app));
    Ok(found)
}

/// The App by its manifest.
fn found(which: &One) -> Result<Whose, Failure> {
    let written = named(&which.app, &which.paths)?;
    Ok(match as_here(&written)? {
        Some(own) => Whose::Ours(Box::new(own.app)),
        // Whoever says which host this is means this host alone.
        None if own_name::is_said() => return Err(not_here(&written)),
        None => Whose::Theirs(Box::new(written)),
    })
}

/// What the agent of this host is asked for, where it looks after the App.
struct AgentRequest<'a> {
    /// The verb, as the command line and the agent's API have it.
    verb: &'static str,
    /// What the verb is given.
    body: Value,
    /// Where the agent is.
    at: &'a Agent,
    /// How its answer is printed.
    output: Output,
}

/// What the agent has to do with it.
enum ByAgent {
    /// It has done it: the exit code.
    Done(u8),
    /// It is to be done here: with an agent that does not look after the App.
    Not(Option<(AgentClient, NotThere)>),
}

/// Has the agent do it that looks after the App, and has it in that root where one is known.
fn by_agent(app: &str, root: Option<&Root>, request: &AgentRequest<'_>) -> Result<ByAgent, Failure> {
    let AgentRequest { verb, body, at, output } = request;
    if at.no_agent {
        return Ok(ByAgent::Not(None));
    }
    let agent = AgentClient::new(&at.socket.path, person());
    waiting(&format!("`trueup {verb}`"), async {
        match agent.about().await {
            Ok(about) if about.looks_after(app, root) => {
                let waits = Waits { what: &format!("was asked to {verb} `{app}`"), silence: SOON };
                let asked = agent.post(&format!("/api/v1/apps/{app}/{verb}"), body, *output, waits).await;
                // From here on nobody but the agent knows what has been done.
                let code = asked.map_err(|why| agent.broken_off(&why))?.show(*output)?;
                agent.note(" has done it");
                return Ok(ByAgent::Done(code));
            }
            Ok(about) => {
                let why = NotThere::unknown(&agent, &about, app);
                return Ok(ByAgent::Not(Some((agent, why))));
            }
            Err(NoAnswer::Absent) => {}
            Err(NoAnswer::Trouble(why)) => agent.note(&format!(" cannot be asked: {why}; it is done here")),
        }
        Ok(ByAgent::Not(None))
    })?
}

fn tell(app: &App, changed: &Suspended, output: Output) -> Result<u8, Failure> {
    let (before, suspended) = (changed.before.as_deref(), changed.now.as_deref());
    match output.format {
        Format::Text | Format::Markdown => output.text(&text::suspension(app, before, suspended))?,
        Format::Json | Format::Yaml => output.document(&Suspension::new(app, before, suspended))?,
    }
    Ok(0)
}

fn show(
    app: &App,
    reports: &[PassReport],
    pass: fn(&App, &PassReport, Option<usize>) -> String,
    output: Output,
) -> Result<(), Failure> {
    match (output.format, reports) {
        (Format::Json | Format::Yaml, _) => output.document(&passes(reports)),
        (Format::Text | Format::Markdown, []) => output.text(&text::not_kept_out(app)),
        (Format::Text | Format::Markdown, _) => {
            output.text(&reports.iter().map(|one| pass(app, one, output.width)).collect::<String>())
        }
    }
}

fn request(verb: &str, wait: Duration, ignore_windows: bool) -> Request {
    let trigger = format!("{verb} by {}", person());
    let (mode, interrupt, counting) = (Mode::Apply, Interrupt::default(), Counting::Off);
    Request { mode, wait, trigger, interrupt, withheld: None, ignore_windows, counting }
}
