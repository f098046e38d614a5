//! What the agent's own configuration says when it is read again, while the loop goes on.

use serde::Serialize;

use super::herald::Herald;
use crate::model::agent::GitOptions;

/// What is different from now on; nothing of it, as far as the configuration could not be used.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Who is told; none: those who were told before.
    pub herald: Option<Herald>,
    /// How the branch is followed; none: as before.
    pub git: Option<GitOptions>,
    /// How the configuration stands.
    pub standing: Configuration,
}

/// How the agent's own configuration stands, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Why it cannot be used, with file and line where it has any; what was in force before stays.
    pub problem: Option<String>,
    /// What it says otherwise than what is in force, and what only a restart brings into force, such as `spec.listen`.
    pub needs_restart: Vec<String>,
}

impl Configuration {
    /// A few words for the service manager; none where all is in force.
    pub(super) fn words(&self) -> Option<String> {
        if self.problem.is_some() {
            return Some("its own configuration cannot be used".to_owned());
        }
        let takes = match self.needs_restart.as_slice() {
            [] => return None,
            [one] => format!("`{one}` takes a restart"),
            several => format!("`{}` take a restart", several.join("`, `")),
        };
        Some(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_force_is_said_in_a_few_words() {
        let rows: [(Option<&str>, &[&str], Option<&str>); 4] = [
            (None, &[], None),
            (None, &["spec.listen"], Some("`spec.listen` takes a restart")),
            (None, &["spec.listen", "spec.source"], Some("`spec.listen`, `spec.source` take a restart")),
            (Some("agent.yaml:3:1: no"), &["spec.listen"], Some("its own configuration cannot be used")),
        ];
        for (problem, needs_restart, words) in rows {
            let needs_restart = needs_restart.iter().map(ToString::to_string).collect();
            let standing = Configuration { problem: problem.map(str::to_owned), needs_restart };
            assert_eq!(standing.words().as_deref(), words);
        }
    }
}
