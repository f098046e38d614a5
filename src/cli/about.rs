//! What a running agent says of itself, as far as that matters to the verbs.
//!
//! It is read out of [`Agent`](crate::documents::agent::Agent), leniently: the agent may be older or newer than we are.

use std::path::PathBuf;

use serde::Deserialize;

use crate::decide::schedule::{Looping, ScheduleState};
use crate::decide::standing::{self, Standing};
use crate::model::names::{AppName, Root};
use crate::model::status::AppStatus;

/// What the agent says of itself, as far as that matters here.
#[derive(Debug, Deserialize)]
pub struct About {
    /// Of trueup.
    pub version: Option<String>,
    /// The commit in force; none outside of git.
    pub revision: Option<Commit>,
    /// Newer manifests that cannot be used.
    pub refused: Option<Trouble>,
    /// Why newer manifests cannot be asked for.
    pub unreachable: Option<Trouble>,
    /// The Apps that it looks after.
    pub apps: Vec<Known>,
}

/// A commit.
#[derive(Debug, Clone, Deserialize)]
pub struct Commit {
    /// Its name, in full.
    pub commit: String,
}

/// What keeps newer manifests from coming into force.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Trouble {
    /// Which commit has it; none outside of git, or where none could be had.
    pub revision: Option<Commit>,
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// All that is wrong in the manifests; empty where it is something else.
    #[serde(default)]
    pub mistakes: Vec<Wrong>,
}

/// A mistake in a manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Wrong {
    /// The file.
    pub file: String,
    /// Counted from 1; none when the file could not be read.
    pub line: Option<usize>,
    /// Counted from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// An App that an agent looks after.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// Roots that it had before, and at which everything was left as it was.
    #[serde(default)]
    pub former_roots: Vec<PathBuf>,
    /// The file that its manifest stands in, by its full path; of a commit, the path in the repository.
    pub file: Option<PathBuf>,
    /// The line that it begins in.
    pub line: Option<usize>,
    /// It has disappeared from the manifests, so that the agent only watches.
    pub orphaned: bool,
    /// … and its workers are being stopped.
    #[serde(default)]
    pub leaving: bool,
    /// The pass that runs.
    pub running: Option<Runs>,
    /// How its turns stand.
    pub schedule: Option<Turns>,
}

/// How the turns of an App stand, as far as that speaks against it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Turns {
    /// How many passes of the last hour put drift right.
    pub corrections: u32,
    /// Drift comes back so often that a person is needed.
    pub stalled: bool,
    /// Workers that die again and again.
    pub looping: Vec<Looping>,
}

/// A pass that runs.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Runs {}

impl Turns {
    /// The same as the agent has it, where what is left out is nothing.
    #[must_use]
    pub fn schedule(&self) -> ScheduleState {
        ScheduleState {
            corrections: self.corrections,
            stalled: self.stalled,
            looping: self.looping.clone(),
            ..ScheduleState::default()
        }
    }
}

impl About {
    /// What the manifests in force name.
    pub fn in_force(&self) -> impl Iterator<Item = &Known> {
        self.apps.iter().filter(|app| !app.orphaned)
    }

    /// What it is at, in a few words.
    #[must_use]
    pub fn busy(&self) -> String {
        let runs: Vec<String> =
            self.apps.iter().filter(|app| app.running.is_some()).map(|app| format!("`{}`", app.name)).collect();
        if runs.is_empty() {
            return "the agent looks for newer manifests".to_owned();
        }
        format!("the agent makes a pass over {}", runs.join(", "))
    }

    /// Why newer manifests than those in force do not count, in one line; none: there are none.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let first = |trouble: &Trouble| {
            let lines = trouble.message.lines();
            lines.clone().next().unwrap_or_default().trim_end_matches(':').to_owned()
        };
        if let Some(refused) = &self.refused {
            let (line, more) = (first(refused), refused.mistakes.len().saturating_sub(1));
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return Some(format!("newer manifests cannot be used: {line}{more}"));
        }
        self.unreachable.as_ref().map(|trouble| format!("newer manifests cannot be asked for: {}", first(trouble)))
    }

    /// Puts what only the agent knows of an App into the conditions of its status, as the API has them; the exit code
    /// that this alone would have: 1: newer manifests are refused, 2: drift comes back, or a worker dies again and
    /// again.
    pub fn add(&self, app: &AppName, status: &mut AppStatus) -> u8 {
        let known = self.apps.iter().find(|known| known.name == app.as_str());
        let turns = known.and_then(|known| known.schedule.as_ref()).map(Turns::schedule);
        let standing = Standing {
            orphaned: known.is_some_and(|known| known.orphaned),
            leaving: known.is_some_and(|known| known.leaving),
            refused: self.refused.as_ref().map(|refused| refused.message.as_str()),
            schedule: turns.as_ref(),
            ..Standing::default()
        };
        standing::add(status, &standing);
        match &turns {
            _ if standing.refused.is_some() => 1,
            Some(turns) if turns.stalled || !turns.looping.is_empty() => 2,
            _ => 0,
        }
    }

    /// Whether the agent looks after that App, in that root where one is given.
    #[must_use]
    pub fn looks_after(&self, name: &str, root: Option<&Root>) -> bool {
        let right = |app: &Known| app.name == name && !app.orphaned && root.is_none_or(|root| app.root == root.path());
        self.apps.iter().any(right)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use serde_json::{json, to_value};

    use super::*;
    use crate::decide::diff::diff;
    use crate::decide::status::status;
    use crate::decide::testing::{app, seen};
    use crate::documents::agent::{Agent, Configuration, ManifestProblem, Overview, Revision, Running, Unreachable};
    use crate::manifest::load;
    use crate::model::status::ConditionType;

    #[test]
    fn what_an_agent_serves_is_read() {
        let since = Timestamp::UNIX_EPOCH;
        let revision = Revision {
            commit: "3fa9c1d2b7f0".to_owned(),
            subject: "shop: r3".to_owned(),
            author: "Anna".to_owned(),
            at: since,
            signed_by: None,
        };
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("shop.yaml");
        std::fs::write(&file, "apiVersion: trueup/v1\nkind: App\ncuont: 1\n").unwrap();
        let mistakes = load(&[file], &mut std::io::empty()).unwrap_err().mistakes;
        let refused = ManifestProblem {
            revision: Some(revision.clone()),
            message: "unknown key `cuont`:\nand so on".to_owned(),
            help: None,
            mistakes: mistakes.clone(),
            since,
        };
        let away = Unreachable { message: "no such host".to_owned(), help: Some("look at it".to_owned()), since };
        let name = AppName::new("shop").unwrap();
        let [root, former] = ["/srv/shop", "/srv/old"].map(|path| Root::new(path).unwrap());
        let app = Overview {
            name: &name,
            root: &root,
            former_roots: vec![&former],
            file: Some(Path::new("shop.yaml").into()),
            line: 1,
            orphaned: false,
            leaving: false,
            pending: &[],
            running: Some(Running { since, wakes: &[] }),
            last: None,
            waiting: None,
            last_success: None,
            schedule: None,
        };
        let told = Agent {
            api_version: "trueup/v1",
            kind: "Agent",
            version: "0.1.0",
            started: since,
            ready: true,
            revision: Some(&revision),
            refused: Some(&refused),
            unreachable: Some(&away),
            configuration: &Configuration::default(),
            apps: vec![app],
        };
        let about: About = serde_json::from_value(to_value(&told).unwrap()).unwrap();
        assert_eq!(about.version.as_deref(), Some("0.1.0"));
        assert_eq!(about.revision.as_ref().map(|revision| revision.commit.as_str()), Some("3fa9c1d2b7f0"));
        assert!(about.looks_after("shop", Some(&root)));
        let known = about.in_force().next().unwrap();
        assert_eq!((known.file.as_deref(), known.line), (Some(Path::new("shop.yaml")), Some(1)));
        assert_eq!(known.former_roots, [Path::new("/srv/old")]);
        assert_eq!(about.busy(), "the agent makes a pass over `shop`");
        assert!(about.trouble().unwrap().starts_with("newer manifests cannot be used: unknown key `cuont` (and "));
        let read = about.refused.iter().flat_map(|refused| &refused.mistakes);
        let read: Vec<_> = read.map(|one| (&one.file, one.line, one.column, &one.message, &one.help)).collect();
        let said: Vec<_> =
            mistakes.iter().map(|one| (&one.file, one.line, one.column, &one.message, &one.help)).collect();
        assert_eq!(read, said);
        assert!(read.iter().any(|(_, line, ..)| *line == Some(3)), "{read:?}");
        assert_eq!(about.unreachable.and_then(|trouble| trouble.help).as_deref(), Some("look at it"));
    }

    #[test]
    fn what_the_agent_alone_knows_is_put_into_the_conditions() {
        let wanted = app("r1", vec![]);
        let observed = seen("r1", vec![]);
        let told = |about: serde_json::Value| {
            let about: About = serde_json::from_value(about).unwrap();
            let mut status = status(&wanted, "g".to_owned(), &observed, &diff(&wanted, &observed));
            let code = about.add(&wanted.name, &mut status);
            let words = |of| status.condition(of).map(|one| format!("{} {}", one.status, one.reason)).unwrap();
            (words(ConditionType::Ready), words(ConditionType::Stalled), code)
        };
        let about = |refused: serde_json::Value, schedule: serde_json::Value| {
            let app = json!({"name": wanted.name, "root": wanted.root, "orphaned": false, "schedule": schedule});
            json!({"refused": refused, "apps": [app]})
        };
        let refused = json!({"message": "shop.yaml:3: unknown key"});
        let looping = json!({"corrections": 2, "stalled": false, "looping": [{"group": "q", "member": "q/1"}]});
        let fought = json!({"corrections": 31, "stalled": true});
        let left = json!({"name": wanted.name, "root": wanted.root, "orphaned": true});
        let leaving = json!({"name": wanted.name, "root": wanted.root, "orphaned": true, "leaving": true});
        let ready = "True ReconciliationSucceeded";
        let rows = [
            (about(json!(null), json!(null)), ready, "False NothingStalled", 0),
            (about(refused, json!(null)), ready, "True ManifestsRefused", 1),
            (about(json!(null), fought), ready, "True TooManyCorrections", 2),
            (about(json!(null), looping), "False CrashLoop", "True CrashLoop", 2),
            (json!({"apps": [leaving]}), ready, "False NothingStalled", 0),
            (json!({"apps": [left]}), ready, "True Orphaned", 0),
            (json!({"apps": []}), ready, "False NothingStalled", 0),
        ];
        for (about, ready, stalled, code) in rows {
            assert_eq!(told(about.clone()), (ready.to_owned(), stalled.to_owned(), code), "{about}");
        }
    }

    #[test]
    fn an_agent_looks_after_an_app_by_name_and_root() {
        let app = |name: &str, root: &str, orphaned| Known {
            name: name.to_owned(),
            root: root.into(),
            former_roots: Vec::new(),
            file: None,
            line: None,
            orphaned,
            leaving: false,
            running: None,
            schedule: None,
        };
        let about = About {
            version: None,
            revision: None,
            refused: None,
            unreachable: None,
            apps: vec![app("shop", "/srv/shop", false), app("old", "/srv/old", true)],
        };
        let root = |path: &str| Root::new(path).unwrap();
        assert!(about.looks_after("shop", None) && about.looks_after("shop", Some(&root("/srv/shop"))));
        assert!(!about.looks_after("shop", Some(&root("/srv/elsewhere"))));
        assert!(!about.looks_after("old", None) && !about.looks_after("new", None));
    }
}
