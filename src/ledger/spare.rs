//! Room that is kept in reserve: on a full disk a release must still be taken back, and a switch that was begun still be
//! brought to its end.
//!
//! Records keep it while there is any; whatever is written in the middle of a pass may take it.

use std::io::{self, Write};

use rustix::fs::OFlags;

use super::folder::Folder;

/// In `ROOT/.trueup`.
const NAME: &str = "spare";
const SIZE: usize = 64 << 10;

/// Writes, and on a full disk writes again in the room that was kept; true: it is taken.
pub(super) fn within(above: &Folder, write: impl Fn() -> io::Result<()>) -> io::Result<bool> {
    match write() {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            above.remove(NAME).and_then(|()| write()).map(|()| true)
        }
        written => written.map(|()| false),
    }
}

/// Takes the room, while there is any. Without it, whoever writes must find room of their own.
pub(super) fn keep(above: &Folder) {
    let kept = above.readable(NAME).is_ok_and(|there| there.is_some());
    let filled = || above.file(NAME, OFlags::empty())?.write_all(&vec![0; SIZE]);
    if !kept && filled().is_err() {
        // Half of it would not be noticed.
        let _ = above.remove(NAME);
    }
}
