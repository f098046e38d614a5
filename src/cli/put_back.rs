//! What an agent puts back that a pass by a PATH is about to bring: both look after one root, and the agent goes by its
//! own manifests.
//!
//! In: the Apps of the PATH, and what the agent has in force. Out: one warning, before the pass. Where no agent answers,
//! or it would leave things as they are, nothing is said.

use std::path::Path;

use serde_json::Value;

use super::Failure;
use super::about::{About, Known};
use super::agent_client::AgentClient;
use super::host::waiting;
use super::in_force::again;
use super::options::{InForce, Paths};
use super::output::say;
use super::person::person;
use super::render::problem::Complaint;
use crate::manifest::Loaded;
use crate::model::app::App;
use crate::model::wake::short_commit;

/// Warns of it.
///
/// # Errors
/// Nothing could begin at all.
pub fn warn(here: &[Loaded], paths: &Paths, at: &InForce) -> Result<(), Failure> {
    if here.is_empty() || paths.paths.is_empty() || at.no_agent {
        return Ok(());
    }
    let agent = AgentClient::new(&at.socket.path, person());
    waiting("a question to the agent", async {
        let Ok(about) = agent.about().await else { return };
        if !here.iter().any(|one| same_root(&about, &one.app).is_some()) {
            return;
        }
        let Ok(documents) = agent.documents().await else { return };
        if let Some(complaint) = complaint(&agent.place(), &about, &documents, here) {
            say(&complaint.render_as_warning());
        }
    })
}

/// The App in force that has the same root, whatever its name is.
fn same_root<'a>(about: &'a About, app: &App) -> Option<&'a Known> {
    about.in_force().find(|known| known.root == app.root.path())
}

/// What is said of those that the agent would put back; none: there are none.
fn complaint(agent: &str, about: &About, documents: &[Value], here: &[Loaded]) -> Option<Complaint> {
    let mine = |one: &Loaded| {
        let known = same_root(about, &one.app)?;
        let theirs = acted_on(known, documents, about)?.app;
        let release = (theirs.release.id != one.app.release.id).then(|| format!("release `{}` by ", theirs.release.id));
        (theirs.fingerprint.wish != one.app.fingerprint.wish).then(|| (known, release.unwrap_or_default()))
    };
    let undone: Vec<(&Known, String)> = here.iter().filter_map(mine).collect();
    let (first, release) = undone.first()?;
    let roots: Vec<String> = undone.iter().map(|(known, _)| format!("`{}`", known.root.display())).collect();
    let what = match (&about.revision, first.file.as_deref()) {
        (Some(revision), _) if undone.len() == 1 => format!("{release}commit {}", short_commit(&revision.commit)),
        (Some(revision), _) => format!("commit {}", short_commit(&revision.commit)),
        (None, Some(file)) if undone.len() == 1 => format!("{release}`{}`", file.display()),
        (None, _) => "its own manifests".to_owned(),
    };
    let message = format!(
        "{agent} looks after {}, too, and at its next pass brings back what it has in force: {what}",
        roots.join(" and ")
    );
    let to_edit = match (&about.revision, first.file.as_deref().and_then(Path::parent)) {
        (Some(_), _) => "commit the change where it gets its manifests from".to_owned(),
        (None, Some(place)) => format!("put the change into its manifests in `{}`", place.display()),
        (None, None) => "put the change into its manifests".to_owned(),
    };
    let help = format!(
        "{to_edit}, or `sync: {{suspend: true}}` to have the agent leave it alone; `trueup reconcile` without a PATH goes \
         by what it has in force"
    );
    Some(Complaint::new(message).help(help))
}

/// What the agent has in force of that App; none where it is not to act by itself, or cannot be understood here.
fn acted_on(known: &Known, documents: &[Value], about: &About) -> Option<Loaded> {
    let theirs = again(known, documents, about).ok()?;
    let sync = &theirs.app.sync;
    let named = |document: &&Value| document.pointer("/metadata/name").is_some_and(|name| *name == known.name);
    let suspended = documents.iter().find(named).and_then(|document| document.pointer("/status/suspended"));
    let leaves = sync.suspend || !sync.automatic || !sync.self_heal || suspended.is_some_and(|why| !why.is_null());
    (!leaves).then_some(theirs)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;
    use crate::decide::status::unobserved;
    use crate::documents::app::document;

    fn loaded(release: &str, more: &str) -> Vec<Loaded> {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec: {{root: /srv/shop, release: {{id: {release}}}{more}}}\n"
        );
        crate::manifest::load(&["-".into()], &mut text.as_bytes()).unwrap()
    }

    #[test]
    fn only_what_the_agent_would_change_again_is_told() {
        let rows = [
            ("the same", json!({}), "r1", "", "r1", "", false),
            ("another release", json!({}), "r2", "", "r1", "", true),
            ("another health", json!({}), "r1", ", health: {http: {url: \"http://127.0.0.1/\"}}", "r1", "", true),
            ("another interval", json!({}), "r1", ", sync: {interval: 5m}", "r1", "", false),
            ("suspended there", json!({}), "r2", "", "r1", ", sync: {suspend: true}", false),
            ("asked only", json!({}), "r2", "", "r1", ", sync: {automatic: false}", false),
            ("drift is left", json!({}), "r2", "", "r1", ", sync: {selfHeal: false}", false),
            ("another root", json!({"root": "/srv/blog"}), "r2", "", "r1", "", false),
            ("gone from its manifests", json!({"orphaned": true}), "r2", "", "r1", "", false),
        ];
        for (case, known, release, more, their_release, their_more, expected) in rows {
            let theirs = loaded(their_release, their_more).remove(0);
            let status = unobserved(&theirs.app, "g".to_owned(), "not yet");
            let documents = [to_value(document(&theirs, &status)).unwrap()];
            let mut app = json!({"name": "shop", "root": "/srv/shop", "file": "/etc/x/shop.yaml", "orphaned": false});
            app.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
            let about: About = from_value(json!({"apps": [app]})).unwrap();
            let told = complaint("the agent", &about, &documents, &loaded(release, more));
            assert_eq!(told.is_some(), expected, "{case}: {told:?}");
        }
    }

    #[test]
    fn it_is_said_where_the_change_belongs() {
        let theirs = loaded("r1", "").remove(0);
        let status = unobserved(&theirs.app, "g".to_owned(), "not yet");
        let mut documents = [to_value(document(&theirs, &status)).unwrap()];
        let app = json!({"name": "shop", "root": "/srv/shop", "file": "/etc/x/shop.yaml", "orphaned": false});
        let told = |about: Value, documents: &[Value]| {
            let about: About = from_value(about).unwrap();
            complaint("the agent at `S`", &about, documents, &loaded("r2", "")).map(|one| one.render_as_warning())
        };
        let by_file = told(json!({"apps": [app]}), &documents).unwrap();
        let by_commit = told(json!({"apps": [app], "revision": {"commit": "3fa9c1d2b7f0"}}), &documents).unwrap();
        insta::assert_snapshot!(crate::cli::render::style::plain(&format!("{by_file}{by_commit}")));
        // A person has suspended it on this host: then neither does anything.
        documents[0]["status"]["suspended"] = json!("a move");
        assert_eq!(told(json!({"apps": [app]}), &documents), None);
    }
}
