//! The log: on the standard error, quiet unless asked.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::EnvFilter;

use super::options::{Global, LogFormat};
use super::output::{say, stderr_has_colour};
use super::render::problem::Complaint;

/// Filters the log, such as `trueup=debug,zbus=warn`; wins over `-v`.
const VARIABLE: &str = "TRUEUP_LOG";

/// Starts the log. Called once. One that is `talkative` tells what is done without being asked to.
pub fn start(global: &Global, talkative: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(global, talkative))
        .with_writer(io::stderr)
        .with_ansi(stderr_has_colour())
        // It would panic on a standard error that is closed.
        .log_internal_errors(false);
    // Only fails when there is a log already.
    let _ = match global.log_format {
        LogFormat::Text => builder.compact().with_target(false).try_init(),
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
    let _ = builder.compact().with_target(false).try_init();
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
