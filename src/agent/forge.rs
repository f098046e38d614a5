//! Posts how a commit of the manifests fares to the forge that it came from: GitLab, GitHub, Gitea, Forgejo.
//!
//! In: [`CommitVerdict`]s, handed over without waiting. Out: one commit status for each App, `trueup/HOST/APP`. Only the last
//! verdict of an App on a commit counts; one that is posted already is not posted again, and one that was refused not
//! until the token is another one, or an hour is over. Begin at [`StatusPoster::start`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::post::{NotSent, Poster, pauses, read};
use crate::decide::telling::CommitState;
use crate::model::agent::{CommitStatus, Forge};
use crate::model::app::SecretSource;
use crate::model::names::AppName;
use crate::model::telling::without_numbers;

/// So many may wait to be sorted.
const QUEUE: usize = 256;

/// So many statuses are known; names of Apps come and go for as long as the agent runs.
const KNOWN: usize = 1024;

/// What was refused is tried again after so long: rights may have been given to the same token.
const REFUSED: Duration = Duration::from_hours(1);

/// More of a reason is cut off: GitHub takes 140 characters, GitLab 255.
const LONGEST: usize = 140;

/// Which status a verdict is: its context, and the commit. A newer commit does not leave the one before it pending.
type Key = (String, String);

/// How a commit fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitVerdict {
    /// Its full hash.
    pub commit: String,
    /// With which App; none: with all of them, where it could not even come into force.
    pub app: Option<AppName>,
    /// How.
    pub state: CommitState,
    /// Why, in a sentence.
    pub reason: String,
}

impl CommitVerdict {
    /// Whether another one would tell nobody anything new.
    fn says(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.commit.clone(), it.state, without_numbers(&cut(&it.reason)));
        of(self) == of(other)
    }
}

/// What became of the last verdict of a status.
struct Known {
    verdict: CommitVerdict,
    at: Instant,
    /// It was refused, with the token of this digest; none: it is posted.
    refused: Option<[u8; 32]>,
}

impl Known {
    /// Whether posting it again would tell nobody anything new, or be refused again.
    async fn settles(&self, verdict: &CommitVerdict, token: &SecretSource) -> bool {
        if !self.verdict.says(verdict) {
            return false;
        }
        let Some(refused) = self.refused else { return true };
        self.at.elapsed() < REFUSED && !read(token, TOKEN).await.is_ok_and(|token| digest(&token) != refused)
    }
}

/// What the token is called where it cannot be read.
const TOKEN: &str = "the token";

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Takes verdicts to be posted.
#[derive(Debug, Clone)]
pub struct StatusPoster {
    queue: mpsc::Sender<CommitVerdict>,
}

impl StatusPoster {
    /// Starts to post. `host` is what this host is called. The task ends when the last poster is gone.
    pub fn start(status: CommitStatus, host: &str) -> (Self, JoinHandle<()>) {
        let (queue, taken) = mpsc::channel(QUEUE);
        (Self { queue }, tokio::spawn(run(status, host.to_owned(), taken)))
    }

    /// Hands everything over to a test.
    #[cfg(test)]
    pub(super) fn into(queue: mpsc::Sender<CommitVerdict>) -> Self {
        Self { queue }
    }

    /// Hands a verdict over. Never waits.
    pub fn report(&self, verdict: CommitVerdict) {
        if let Err(error) = self.queue.try_send(verdict) {
            let why = error.to_string();
            let CommitVerdict { app, commit, .. } = error.into_inner();
            let app = app.as_ref().map(AppName::as_str);
            tracing::warn!(app, commit, why, "the queue takes no more: this commit status is not posted");
        }
    }
}

async fn run(status: CommitStatus, host: String, mut taken: mpsc::Receiver<CommitVerdict>) {
    let mut posted: BTreeMap<String, Known> = BTreeMap::new();
    let mut waiting: BTreeMap<Key, CommitVerdict> = BTreeMap::new();
    let (mut tries, poster) = (pauses(), Poster::default());
    loop {
        let Some((key, verdict)) = waiting.pop_first() else {
            let Some(verdict) = taken.recv().await else { return };
            keep(&mut waiting, &host, verdict);
            continue;
        };
        while let Ok(newer) = taken.try_recv() {
            keep(&mut waiting, &host, newer);
        }
        let context = key.0.clone();
        // A newer one of the same status goes before.
        if waiting.contains_key(&key) {
            continue;
        }
        if let Some(last) = posted.get(&context)
            && last.settles(&verdict, &status.token).await
        {
            continue;
        }
        let token = read(&status.token, TOKEN).await;
        let token_was = token.as_deref().map(digest).unwrap_or_default();
        let sent = match token {
            Ok(token) => send(&poster, &status, &context, &verdict, token).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => {
                know(&mut posted, context, Known { verdict, at: Instant::now(), refused: None });
                tries = pauses();
            }
            Err(NotSent::Ever(why)) => {
                tracing::warn!(context, commit = verdict.commit, why, "a commit status is not posted");
                // As things are, it would be refused again.
                know(&mut posted, context, Known { verdict, at: Instant::now(), refused: Some(token_was) });
            }
            Err(NotSent::Yet { why, after }) => {
                if let Some(pause) = tries.next().map(|pause| pause.max(after)) {
                    tracing::debug!(context, why, ?pause, "a commit status is not posted yet");
                    waiting.insert(key, verdict);
                    pause_or_hear(pause, &host, &mut taken, &mut waiting).await;
                } else {
                    tracing::warn!(context, commit = verdict.commit, why, "a commit status is not posted");
                    tries = pauses();
                }
            }
        }
    }
}

/// Remembers what became of a status, in the place of the oldest where there are too many.
fn know(posted: &mut BTreeMap<String, Known>, context: String, known: Known) {
    if posted.len() >= KNOWN && !posted.contains_key(&context) {
        let oldest = posted.iter().min_by_key(|(_, known)| known.at).map(|(context, _)| context.clone());
        oldest.and_then(|oldest| posted.remove(&oldest));
    }
    posted.insert(context, known);
}

/// Waits; what comes meanwhile takes the place of what it makes old.
async fn pause_or_hear(
    pause: Duration,
    host: &str,
    taken: &mut mpsc::Receiver<CommitVerdict>,
    waiting: &mut BTreeMap<Key, CommitVerdict>,
) {
    let over = tokio::time::sleep(pause);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return,
            newer = taken.recv() => match newer {
                Some(newer) => keep(waiting, host, newer),
                None => return over.await,
            },
        }
    }
}

/// Takes the place of what it makes old. What is to be told to a forge that is away for long is bounded.
fn keep(waiting: &mut BTreeMap<Key, CommitVerdict>, host: &str, verdict: CommitVerdict) {
    if waiting.len() >= QUEUE {
        let lost = waiting.pop_first();
        tracing::warn!(commit = lost.map(|(_, lost)| lost.commit), "too much waits: a commit status is not posted");
    }
    waiting.insert((context(host, verdict.app.as_ref()), verdict.commit.clone()), verdict);
}

fn context(host: &str, app: Option<&AppName>) -> String {
    app.map_or_else(|| format!("trueup/{host}"), |app| format!("trueup/{host}/{app}"))
}

async fn send(
    poster: &Poster,
    status: &CommitStatus,
    context: &str,
    verdict: &CommitVerdict,
    token: String,
) -> Result<(), NotSent> {
    let description = cut(&verdict.reason);
    let (api, commit) = (&status.api, &verdict.commit);
    match status.forge {
        Forge::GitLab => {
            let state = match verdict.state {
                CommitState::Pending => "pending",
                CommitState::Success => "success",
                CommitState::Failure => "failed",
                CommitState::Superseded => "canceled",
            };
            let url = format!("{api}/projects/{}/statuses/{commit}", status.project.replace('/', "%2F"));
            let body = json!({"state": state, "name": context, "description": description});
            match poster.post(&url, &[("private-token", token)], body.to_string().into_bytes()).await {
                // It is in that state already, so GitLab says.
                Err(NotSent::Ever(why)) if why.contains("Cannot transition status") => Ok(()),
                ended => ended,
            }
        }
        Forge::GitHub => {
            let state = match verdict.state {
                CommitState::Pending => "pending",
                CommitState::Success => "success",
                CommitState::Failure => "failure",
                CommitState::Superseded => "error",
            };
            let url = format!("{api}/repos/{}/statuses/{commit}", status.project);
            let body = json!({"state": state, "context": context, "description": description});
            let headers = [
                ("authorization", format!("Bearer {token}")),
                ("accept", "application/vnd.github+json".to_owned()),
                ("x-github-api-version", "2022-11-28".to_owned()),
            ];
            poster.post(&url, &headers, body.to_string().into_bytes()).await
        }
    }
}

/// The first line, as much of it as fits.
fn cut(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
#[path = "forge_tests.rs"]
mod refused;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_that_fits() {
        assert_eq!(cut("one\ntwo"), "one");
        let long = "ä".repeat(200);
        assert_eq!(cut(&long).chars().count(), LONGEST);
        assert!(cut(&long).ends_with('…'));
    }
}
