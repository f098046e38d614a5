//! One request to one host, over as many connections as it takes.
//!
//! The request keeps its id, so whatever arrives twice is done once; `from` says which lines are wanted, so whatever is
//! said twice is heard once. Begin at [`Asking::ask`].

mod listening;
mod setbacks;

use std::time::{Duration, Instant};

use self::listening::Listening;
use self::setbacks::{Setbacks, Stage};
use super::conversation::{Conversation, Fallen, Input, Limits};
use super::copy::{copy, fits};
use super::scripts::{self, Needed};
use super::trouble::{Again, Trouble};
use super::{Given, Ssh};
use crate::documents::wire::{Request, voice};
use crate::fleet::reach::{Broken, ConnectionNews, HostSaid, Unreached};
use crate::model::fleet::FleetHost;

/// How long the far side may take to its first word: the digest of the program, on a slow disk.
const FIRST: Duration = Duration::from_mins(1);

/// How long what changes nothing may take in all, connecting and copying aside: a look takes seconds, and asks once
/// for health, for which manifests give a few more.
const LOOK: Duration = Duration::from_mins(5);

/// So much of what is no line of ours is kept, to be quoted.
const NOISE_LIMIT: usize = 512;

/// What one conversation with the far side came to.
enum Turn {
    /// It has said all.
    Ended,
    /// There is no program for us.
    Needed(Needed),
}

/// How one conversation broke.
struct Break {
    trouble: Trouble,
    /// It went over a connection that was there before, or over one that led nowhere: a new one may do better.
    stale: bool,
}

impl From<Trouble> for Break {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, stale: false }
    }
}

/// A request on its way.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that changes by itself")]
pub(super) struct Asking<'a> {
    ssh: &'a Ssh,
    host: &'a FleetHost,
    request: Request,
    heard: &'a mut (dyn FnMut(HostSaid) + Send),
    /// It may have reached the far side.
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
        heard: &'a mut (dyn FnMut(HostSaid) + Send),
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
        let mut setbacks = Setbacks::default();
        loop {
            let mut began = Instant::now();
            let trouble = match self.turn().await {
                Ok(Turn::Ended) => return Ok(()),
                Ok(Turn::Needed(needed)) => match self.bring(&needed).await {
                    Ok(()) => continue,
                    Err(trouble) => {
                        // Copying takes as long as it takes.
                        began = Instant::now();
                        trouble
                    }
                },
                Err(trouble) => trouble,
            };
            let stage = self.stage();
            let is_there = self.met || stage == Stage::Begun;
            let fruitful = std::mem::take(&mut self.fruitful);
            let gone_for = setbacks.another(is_there, fruitful, began, Instant::now());
            let Some(pause) = setbacks.pause(&trouble, stage, gone_for, self.lost, &self.ssh.options) else {
                return Err(self.unreached(trouble, stage == Stage::Begun, gone_for));
            };
            if stage != Stage::Unmet {
                self.lost = true;
                (self.heard)(HostSaid::Connection(ConnectionNews::Lost { why: trouble.message, again_in: pause }));
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn stage(&self) -> Stage {
        if self.sent && self.request.operation.changes() {
            Stage::Begun
        } else if self.ssh.slot(&self.host.ssh).stood() {
            Stage::Stood
        } else {
            Stage::Unmet
        }
    }

    /// One conversation with the far side. That the connection to it has gone meanwhile, or is no good any more, is no
    /// setback: once it is made anew at once.
    async fn turn(&mut self) -> Result<Turn, Trouble> {
        let again = match self.speak().await {
            Err(Break { stale: true, .. }) => self.speak().await,
            came => came,
        };
        again.map_err(|broke| broke.trouble)
    }

    /// Over the connection that there is.
    async fn speak(&mut self) -> Result<Turn, Break> {
        self.stuck = false;
        let program = self.ssh.program().await?;
        let target = &self.host.ssh;
        let lost = self.lost;
        let heard = &mut *self.heard;
        let connecting = || {
            if !lost {
                heard(HostSaid::Connection(ConnectionNews::Connecting));
            }
        };
        let Given { connection, fresh } = self.ssh.connection(target, connecting).await?;
        let mut input = serde_json::to_vec(&self.request)
            .map_err(|error| Trouble::new(Broken::Wire, format!("the request cannot be written: {error}")))?;
        input.push(b'\n');
        let script = scripts::run(program, &voice());
        // What looks has a limit for all of it.
        let silence = self.left.is_none().then_some(self.ssh.options.silence);
        let (began, limits) = (Instant::now(), Limits { first: FIRST, whole: self.left, silence });
        let conversation = match Conversation::open(&connection, &script).await {
            Ok(conversation) => conversation,
            Err(trouble) => {
                self.ssh.give_up(target, &connection).await;
                return Err(Break { trouble, stale: true });
            }
        };
        self.ssh.slot(target).stands();
        // Not before: what was not opened was not told anything.
        let sent = std::mem::replace(&mut self.sent, true);
        let mut listening = Listening::new(self, sent);
        let spoken = conversation.hold(Input::Open(input), limits, &mut |line| listening.hear(line)).await;
        let Listening { noise, end, .. } = listening;
        self.left = self.left.map(|left| left.saturating_sub(began.elapsed()));
        let trouble = match (end, spoken) {
            (Some(Ok(Turn::Needed(needed))), _) => {
                // There was no program to be told anything.
                self.sent = sent;
                return Ok(Turn::Needed(needed));
            }
            (Some(end), _) => return end.map_err(Break::from),
            (None, Ok(None)) => return Ok(Turn::Ended),
            (None, Ok(Some(fallen))) => self.fallen(&fallen, &noise),
            (None, Err(trouble)) => trouble,
        };
        self.ssh.give_up(target, &connection).await;
        // One that was there before may have been dead for long; a new one tells.
        let stale = !fresh && !self.met && trouble.again != Again::Never;
        Err(Break { trouble, stale })
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
            (self.heard)(HostSaid::Connection(ConnectionNews::Note(note)));
        }
        (self.heard)(HostSaid::Connection(ConnectionNews::Copying { size: program.size }));
        let Given { connection, .. } = self.ssh.connection(&self.host.ssh, || ()).await?;
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

#[cfg(test)]
#[path = "memory_tests.rs"]
mod memory_tests;
#[cfg(test)]
#[path = "asking_tests.rs"]
mod tests;
