//! What came of a verb on other hosts, in words, behind what came of it on this one.

use super::chosen::One;
use crate::cli::options::Format;
use crate::cli::output::Output;
use crate::cli::render::fleet::{looked, markdown};
use crate::fleet::groups::Looked;

/// Adds the `face` of what came of each App to what is said of this host, an empty line before each.
pub fn joined<T>(own: String, apps: &[One<'_>], each: &[T], face: impl Fn(&One<'_>, &T) -> String) -> String {
    apps.iter().zip(each).fold(own, |mut text, (one, came)| {
        if !text.is_empty() {
            text.push('\n');
        }
        text + &face(one, came)
    })
}

/// What would be done on the hosts of one App.
pub fn preview(one: &One<'_>, seen: &Looked, output: Output) -> String {
    let waves = seen.waves(&one.loaded.app, &one.fleet);
    match output.format {
        Format::Markdown => markdown(&one.loaded.app, &one.fleet.hosts, seen, &waves),
        Format::Text | Format::Json | Format::Yaml => {
            looked(&one.loaded.app, &one.fleet.hosts, seen, &waves, output.width)
        }
    }
}
