//! One document: held against the schema, its hosts read, and checked.

use std::path::{Path, PathBuf};

use super::Loader;
use crate::manifest::check::{Base, Checked, check};
use crate::manifest::conform::conform;
use crate::manifest::node::{self, Cursor, Node, Tree};
use crate::manifest::schema::SCHEMA;
use crate::manifest::shape::{Document, Hosts};
use crate::manifest::yaml::Finding;

/// What came of one document.
pub(super) struct Made {
    pub(super) document: Document,
    pub(super) checked: Checked,
    /// Where it begins in the text.
    pub(super) start: usize,
    pub(super) hosts_file: Option<PathBuf>,
}

impl Loader {
    /// Makes what can be made of one document.
    pub(super) fn document(
        &mut self,
        mut tree: Node,
        text: &str,
        path: Option<&Path>,
        base: Base<'_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Made> {
        let start = tree.span.start;
        if let Some(finding) = foreign(&tree, "App") {
            findings.push(finding);
            return None;
        }
        let before = findings.len();
        let value = conform(&mut tree, &SCHEMA, findings)?;
        let document: Document = match serde_json::from_value(value) {
            Ok(document) => document,
            Err(error) => {
                findings.push(Finding::new(tree.span, format!("this is no manifest: {error}")));
                return None;
            }
        };
        let sound = findings.len() == before;
        let mut hosts_file = None;
        let mut listed = None;
        if let Some(Hosts::File(written)) = document.spec.as_ref().and_then(|spec| spec.hosts.as_ref()) {
            match self.place_of_hosts(written, path).and_then(|file| self.hosts(&file).map(|hosts| (file, hosts))) {
                Ok((file, hosts)) => (hosts_file, listed) = (Some(file), hosts),
                Err((message, help)) => {
                    let at = Cursor::root(&tree).key("spec").key("hosts").key("file");
                    findings.push(Finding::new(at.span, format!("`{}` {message}", at.path)).help(help));
                }
            }
        }
        let sound = sound && (hosts_file.is_none() || listed.is_some());
        let mut checked = check(&document, &tree, text, base, listed.as_deref(), findings);
        checked.app = checked.app.filter(|_| sound);
        Some(Made { document, checked, start, hosts_file })
    }
}

/// Another kind of document: what else is in it is not ours to judge.
pub(in crate::manifest) fn foreign(tree: &Node, kind: &'static str) -> Option<Finding> {
    let is = |key: &str, ours: &str| match &tree.get(key)?.value.tree {
        Tree::Scalar { text, .. } if text != ours => Some(text.clone()),
        _ => None,
    };
    let (key, found, ours) = is("apiVersion", "trueup/v1")
        .map(|found| ("apiVersion", found, "trueup/v1"))
        .or_else(|| is("kind", kind).map(|found| ("kind", found, kind)))?;
    let entry = tree.get(key)?;
    let span = if entry.value.span.is_empty() { entry.key_span.clone() } else { entry.value.span.clone() };
    let message = format!("`{key}` must be `{ours}`, not `{}`", node::cut(&found));
    Some(Finding::new(span, message).help(match (key, found.as_str()) {
        ("kind", "Agent") => {
            "the agent's own configuration is /etc/trueup/agent.yaml, not among the manifests".to_owned()
        }
        ("kind", "App") => "Apps are written into manifests, not into the agent's own configuration".to_owned(),
        ("apiVersion", other) if other.starts_with("trueup/") => {
            format!(
                "this trueup reads `{ours}` only: write it as that, or have a trueup that knows `{}` read it",
                node::cut(other)
            )
        }
        _ => "keep documents of other programs in other files".to_owned(),
    }))
}
