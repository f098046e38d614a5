//! The agent's own configuration: one file in, what the agent is told or all mistakes out.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::check::check_agent;
use super::conform::conform;
use super::load::{directory, foreign};
use super::node::Tree;
use super::report::{LoadErrors, Mistake};
use super::schema::AGENT;
use super::shape::AgentDocument;
use super::text::{Unreadable, text};
use super::yaml::{FINDINGS, Finding, parse};
use crate::model::agent::AgentConfig;

/// Whether a file is the agent's own configuration, by the `kind` of its first document. What cannot be read again,
/// such as a pipe, is none.
#[must_use]
pub fn is_agent(path: &Path) -> bool {
    let read = || {
        // Before it is opened: whoever writes into a pipe is heard once.
        let mut file = path.is_file().then(|| File::open(path).ok())??;
        let text = text(&path.to_string_lossy(), &mut file).ok()?;
        let first = parse(text.text()).documents.into_iter().next()?;
        Some(matches!(&first.get("kind")?.value.tree, Tree::Scalar { text, .. } if text == "Agent"))
    };
    read().unwrap_or(false)
}

/// Loads the agent's own configuration.
///
/// # Errors
/// [`LoadErrors`] with everything that is wrong in it.
pub fn load_agent(path: &Path) -> Result<AgentConfig, LoadErrors> {
    let name = path.to_string_lossy();
    let only = |mistake: Mistake| LoadErrors { mistakes: vec![mistake] };
    let unreadable = |error: &std::io::Error| {
        let help = match error.kind() {
            ErrorKind::NotFound => "check the path; relative ones start at the present directory",
            ErrorKind::PermissionDenied => "make it readable for the user who runs the agent",
            _ => "",
        };
        only(Mistake::unreadable(name.clone(), format!("cannot read it: {error}"), help))
    };
    let mut file = File::open(path).map_err(|error| unreadable(&error))?;
    let base = directory(path).map_err(|error| unreadable(&error))?;
    let text = text(&name, &mut file).map_err(|why| match why {
        Unreadable::File(error) => unreadable(&error),
        Unreadable::Content(mistake) => only(*mistake),
    })?;
    let parsed = parse(text.text());
    let mut findings = parsed.findings;
    let mut documents = parsed.documents.into_iter();
    let Some(mut tree) = documents.next().filter(|_| findings.is_empty()) else {
        if findings.is_empty() {
            let help = "write one into it: apiVersion, kind: Agent and spec";
            return Err(only(Mistake::unreadable(name, "there is no document in it", help)));
        }
        return Err(LoadErrors { mistakes: findings.into_iter().map(|finding| text.mistake(finding)).collect() });
    };
    if let Some(second) = documents.next() {
        let finding = Finding::new(second.span, "a second document: one agent has one configuration");
        findings.push(finding.help("keep one of them; Apps are written into manifests"));
    }
    let mut config = None;
    if let Some(finding) = foreign(&tree, "Agent") {
        findings.push(finding);
    } else if let Some(value) = conform(&mut tree, &AGENT, &mut findings) {
        match serde_json::from_value::<AgentDocument>(value) {
            Ok(document) => config = check_agent(&document, &tree, text.text(), Ok(&base), &mut findings),
            Err(error) => {
                findings.push(Finding::new(tree.span, format!("this is no configuration of the agent: {error}")));
            }
        }
    }
    findings.sort_by_key(|finding| finding.span.start);
    match config.filter(|_| findings.is_empty()) {
        Some(config) => Ok(config),
        None => Err(LoadErrors {
            mistakes: findings.into_iter().take(FINDINGS).map(|finding| text.mistake(finding)).collect(),
        }),
    }
}
