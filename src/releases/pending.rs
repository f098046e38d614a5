#![allow(missing_docs, clippy::missing_errors_doc, clippy::unused_async)]
use crate::model::names::{ReleaseId, Root};
use crate::ports::HostError;
pub async fn settle(_: &Root) -> Result<(), HostError> {
    Ok(())
}
pub async fn remove(_: &Root, _: &ReleaseId) -> Result<(), HostError> {
    Ok(())
}
