//! Digests of parts of a document: they change with what is said there, and with nothing else.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::manifest::shape::{Health, Release, Spec};
use crate::model::app::Fingerprint;

/// Made of the shape, so neither comments nor spelling, order of keys or place of the file matter.
pub(super) fn of(spec: &Spec) -> Fingerprint {
    let release = spec.release.as_ref();
    let made_of = release.map(|release| (&release.source, &release.shared, &release.links, &release.build));
    // How often somebody asks says nothing of what is good, nor how many old ones are kept.
    let health = spec.health.clone().map(|health| Health { watch: None, ..health });
    let tried = release.cloned().map(|release| Release { keep: None, ..release });
    let wish = Spec { health: health.clone(), sync: None, ..spec.clone() };
    Fingerprint {
        trial: digest(&(tried, &spec.workers, &spec.services, &health)),
        recipe: digest(&made_of),
        wish: digest(&wish),
    }
}

fn digest(part: &impl Serialize) -> String {
    // A shape is made of texts, numbers, lists and maps of texts: it always has a JSON form.
    let text = serde_json::to_vec(part).unwrap_or_default();
    let mut hexadecimal = String::with_capacity(64);
    for byte in Sha256::digest(&text) {
        // Writing to a string cannot fail.
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    hexadecimal
}
