//! What a release lacks before it may be switched to.

use super::blocking;
use super::layout::{is_empty, missing};
use super::links::unlinked;
use crate::model::app::App;
use crate::ports::{HostError, Inspection};

/// What the App's release lacks: anything at all in it, of `requires`, of its links and writable directories.
///
/// # Errors
/// The release is not there, and what may not be looked at.
pub async fn inspect(app: &App) -> Result<Inspection, HostError> {
    let app = app.clone();
    blocking(move || {
        let unlinked = unlinked(&app)?;
        let directory = app.root.release(&app.release.id);
        Ok(Inspection { empty: is_empty(&directory)?, missing: missing(&directory, &app.release.requires)?, unlinked })
    })
    .await?
}
