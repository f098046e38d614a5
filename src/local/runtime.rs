//! What passes over this host run on.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// More descriptors than the runtime opens as it begins.
const DESCRIPTORS: usize = 6;
/// A thread that waits for files is kept for so long when it has none. tokio's ten seconds keep those of a rush busy in
/// turns, for ever, each with its memory.
const SPARE_THREAD: Duration = Duration::from_secs(1);

/// A runtime on this one thread.
///
/// # Errors
/// There are too few descriptors for it.
pub fn runtime() -> io::Result<Runtime> {
    // It panics where its signals find none.
    let spare = (0..DESCRIPTORS).map(|_| std::fs::File::open("/dev/null"));
    spare.collect::<Result<Vec<_>, _>>().map(drop)?;
    Builder::new_current_thread().enable_all().thread_keep_alive(SPARE_THREAD).build()
}
