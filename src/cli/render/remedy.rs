//! A command that is advised, as it has to be written where this program was called with PATHs or with `--as`: without
//! them it would be about other manifests, or about none.
//!
//! What decides knows Apps, and not how a person has named their manifests.

use std::sync::OnceLock;

use crate::cli::elsewhere::word;
use crate::cli::options::Verb;

/// As the command line says.
static CALLED: OnceLock<Called> = OnceLock::new();

/// What a command has to be called with to be about the same.
#[derive(Debug, Default)]
struct Called {
    /// The PATHs.
    paths: Vec<String>,
    /// `--as` and its value, where it was said.
    name: Vec<String>,
}

/// Believes the command line, from here on.
pub fn choose(verb: &Verb) {
    let paths = verb.paths().iter().map(|path| word(&path.to_string_lossy())).collect();
    let name = verb.called().map(|name| vec!["--as".to_owned(), word(name)]).unwrap_or_default();
    // It is said once.
    let _ = CALLED.set(Called { paths, name });
}

/// Advice with its commands as a person can type them here.
#[must_use]
pub fn typed(advice: &str) -> String {
    CALLED.get().map_or_else(|| advice.to_owned(), |called| called.carried_by(advice))
}

impl Called {
    fn carried_by(&self, advice: &str) -> String {
        let parts: Vec<String> = advice.split('`').map(|part| self.command(part)).collect();
        parts.join("`")
    }

    /// A command on one App with what it takes of this; anything else as it is.
    fn command(&self, part: &str) -> String {
        let words: Vec<&str> = part.split(' ').collect();
        let more = match words.as_slice() {
            ["trueup", "retry" | "suspend" | "resume", _] => [self.paths.as_slice(), &self.name].concat(),
            // It is about all hosts of the App, and what is requested about the agent's own manifests.
            ["trueup", "reconcile", rest @ ..] if rest.contains(&"--app") && !rest.contains(&"--request") => {
                self.paths.clone()
            }
            _ => Vec::new(),
        };
        std::iter::once(part.to_owned()).chain(more).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_about_the_manifests_and_the_host_that_the_command_was_about() {
        let of = |words: &[&str]| words.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let rows: [(&[&str], &[&str], &str, &str); 7] = [
            (&[], &[], "try it again: `trueup retry shop`", "try it again: `trueup retry shop`"),
            (&["m.yaml"], &[], "try it again: `trueup retry shop`", "try it again: `trueup retry shop m.yaml`"),
            (&["a.yaml", "'b c'"], &["--as", "web2"], "`trueup resume s`", "`trueup resume s a.yaml 'b c' --as web2`"),
            (&[], &["--as", "web2"], "`trueup suspend s`; or not", "`trueup suspend s --as web2`; or not"),
            (
                &["m"],
                &["--as", "web2"],
                "now: `trueup reconcile --app s --ignore-windows`, with `--request`",
                "now: `trueup reconcile --app s --ignore-windows m`, with `--request`",
            ),
            (&["m"], &[], "`trueup reconcile --request --app s`", "`trueup reconcile --request --app s`"),
            (&["m"], &[], "`s` is no healthier: `trueup history` tells", "`s` is no healthier: `trueup history` tells"),
        ];
        for (paths, name, advice, expected) in rows {
            let called = Called { paths: of(paths), name: of(name) };
            assert_eq!(called.carried_by(advice), expected);
        }
    }
}
