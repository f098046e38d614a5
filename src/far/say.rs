//! A front's own lines, to whoever asked.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::documents::wire::bounds;
use crate::documents::wire::{Ended, FIRST, Failed, Hello, Line, What};

/// Numbers what is said.
pub(super) struct LineWriter<W> {
    out: W,
    next: u64,
}

impl<W: Write> LineWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, next: FIRST }
    }

    pub(super) fn hello(&mut self, attached: bool) -> io::Result<()> {
        self.line(0, What::Hello(Hello::own(attached)))
    }

    pub(super) fn say(&mut self, what: What) -> io::Result<()> {
        let seq = self.next;
        self.next += 1;
        self.line(seq, what)
    }

    /// Says why it could not be done, and ends.
    pub(super) fn refuse(&mut self, failed: Failed) -> io::Result<()> {
        self.say(What::Failed(failed))?;
        self.say(What::End(Ended::Failed))
    }

    fn line(&mut self, seq: u64, what: What) -> io::Result<()> {
        let text = bounds::line(Line { seq, at: Timestamp::now(), what })?;
        self.out.write_all(&text)?;
        self.out.flush()
    }

    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }
}
