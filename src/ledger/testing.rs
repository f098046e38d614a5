//! What the tests of this room share.

use crate::model::names::Root;

/// An empty root, for as long as its directory is kept.
pub fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path()).unwrap();
    (directory, root)
}
