//! `evidence` and `sudoers`: for users who may not see or do everything themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Failure;
use super::host::on_this_host;
use super::load::{apps, full_places, here, load};
use super::options::operate::Sudoers;
use super::options::{Format, Paths};
use super::output::{Output, say};
use super::own_name;
use super::render::problem::Complaint;
use super::render::sudoers as text;
use crate::documents::List;
use crate::documents::evidence::Evidence;
use crate::documents::sudoers::SudoRules;
use crate::engine::evidence;
use crate::model::app::App;
use crate::ports::HostError;

/// Prints which release every process runs that names one.
///
/// # Errors
/// When the manifests are wrong, or processes cannot be listed.
pub fn evidence(paths: &Paths, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("evidence")?;
    let loaded = load(paths).and_then(|loaded| here(&loaded)).map_err(unquoted)?;
    let apps = apps(&loaded);
    let found = on_this_host("trueup evidence", None, None, async |host| evidence::evidence(host, &apps).await)??;
    let observed_at = Timestamp::now();
    let complete = rustix::process::geteuid().is_root();
    let items: Vec<Evidence<'_>> = apps
        .iter()
        .zip(found)
        .map(|(app, found)| {
            let problem = found.as_ref().err().map(ToString::to_string);
            let processes = found.unwrap_or_default();
            Evidence { app: &app.name, root: &app.root, observed_at, complete, processes, problem }
        })
        .collect();
    let code = u8::from(items.iter().any(|item| item.problem.is_some()));
    output.document(&List::new("EvidenceList", items))?;
    Ok(code)
}

/// What is in a file that only root can read must not be told to whoever may run this by sudo.
fn unquoted(failure: Failure) -> Failure {
    match failure {
        Failure::Manifests(_) => Failure::Complaint(
            Complaint::new("these manifests cannot be used").help("see what is wrong with them: `trueup validate`"),
        ),
        other => other,
    }
}

/// Says why one of the rules of an App is not among them.
fn say_missing(app: &App, what: &str, error: HostError) {
    let complaint = Complaint::new(format!("no rules for the {what} of `{}`", app.name)).cause(error.message);
    say(&Complaint { help: error.help, ..complaint }.render());
}

/// Says why `trueup evidence` is not among the rules of a user, who could put another program in its place.
fn say_replaceable(user: &str, part: &Path) {
    let message = format!("no rule for `trueup evidence`: `{user}` could replace `{}`", part.display());
    let help = "install trueup where only root writes, such as /usr/local/bin, and run it from there";
    say(&Complaint::new(message).help(help).render());
}

/// Says of Apps with hosts what no rule on this host helps with.
fn warn_of_fleets(apps: &[String]) {
    let message = format!("over SSH nobody asks `trueup evidence`: {}", apps.join(", "));
    let help =
        "a rollout from elsewhere judges workers of another user by when they started, unless it logs in as root";
    say(&Complaint::new(message).help(help).render_as_warning());
}

/// Prints the rules.
///
/// # Errors
/// When the manifests are wrong, or there is no such user.
pub fn sudoers(options: &Sudoers, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("sudoers")?;
    let written = load(&options.paths)?;
    let of_fleets: Vec<String> =
        written.iter().filter(|one| one.fleet.is_some()).map(|one| format!("`{}`", one.app.name)).collect();
    let loaded = here(&written)?;
    let manifests = full_places(&options.paths)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::Complaint(Complaint::new("cannot tell where trueup is").cause(error.to_string())))?;
    let (found, spelled) = on_this_host("trueup sudoers", None, None, async |host| {
        let mut found = Vec::new();
        for one in &loaded {
            let user = host.user(options.user.as_deref(), &one.app).await;
            found.push((&one.app, user, host.sudo_commands(&one.app).await));
        }
        // Some verbs are told what this host is called, and ask by the same name; the others are not.
        let mut ways = vec![Vec::new(), own_name::words()];
        ways.dedup();
        let words = |called: &Vec<PathBuf>| {
            let words = called.iter().chain(manifests.iter().flatten()).map(PathBuf::as_path);
            host.spelled([program.as_path(), Path::new("evidence")].into_iter().chain(words))
        };
        (found, ways.iter().map(words).collect::<Result<Vec<_>, _>>())
    })?;
    let spelled = spelled?;
    let mut rules: Vec<SudoRules> = Vec::new();
    let mut complete = true;
    let mut told = BTreeSet::new();
    for (app, user, needed) in found {
        let user = user?;
        if user.uid == 0 {
            say(&Complaint::new(format!("`{}` belongs to root, who needs no rules", app.name))
                .help("name who is to run trueup: `--user deploy`")
                .render_as_warning());
            continue;
        }
        // One without a name is written as a number.
        let name = if user.name == user.uid.to_string() { format!("#{}", user.uid) } else { user.name.clone() };
        for one in needed {
            match one.commands {
                Ok(commands) if commands.is_empty() => {}
                Ok(commands) => {
                    let what = format!("{}: {}", app.name, one.what);
                    rules.push(SudoRules { user: name.clone(), what, commands });
                }
                Err(error) => {
                    complete = false;
                    say_missing(app, &one.what, error);
                }
            }
        }
        if manifests.is_none() || !told.insert(user.name.clone()) {
            continue;
        }
        // Whoever could put another program in its place would be root.
        if let Some(part) = user.could_replace(&program)? {
            complete = false;
            say_replaceable(&user.name, &part);
            continue;
        }
        let what = "which releases processes of other users run".to_owned();
        rules.push(SudoRules { user: name, what, commands: spelled.clone() });
    }
    if !of_fleets.is_empty() && !told.is_empty() {
        warn_of_fleets(&of_fleets);
    }
    match output.format {
        Format::Text | Format::Markdown => output.text(&text::sudoers(&rules))?,
        Format::Json | Format::Yaml => {
            output.document(&List::new("SudoRuleList", rules))?;
        }
    }
    Ok(u8::from(!complete))
}
