//! Whether manifests are right.

use std::borrow::Cow;

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

impl<'a> ValidationReport<'a> {
    /// All of them are.
    #[must_use]
    pub fn right(loaded: &'a [Loaded]) -> Self {
        let found = |one: &'a Loaded| {
            let file = one.source.path.as_ref().map(|path| path.to_string_lossy());
            Found { file, line: one.source.line, name: &one.app.name }
        };
        Self::new(loaded.iter().map(found).collect(), json!([]))
    }

    /// Some are not.
    #[must_use]
    pub fn wrong(errors: &LoadErrors) -> Self {
        Self::new(Vec::new(), errors.to_json())
    }

    fn new(apps: Vec<Found<'a>>, errors: Value) -> Self {
        Self { api_version: API_VERSION, kind: "ValidationReport", valid: !apps.is_empty(), apps, errors }
    }
}
