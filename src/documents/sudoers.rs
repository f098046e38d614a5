//! Rules for sudo.

use serde::Serialize;

/// What one user needs for one thing; an item of a `SudoRuleList`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SudoRules {
    /// Who.
    pub user: String,
    /// For people: ``shop: workers `default` ``.
    pub what: String,
    /// As sudoers lines spell them.
    pub commands: Vec<String>,
}
