//! `history`: what passes did, out of the journal.

use super::Failure;
use super::host::on_this_host;
use super::in_force;
use super::load::here;
use super::options::Format;
use super::options::operate::History;
use super::output::Output;
use super::render::history as text;
use crate::decide::history::history;
use crate::documents::List;
use crate::documents::history::Past;
use crate::manifest::Loaded;

/// Shows what is still known.
///
/// # Errors
/// When the manifests are wrong, or a journal cannot be read.
pub fn run(options: &History, output: Output) -> Result<u8, Failure> {
    output.refuse_markdown("history")?;
    let (app, paths) = options.split();
    let loaded: Vec<Loaded> = match app {
        Some(app) => vec![in_force::one(app, &paths, &options.in_force)?],
        None => here(&in_force::all(&paths, &options.in_force)?)?,
    };
    let last = Some(options.last).filter(|last| *last > 0);
    let journals = on_this_host("trueup history", None, None, async |host| {
        let mut journals = Vec::new();
        for one in &loaded {
            journals.push(host.journaled(&one.app.root).await);
        }
        journals
    })?;
    let mut pasts = Vec::new();
    for (one, journal) in loaded.iter().zip(journals) {
        pasts.push((&one.app, history(&one.app.name, journal?, last)));
    }
    match output.format {
        Format::Text | Format::Markdown => {
            let texts: Vec<String> =
                pasts.iter().map(|(app, passes)| text::history(app, passes, output.width)).collect();
            output.text(&texts.join("\n"))?;
        }
        Format::Json | Format::Yaml => {
            let items = pasts.iter().map(|(app, passes)| Past { app: &app.name, root: &app.root, passes }).collect();
            output.document(&List::new("HistoryList", items))?;
        }
    }
    Ok(0)
}
