//! Posts how a commit of the manifests fares to the forge that it came from: GitLab, GitHub, Gitea, Forgejo.
//!
//! In: [`Verdict`]s, handed over without waiting. Out: one commit status for each App, `trueup/HOST/APP`. Only the last
//! verdict of an App on a commit counts; one that is posted already is not posted again. Begin at [`StatusPoster::start`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::notify::{pauses, read};
use super::post::{NotSent, post};
use crate::decide::telling::CommitState;
use crate::model::agent::{CommitStatus, Forge};
use crate::model::names::AppName;
use crate::model::telling::without_numbers;

/// So many may wait to be sorted.
const QUEUE: usize = 256;

/// More of a reason is cut off: GitHub takes 140 characters, GitLab 255.
const LONGEST: usize = 140;

/// Which status a verdict is: its context, and the commit. A newer commit does not leave the one before it pending.
type Key = (String, String);

/// How a commit fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its full hash.
    pub commit: String,
    /// With which App; none: with all of them, where it could not even come into force.
    pub app: Option<AppName>,
    /// How.
    pub state: CommitState,
    /// Why, in a sentence.
    pub reason: String,
}

impl Verdict {
    /// Whether another one would tell nobody anything new.
    fn says(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.commit.clone(), it.state, without_numbers(&cut(&it.reason)));
        of(self) == of(other)
    }
}

/// Takes verdicts to be posted.
#[derive(Debug, Clone)]
pub struct StatusPoster {
    queue: mpsc::Sender<Verdict>,
}

impl StatusPoster {
    /// Starts to post. `host` is what this host is called. The task ends when the last poster is gone.
    pub fn start(status: CommitStatus, host: &str) -> (Self, JoinHandle<()>) {
        let (queue, taken) = mpsc::channel(QUEUE);
        (Self { queue }, tokio::spawn(run(status, host.to_owned(), taken)))
    }

    /// Hands a verdict over. Never waits.
    pub fn report(&self, verdict: Verdict) {
        if let Err(error) = self.queue.try_send(verdict) {
            tracing::warn!(%error, "a commit status is not posted");
        }
    }
}

async fn run(status: CommitStatus, host: String, mut taken: mpsc::Receiver<Verdict>) {
    let mut posted: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut waiting: BTreeMap<Key, Verdict> = BTreeMap::new();
    let mut tries = pauses();
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
        if waiting.contains_key(&key) || posted.get(&context).is_some_and(|last| last.says(&verdict)) {
            continue;
        }
        match send(&status, &context, &verdict).await {
            Ok(()) => {
                posted.insert(context, verdict);
                tries = pauses();
            }
            Err(NotSent::Ever(why)) => {
                tracing::warn!(context, commit = verdict.commit, why, "a commit status is not posted");
                // It would be refused again.
                posted.insert(context, verdict);
            }
            Err(NotSent::Yet(why)) => {
                if let Some(pause) = tries.next() {
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

/// Waits; what comes meanwhile takes the place of what it makes old.
async fn pause_or_hear(
    pause: Duration,
    host: &str,
    taken: &mut mpsc::Receiver<Verdict>,
    waiting: &mut BTreeMap<Key, Verdict>,
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
fn keep(waiting: &mut BTreeMap<Key, Verdict>, host: &str, verdict: Verdict) {
    if waiting.len() >= QUEUE {
        let lost = waiting.pop_first();
        tracing::warn!(commit = lost.map(|(_, lost)| lost.commit), "too much waits: a commit status is not posted");
    }
    waiting.insert((context(host, verdict.app.as_ref()), verdict.commit.clone()), verdict);
}

fn context(host: &str, app: Option<&AppName>) -> String {
    app.map_or_else(|| format!("trueup/{host}"), |app| format!("trueup/{host}/{app}"))
}

async fn send(status: &CommitStatus, context: &str, verdict: &Verdict) -> Result<(), NotSent> {
    let token = read(&status.token, "the token").await?;
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
            match post(&url, &[("private-token", token)], body.to_string().into_bytes()).await {
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
            post(&url, &headers, body.to_string().into_bytes()).await
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
