//! What all our HTTPS clients have in common: who computes for them, and what went wrong with one.

use std::error::Error;
use std::io;
use std::sync::Once;

/// Clients cannot be made before this, not even for plain HTTP.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that somebody else in this program was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The next cause. An I/O error that wraps another one skips it in its own `source`.
#[must_use]
pub fn deeper<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// All causes from the outside in, without the ones that only repeat what is inside them.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(at) = cause {
        let text = at.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = deeper(at);
    }
    texts
}
