//! The words of what helps to write manifests and commands.

use clap::ValueEnum;

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A manifest.
    App,
    /// The agent's own configuration.
    Agent,
}

pub(super) const VALIDATE_HELP: &str = "\
Every mistake of every file is reported, each with file, line, column and a remedy. A file that is named and has \
`kind: Agent` is checked as the agent's own configuration.

Examples:
  trueup validate
  trueup validate manifests/shop.yaml --format json
  trueup validate /etc/trueup/agent.yaml

Exit codes:
  0   all of them are right
  1   at least one is not
  64  wrong usage";

pub(super) const SCHEMA_HELP: &str = "\
Editors use it when it is named in the first line of a manifest:
  # yaml-language-server: $schema=app.v1.json

Examples:
  trueup schema > app.v1.json
  trueup schema --kind agent > agent.v1.json  for the agent's own configuration

Exit codes:
  0   printed
  1   an error: it cannot be written
  64  wrong usage";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  trueup completions bash > /etc/bash_completion.d/trueup
  trueup completions zsh > \"${fpath[1]}/_trueup\"

Exit codes:
  0   printed
  1   an error: it cannot be written
  64  wrong usage";

pub(super) const MAN_HELP: &str = "\
Examples:
  trueup man | man -l -
  trueup man --out /usr/local/share/man/man1

Exit codes:
  0   printed, or written
  1   an error: it cannot be written
  64  wrong usage";
