//! What waits for an App's next pass: bounded, whatever comes.

use jiff::Timestamp;

use crate::model::wake::Wake;

/// So many wakes are remembered; beyond them only those of another sort.
pub(super) const MOST: usize = 32;

/// A wake that waits for its pass.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) wake: Wake,
    /// It does not wait for a back-off.
    pub(super) news: bool,
    pub(super) at: Timestamp,
}

/// Adds one, each wake once. Where too many wait, it takes the place of the last of its sort if it is due before that, so
/// that none is made to wait for another one.
pub(super) fn add(waiting: &mut Vec<Pending>, new: Pending) {
    if let Some(known) = waiting.iter_mut().find(|known| known.wake == new.wake) {
        (known.at, known.news) = (known.at.min(new.at), known.news || new.news);
        return;
    }
    let last = if waiting.len() < MOST {
        None
    } else {
        waiting.iter_mut().filter(|known| is_like(&known.wake, &new.wake)).max_by_key(|known| known.at)
    };
    match last {
        None => waiting.push(new),
        Some(last) if new.at < last.at => *last = Pending { news: last.news || new.news, ..new },
        Some(last) => last.news |= new.news,
    }
}

/// A pass for the one does all that the other asks for.
fn is_like(one: &Wake, other: &Wake) -> bool {
    one.kind() == other.kind() && one.ignores_windows() == other.ignores_windows()
}

/// Comes from the host, where somebody may do it again and again.
pub(super) fn may_go_on_for_ever(wake: &Wake) -> bool {
    match wake {
        Wake::Link | Wake::Releases | Wake::File { .. } | Wake::Death { .. } | Wake::Health => true,
        Wake::Started
        | Wake::Manifest { .. }
        | Wake::Timer
        | Wake::Request { .. }
        | Wake::Webhook { .. }
        | Wake::Hangup
        | Wake::Backoff
        | Wake::Window => false,
    }
}
