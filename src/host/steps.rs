#![allow(missing_docs, clippy::missing_errors_doc, clippy::unused_async)]
use super::spawn::Shim;
use crate::model::app::App;
use crate::model::names::ReleaseId;
use crate::model::release::Stage;
use crate::ports::HostError;
pub async fn steps(
    _: &Shim,
    _: &App,
    _: Stage,
    _: Option<&ReleaseId>,
    _: Option<std::os::fd::OwnedFd>,
) -> Result<(), HostError> {
    Ok(())
}
