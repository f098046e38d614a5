//! What went wrong, where, and what to do: `error:`, `cause:`, `help:`.

use std::fmt::Write;

use super::remedy::typed;
use super::style::{BAD, HELP, WARN, paint};
use super::words::safe;

/// Something that went wrong, its causes and the way out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint {
    /// What happened, as a lower-case fragment.
    pub message: String,
    /// Why, from near to far.
    pub causes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Complaint {
    /// One without causes or advice.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Adds why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same without the causes that stand in what was said already.
    #[must_use]
    pub fn untold(mut self, said: &str) -> Self {
        self.causes.retain(|cause| !said.contains(&safe(cause)));
        self
    }

    /// Three lines, in colour.
    #[must_use]
    pub fn render(&self) -> String {
        self.lines(&paint(BAD, "error"))
    }

    /// The same as something to look at, not yet an error.
    #[must_use]
    pub fn render_as_warning(&self) -> String {
        self.lines(&paint(WARN, "warning"))
    }

    fn lines(&self, word: &str) -> String {
        let mut text = format!("{word}: {}\n", safe(&self.message));
        for cause in &self.causes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  cause: {}", safe(cause));
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "   {}: {}", paint(HELP, "help"), safe(&typed(help)));
        }
        text
    }
}

impl From<&crate::model::report::Problem> for Complaint {
    fn from(problem: &crate::model::report::Problem) -> Self {
        Self { message: problem.message.clone(), causes: Vec::new(), help: problem.help.clone() }
    }
}
