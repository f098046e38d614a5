//! The manual: one page for the program, and one for each of its verbs.
//!
//! In: the commands with what stands below their options. Out: roff. What is written in lines there, such as examples,
//! keeps its lines here. Begin at [`pages`].

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// One page of the manual.
pub struct Page {
    /// Its name, such as `trueup-diff`.
    pub name: String,
    /// Its text, as roff.
    pub roff: String,
}

/// The program's own page, and those of its verbs.
///
/// # Errors
/// Never; the library that writes into memory has them in its signature.
pub fn pages(mut command: Command) -> io::Result<Vec<Page>> {
    command.build();
    let verbs: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    let program = command.get_name().to_owned();
    let source = format!("{program} {}", command.get_version().unwrap_or_default());
    std::iter::once(command).chain(verbs).map(|command| page(command, &program, &source)).collect()
}

fn page(mut command: Command, program: &str, source: &str) -> io::Result<Page> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let usage = command.render_usage().to_string();
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let below = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let below = Below::read(below.as_deref().unwrap_or_default());
    let called = command.get_bin_name().unwrap_or(&name).to_owned();
    let has_verbs = command.get_subcommands().any(|verb| !verb.is_hide_set());
    let has_version = command.get_version().is_some();
    let man = Man::new(command);

    let mut text = Vec::new();
    title(&name, source).to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(&usage, &called).to_writer(&mut text)?;
    description(&about, &below.prose).to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_verbs {
        man.render_subcommands_section(&mut text)?;
    }
    exit_status(&below.exit).to_writer(&mut text)?;
    examples(&below.examples).to_writer(&mut text)?;
    if has_version {
        man.render_version_section(&mut text)?;
    }
    if name != program {
        see_also(program).to_writer(&mut text)?;
    }
    // Each section brings the lines that have to stand once at the top.
    let top = Roff::new().render();
    let text = String::from_utf8_lossy(&text).replace(&top, "");
    Ok(Page { name, roff: top + &text })
}

/// What stands below the options of a verb's help, by where a manual has it.
#[derive(Default)]
struct Below<'t> {
    prose: Vec<&'t str>,
    examples: Vec<&'t str>,
    exit: Vec<&'t str>,
}

impl<'t> Below<'t> {
    fn read(text: &'t str) -> Self {
        let mut below = Self::default();
        for block in text.split("\n\n") {
            let heading = block.lines().next().unwrap_or_default();
            let list = match heading {
                "Example:" | "Examples:" => &mut below.examples,
                _ if heading.starts_with("Exit codes") => &mut below.exit,
                _ => &mut below.prose,
            };
            list.push(block);
        }
        below
    }
}

/// Of no date, which has to be said: what follows would be taken for it.
fn title(name: &str, source: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", [name, "1", "\"\"", source]);
    roff
}

fn synopsis(usage: &str, called: &str) -> Roff {
    let mut roff = section("SYNOPSIS");
    let usage = usage.trim_start_matches("Usage:").trim();
    match usage.strip_prefix(called) {
        Some(rest) => roff.text([bold(called), roman(rest)]),
        None => roff.text([roman(usage)]),
    };
    roff
}

fn description(about: &str, prose: &[&str]) -> Roff {
    let mut roff = section("DESCRIPTION");
    for block in std::iter::once(about).chain(prose.iter().copied()).filter(|block| !block.is_empty()) {
        roff.control("PP", []);
        let filled = block.lines().take_while(|line| !line.starts_with(' ')).collect::<Vec<_>>();
        roff.text([roman(filled.join("\n"))]);
        let kept: Vec<&str> = block.lines().skip(filled.len()).collect();
        if !kept.is_empty() {
            roff.control("PP", []);
            as_they_are(&mut roff, &kept);
        }
    }
    roff
}

fn exit_status(blocks: &[&str]) -> Roff {
    let mut roff = Roff::new();
    for block in blocks {
        roff.extend([section("EXIT STATUS")]);
        let mut lines = block.lines();
        let heading = lines.next().unwrap_or_default().trim_end_matches(':');
        if let Some((_, rule)) = heading.split_once("; ") {
            let mut letters = rule.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            roff.text([roman(format!("{}.", first.into_iter().chain(letters).collect::<String>()))]);
        }
        for line in lines {
            match line.trim().split_once(' ') {
                Some((code, meaning)) if code.bytes().all(|byte| byte.is_ascii_digit()) => {
                    roff.control("TP", ["6"]).text([bold(code)]).text([roman(meaning.trim_start())]);
                }
                _ => {
                    roff.text([roman(line.trim())]);
                }
            }
        }
    }
    roff
}

fn examples(blocks: &[&str]) -> Roff {
    let mut roff = Roff::new();
    for block in blocks {
        roff.extend([section("EXAMPLES")]);
        as_they_are(&mut roff, &block.lines().skip(1).collect::<Vec<_>>());
    }
    roff
}

fn see_also(program: &str) -> Roff {
    let mut roff = section("SEE ALSO");
    roff.text([bold(program), roman("(1)")]);
    roff
}

fn section(name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    roff
}

/// Lines that a reader may copy.
fn as_they_are(roff: &mut Roff, lines: &[&str]) {
    roff.control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
}
