//! `rollback`, `retry`, `suspend`, `resume`: what a person does by hand, one App at a time.
//!
//! Each writes something down under the App's lock; the first two then make an ordinary pass.

use serde_json::{Value, json};

use super::Failure;
use super::agent_client::{AgentClient, NoAnswer};
use super::host::{on_this_host, waiting};
use super::load::one;
use super::options::operate::{Agent, One, Resume, Retry, Rollback, Suspend};
use super::options::{Format, Global};
use super::output::Output;
use super::reconcile::listener;
use super::render::problem::Complaint;
use super::render::{operate as text, report};
use crate::documents::pass::passes;
use crate::documents::suspension::Suspension;
use crate::engine::interrupt::Interrupt;
use crate::engine::operate::{self, Suspended, TakeBack};
use crate::engine::pass::Request;
use crate::local::LocalHost;
use crate::model::app::App;
use crate::model::names::ReleaseId;
use crate::model::report::{Mode, PassReport};
use crate::model::sync::Counting;
use crate::ports::HostError;

/// Takes the desired release back; 0: an earlier one is in force, and healthy where that can be told.
///
/// # Errors
/// When the manifests are wrong, there is nothing to take back or nothing to go back to, or no pass could begin.
pub fn rollback(options: &Rollback, global: &Global, output: Output) -> Result<u8, Failure> {
    refuse_markdown("rollback", output)?;
    let body = json!({"to": options.to.as_ref().map(ReleaseId::as_str), "reason": options.reason});
    if let Some(code) = by_agent("rollback", &options.one, &options.agent, &body, output)? {
        return Ok(code);
    }
    let app = one(&options.one.app, &options.one.paths)?.app;
    let reason = operate::reason_to_take_back(options.reason.as_deref(), &person());
    let how = TakeBack { to: options.to.clone(), reason };
    let request = request("rollback", options.wait.wait, true);
    let listener = listener(global);
    let report = on_this_host("trueup rollback", Some(&options.one.paths), Some(&request.interrupt), async |host| {
        Box::pin(operate::rollback(host, &app, &how, &request, &*listener)).await
    })?
    .map_err(failure)?;
    show(&app, std::slice::from_ref(&report), output)?;
    Ok(report.exit_code_of_rollback())
}

/// Tries the desired release again; the exit code of the pass, 0 where nothing keeps it out.
///
/// # Errors
/// When the manifests are wrong, or no pass could begin.
pub fn retry(options: &Retry, global: &Global, output: Output) -> Result<u8, Failure> {
    refuse_markdown("retry", output)?;
    let body = json!({ "ignoreWindows": options.ignore_windows });
    if let Some(code) = by_agent("retry", &options.one, &options.agent, &body, output)? {
        return Ok(code);
    }
    let app = one(&options.one.app, &options.one.paths)?.app;
    let request = request("retry", options.wait.wait, options.ignore_windows);
    let listener = listener(global);
    let made = on_this_host("trueup retry", Some(&options.one.paths), Some(&request.interrupt), async |host| {
        Box::pin(operate::retry(host, &app, &request, &*listener)).await
    })?
    .map_err(failure)?;
    let reports: Vec<PassReport> = made.into_iter().collect();
    show(&app, &reports, output)?;
    Ok(reports.first().map_or(0, |report| report.exit_code(false)))
}

/// Leaves an App alone on this host.
///
/// # Errors
/// When the manifests are wrong, or it cannot be written down.
pub fn suspend(options: &Suspend, output: Output) -> Result<u8, Failure> {
    refuse_markdown("suspend", output)?;
    if let Some(code) = by_agent("suspend", &options.one, &options.agent, &json!({"reason": options.reason}), output)? {
        return Ok(code);
    }
    let app = one(&options.one.app, &options.one.paths)?.app;
    let (reason, by, wait) = (options.reason.as_deref(), person(), options.wait.wait);
    let work = async |host: &LocalHost| operate::suspend(host, &app, reason, &by, wait).await;
    tell(&app, &on_this_host("trueup suspend", None, None, work)?.map_err(failure)?, output)
}

/// Acts on an App again.
///
/// # Errors
/// When the manifests are wrong, or it cannot be written down.
pub fn resume(options: &Resume, output: Output) -> Result<u8, Failure> {
    refuse_markdown("resume", output)?;
    if let Some(code) = by_agent("resume", &options.one, &options.agent, &json!({}), output)? {
        return Ok(code);
    }
    let app = one(&options.one.app, &options.one.paths)?.app;
    let wait = options.wait.wait;
    let work = async |host: &LocalHost| operate::resume(host, &app, wait).await;
    tell(&app, &on_this_host("trueup resume", None, None, work)?.map_err(failure)?, output)
}

/// Has the agent do it that looks after the App; none when there is no such agent, and it is to be done here.
///
/// Without a PATH the agent's own manifest counts: it may come from git, and not be anywhere here.
fn by_agent(verb: &str, which: &One, at: &Agent, body: &Value, output: Output) -> Result<Option<u8>, Failure> {
    if at.no_agent {
        return Ok(None);
    }
    let root = if which.paths.paths.is_empty() { None } else { Some(one(&which.app, &which.paths)?.app.root) };
    let agent = AgentClient::new(&at.socket, person());
    waiting(async {
        match agent.about().await {
            Ok(about) if about.looks_after(&which.app, root.as_ref()) => {
                let asked = agent.post(&format!("/api/v1/apps/{}/{verb}", which.app), body, output).await;
                // From here on nobody but the agent knows what has been done.
                let code = asked.map_err(|why| agent.broken_off(&why))?.show(output)?;
                agent.note(" has done it");
                return Ok(Some(code));
            }
            Ok(_) => agent.note(&format!(" does not look after `{}`: it is done here", which.app)),
            Err(NoAnswer::Absent) => {}
            Err(NoAnswer::Trouble(why)) => agent.note(&format!(" cannot be asked: {why}; it is done here")),
        }
        Ok(None)
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

fn show(app: &App, reports: &[PassReport], output: Output) -> Result<(), Failure> {
    match (output.format, reports) {
        (Format::Json | Format::Yaml, _) => output.document(&passes(reports)),
        (Format::Text | Format::Markdown, []) => output.text(&text::not_kept_out(app)),
        (Format::Text | Format::Markdown, _) => {
            output.text(&reports.iter().map(|one| report::report(app, one, output.width)).collect::<String>())
        }
    }
}

fn request(verb: &str, wait: std::time::Duration, ignore_windows: bool) -> Request {
    let trigger = format!("{verb} by {}", person());
    let (mode, interrupt, counting) = (Mode::Apply, Interrupt::default(), Counting::Off);
    Request { mode, wait, trigger, interrupt, withheld: None, ignore_windows, counting }
}

/// Who is at the keyboard, for the history; a courtesy and no proof.
pub(super) fn person() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"].iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(login)
}

/// The name that this machine has for the user who calls, as under a timer or `env -i`; else his number.
fn login() -> String {
    let uid = nix::unistd::getuid();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    known.map_or_else(|| format!("user {uid}"), |user| user.name)
}

/// Refuses a form that only differences have.
pub(super) fn refuse_markdown(verb: &str, output: Output) -> Result<(), Failure> {
    if output.format != Format::Markdown {
        return Ok(());
    }
    let complaint = Complaint::new(format!("`{verb}` has no markdown form")).help("choose text, json or yaml");
    Err(Failure::Usage(complaint))
}

/// What the host said, for people.
pub(super) fn failure(error: HostError) -> Failure {
    Failure::Complaint(Complaint { message: error.message, causes: Vec::new(), help: error.help })
}
