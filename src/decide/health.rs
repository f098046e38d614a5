//! placeholder
use crate::model::health::{HealthContract, HealthVerdict, ProbeAnswer, ProbeFailure, WorkerNumbers};
use crate::model::names::ReleaseId;
use std::path::Path;

/// judge
pub fn judge(
    _contract: &HealthContract,
    answer: &Result<ProbeAnswer, ProbeFailure>,
    _release: &ReleaseId,
    _path: &Path,
    _numbers: &WorkerNumbers,
) -> HealthVerdict {
    match answer {
        Ok(answer) => HealthVerdict {
            healthy: answer.status == Some(200),
            rules: vec![],
            failure: (answer.status != Some(200)).then(|| "status".to_owned()),
            latency_ms: None,
        },
        Err(error) => HealthVerdict::unanswered(&error.message),
    }
}
