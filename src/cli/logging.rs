//! The log: on the standard error, quiet unless asked.

use std::io;

use tracing_subscriber::EnvFilter;

use super::options::{Global, LogFormat};
use super::output::{say, stderr_has_colour};
use super::render::problem::Complaint;

/// Filters the log, such as `trueup=debug,zbus=warn`; wins over `-v`.
const VARIABLE: &str = "TRUEUP_LOG";

/// Starts the log. Called once.
pub fn start(global: &Global) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(global))
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

fn filter(global: &Global) -> EnvFilter {
    let usual = || EnvFilter::new(level(global));
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
fn level(global: &Global) -> &'static str {
    match (global.verbose, global.log_format) {
        (0, LogFormat::Text) => "error",
        (0, LogFormat::Json) | (1, _) => "warn,trueup=info",
        (2, _) => "info,trueup=debug",
        _ => "debug,trueup=trace",
    }
}
