//! The log: on the standard error, quiet unless asked.
//!
//! What steps print and what applications answer comes into it as values of fields. Nothing of that can begin a line
//! of its own or speak to a terminal. A value with blanks in it is quoted, so that one sees where it ends.

mod stderr;

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anstyle::Style;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use self::stderr::Stderr;
use super::options::{Global, LogFormat};
use super::output::{say, stderr_has_colour};
use super::render::problem::Complaint;
use crate::manifest::turns;

/// Filters the log, such as `trueup=debug,zbus=warn`; wins over `-v`.
const VARIABLE: &str = "TRUEUP_LOG";

/// Whether more than what goes wrong is logged.
#[must_use]
pub fn logs(global: &Global) -> bool {
    global.verbose > 0 || std::env::var_os(VARIABLE).is_some()
}

/// Starts the log. Called once. One that is `talkative` tells what is done without being asked to.
pub fn start(global: &Global, talkative: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(global, talkative))
        .with_writer(Stderr::of_this_process())
        .with_ansi(stderr_has_colour())
        // It would panic on a standard error that is closed.
        .log_internal_errors(false);
    // Only fails when there is a log already.
    let _ = match global.log_format {
        LogFormat::Text => builder.fmt_fields(fields()).compact().with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Most bytes of a bounded log.
const LIMIT: usize = 1024 * 1024;

/// Starts a log that tells what is done, into a standard error that is a file and must not grow for ever.
pub fn start_bounded() {
    let left = Arc::new(AtomicUsize::new(LIMIT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter_or(|| EnvFilter::new(level(1, LogFormat::Text))))
        .with_writer(move || Bounded(Arc::clone(&left)))
        .with_ansi(false)
        .log_internal_errors(false);
    let _ = builder.fmt_fields(fields()).compact().with_target(false).try_init();
}

/// How messages and fields of events and spans are written for people.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(field).delimited(" ")
}

fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let coloured = writer.has_ansi_escapes();
    let style = |style: Style| if coloured { style } else { Style::new() };
    let name = field.name();
    if name == "message" {
        return write!(Escaped(writer), "{value:?}");
    }
    let (italic, dim) = (style(Style::new().italic()), style(Style::new().dimmed()));
    let name = name.strip_prefix("r#").unwrap_or(name);
    write!(writer, "{italic}{name}{italic:#}{dim}={dim:#}")?;
    let text = format!("{value:?}");
    // Texts and lists have signs of their own.
    if text.contains(char::is_whitespace) && !text.starts_with(['"', '[', '{']) {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        return write!(Escaped(writer), "\"{text}\"");
    }
    Escaped(writer).write_str(&text)
}

/// Writes control characters, line breaks among them, and changes of direction as `\n` and `\u{1b}`.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                c if c.is_control() => write!(self.0, "{}", c.escape_default())?,
                c if turns(c) => write!(self.0, "{}", c.escape_unicode())?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The standard error, as long as something is left.
struct Bounded(Arc<AtomicUsize>);

impl Write for Bounded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let spend = |left: usize| left.checked_sub(text.len());
        // What is too much is thrown away: nobody is held up by a log.
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
            Ok(_) => io::stderr().write(text),
            Err(_) => Ok(text.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn filter(global: &Global, talkative: bool) -> EnvFilter {
    filter_or(|| EnvFilter::new(level(global.verbose.max(u8::from(talkative)), global.log_format)))
}

/// The filter of the environment, else the usual one.
fn filter_or(usual: impl Fn() -> EnvFilter) -> EnvFilter {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            let complaint = Complaint::new(format!("{VARIABLE} is no log filter: {error}"));
            say(&complaint.help("write something like `debug` or `trueup=debug,zbus=warn`").render_as_warning());
            usual()
        }),
        _ => usual(),
    }
}

/// For people, what goes on is told by the verb itself: the log adds to it only on demand.
fn level(verbose: u8, form: LogFormat) -> &'static str {
    match (verbose, form) {
        (0, LogFormat::Text) => "error",
        (0, LogFormat::Json) | (1, _) => "warn,trueup=info",
        (2, _) => "info,trueup=debug",
        _ => "debug,trueup=trace",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tracing::subscriber::with_default;
    use tracing::{info, info_span, warn};

    use super::*;
    use crate::cli::render::style::plain;

    /// A build that prints a line of the log, and a health endpoint that clears the screen.
    #[test]
    fn what_comes_from_elsewhere_is_one_line_and_no_command_to_a_terminal() {
        const FORGED: &str =
            "no\n2026-01-01T00:00:00.000000Z  INFO pass app=shop outcome=Converged\r\u{1b}[2J\u{9b}2J\u{202e}";
        for coloured in [false, true] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let log = Arc::new(File::create(file.path()).unwrap());
            let builder = tracing_subscriber::fmt().with_writer(log).with_ansi(coloured).without_time();
            with_default(builder.fmt_fields(fields()).compact().with_target(false).finish(), || {
                let _span = info_span!("reconcile", app = %FORGED).entered();
                warn!(error = %FORGED, text = FORGED, debug = ?FORGED, "it says {FORGED}");
                info!(outcome = ?Some(1), took_ms = 12, "pass ended");
                info!(by = %"anna", trigger = %r#"a "b" c\d"#, names = ?["a", "b"], text = "a b", "pass");
            });
            let said = std::fs::read_to_string(file.path()).unwrap();
            assert_eq!(said.lines().count(), 3, "{said}");
            let said = if coloured { plain(&said) } else { said };
            assert!(!said.contains(['\r', '\u{1b}', '\u{9b}', '\u{202e}']), "{said:?}");
            assert!(said.contains(r"it says no\n2026-01-01") && said.contains(r#"error="no\n2026-01-01"#), "{said}");
            assert!(said.contains("pass ended outcome=Some(1) took_ms=12"), "{said}");
            let quoted = r#"pass by=anna trigger="a \"b\" c\\d" names=["a", "b"] text="a b""#;
            assert!(said.contains(quoted), "{said}");
        }
    }
}
