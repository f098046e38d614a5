#![allow(missing_docs, clippy::missing_errors_doc, clippy::unused_async)]
use crate::model::app::App;
use crate::model::names::{ReleaseId, Root};
use crate::ports::{HostError, Inspection};
pub async fn inspect(_: &App) -> Result<Inspection, HostError> {
    Ok(Inspection::default())
}
pub async fn link(_: &App) -> Result<(), HostError> {
    Ok(())
}
pub async fn settle(_: &Root) -> Result<(), HostError> {
    Ok(())
}
pub async fn remove(_: &Root, _: &ReleaseId) -> Result<(), HostError> {
    Ok(())
}
