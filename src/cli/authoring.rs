//! `validate`, `schema`, `completions`, `man`: help with writing manifests, and with the program itself.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Failure;
use super::load::load;
use super::options::authoring::Kind;
use super::options::{Cli, Format, Paths};
use super::output::Output;
use super::render::manual;
use super::render::problem::Complaint;
use super::render::style::{GOOD, STRONG, paint};
use super::render::words::safe;
use crate::documents::validation::ValidationReport;
use crate::manifest::schema::{agent_schema, json_schema};
use crate::manifest::{LoadErrors, Loaded, Mistake, is_agent, load_agent};

/// The program's own name.
const NAME: &str = "trueup";

/// Checks manifests, and configurations of agents; 0: all are right, 1: some are not.
///
/// # Errors
/// All that is wrong with them, in the form for people; for programs that is the result.
pub fn validate(paths: &Paths, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("validate")?;
    let (agents, manifests): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.paths.iter().partition(|path| is_agent(path));
    let loaded = match (checked(paths, &agents, manifests), output.format) {
        (Err(Failure::Manifests(errors)), Format::Json | Format::Yaml) => {
            output.document(&ValidationReport::wrong(&errors))?;
            return Ok(1);
        }
        (loaded, _) => loaded?,
    };
    let agents: Vec<&Path> = agents.into_iter().map(PathBuf::as_path).collect();
    if output.format == Format::Text {
        let line = |place: &str, what: String| format!("{}  {}  {what}\n", paint(GOOD, "ok"), safe(place));
        let apps = loaded.iter().map(|one| line(&one.source.to_string(), paint(STRONG, &one.app.name)));
        let agents =
            agents.iter().map(|path| line(&path.to_string_lossy(), "the agent's own configuration".to_owned()));
        output.text(&apps.chain(agents).collect::<String>())?;
    } else {
        output.document(&ValidationReport::right(&loaded, &agents))?;
    }
    Ok(0)
}

/// The Apps, where all is right. Mistakes in one kind of document hide none in the other.
fn checked(paths: &Paths, agents: &[&PathBuf], manifests: Vec<&PathBuf>) -> Result<Vec<Loaded>, Failure> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for path in agents {
        mistakes.extend(load_agent(path).err().into_iter().flat_map(|errors| errors.mistakes));
    }
    let loaded = if agents.is_empty() {
        load(paths)
    } else if manifests.is_empty() {
        Ok(Vec::new())
    } else {
        load(&Paths { paths: manifests.into_iter().cloned().collect() })
    };
    match loaded {
        Err(Failure::Manifests(errors)) => mistakes.extend(errors.mistakes),
        loaded if mistakes.is_empty() => return loaded,
        _ => {}
    }
    Err(Failure::Manifests(LoadErrors { mistakes }))
}

/// Prints the JSON schema of manifests or of the agent's own configuration: as JSON, or as YAML where that is asked
/// for.
///
/// # Errors
/// When it cannot be written, or has no such form.
pub fn schema(kind: Kind, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("schema")?;
    output.document(&match kind {
        Kind::App => json_schema(),
        Kind::Agent => agent_schema(),
    })?;
    Ok(0)
}

/// Prints a completion script.
///
/// # Errors
/// When it cannot be written.
pub fn completions(shell: clap_complete::Shell, output: Output) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    output.bytes(&script)?;
    Ok(0)
}

/// Prints all manual pages one after the other, or writes one file for each.
///
/// # Errors
/// When they cannot be written.
pub fn man(out: Option<&Path>, output: Output) -> Result<u8, Failure> {
    let failed = |error: std::io::Error| {
        let place = out.map_or_else(|| "the standard output".to_owned(), |path| format!("`{}`", path.display()));
        Failure::Complaint(Complaint::new(format!("cannot write the manual to {place}")).cause(error.to_string()))
    };
    // The page on `help` would say nothing.
    let pages = manual::pages(Cli::command().disable_help_subcommand(true)).map_err(failed)?;
    if let Some(directory) = out {
        std::fs::create_dir_all(directory).map_err(failed)?;
        for page in pages {
            std::fs::write(directory.join(format!("{}.1", page.name)), page.roff).map_err(failed)?;
        }
        return Ok(0);
    }
    let pages: String = pages.into_iter().map(|page| page.roff).collect();
    output.bytes(pages.as_bytes())?;
    Ok(0)
}
