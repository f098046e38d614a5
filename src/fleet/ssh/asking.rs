//! One request to one host, over as many connections as it takes.
//!
//! The request keeps its id, so whatever arrives twice is done once; `from` says which lines are wanted, so whatever is
//! said twice is heard once. Begin at [`Asking::ask`].

use std::time::{Duration, Instant};

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::Ssh;
use super::conversation::{Fallen, Input, Limits, Took, converse};
use super::copy::{copy, fits};
use super::scripts::{self, Needed, NeededLines};
use super::trouble::{Again, Trouble};
use crate::documents::wire::read;
use crate::documents::wire::{BEAT, Beat, PROGRAM, Request, What};
use crate::fleet::reach::{Broken, Heard, Unreached, Way};
use crate::model::fleet::FleetHost;

/// How long the far side may take to its first word: the digest of the program, on a slow disk.
const FIRST: Duration = Duration::from_mins(1);

/// How long what changes nothing may take in all, connecting and copying aside: a look takes seconds, and asks once
/// for health, for which manifests give a few more.
const LOOK: Duration = Duration::from_mins(5);

/// How often a host is tried whose sshd, or gateway, is too busy, before anything has begun there.
const BUSY_TRIES: usize = 4;

/// How often a far side may break down without a new word.
const FRUITLESS_TRIES: usize = 6;

/// So much of what is no line of ours is kept, to be quoted.
const NOISE_LIMIT: usize = 512;

fn pauses() -> ExponentialBackoff {
    let (least, most) = (Duration::from_millis(250), Duration::from_secs(10));
    ExponentialBuilder::new().with_min_delay(least).with_max_delay(most).without_max_times().with_jitter().build()
}

/// What one conversation with the far side came to.
enum Turn {
    /// It has said all.
    Ended,
    /// There is no program for us.
    Needed(Needed),
}

/// A request on its way.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that changes by itself")]
pub(super) struct Asking<'a> {
    ssh: &'a Ssh,
    host: &'a FleetHost,
    request: Request,
    heard: &'a mut (dyn FnMut(Heard) + Send),
    /// It may have reached the host.
    sent: bool,
    /// The far side has said its hello, on one connection or another.
    met: bool,
    /// It is lost, and that was told.
    lost: bool,
    /// New lines came since the last setback.
    fruitful: bool,
    copied: bool,
    /// Who makes the pass there, by its own words.
    runner: Option<u32>,
    /// That one has given no sign of life for too long, though whoever tells of it does.
    stuck: bool,
    /// How long it may yet talk; none: a pass takes as long as it takes.
    left: Option<Duration>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        ssh: &'a Ssh,
        host: &'a FleetHost,
        request: &Request,
        heard: &'a mut (dyn FnMut(Heard) + Send),
    ) -> Self {
        let request = request.clone();
        let left = (!request.operation.changes()).then_some(LOOK);
        Self {
            ssh,
            host,
            request,
            heard,
            sent: false,
            met: false,
            lost: false,
            fruitful: false,
            copied: false,
            runner: None,
            stuck: false,
            left,
        }
    }

    /// Asks until everything was said.
    pub(super) async fn ask(mut self) -> Result<(), Unreached> {
        let mut delays = pauses();
        let (mut tries, mut broke) = (0, None);
        loop {
            let trouble = match self.turn().await {
                Ok(Turn::Ended) => return Ok(()),
                Ok(Turn::Needed(needed)) => match self.bring(&needed).await {
                    Ok(()) => continue,
                    Err(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };
            if std::mem::take(&mut self.fruitful) {
                (tries, broke) = (0, None);
                delays = pauses();
            }
            tries += 1;
            let since = *broke.get_or_insert_with(Instant::now);
            let begun = self.met || (self.sent && self.request.operation.changes());
            let worth_it = match trouble.again {
                Again::Never => false,
                Again::Soon if !begun => tries < BUSY_TRIES,
                Again::Later if !begun => false,
                // One that is reached and breaks down again and again is not cut off.
                _ if trouble.broken == Broken::Lost && tries >= FRUITLESS_TRIES && !self.lost => false,
                Again::Soon | Again::Later => since.elapsed() < self.ssh.options.patience,
            };
            if !worth_it {
                return Err(self.unreached(trouble, begun, since.elapsed()));
            }
            let pause = delays.next().unwrap_or(Duration::from_secs(10));
            if begun {
                self.lost = true;
                (self.heard)(Heard::Way(Way::Lost { why: trouble.message, again_in: pause }));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One conversation with the far side.
    async fn turn(&mut self) -> Result<Turn, Trouble> {
        self.stuck = false;
        let program = self.ssh.program().await?;
        let target = &self.host.ssh;
        let lost = self.lost;
        let heard = &mut *self.heard;
        let connecting = || {
            if !lost {
                heard(Heard::Way(Way::Connecting));
            }
        };
        let connection = self.ssh.connection(target, connecting).await?;
        let mut input = serde_json::to_vec(&self.request)
            .map_err(|error| Trouble::new(Broken::Wire, format!("the request cannot be written: {error}")))?;
        input.push(b'\n');
        let script = scripts::run(program, PROGRAM);
        // What looks has a limit for all of it.
        let silence = self.left.is_none().then_some(self.ssh.options.silence);
        let (began, limits) = (Instant::now(), Limits { first: FIRST, whole: self.left, silence });
        let mut listening = Listening::new(self);
        listening.asking.sent = true;
        let spoken = converse(&connection, &script, Input::Open(input), limits, &mut |line| listening.hear(line)).await;
        let Listening { noise, end, .. } = listening;
        self.left = self.left.map(|left| left.saturating_sub(began.elapsed()));
        let trouble = match (end, spoken) {
            (Some(end), _) => return end,
            (None, Ok(None)) => return Ok(Turn::Ended),
            (None, Ok(Some(fallen))) => self.fallen(&fallen, &noise),
            (None, Err(trouble)) => trouble,
        };
        self.ssh.give_up(target, &connection).await;
        // What was kept from an earlier run may be dead for long; a new connection tells.
        if connection.old && !self.met && trouble.again != Again::Never {
            return Box::pin(self.turn()).await;
        }
        Err(trouble)
    }

    /// The far side went without an end.
    fn fallen(&self, fallen: &Fallen, noise: &str) -> Trouble {
        let target = &self.host.ssh;
        let said = if fallen.errors.is_empty() { noise } else { &fallen.errors };
        let quoted = if said.is_empty() { String::new() } else { format!(": {}", said.trim()) };
        match fallen.code {
            Some(code) if !self.met => {
                let message = format!("the far side on `{target}` did not begin (exit code {code}){quoted}");
                let help =
                    format!("see what `ssh {target} true` says: the account must have a shell that runs commands");
                Trouble::new(Broken::Program, message).with_help(help)
            }
            Some(code) => {
                let message = format!("the far side on `{target}` broke down (exit code {code}){quoted}");
                Trouble::new(Broken::Lost, message).again(Again::Later)
            }
            None => {
                Trouble::new(Broken::Lost, format!("the connection to `{target}` broke{quoted}")).again(Again::Later)
            }
        }
    }

    /// Brings the program to a host that lacks it.
    async fn bring(&mut self, needed: &Needed) -> Result<(), Trouble> {
        let program = self.ssh.program().await?;
        let target = self.host.ssh.as_str();
        if self.copied {
            let message =
                format!("`{target}` does not find the program that was copied to `{}` a moment ago", needed.cache);
            return Err(Trouble::new(Broken::Program, message).with_help("see who removes or changes it there"));
        }
        fits(target, program, needed)?;
        if needed.changed {
            let note = format!(
                "what stood for trueup in `{}` on `{target}` was not what we had put there; it was not run, and is replaced",
                needed.cache
            );
            (self.heard)(Heard::Way(Way::Note(note)));
        }
        (self.heard)(Heard::Way(Way::Copying { size: program.size }));
        let connection = self.ssh.connection(&self.host.ssh, || ()).await?;
        if let Err(trouble) = copy(target, &connection, program).await {
            if trouble.broken == Broken::Lost {
                self.ssh.give_up(&self.host.ssh, &connection).await;
            }
            return Err(trouble);
        }
        self.copied = true;
        Ok(())
    }

    fn unreached(&self, trouble: Trouble, begun: bool, lost_for: Duration) -> Unreached {
        let in_hand = begun && self.request.operation.changes();
        let mut message = trouble.message;
        if self.lost || self.stuck {
            message = format!("{message}; given up after {} s", lost_for.as_secs());
        }
        let help = match (in_hand, trouble.help) {
            (true, _) if self.stuck => Some(self.unstick()),
            (true, help) => {
                let rest = "the host finishes what it has begun by itself: run again when it is there";
                Some(help.map_or_else(|| rest.to_owned(), |help| format!("{help}; {rest}")))
            }
            (false, help) => help,
        };
        Unreached { broken: if self.lost { Broken::Lost } else { trouble.broken }, message, help, in_hand }
    }

    /// What to do about a runner that does not stir.
    fn unstick(&self) -> String {
        let runner = self.runner.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
        format!(
            "see on the host what keeps it: `ps -o pid,stat,wchan:32 -p {runner}`. Stopped (T), it goes on after `kill -CONT \
             {runner}`, and finishes by itself; one that never will is ended by `kill -KILL {runner}`, and the next run \
             goes on from what it left"
        )
    }
}

/// Who hears the lines of one conversation.
struct Listening<'b, 'a> {
    asking: &'b mut Asking<'a>,
    /// The far side has said its hello on this connection, or why it cannot.
    greeted: bool,
    needed: NeededLines,
    /// What came before the first line of ours.
    noise: String,
    end: Option<Result<Turn, Trouble>>,
}

impl<'b, 'a> Listening<'b, 'a> {
    fn new(asking: &'b mut Asking<'a>) -> Self {
        Self { asking, greeted: false, needed: NeededLines::default(), noise: String::new(), end: None }
    }

    fn hear(&mut self, line: &str) -> Took {
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
            if self.noise.len() + text.len() < NOISE_LIMIT {
                self.noise.push_str(text);
                self.noise.push('\n');
            }
            return None;
        }
        let line = match read::line(text) {
            Ok(line) => line,
            Err(failed) => {
                let why = [vec![failed.message], failed.causes].concat().join(": ");
                let trouble = Trouble::new(Broken::Wire, format!("`{}`: {why}", self.asking.host.ssh));
                return Some(Err(match failed.help {
                    Some(help) => trouble.with_help(help),
                    None => trouble,
                }));
            }
        };
        // What looks only is done anew on a new connection, and counts anew; a refusal counts from one, too.
        let last = matches!(line.what, What::Failed(_) | What::End(_));
        let hello = matches!(line.what, What::Hello(_));
        if !(self.greeted || last || hello) {
            return Some(Err(self.strays(&format!("it said line {} before its hello", line.seq))));
        }
        self.greeted = true;
        if let What::Beat(beat) = &line.what {
            return self.beat(*beat).map(Err);
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
                (asking.heard)(Heard::Way(Way::Back));
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
        (asking.heard)(Heard::Line(Box::new(line)));
        end.then_some(Ok(Turn::Ended))
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

#[cfg(test)]
#[path = "asking_tests.rs"]
mod tests;
