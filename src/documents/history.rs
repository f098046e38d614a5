//! What passes did.

use serde::Serialize;

use super::API_VERSION;
use crate::model::history::PastPass;
use crate::model::names::{AppName, Root};

/// How many passes are told of an App by default: the last ones.
pub const PASSES: usize = 20;

/// What passes over one App did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Past<'a> {
    /// The App.
    pub app: &'a AppName,
    /// Its root.
    pub root: &'a Root,
    /// The newest last.
    pub passes: &'a [PastPass],
}

/// The same as a document of its own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    past: Past<'a>,
}

impl<'a> From<Past<'a>> for History<'a> {
    fn from(past: Past<'a>) -> Self {
        Self { api_version: API_VERSION, kind: "History", past }
    }
}
