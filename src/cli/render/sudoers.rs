//! Rules for sudo: one command to a line, so that they can be read, compared and struck out one by one.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::documents::sudoers::SudoRules;

/// The text of a file in `/etc/sudoers.d/`; what was said once is not said again.
#[must_use]
pub fn sudoers(rules: &[SudoRules]) -> String {
    if rules.is_empty() {
        return "# These manifests need no rules.\n".to_owned();
    }
    let mut text = "# For /etc/sudoers.d/trueup; written by `trueup sudoers`.\n".to_owned();
    let mut said = BTreeSet::new();
    for SudoRules { user, what, commands } in rules {
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
