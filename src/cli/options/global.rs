//! The words that hold for every verb: the form of what is printed, and of the log.

use clap::{Args, ValueEnum};

/// What holds for every verb.
#[derive(Debug, Args)]
pub struct Global {
    /// Form of the result: text, json, yaml; markdown for `diff` and `reconcile --dry-run`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Format::Text,
        value_name = "FORMAT",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub format: Format,
    /// When to use colour: auto, always, never; auto respects `NO_COLOR` and `CLICOLOR`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Colour::Auto,
        value_name = "WHEN",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub color: Colour,
    /// Log on the standard error: -v what is done, -vv what is seen, -vvv everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
    /// Form of the log: text, json; `TRUEUP_LOG` filters it, such as `trueup=debug`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = LogFormat::Text,
        value_name = "FORMAT",
        hide_possible_values = true,
        hide_default_value = true,
        help_heading = OUTPUT
    )]
    pub log_format: LogFormat,
}

const OUTPUT: &str = "Output";

/// Form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For a comment on a merge request.
    Markdown,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line each, for people.
    Text,
    /// One JSON object each, for programs.
    Json,
}
