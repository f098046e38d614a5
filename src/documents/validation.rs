//! Whether manifests are right.

use std::borrow::Cow;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::API_VERSION;
use crate::manifest::{LoadErrors, Loaded};
use crate::model::names::AppName;

/// Whether manifests are right.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationReport<'a> {
    api_version: &'static str,
    kind: &'static str,
    valid: bool,
    /// Each App with its file and line; none where something is wrong.
    apps: Vec<Found<'a>>,
    /// Each configuration of an agent with its file; absent where there is none, or something is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    agents: Vec<Agent<'a>>,
    /// Each mistake with its file and line.
    errors: Value,
}

/// An App whose manifest is right.
#[derive(Debug, Serialize)]
struct Found<'a> {
    /// Null for the standard input.
    file: Option<Cow<'a, str>>,
    line: usize,
    name: &'a AppName,
}

/// A configuration of an agent that is right.
#[derive(Debug, Serialize)]
struct Agent<'a> {
    file: Cow<'a, str>,
}

impl<'a> ValidationReport<'a> {
    /// All of them are, and so are these configurations of agents.
    #[must_use]
    pub fn right(loaded: &'a [Loaded], agents: &[&'a Path]) -> Self {
        let found = |one: &'a Loaded| {
            let file = one.source.path.as_ref().map(|path| path.to_string_lossy());
            Found { file, line: one.source.line, name: &one.app.name }
        };
        let agents = agents.iter().map(|path| Agent { file: path.to_string_lossy() }).collect();
        Self { agents, ..Self::new(loaded.iter().map(found).collect(), true, json!([])) }
    }

    /// Some are not.
    #[must_use]
    pub fn wrong(errors: &LoadErrors) -> Self {
        Self::new(Vec::new(), false, errors.to_json())
    }

    fn new(apps: Vec<Found<'a>>, valid: bool, errors: Value) -> Self {
        Self { api_version: API_VERSION, kind: "ValidationReport", valid, apps, agents: Vec::new(), errors }
    }
}
