//! What a far side, or the way to it, says.

use crate::documents::wire::{Ended, FIRST, Failed, Fault, Line, What};
use crate::fleet::reach::{Broken, Heard, Unreached};
use crate::model::fleet::HostName;

pub fn line(seq: u64, what: What) -> Heard {
    Heard::Line(Box::new(Line { seq, at: jiff::Timestamp::UNIX_EPOCH, what }))
}

/// What a front says of a runner that was killed.
pub fn killed(heard: &mut (dyn FnMut(Heard) + Send)) {
    heard(line(FIRST + 1, What::Failed(Failed::new(Fault::Killed, "the runner was killed"))));
    heard(line(FIRST + 2, What::End(Ended::Killed)));
}

pub fn unreached(host: &HostName, broken: Broken, in_hand: bool) -> Unreached {
    Unreached { broken, message: format!("cannot reach `{host}`"), help: None, in_hand }
}
