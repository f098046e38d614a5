#![allow(missing_docs, clippy::missing_errors_doc, clippy::unused_async)]
use crate::model::names::{ReleaseId, Root};
use crate::model::record::ReleaseRecord;
use crate::ports::HostError;
pub async fn records(_: &Root) -> Result<Vec<ReleaseRecord>, HostError> {
    Ok(Vec::new())
}
pub async fn record(_: &Root, _: &ReleaseRecord) -> Result<(), HostError> {
    Ok(())
}
pub async fn forget(_: &Root, _: &ReleaseId) -> Result<(), HostError> {
    Ok(())
}
