//! What a release lacks before it may be switched to.

use std::fs;
use std::path::Path;

use super::layout::is_absence;
use super::links::unlinked;
use crate::host::silence;
use crate::model::app::App;
use crate::model::names::RelativePath;
use crate::ports::{HostError, Inspection};

/// What the App's release lacks: anything at all in it, of `requires`, of its links and writable directories.
///
/// # Errors
/// The release is not there, and what may not be looked at.
pub async fn inspect(app: &App) -> Result<Inspection, HostError> {
    let root = &app.root;
    let app = app.clone();
    silence::at(root, move || {
        let unlinked = unlinked(&app)?;
        let directory = app.root.release(&app.release.id);
        Ok(Inspection { empty: is_empty(&directory)?, missing: missing(&directory, &app.release.requires)?, unlinked })
    })
    .await?
}

fn is_empty(directory: &Path) -> Result<bool, HostError> {
    let first = fs::read_dir(directory).and_then(|mut entries| entries.next().transpose());
    match first {
        Ok(entry) => Ok(entry.is_none()),
        Err(error) => Err(HostError::io(format!("cannot look into `{}`", directory.display()), &error)),
    }
}

fn missing(directory: &Path, requires: &[RelativePath]) -> Result<Vec<RelativePath>, HostError> {
    let mut missing = Vec::new();
    for path in requires {
        let place = directory.join(path.as_path());
        match fs::metadata(&place) {
            Ok(_) => {}
            Err(error) if is_absence(&error) => missing.push(path.clone()),
            Err(error) => return Err(HostError::io(format!("cannot look at `{}`", place.display()), &error)),
        }
    }
    Ok(missing)
}
