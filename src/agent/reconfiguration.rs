//! What the agent's own configuration says when it is read again, while the loop goes on.

use super::publisher::Publisher;
use crate::documents::agent::Configuration;
use crate::model::agent::GitOptions;

/// What is different from now on; nothing of it, as far as the configuration could not be used.
#[derive(Debug, Default)]
pub struct Reconfiguration {
    /// Who is told; none: those who were told before.
    pub publisher: Option<Publisher>,
    /// How the branch is followed; none: as before.
    pub git: Option<GitOptions>,
    /// How the configuration stands.
    pub standing: Configuration,
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
