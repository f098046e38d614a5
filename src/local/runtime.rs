//! What passes over this host run on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// More descriptors than the runtime opens as it begins.
const DESCRIPTORS: usize = 6;

/// A runtime on this one thread.
///
/// # Errors
/// There are too few descriptors for it.
pub fn runtime() -> io::Result<Runtime> {
    // It panics where its signals find none.
    let spare = (0..DESCRIPTORS).map(|_| std::fs::File::open("/dev/null"));
    spare.collect::<Result<Vec<_>, _>>().map(drop)?;
    Builder::new_current_thread().enable_all().build()
}
