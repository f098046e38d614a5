//! `far`: the far side of a fleet, which nobody types. It is no verb of the command line's own, for people are not its
//! users.

use std::process::ExitCode;

use super::inspect::previews;
use super::logging;
use super::options::Format;
use super::output::Output;
use super::render::status::{Entry, status as rendered};
use super::render::style::plain;
use super::render::{shape, unified::unified};
use crate::decide::aim::aimed;
use crate::decide::health;
use crate::documents::wire::voice;
use crate::far::answer::Renderers;
use crate::far::front::front;
use crate::far::runner::runner;
use crate::far::{ASKED, RUN, VERB};
use crate::manifest::Loaded;
use crate::model::report::{PassReport, Problem};
use crate::model::status::AppStatus;

const FACES: Renderers = Renderers { diff, preview, status };

/// Runs it, if that is what these arguments ask for.
pub fn main(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<ExitCode> {
    if arguments.next()? != VERB {
        return None;
    }
    let word = arguments.next();
    if word.as_ref().is_some_and(|word| *word == ASKED) {
        let said = Output { format: Format::Text, width: None }.bytes(format!("{}\n", voice()).as_bytes());
        return Some(if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    health::warm_up();
    Some(if word.is_some_and(|word| word == RUN) {
        logging::start_bounded();
        runner(&FACES)
    } else {
        front(&FACES)
    })
}

fn diff(one: &Loaded, report: &PassReport) -> String {
    let Some(observed) = &report.before else { return String::new() };
    // What has no form as YAML is shown by nobody: the plan below it tells as much.
    let both = shape::both(&aimed(&one.app, &observed.aim), observed);
    plain(&both.map(|(observed, desired)| unified(&observed, &desired)).unwrap_or_default())
}

fn preview(one: &Loaded, report: &PassReport) -> String {
    let output = Output { format: Format::Text, width: None };
    plain(&previews(std::slice::from_ref(one), std::slice::from_ref(report), output))
}

fn status(one: &Loaded, status: &AppStatus, problems: Vec<Problem>) -> String {
    plain(&rendered(&[Entry { app: &one.app, status, problems }], None))
}
