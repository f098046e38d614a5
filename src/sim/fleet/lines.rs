//! What a far side, or the way to it, says.

use crate::documents::wire::{Ended, FIRST, Failed, Fault, Hello, Line, Report, What};
use crate::fleet::reach::{Broken, HostSaid, Unreached};
use crate::model::fleet::HostName;

pub fn line(seq: u64, what: What) -> HostSaid {
    HostSaid::Line(Box::new(Line { seq, at: jiff::Timestamp::UNIX_EPOCH, what }))
}

/// What a front says of a runner that was killed.
pub fn killed(heard: &mut (dyn FnMut(HostSaid) + Send)) {
    heard(line(FIRST + 1, What::Failed(Failed::new(Fault::Killed, "the runner was killed"))));
    heard(line(FIRST + 2, What::End(Ended::Killed)));
}

/// The same of one that had not begun to act.
pub fn killed_waiting(heard: &mut (dyn FnMut(HostSaid) + Send)) {
    heard(line(0, What::Hello(Hello::own(false))));
    heard(line(FIRST, What::Waiting("`/srv/shop` is locked".to_owned())));
    killed(heard);
}

/// What a pass says that has waited for the lock, and could not look at the host.
pub fn locked(heard: &mut (dyn FnMut(HostSaid) + Send), mut report: Report) {
    (report.summary.observed, report.summary.current) = (false, None);
    heard(line(0, What::Hello(Hello::own(false))));
    heard(line(FIRST, What::Report(Box::new(report))));
    heard(line(FIRST + 1, What::End(Ended::Done)));
}

pub fn unreached(host: &HostName, broken: Broken, in_hand: bool) -> Unreached {
    Unreached { broken, message: format!("cannot reach `{host}`"), help: None, in_hand }
}
