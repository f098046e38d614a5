//! The log: on the standard error, quiet unless asked.

use std::io;

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

fn filter(global: &Global, talkative: bool) -> EnvFilter {
    let usual = || EnvFilter::new(level(global.verbose.max(u8::from(talkative)), global.log_format));
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
