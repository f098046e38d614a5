//! The standard error, as whoever reads it wants lines: the system's journal takes `<4>` at the beginning for a warning.
//!
//! systemd says by `JOURNAL_STREAM` which file leads there (systemd.exec(5)); a shell's redirection may have put another one
//! in its place.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The standard error, looked at once.
pub(super) struct Stderr {
    /// It leads into the journal.
    journal: bool,
}

impl Stderr {
    pub(super) fn of_this_process() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let file = io::stderr().as_fd().try_clone_to_owned().and_then(|own| File::from(own).metadata());
        Self { journal: file.is_ok_and(|file| is_named(&stream, file.dev(), file.ino())) }
    }
}

/// Whether a stream is named by its device and inode: `9:1234`.
fn is_named(stream: &str, device: u64, inode: u64) -> bool {
    let named = stream.split_once(':');
    named.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: "" }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line {
        Line { priority: if self.journal { priority(*of.level()) } else { "" } }
    }
}

/// The prefixes of sd-daemon(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// One event, which is one line.
pub(super) struct Line {
    priority: &'static str,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.priority.is_empty() {
            return io::stderr().write(text);
        }
        // In one piece: nothing of others comes in between.
        io::stderr().write_all(&[self.priority.as_bytes(), text].concat())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let rows =
            [("9:1234", true), ("9:1235", false), ("8:1234", false), ("", false), ("9", false), ("9:1234:", false)];
        for (stream, expected) in rows {
            assert_eq!(is_named(stream, 9, 1234), expected, "{stream}");
        }
    }
}
