//! The way out: results on the standard output, everything else on the standard error.
//!
//! Colour only where a person looks: `--color`, `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` are obeyed. A reader
//! that goes away early, such as `head`, is no error.

use std::io::{self, IsTerminal, Write};

use anstream::ColorChoice;
use serde::Serialize;

use super::options::{Colour, Format};
use super::render::problem::Complaint;
use super::{Failure, foot};
use crate::manifest;

/// Where results go and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The form.
    pub format: Format,
    /// Columns of the terminal; none when the standard output is none.
    pub width: Option<usize>,
}

impl Output {
    /// Looks once at what the standard output is.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, width: width(&io::stdout()) }
    }

    /// Whether the result is one document, for a program, rather than words for a person.
    #[must_use]
    pub const fn is_document(self) -> bool {
        match self.format {
            Format::Json | Format::Yaml => true,
            Format::Text | Format::Markdown => false,
        }
    }

    /// Refuses a form that only differences have.
    ///
    /// # Errors
    /// It is asked for.
    pub fn refuse_markdown(self, verb: &str) -> Result<(), Failure> {
        if self.format != Format::Markdown {
            return Ok(());
        }
        let complaint = Complaint::new(format!("`{verb}` has no markdown form")).help("choose text, json or yaml");
        Err(Failure::Usage(complaint))
    }

    /// Prints text, in colour where that is wanted.
    ///
    /// # Errors
    /// When it cannot be written; a reader that has gone away is none.
    pub fn text(self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        forgive(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When they cannot be written; a reader that has gone away is none.
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        forgive(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Prints one document for programs; `Yaml` as YAML, anything else as JSON.
    ///
    /// # Errors
    /// When it has no such form, or cannot be written.
    pub fn document(self, document: &impl Serialize) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => yaml(document)?,
            Format::Text | Format::Json | Format::Markdown => json(document)?,
        };
        self.bytes(text.as_bytes())
    }
}

/// JSON for people and programs alike, with a line break at the end.
///
/// # Errors
/// When the value has no such form.
pub fn json(document: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map(|text| format!("{text}\n"))
        .map_err(|error| unprintable(&error.to_string()))
}

/// One YAML document.
///
/// # Errors
/// When the value has no such form.
pub fn yaml(document: &impl Serialize) -> Result<String, Failure> {
    manifest::to_string(document).map_err(|error| unprintable(&error))
}

fn unprintable(error: &str) -> Failure {
    Failure::Complaint(Complaint::new("cannot print the result").cause(error))
}

/// What came of writing a result: a reader that has gone away is no error.
///
/// # Errors
/// When it could not be written.
pub fn forgive(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Complaint(Complaint::new("cannot write to the standard output").cause(error.to_string())))
        }
        _ => Ok(()),
    }
}

/// Says something to the person at the terminal. Nobody listening is no error.
pub fn say(text: &str) {
    if foot::say_above(text) {
        return;
    }
    let mut err = anstream::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Obeys `--color` from here on; `auto` leaves it to the environment and the stream.
pub fn choose_colour(colour: Colour) {
    match colour {
        Colour::Auto => {}
        Colour::Always => ColorChoice::Always.write_global(),
        Colour::Never => ColorChoice::Never.write_global(),
    }
}

/// Whether the standard error may have colour.
#[must_use]
pub fn stderr_has_colour() -> bool {
    !matches!(anstream::AutoStream::choice(&io::stderr()), ColorChoice::Never)
}

/// The columns of a terminal.
#[must_use]
pub fn width(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    size(stream).map(|(columns, _)| columns)
}

/// The columns and lines of a terminal.
#[must_use]
pub fn size(stream: &impl std::os::fd::AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}
