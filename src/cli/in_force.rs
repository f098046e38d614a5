//! What the agent of this host has in force, for the verbs that go by it where they were given no PATH.
//!
//! Its manifests may come from git and be nowhere here, and of newer ones that are wrong it goes by the last good ones:
//! what it goes by is what an operator wants to see. In: the agent's own documents, through its socket. Out: Apps, as
//! if they had been loaded here, and one line that says so. Where no agent answers, or it knows none that was asked
//! for, the manifests of the usual place count.

use serde_json::Value;

use super::Failure;
use super::about::{About, Known};
use super::agent_client::{AgentClient, NoAnswer};
use super::host::waiting;
use super::load;
use super::options::fleet::Hosts;
use super::options::{InForce, Paths, Selection};
use super::output::say;
use super::person::person;
use super::render::problem::Complaint;
use super::render::style::{DIM, paint};
use super::render::words::{count, safe};
use crate::manifest::{Loaded, Source, load_again};
use crate::model::wake::short_commit;

/// All Apps that count.
///
/// # Errors
/// As [`load::load`], or the agent's answer makes no sense.
pub fn all(paths: &Paths, at: &InForce) -> Result<Vec<Loaded>, Failure> {
    Asked::new(paths, at, &[], |_| true)?.or_else(|| load::load(paths))
}

/// The Apps that were asked for.
///
/// # Errors
/// As [`load::select`], or the agent's answer makes no sense.
pub fn select(selection: &Selection, at: &InForce) -> Result<Vec<Loaded>, Failure> {
    select_standing(selection, at, || load::select(selection)).map(|(found, _)| found)
}

/// The same with what the agent says of itself, where they are what it has in force; else those from `here`.
///
/// # Errors
/// As `here`, or the agent's answer makes no sense.
pub fn select_standing(
    selection: &Selection,
    at: &InForce,
    here: impl FnOnce() -> Result<Vec<Loaded>, Failure>,
) -> Result<(Vec<Loaded>, Option<About>), Failure> {
    let names: Vec<&str> = selection.apps.iter().map(String::as_str).collect();
    match Asked::new(&selection.paths, at, &names, |_| true)? {
        Asked::Found(found, about) => Ok((found, Some(about))),
        asked @ Asked::Not(_) => asked.or_else(here).map(|found| (found, None)),
    }
}

/// The Apps that were asked for, for whoever acts on them: an agent that leaves it to the manifests here is told of.
/// Whoever chooses among `hosts` means these, and no agent of this one.
///
/// # Errors
/// As [`select`].
pub fn select_to_act(selection: &Selection, hosts: &Hosts, at: &InForce) -> Result<Vec<Loaded>, Failure> {
    if hosts.is_choice() {
        return load::select(selection);
    }
    let names: Vec<&str> = selection.apps.iter().map(String::as_str).collect();
    // What has disappeared from its manifests is acted on by nobody.
    let asked = Asked::new(&selection.paths, at, &names, |app| !app.orphaned)?;
    let why_not = match &asked {
        Asked::Not(Some(not)) => Some(not.why.clone()),
        Asked::Not(None) | Asked::Found(..) => None,
    };
    let found = asked.or_else(|| load::select(selection))?;
    if let Some(why) = why_not {
        say(&format!("{}: {}: the manifests here count\n", paint(DIM, "note"), safe(&why)));
    }
    Ok(found)
}

/// The one App of that name, as it is on this host.
///
/// # Errors
/// As [`load::one`], or the agent's answer makes no sense.
pub fn one(name: &str, paths: &Paths, at: &InForce) -> Result<Loaded, Failure> {
    let found = Asked::new(paths, at, &[name], |_| true)?.or_else(|| load::one(name, paths).map(|one| vec![one]))?;
    found.into_iter().next().ok_or_else(|| Failure::NoSuchApp { name: name.to_owned(), known: Vec::new() })
}

/// What asking has led to.
enum Asked {
    /// To the Apps, and what the agent says of itself.
    Found(Vec<Loaded>, About),
    /// Not to them, and why, where there is an agent.
    Not(Option<NotThere>),
}

impl Asked {
    /// Asks the agent, where no PATH was given. `names` are the Apps that are wanted, and such that
    /// `count`; none: all that are in force.
    fn new(paths: &Paths, at: &InForce, names: &[&str], count: fn(&Known) -> bool) -> Result<Self, Failure> {
        if !paths.paths.is_empty() || at.no_agent {
            return Ok(Self::Not(None));
        }
        let agent = AgentClient::new(&at.socket.path, person());
        waiting("a question to the agent", async {
            let about = match agent.about().await {
                Ok(about) => about,
                Err(NoAnswer::Absent) => return Ok(Self::Not(None)),
                Err(NoAnswer::Trouble(why)) => return Ok(Self::Not(Some(NotThere::silent(&agent, &why)))),
            };
            let counts = |name: &str| about.apps.iter().any(|app| app.name == name && count(app));
            if let Some(name) = names.iter().find(|name| !counts(name)) {
                return Ok(Self::Not(Some(NotThere::unknown(&agent, &about, name))));
            }
            let wanted: Vec<&Known> = if names.is_empty() {
                about.in_force().collect()
            } else {
                about.apps.iter().filter(|app| names.contains(&app.name.as_str())).collect()
            };
            if wanted.is_empty() {
                return Ok(Self::Not(Some(NotThere::nothing(&agent, &about))));
            }
            let documents = agent.documents().await.map_err(|why| agent.left_unsaid(&why))?;
            let found = wanted.iter().map(|known| again(known, &documents, &about)).collect::<Result<_, _>>()?;
            agent.note(&format!(" has this in force: {}", standing(&about, &wanted)));
            Ok(Self::Found(found, about))
        })?
    }

    /// The Apps by the agent, or else by the manifests here.
    fn or_else(self, here: impl FnOnce() -> Result<Vec<Loaded>, Failure>) -> Result<Vec<Loaded>, Failure> {
        match self {
            Self::Found(found, _) => Ok(found),
            Self::Not(why) => here().map_err(|failure| match why {
                Some(why) => why.explain(failure),
                None => failure,
            }),
        }
    }
}

/// The App that the agent has under that name, as if it had been loaded here.
pub(super) fn again(known: &Known, documents: &[Value], about: &About) -> Result<Loaded, Failure> {
    let named = |document: &&Value| document.pointer("/metadata/name").is_some_and(|name| *name == known.name);
    // Between two questions it may have gone.
    let found = documents.iter().find(named);
    let gone = || Failure::NoSuchApp { name: known.name.clone(), known: Vec::new() };
    let mut document = found.ok_or_else(gone)?.clone();
    if let Some(document) = document.as_object_mut() {
        document.remove("status");
    }
    let source = Source { path: known.file.clone(), line: known.line.unwrap_or(1) };
    load_again(&document, source).map_err(|errors| {
        let message = format!("the manifest of `{}` that the agent has in force cannot be used here", known.name);
        let (theirs, ours) = (about.version.as_deref().unwrap_or("of another version"), env!("CARGO_PKG_VERSION"));
        let help = format!(
            "the agent is trueup {theirs} and this is {ours}: restart it (`systemctl restart trueup-agent`), or name a file"
        );
        Failure::Complaint(Complaint::new(message).cause(errors.to_string()).help(help))
    })
}

/// What is to be known of manifests in force, in one line.
fn standing(about: &About, wanted: &[&Known]) -> String {
    let mut parts = Vec::new();
    if let Some(revision) = &about.revision {
        parts.push(format!("commit {}", short_commit(&revision.commit)));
    } else {
        let mut files: Vec<String> =
            wanted.iter().filter_map(|app| Some(format!("`{}`", app.file.as_ref()?.display()))).collect();
        files.dedup();
        parts.push(match files.as_slice() {
            [] => "its manifests".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {}", count(rest.len(), "more file")),
        });
    }
    parts.extend(about.trouble());
    let gone: Vec<String> = wanted.iter().filter(|app| app.orphaned).map(|app| format!("`{}`", app.name)).collect();
    if !gone.is_empty() {
        parts.push(format!("{} disappeared from them", gone.join(" and ")));
    }
    for app in wanted {
        for root in &app.former_roots {
            parts.push(format!("`{}` has left `{}`, and what ran there was left running", app.name, root.display()));
        }
    }
    parts.join("; ")
}

/// Why an agent has not what was asked for.
#[derive(Debug)]
pub(super) struct NotThere {
    /// The agent and why, as a sentence.
    why: String,
    /// Which App was asked for; none: all of them.
    name: Option<String>,
    /// The Apps that it looks after.
    known: Vec<String>,
    /// What helps.
    help: Option<&'static str>,
}

impl NotThere {
    /// It does not look after that App.
    pub(super) fn unknown(agent: &AgentClient, about: &About, name: &str) -> Self {
        let known = about.in_force().map(|app| app.name.clone()).collect();
        let why = format!("{} does not look after `{name}`", agent.place());
        Self { why, name: Some(name.to_owned()), known, help: None }
    }

    /// It has nothing in force.
    fn nothing(agent: &AgentClient, about: &About) -> Self {
        let trouble = about.trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let why = format!("{} has no manifests in force{trouble}", agent.place());
        Self { why, name: None, known: Vec::new(), help: None }
    }

    /// It cannot be asked.
    fn silent(agent: &AgentClient, why: &str) -> Self {
        let help = "its socket is for root and its operators: use sudo; or name a file";
        let why = format!("{} cannot be asked: {why}", agent.place());
        Self { why, name: None, known: Vec::new(), help: Some(help) }
    }

    /// The same failure of the manifests here, with what the agent has to do with it.
    pub(super) fn explain(self, failure: Failure) -> Failure {
        let Self { why, name, known, help } = self;
        let and = match &failure {
            Failure::NoSuchApp { .. } => "nor do the manifests here name it",
            Failure::NoManifests => "and there are no manifests here",
            _ => return failure,
        };
        let complaint = match (&failure, name) {
            (Failure::NoSuchApp { known: here, .. }, Some(name)) => {
                let known = [here.as_slice(), &known].concat();
                Complaint { message: format!("{why}, {and}"), ..load::no_such_app(&name, &known) }
            }
            (Failure::NoManifests, Some(name)) if !known.is_empty() => {
                Complaint { message: format!("{why}, {and}"), ..load::no_such_app(&name, &known) }
            }
            (Failure::NoManifests, _) => {
                let help = help.unwrap_or("name a file or a directory with manifests");
                load::nowhere().cause(why).help(help)
            }
            _ => return failure,
        };
        Failure::Complaint(complaint)
    }
}
