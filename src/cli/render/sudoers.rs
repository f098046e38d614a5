//! Rules for sudo: one command to a line, so that they can be read, compared and struck out one by one.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

/// What one user needs for one thing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Who.
    pub user: String,
    /// For people: ``shop: workers `default` ``.
    pub what: String,
    /// As sudoers lines spell them.
    pub commands: Vec<String>,
}

/// The text of a file in `/etc/sudoers.d/`; what was said once is not said again.
#[must_use]
pub fn sudoers(rules: &[Rules]) -> String {
    if rules.is_empty() {
        return "# These manifests need no rules.\n".to_owned();
    }
    let mut text = "# For /etc/sudoers.d/trueup; written by `trueup sudoers`.\n".to_owned();
    let mut said = BTreeSet::new();
    for Rules { user, what, commands } in rules {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n# {what}");
        for command in commands {
            if said.insert((user, command)) {
                let _ = writeln!(text, "{user} ALL=(root) NOPASSWD: {command}");
            }
        }
    }
    text
}
