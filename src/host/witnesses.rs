//! Asks by `sudo -n trueup evidence` what processes of other users run.
//!
//! It is for a user who is not root: `/proc` shows them nobody else's working directory, files or program. The rule
//! that `trueup sudoers` prints allows this one command, word for word, with the manifests at hand; it reads and runs
//! nothing. What comes back is data of a known form and a bounded size, waited for a bounded time. Where it may not be
//! asked, the start times that everybody sees have to do, and the refusal is not provoked again for a while: sudo
//! writes each one into the log. Begin at [`Informant::ask`].

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::model::app::App;
use crate::model::inventory::Witness;
use crate::model::names::Root;
use crate::ports::{HostError, HostErrorKind};

/// Every process is looked at closely: some 100 µs each.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// More than this is nobody's answer: some 20,000 processes of one root.
const ANSWER_LIMIT: u64 = 8 * 1024 * 1024;
/// So much of a complaint is read.
const COMPLAINT_LIMIT: u64 = 4 * 1024;
/// What is run, for people: the whole line has all manifests in it.
const NAME: &str = "`sudo -n trueup evidence`";
/// A refusal holds for this long.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// Whoever may see what we may not.
#[derive(Debug)]
pub struct Informant {
    /// Program and arguments; never a shell.
    command: Vec<PathBuf>,
    refused: Mutex<Option<(Instant, HostError)>>,
}

impl Informant {
    /// By sudo, of the Apps in these manifests, given by their full paths; none where nobody knows which program we
    /// are, or for root, who sees everything already.
    #[must_use]
    pub fn by_sudo(manifests: &[PathBuf]) -> Option<Self> {
        if rustix::process::geteuid().is_root() {
            return None;
        }
        let program = std::env::current_exe().ok()?;
        let words = ["sudo", "-n"].into_iter().map(PathBuf::from);
        let command = words.chain([program, PathBuf::from("evidence")]).chain(manifests.iter().cloned());
        Some(Self::new(command.collect()))
    }

    fn new(command: Vec<PathBuf>) -> Self {
        Self { command, refused: Mutex::default() }
    }

    /// What is said of the processes of each App's root, in the order of the Apps.
    pub async fn ask(&self, apps: &[&App]) -> Vec<Result<Vec<Witness>, HostError>> {
        let all = |error: HostError| apps.iter().map(|_| Err(error.clone())).collect();
        let last = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, refusal)) = last
            && at.elapsed() < REFUSED_FOR
        {
            return all(refusal);
        }
        match self.answer().await {
            Ok(told) => apps.iter().map(|app| of_root(&told, &app.root)).collect(),
            Err(error) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
                all(error)
            }
        }
    }

    async fn answer(&self) -> Result<Told, HostError> {
        let line = self.command.iter().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ");
        let failed = |error: std::io::Error| HostError::io(format!("cannot run `{line}`"), &error);
        let Some((program, arguments)) = self.command.split_first() else { return Ok(Told::default()) };
        let mut child = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = timeout(ANSWER_WITHIN, async {
            // What is cut off is not waited for: its writer ends when nobody reads any more.
            let (out, err) = tokio::join!(up_to(out, ANSWER_LIMIT + 1), up_to(err, COMPLAINT_LIMIT));
            Ok::<_, std::io::Error>((out?, err?, child.wait().await?))
        });
        let late = |_| {
            let message = format!("{NAME} gave no answer for {} s", ANSWER_WITHIN.as_secs());
            HostError::new(HostErrorKind::TimedOut, message)
        };
        let (out, err, status) = said.await.map_err(late)?.map_err(failed)?;
        read(&line, &out, &err, status)
    }
}

async fn up_to(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// As `trueup evidence` prints it; what else stands there is of no interest.
#[derive(Debug, Default, Deserialize)]
struct Told {
    kind: String,
    items: Vec<OfRoot>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfRoot {
    root: PathBuf,
    complete: bool,
    processes: Vec<Witness>,
    problem: Option<String>,
}

fn read(line: &str, out: &[u8], err: &[u8], status: ExitStatus) -> Result<Told, HostError> {
    if out.len() as u64 > ANSWER_LIMIT {
        let message = format!("{NAME} printed more than {} MiB", ANSWER_LIMIT >> 20);
        return Err(HostError::new(HostErrorKind::Other, message));
    }
    match serde_json::from_slice::<Told>(out) {
        // The exit code tells no more: of a root that cannot be looked at, the answer says so itself.
        Ok(told) if told.kind == "EvidenceList" => Ok(told),
        _ => {
            let said = String::from_utf8_lossy(err);
            let said = said.lines().map(str::trim).find(|line| !line.is_empty());
            let (kind, why) = match said {
                Some(said) if said.starts_with("sudo: ") || said.starts_with("Sorry, ") => {
                    (HostErrorKind::Denied, said.trim_start_matches("sudo: ").to_owned())
                }
                Some(said) => (HostErrorKind::Other, said.to_owned()),
                None => (HostErrorKind::Other, super::command::describe(status)),
            };
            // This stands beside each worker: not the whole line again and again.
            tracing::debug!(line, why, "nobody tells what processes of other users run");
            let help = "print the rules for sudo anew: `trueup sudoers`, with the same manifests";
            Err(HostError::new(kind, format!("{NAME}: {why}")).with_help(help))
        }
    }
}

fn of_root(told: &Told, root: &Root) -> Result<Vec<Witness>, HostError> {
    let lacking = |why: &str| Err(HostError::new(HostErrorKind::Other, format!("{NAME} {why}")));
    match told.items.iter().find(|item| item.root == root.path()) {
        None => lacking("speaks of other roots"),
        Some(OfRoot { problem: Some(problem), .. }) => lacking(&format!("says: {problem}")),
        Some(OfRoot { complete: false, .. }) => lacking("does not see all processes either"),
        Some(found) => Ok(found.processes.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::app::App;
    use crate::model::names::{AppName, ReleaseId};
    use crate::model::observed::{Rung, Runs};
    use crate::model::release::Release;

    const ANSWER: &str = r#"{"apiVersion": "trueup/v1", "kind": "EvidenceList", "items": [
        {"app": "other", "root": "/srv/other", "observedAt": "2026-05-01T12:00:00Z", "complete": true,
         "processes": [], "problem": null},
        {"app": "app", "root": "/srv/app", "observedAt": "2026-05-01T12:00:00Z", "complete": true, "problem": null,
         "processes": [
            {"process": {"pid": 7, "startTicks": 70}, "uid": 33, "evidence":
                {"runs": {"finding": "release", "id": "1e3"}, "rung": "entryScript", "seen": "open file x"}},
            {"process": {"pid": 8, "startTicks": 80}, "uid": 33, "evidence":
                {"runs": {"finding": "mixed", "ids": ["a", "b"]}, "rung": "workingDirectory", "seen": "cwd y"}}]}]}"#;

    fn app(root: &str) -> App {
        let release = Release::present(ReleaseId::new("r1").unwrap());
        App::new(AppName::new("app").unwrap(), Root::new(root).unwrap(), release)
    }

    /// Counts how often it is run, says `answer`, and goes on as `then` says.
    fn informant(room: &std::path::Path, answer: &str, then: &str) -> Informant {
        std::fs::write(room.join("answer"), answer).unwrap();
        let script = format!("echo >>'{0}/asked'; cat '{0}/answer'; {then}", room.display());
        Informant::new(["sh", "-c", &script].map(PathBuf::from).to_vec())
    }

    fn asked(room: &std::path::Path) -> usize {
        std::fs::read_to_string(room.join("asked")).unwrap_or_default().lines().count()
    }

    #[tokio::test]
    async fn each_root_hears_of_its_own_processes() {
        let room = tempfile::tempdir().unwrap();
        // Another App's root could not be looked at: that says nothing of this one.
        let informant = informant(room.path(), ANSWER, "exit 1");
        let told = informant.ask(&[&app("/srv/app"), &app("/srv/other"), &app("/srv/unasked")]).await;
        let witnesses = told[0].as_ref().unwrap();
        let runs: Vec<_> = witnesses.iter().map(|one| (one.process.start_ticks.0, &one.evidence.runs)).collect();
        let id = |text: &str| ReleaseId::new(text).unwrap();
        let mixed = Runs::Mixed { ids: vec![id("a"), id("b")] };
        assert_eq!(runs, [(70, &Runs::Release { id: id("1e3") }), (80, &mixed)]);
        assert_eq!(witnesses[0].evidence.rung, Some(Rung::EntryScript));
        assert_eq!(told[1].as_deref(), Ok(&[][..]));
        assert!(told[2].as_ref().unwrap_err().message.contains("other roots"), "{told:?}");
        informant.ask(&[&app("/srv/app")]).await.remove(0).unwrap();
        assert_eq!(asked(room.path()), 2, "what was told once is told anew");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error_with_its_reason_and_is_not_asked_for_again() {
        let incomplete = ANSWER.replace(r#""complete": true"#, r#""complete": false"#);
        let troubled = ANSWER.replace(r#""problem": null"#, r#""problem": "no such root""#);
        let rows = [
            (
                "",
                "echo 'sudo: a password is required' >&2; exit 1",
                "`sudo -n trueup evidence`: a password is required",
                true,
            ),
            ("", "exit 3", "exit code 3", true),
            ("{", "true", "exit code 0", true),
            (r#"{"kind": "Joke", "items": []}"#, "true", "exit code 0", true),
            ("", "yes | head -c 20000000", "more than 8 MiB", true),
            // One root is of no use to itself; the others may be.
            (&incomplete, "true", "does not see all processes either", false),
            (&troubled, "true", "no such root", false),
        ];
        for (answer, then, words, for_all) in rows {
            let room = tempfile::tempdir().unwrap();
            let informant = informant(room.path(), answer, then);
            for _ in 0..2 {
                let error = informant.ask(&[&app("/srv/app")]).await.remove(0).unwrap_err();
                assert!(error.message.contains(words), "{error}");
            }
            assert_eq!(asked(room.path()), if for_all { 1 } else { 2 }, "{words}");
        }
        let nobody = Informant::new(vec!["/nowhere/sudo".into()]);
        assert!(nobody.ask(&[&app("/srv/app")]).await.remove(0).is_err());
    }
}
