//! Work that may block, on a thread where that holds nobody up.

use crate::ports::{HostError, HostErrorKind};

/// Does a piece of work on a thread that may block, as files do on a slow or hanging mount. Once begun, it goes on when
/// nobody waits for it any more.
///
/// # Errors
/// [`HostErrorKind::Other`] when the work panicked, or the runtime ended before it was begun.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        HostError::new(HostErrorKind::Other, format!("a piece of work did not come to its end: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_lost_is_an_error() {
        assert_eq!(blocking(|| 7).await, Ok(7));
        let lost = blocking(|| panic!("lost")).await.map(|()| 0).unwrap_err();
        assert_eq!(lost.kind, HostErrorKind::Other);
        assert!(lost.message.contains("did not come to its end"), "{lost}");
    }
}
