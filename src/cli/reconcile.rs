//! `reconcile`: bring this host to what the manifests say.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Failure;
use super::agent_client::{AgentClient, Waits};
use super::fleet::{self, One, Told};
use super::host::{pass, request as made_by_hand, waiting};
use super::in_force;
use super::inspect::{previews, say_who_is_at_work};
use super::live::listener;
use super::load::{apps, select_unapproved};
use super::options::reconcile::Reconcile;
use super::options::{Format, Global};
use super::output::{Output, say};
use super::person::person;
use super::put_back;
use super::render::older::older;
use super::render::problem::Complaint;
use super::render::{self, report};
use crate::documents::pass::passes;
use crate::documents::wire::Operation;
use crate::manifest::Loaded;
use crate::model::report::{Mode, PassReport, worst};

/// Makes a pass and reports it; the exit code of the worst App.
///
/// # Errors
/// When the manifests are wrong or no pass could begin.
pub fn run(options: &Reconcile, global: &Global, output: Output) -> Result<u8, Failure> {
    refuse_what_does_not_go_together(options, output)?;
    if options.by.request {
        return request(options, output);
    }
    let Reconcile { selection, hosts, in_force, .. } = options;
    let loaded = if options.no_probe {
        select_unapproved(selection)
    } else {
        in_force::select_to_act(selection, hosts, in_force)
    };
    let (here, theirs) = fleet::part(loaded?, &options.hosts);
    let apps = fleet::chosen(&theirs, &options.hosts)?;
    fleet::refuse_own_environment(&apps)?;
    if !options.dry_run {
        put_back::warn(&here, &selection.paths, in_force)?;
    }
    let here = Here::reconcile(&here, options, global, output)?;
    if theirs.is_empty() {
        here.print()?;
        Ok(here.code())
    } else if options.dry_run {
        look_at_hosts(&here, &apps, global)
    } else {
        roll_out(&here, &apps, global)
    }
}

fn refuse_what_does_not_go_together(options: &Reconcile, output: Output) -> Result<(), Failure> {
    if output.format == Format::Markdown && !options.dry_run {
        let complaint = Complaint::new("`--format markdown` shows what would be done, not what was done");
        return Err(Failure::Usage(complaint.help("add `--dry-run`, or choose text, json or yaml")));
    }
    if options.by.no_wait && !options.by.request {
        // The parser forgives this one beside a PATH, which `--request` rules out.
        let complaint = Complaint::new("`--no-wait` goes with `--request`: a pass made here is always waited for");
        let help = "add `--request` and name no PATH, or leave `--no-wait` out; `--wait 0s` waits for no other pass";
        return Err(Failure::Usage(complaint.help(help)));
    }
    Ok(())
}

/// What came of this host's own Apps.
struct Here<'a> {
    loaded: &'a [Loaded],
    options: &'a Reconcile,
    output: Output,
    reports: Vec<PassReport>,
    /// The person wants no more.
    is_interrupted: bool,
}

impl<'a> Here<'a> {
    /// Makes the pass, where there is anything to make one over.
    fn reconcile(
        loaded: &'a [Loaded],
        options: &'a Reconcile,
        global: &Global,
        output: Output,
    ) -> Result<Self, Failure> {
        let mode = if options.dry_run { Mode::DryRun } else { Mode::Apply };
        let request = made_by_hand(mode, options.wait, options.ignore_windows);
        let reports = if loaded.is_empty() {
            Vec::new()
        } else {
            pass(&options.selection.paths, &apps(loaded), &request, !options.no_probe, &*listener(global))?
        };
        say_who_is_at_work(&reports);
        Ok(Self { loaded, options, output, reports, is_interrupted: request.interrupt.is_asked() })
    }

    fn print(&self) -> Result<(), Failure> {
        if self.output.is_document() {
            self.output.document(&passes(&self.reports))
        } else {
            self.output.text(&self.text())
        }
    }

    /// The same with what came of other hosts, each App of theirs with a `face`.
    fn print_with<T: Told>(
        &self,
        apps: &[One<'_>],
        each: &[T],
        face: impl Fn(&One<'_>, &T) -> String,
    ) -> Result<(), Failure> {
        if self.output.is_document() {
            self.output.document(&fleet::pass_list(&self.reports, apps, each))
        } else {
            self.output.text(&fleet::joined(self.text(), apps, each, face))
        }
    }

    fn text(&self) -> String {
        if self.options.dry_run {
            return previews(self.loaded, &self.reports, self.output);
        }
        let both = self.loaded.iter().zip(&self.reports);
        both.map(|(one, report)| report::report(&one.app, report, self.output.width)).collect()
    }

    fn code(&self) -> u8 {
        worst(self.reports.iter().map(|report| report.exit_code(self.options.detailed_exitcode)))
    }
}

/// Says what would be done on other hosts, too.
fn look_at_hosts(here: &Here<'_>, apps: &[One<'_>], global: &Global) -> Result<u8, Failure> {
    let Here { options, output, .. } = *here;
    let operation = Operation::DryRun { ignore_windows: options.ignore_windows, retry: false };
    let came = fleet::looked(apps, &operation, &options.hosts, global, output.is_document())?;
    here.print_with(apps, &came.each, |one, looked| fleet::preview(one, looked, output))?;
    let theirs = came.code(|looked| fleet::dry_run_code(looked, options.detailed_exitcode));
    Ok(worst([here.code(), theirs].into_iter()))
}

/// Rolls the Apps out over other hosts, and says what came of it there and here.
fn roll_out(here: &Here<'_>, apps: &[One<'_>], global: &Global) -> Result<u8, Failure> {
    let Here { options, output, .. } = *here;
    // Whoever wants no more of this host wants nothing of others.
    let rolled = if here.is_interrupted {
        Ok(fleet::left_out(apps))
    } else {
        fleet::rolled(apps, options, global, output.is_document())
    };
    let came = match rolled {
        Ok(came) => came,
        Err(failure) => {
            // What was done here is told all the same.
            here.print()?;
            return Err(failure);
        }
    };
    here.print_with(apps, &came.each, |one, rolled| {
        render::fleet::rolled(&one.loaded.app, &one.fleet.hosts, rolled, output.width)
    })?;
    Ok(worst([here.code(), came.code(|rolled| rolled.ending.exit_code())].into_iter()))
}

/// Has the agent make passes.
fn request(options: &Reconcile, output: Output) -> Result<u8, Failure> {
    let agent = AgentClient::new(&options.in_force.socket.path, person());
    let body = wish(&options.selection.apps, options.ignore_windows);
    let path = format!("/api/v1/reconcile?wait={}", !options.by.no_wait);
    let whose: Vec<String> = options.selection.apps.iter().map(|name| format!("`{name}`")).collect();
    let over = if whose.is_empty() { "all its Apps".to_owned() } else { whose.join(", ") };
    let what = format!("looks for newer manifests, then makes a pass over {over}");
    // Said at once, but for what is done at once.
    let waits = Waits { what: &what, silence: Duration::from_millis(300) };
    let (answer, about) = waiting("`trueup reconcile --request`", async {
        let answer = agent.post(&path, &body, output, waits).await.map_err(|why| agent.missing(&why))?;
        let about = if answer.older_because().is_some() { agent.about().await.ok() } else { None };
        Ok::<_, Failure>((answer, about))
    })??;
    if let Some(why) = answer.older_because() {
        say(&older(&agent.place(), why, about.as_ref()));
    }
    answer.show(output)
}

/// What is asked of the agent.
fn wish(apps: &[String], ignore_windows: bool) -> Value {
    let mut body = Map::new();
    if !apps.is_empty() {
        body.insert("apps".to_owned(), json!(apps));
    }
    if ignore_windows {
        body.insert("ignoreWindows".to_owned(), json!(true));
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_asked_for_what_was_said_and_nothing_else() {
        let rows: [(&[&str], bool, &str); 3] = [
            (&[], false, "{}"),
            (&["shop", "blog"], false, r#"{"apps":["shop","blog"]}"#),
            (&["shop"], true, r#"{"apps":["shop"],"ignoreWindows":true}"#),
        ];
        for (apps, ignore_windows, expected) in rows {
            let apps: Vec<String> = apps.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(wish(&apps, ignore_windows).to_string(), expected);
        }
    }
}
