//! What is made of the lines of one conversation: which of them are new, and what the way of the whole request learns
//! from them.

use super::super::conversation::Took;
use super::super::scripts::NeededLines;
use super::super::trouble::{Again, Trouble};
use super::{Asking, NOISE_LIMIT, Turn};
use crate::documents::wire::{BEAT, Beat, FIRST, Failed, Line, What, read};
use crate::fleet::reach::{Broken, ConnectionNews, HostSaid};

/// Who hears the lines of one conversation.
pub(super) struct Listening<'b, 'a> {
    pub(super) asking: &'b mut Asking<'a>,
    /// The far side has said its hello on this connection, or why it cannot.
    greeted: bool,
    /// The run was there before this connection: what is said of it are its own lines.
    attached: bool,
    /// An earlier connection may have brought the request there, and with it begun what changes the host.
    delivered: bool,
    needed: NeededLines,
    /// What came before the first line of ours.
    pub(super) noise: String,
    /// How it ended; none: the far side went without one.
    pub(super) end: Option<Result<Turn, Trouble>>,
}

impl<'b, 'a> Listening<'b, 'a> {
    /// `sent`: an earlier connection may have brought the request to a far side.
    pub(super) fn new(asking: &'b mut Asking<'a>, sent: bool) -> Self {
        let delivered = sent && asking.request.operation.changes();
        let (needed, noise) = (NeededLines::default(), String::new());
        Self { asking, greeted: false, attached: false, delivered, needed, noise, end: None }
    }

    pub(super) fn hear(&mut self, line: &str) -> Took {
        match self.take(line) {
            None if self.greeted => Took::Word,
            None => Took::Noise,
            Some(end) => {
                self.end = Some(end);
                Took::Enough
            }
        }
    }

    fn take(&mut self, text: &str) -> Option<Result<Turn, Trouble>> {
        // A far side that speaks is there: whatever it shows of others is not the shell's answer.
        if !self.greeted
            && let Some(needed) = self.needed.hear(text)
        {
            return Some(Ok(Turn::Needed(needed)));
        }
        // A shell's greeting.
        if !text.starts_with('{') {
            if !text.is_empty() && self.noise.len() + text.len() < NOISE_LIMIT {
                self.noise.push_str(text);
                self.noise.push('\n');
            }
            return None;
        }
        let line = match read::line(text) {
            Ok(line) => line,
            Err(failed) => {
                let trouble = lasting(Broken::Wire, failed);
                let message = format!("`{}`: {}", self.asking.host.ssh, trouble.message);
                return Some(Err(Trouble { message, ..trouble }));
            }
        };
        // What looks only is done anew on a new connection, and counts anew; a refusal counts from one, too.
        let last = matches!(line.what, What::Failed(_) | What::End(_));
        let hello = matches!(line.what, What::Hello(_));
        if !(self.greeted || last || hello) {
            return Some(Err(self.strays(&format!("it said line {} before its hello", line.seq))));
        }
        self.greeted = true;
        let line = match line {
            Line { what: What::Beat(beat), .. } => return self.beat(beat).map(Err),
            // A run says first that it has begun. This is a front that could not even look for it: it knows nothing of
            // what the request has begun before.
            Line { seq: FIRST, what: What::Failed(why), .. } if self.is_in_hand() => {
                return Some(Err(lasting(Broken::Lost, why)));
            }
            line => line,
        };
        if let What::Hello(hello) = &line.what {
            self.attached = hello.attached;
        }
        let wanted = self.asking.request.from;
        let new = line.seq >= wanted;
        let next = match line.seq.checked_add(1) {
            Some(next) if hello || line.seq <= wanted => next,
            _ => return Some(Err(self.strays(&format!("it said line {} where line {wanted} was due", line.seq)))),
        };
        let asking = &mut *self.asking;
        if hello {
            if asking.lost {
                asking.lost = false;
                (asking.heard)(HostSaid::Connection(ConnectionNews::Back));
            }
            if std::mem::replace(&mut asking.met, true) {
                return None;
            }
        } else {
            if !new && !last {
                return None;
            }
            asking.request.from = wanted.max(next);
            asking.fruitful |= new;
            if let What::Begun(begun) = &line.what {
                asking.runner = Some(begun.process.pid.0);
            }
        }
        let end = matches!(line.what, What::End(_));
        (asking.heard)(HostSaid::Line(Box::new(line)));
        end.then_some(Ok(Turn::Ended))
    }

    /// The request may have begun something there of which nothing was heard yet.
    fn is_in_hand(&self) -> bool {
        self.delivered && !self.attached && self.asking.request.from == FIRST
    }

    /// Whoever copies the run's lines is there; is the one who makes them?
    fn beat(&mut self, beat: Beat) -> Option<Trouble> {
        let asking = &mut *self.asking;
        if beat.silent < asking.ssh.options.silence {
            // What breaks after a sign of life breaks anew. That of a far side that has seen none is no sign.
            asking.fruitful |= beat.silent < BEAT;
            return None;
        }
        asking.stuck = true;
        let runner = asking.runner.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let target = &asking.host.ssh;
        let silent = beat.silent.as_secs();
        let message = format!("whoever makes the pass on `{target}`{runner} has given no sign of life for {silent} s");
        Some(Trouble::new(Broken::Lost, message).again(Again::Later))
    }

    /// What it says cannot be what a far side of this version says.
    fn strays(&self, how: &str) -> Trouble {
        Trouble::new(Broken::Wire, format!("`{}` does not keep to the wire: {how}", self.asking.host.ssh))
            .with_help("see what else answers in the far side's place: `command -v trueup` there")
    }
}

/// What a far side cannot do now, nor a moment later.
fn lasting(broken: Broken, failed: Failed) -> Trouble {
    let why = [vec![failed.message], failed.causes].concat().join(": ");
    Trouble { help: failed.help, ..Trouble::new(broken, why) }
}
