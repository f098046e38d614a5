//! The command line: verbs, exit codes, and what people see.
//!
//! In: arguments. Out: an exit code; results on the standard output, everything else on the standard
//! error. Each verb is in a file: [`reconcile`], [`agent`], [`inspect`], [`history`], [`releases`],
//! [`operate`], [`rights`], [`doctor`], [`authoring`], and the hidden [`far`]; [`fleet`] carries some of them out on
//! other hosts. [`render`] turns values into text and is pure. Begin at [`main`].

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use self::elsewhere::Elsewhere;
use self::options::{Cli, Verb};
use self::output::{Output, say};
use self::render::problem::Complaint;
use crate::decide::health;
use crate::manifest::LoadErrors;
use crate::ports::HostError;

pub mod about;
pub mod agent;
pub mod agent_client;
pub mod authoring;
pub mod doctor;
pub mod elsewhere;
pub mod far;
pub mod fleet;
pub mod foot;
pub mod hang_up;
pub mod history;
pub mod host;
pub mod in_force;
pub mod inspect;
pub mod live;
pub mod load;
pub mod logging;
pub mod operate;
pub mod options;
pub mod output;
pub mod own_name;
pub mod person;
pub mod put_back;
pub mod reconcile;
pub mod releases;
pub mod render;
pub mod rights;

/// The exit code for wrong usage (`EX_USAGE`): clap's own 2 means drift here.
const USAGE: u8 = 64;
/// The exit code of whoever was asked to stop and did not wait for what was at work, as shells count SIGINT.
const INTERRUPTED: u8 = 130;
/// Columns of a message where nobody knows how wide the terminal is.
const USUAL_WIDTH: usize = 100;

/// Why a verb could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong.
    Complaint(Complaint),
    /// Arguments that are right by themselves do not fit each other.
    Usage(Complaint),
    /// Manifests are wrong.
    Manifests(LoadErrors),
    /// No path was given, and there are no manifests in the usual places.
    NoManifests,
    /// There is no App of this name among those that are known.
    NoSuchApp {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no App of this name, but there is a path.
    PathForName(String),
    /// What was asked for is about the host that it runs on, and the Apps are for others.
    Elsewhere(Box<Elsewhere>),
}

impl Failure {
    /// What is said of it where `verb` was asked for.
    ///
    /// # Errors
    /// Manifests are wrong, and there is more to say of each mistake than a complaint holds.
    pub fn complaint(self, verb: &str) -> Result<Complaint, LoadErrors> {
        Ok(match self {
            Self::Complaint(complaint) | Self::Usage(complaint) => complaint,
            Self::Manifests(mistakes) => return Err(mistakes),
            Self::NoManifests => load::no_manifests(verb),
            Self::NoSuchApp { name, known } => load::no_such_app(&name, &known),
            Self::PathForName(name) => load::path_for_name(verb, &name),
            Self::Elsewhere(elsewhere) => elsewhere.complaint(verb),
        })
    }
}

impl From<HostError> for Failure {
    /// What the host said, for people.
    fn from(error: HostError) -> Self {
        Self::Complaint(Complaint { message: error.message, causes: Vec::new(), help: error.help })
    }
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = far::main(std::env::args_os().skip(1)) {
        return code;
    }
    let (verb, cli) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are errors to the parser, and none to people.
            let printed = error.print();
            if error.use_stderr() {
                return USAGE.into();
            }
            let Err(Failure::Complaint(complaint)) = output::forgive(printed) else { return ExitCode::SUCCESS };
            say(&complaint.render());
            return ExitCode::FAILURE;
        }
    };
    if !matches!(cli.verb, Verb::Schema { .. } | Verb::Completions { .. } | Verb::Man { .. }) {
        health::warm_up();
    }
    output::choose_colour(cli.global.color);
    own_name::choose(cli.verb.called());
    render::remedy::choose(&cli.verb);
    // What an agent does is told by its log.
    logging::start(&cli.global, matches!(cli.verb, Verb::Agent(_)));
    let output = Output::new(cli.global.format);
    // `diff` says by 1 that something differs, as `diff` has always done.
    let error_code = if matches!(cli.verb, Verb::Diff(_)) { 2 } else { 1 };
    let done = match &cli.verb {
        Verb::Reconcile(options) => reconcile::run(options, &cli.global, output),
        Verb::Agent(options) => agent::run(options, &cli.global),
        Verb::Diff(options) => inspect::diff(options, &cli.global, output),
        Verb::Status(options) => inspect::status(options, &cli.global, output),
        Verb::Rollback(options) => operate::rollback(options, &cli.global, output),
        Verb::Retry(options) => operate::retry(options, &cli.global, output),
        Verb::Suspend(options) => operate::suspend(options, output),
        Verb::Resume(options) => operate::resume(options, output),
        Verb::History(options) => history::run(options, output),
        Verb::Releases(options) => releases::run(options, output),
        Verb::Evidence(options) => rights::evidence(&options.paths, output),
        Verb::Sudoers(options) => rights::sudoers(options, output),
        Verb::Doctor(options) => doctor::run(options, cli.global.verbose > 0, output),
        Verb::Validate(paths) => authoring::validate(paths, output),
        Verb::Schema { kind } => authoring::schema(*kind, output),
        Verb::Completions { shell } => authoring::completions(*shell, output),
        Verb::Man { out } => authoring::man(out.as_deref(), output),
    };
    let code = done.unwrap_or_else(|failure| {
        let code = if matches!(failure, Failure::Usage(_)) { USAGE } else { error_code };
        say(&failure.complaint(&verb).map_or_else(|mistakes| in_full(&mistakes), |complaint| complaint.render()));
        code
    });
    code.into()
}

/// Every mistake with the lines that it stands in.
fn in_full(mistakes: &LoadErrors) -> String {
    let width = output::width(&std::io::stderr()).unwrap_or(USUAL_WIDTH);
    mistakes.render(output::stderr_has_colour(), width)
}

/// The verb as it was written, for advice, and everything that was asked for.
fn parse() -> Result<(String, Cli), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((matches.subcommand_name().unwrap_or_default().to_owned(), cli))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
