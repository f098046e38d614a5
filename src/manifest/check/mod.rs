//! From the forgiving shape to the strict model: everything that the schema cannot say.
//!
//! In: a document without what the schema refused, and the tree that knows the places. Out: the App,
//! unless something was missing or found wrong, and the claims that other documents may clash with.

mod agent;
mod fingerprint;
mod fleet;
mod health;
mod links;
mod release;
mod services;
mod source;
mod steps;
mod sync;
mod url;
mod workers;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) use agent::check as check_agent;
pub(super) use fleet::check_hosts;

use super::duration;
use super::node::{Cursor, Node, Span, cut};
use super::shape::{self, Document, DurationText, Run, Strays, Text};
use super::yaml::{FINDINGS, Finding, line_of};
use crate::model::app::{App, CommandLine, OnFailure, RestartOn, SecretSource, StrayPolicy};
use crate::model::fleet::{Fleet, FleetHost};
use crate::model::names::{AppName, HostName, NameError, RelativePath, Root, UserName};
use crate::model::ssh::SshTarget;

/// Something that only one place in all manifests may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// In words, such as ``an App named `web` ``; two equal ones clash.
    pub what: String,
    /// A part of it; a claim without one is to the whole.
    pub part: Option<String>,
    /// Where it stands.
    pub span: Span,
    /// What to do about a clash.
    pub help: &'static str,
    /// On which hosts; none: wherever the manifest is reconciled.
    pub hosts: Option<Arc<[Whereabouts]>>,
}

/// What a host is called, and how it is reached. Two of them are one where either is the same: an agent knows its host
/// by the name, whoever connects by the other.
pub(super) type Whereabouts = (HostName, SshTarget);

impl Claim {
    /// Whether the two cannot both stand.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let meet = || match (&self.hosts, &other.hosts) {
            (Some(ours), Some(theirs)) => {
                let is_one =
                    |(name, ssh): &Whereabouts, (other, way): &Whereabouts| name == other || ssh.is_same_place(way);
                ours.iter().any(|host| theirs.iter().any(|other| is_one(host, other)))
            }
            _ => true,
        };
        let same_part = self.part.is_none() || other.part.is_none() || self.part == other.part;
        self.what == other.what && same_part && meet()
    }
}

/// What came of one document.
#[derive(Debug)]
pub(super) struct Checked {
    /// None when something is missing or wrong. Of a document with hosts, it is that of the first one.
    pub app: Option<App>,
    /// The hosts; none without any, or when something is wrong with them.
    pub fleet: Option<Fleet>,
    /// Also of an App that has other mistakes.
    pub claims: Vec<Claim>,
}

/// What paths that start with `./` or `../` are relative to; or who it is that has no directory.
pub(super) type Base<'a> = Result<&'a Path, &'static str>;

/// Checks one document. `listed` are the hosts of the file that it names, where nothing is wrong with them.
pub(super) fn check(
    document: &Document,
    tree: &Node,
    source: &str,
    base: Base<'_>,
    listed: Option<&[FleetHost]>,
    findings: &mut Vec<Finding>,
) -> Checked {
    if let Some(spec) = document.spec.as_ref().filter(|spec| spec.hosts.is_some()) {
        return fleet::check(document, spec, tree, source, listed, findings);
    }
    let before = findings.len();
    let mut checker = Checker::new(source, base, findings);
    let app = checker.app(document, &Cursor::root(tree));
    let claims = checker.claims;
    Checked { app: app.filter(|_| findings.len() == before), claims, fleet: None }
}

struct Checker<'a> {
    source: &'a str,
    base: Base<'a>,
    findings: &'a mut Vec<Finding>,
    claims: Vec<Claim>,
    /// Where what is claimed is; none: wherever the manifest is reconciled.
    hosts: Option<Arc<[Whereabouts]>>,
    /// What the App's groups and services are called, where, and which of the two it is.
    named: Vec<(&'static str, String, Span)>,
}

impl<'a> Checker<'a> {
    fn new(source: &'a str, base: Base<'a>, findings: &'a mut Vec<Finding>) -> Self {
        Self { source, base, findings, claims: Vec::new(), hosts: None, named: Vec::new() }
    }
}

impl Checker<'_> {
    fn find(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding::new(span, message).help(help));
        }
    }

    fn claim(&mut self, at: &Cursor<'_>, what: String, part: Option<String>, help: &'static str) {
        self.claims.push(Claim { what, part, span: at.span.clone(), help, hosts: self.hosts.clone() });
    }

    /// What a constructor of the model accepts; else its reason and the remedy.
    fn accept<T, E: Display>(&mut self, at: &Cursor<'_>, made: Result<T, E>, help: &str) -> Option<T> {
        match made {
            Ok(made) => Some(made),
            Err(error) => {
                self.find(at.span.clone(), format!("`{}` is {error}", at.path), help);
                None
            }
        }
    }

    fn app(&mut self, document: &Document, at: &Cursor<'_>) -> Option<App> {
        let (meta, metadata) = (at.key("metadata"), document.metadata.as_ref());
        let name = metadata.and_then(|metadata| metadata.name.as_ref());
        let name = name.and_then(|name| {
            let at = meta.key("name");
            let (what, help) = (format!("an App named `{}`", cut(name)), "every App needs a name of its own");
            // People name an App without saying where.
            self.claims.push(Claim { what, part: None, span: at.span.clone(), help, hosts: None });
            self.accept(&at, AppName::new(name), LABEL)
        });
        let spec = document.spec.as_ref()?;
        let at = at.key("spec");
        let root = spec.root.as_ref().and_then(|root| self.root(root, &at.key("root")));
        let user = spec.user.as_ref().map(|user| self.accept(&at.key("user"), UserName::new(user), LOGIN));
        let release = spec.release.as_ref().and_then(|release| self.release(release, &at.key("release")));
        let services = self.services(&spec.services, &at.key("services"));
        let workers = self.workers(&spec.workers, &at.key("workers"));
        self.names_are_unique();
        let health = spec.health.as_ref().map(|health| self.health(health, root.as_ref(), &at.key("health")));
        let sync = spec.sync.as_ref().map(|sync| self.sync(sync, &at.key("sync")));
        if spec.rollout.is_some() {
            let message = format!("`{}.rollout` is for manifests with `hosts`", at.path);
            let help = "add `hosts`, or remove it; how workers are replaced stands in `workers[].rollout`";
            self.find(at.name_of("rollout"), message, help);
        }
        Some(App {
            name: name?,
            labels: metadata.map(|metadata| texts(&metadata.labels)).unwrap_or_default(),
            root: root?,
            user: optional(user)?,
            release: release?,
            services: services?,
            workers: workers?,
            health: optional(health)?,
            on_failure: match spec.on_failure {
                None | Some(shape::OnFailure::Rollback) => OnFailure::Rollback,
                Some(shape::OnFailure::Halt) => OnFailure::Halt,
            },
            strays: match spec.strays {
                None | Some(Strays::Report) => StrayPolicy::Report,
                Some(Strays::Stop) => StrayPolicy::Stop,
            },
            sync: optional(sync)?.unwrap_or_default(),
            leaving: false,
            fingerprint: fingerprint::of(spec),
        })
    }

    fn root(&mut self, text: &str, at: &Cursor<'_>) -> Option<Root> {
        const HELP: &str = "a root is absolute, or starts with `./` or `../` and is then relative to the manifest's own directory; it has no `..` further in";
        let path = self.beside(text, at)?;
        let root = self.accept(at, Root::new(path), HELP)?;
        self.claim(at, format!("an App with the root `{root}`"), None, "every App needs a root of its own");
        Some(root)
    }

    /// A path that may be meant relative to the manifest's directory: it says so by how it begins.
    fn beside(&mut self, text: &str, at: &Cursor<'_>) -> Option<PathBuf> {
        if !matches!(text.split('/').next(), Some("." | "..")) {
            return Some(PathBuf::from(text));
        }
        let mut base = match self.base {
            Ok(base) => base,
            Err(who) => {
                let message = format!("`{}` is relative, and {who} has no directory", at.path);
                self.find(at.span.clone(), message, "write an absolute path");
                return None;
            }
        };
        let mut rest = text;
        // The base has no links in it, so its parent is what `..` means.
        while let Some(above) = rest.strip_prefix("..").filter(|above| above.is_empty() || above.starts_with('/')) {
            base = base.parent().unwrap_or(base);
            rest = above.trim_start_matches('/');
        }
        Some(base.join(rest))
    }

    /// Groups and services share their names, within one App only.
    fn names_are_unique(&mut self) {
        let mut named = std::mem::take(&mut self.named);
        named.sort_by_key(|(_, _, span)| span.start);
        for (at, (_, name, span)) in named.iter().enumerate() {
            if let Some((what, _, first)) = named.iter().take(at).find(|(_, earlier, _)| earlier == name) {
                let line = line_of(self.source, first.start);
                let help = format!(
                    "the first stands in line {line}; every group and every service of an App needs a name of its own"
                );
                self.find(span.clone(), format!("{what} named `{}` is there already", cut(name)), help);
            }
        }
    }

    /// Names of environment variables, as keys of a map.
    fn variables<'n>(&mut self, names: impl Iterator<Item = &'n String>, at: &Cursor<'_>) -> bool {
        let mut sound = true;
        for name in names {
            if name.is_empty() || name.contains('=') {
                let message = format!("`{}` is no name of an environment variable", cut(name));
                self.find(at.name_of(name), message, "use letters, digits and `_`");
                sound = false;
            }
        }
        sound
    }

    fn restart_on(&mut self, watched: &[shape::RestartOn], list: &Cursor<'_>) -> Option<Vec<RestartOn>> {
        each(watched, |position, watched| {
            let at = list.item(position);
            let path = watched.path.as_ref().and_then(|path| self.inside(path, &at.key("path"), "the root"));
            let run = watched.run.as_ref().map(|run| self.command(run, &at.key("run")));
            Some(RestartOn { path: path?, run: optional(run)? })
        })
    }

    /// A path that stays inside of something.
    fn inside(&mut self, path: &str, at: &Cursor<'_>, of: &str) -> Option<RelativePath> {
        let help = format!("write a path relative to {of}, without `..`, such as `shared/.env`");
        self.inside_with(path, at, &help)
    }

    fn inside_with(&mut self, path: &str, at: &Cursor<'_>, help: &str) -> Option<RelativePath> {
        self.accept(at, RelativePath::new(path), help)
    }

    fn absolute(&mut self, path: &str, at: &Cursor<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(path);
        let made = if path.is_absolute() { Ok(path) } else { Err(NameError::NotAbsolute) };
        self.accept(at, made, "write a path that begins with `/`")
    }

    /// Where a secret is read from.
    fn secret(&mut self, source: &shape::Password, at: &Cursor<'_>) -> Option<SecretSource> {
        match source {
            shape::Password::File(file) => self.secret_file(file, &at.key("file")),
            shape::Password::EnvVar(name) => self.secret_variable(name, &at.key("envVar")),
        }
    }

    /// A file whose first line is a secret.
    fn secret_file(&mut self, path: &str, at: &Cursor<'_>) -> Option<SecretSource> {
        self.absolute(path, at).map(SecretSource::File)
    }

    /// A variable of trueup itself that has a secret in it.
    fn secret_variable(&mut self, name: &str, at: &Cursor<'_>) -> Option<SecretSource> {
        if name.is_empty() || name.contains(['=', ' ', '$', '\0']) {
            let message = format!("`{}` is no name of an environment variable", at.path);
            self.find(at.span.clone(), message, "write its name only, without `$`, such as `SUPERVISOR_PASSWORD`");
            return None;
        }
        Some(SecretSource::EnvironmentVariable(name.to_owned()))
    }

    /// A duration of at least `least`, or what stands for it when nothing is written.
    fn duration(
        &mut self,
        text: Option<&DurationText>,
        at: &Cursor<'_>,
        least: Duration,
        unless: Duration,
    ) -> Option<Duration> {
        let Some(DurationText(text)) = text else { return Some(unless) };
        match duration::parse(text) {
            Ok(found) if found >= least => Some(found),
            Ok(_) => {
                self.find(at.span.clone(), format!("`{}` is too short: `{text}`", at.path), "write 1ms or more");
                None
            }
            Err(error) => {
                let message = format!("`{}` is {error}: `{}`", at.path, cut(text));
                self.find(at.span.clone(), message, error.help(&cut(text)));
                None
            }
        }
    }

    fn command(&mut self, run: &Run, at: &Cursor<'_>) -> Option<CommandLine> {
        let (command, program) = match run {
            Run::Line(line) => (CommandLine::Shell(line.clone()), Some(line)),
            Run::Arguments(arguments) => (CommandLine::Arguments(arguments.clone()), arguments.first()),
        };
        if program.is_none_or(|program| program.trim().is_empty()) {
            let help = "write a line for the shell, such as `php artisan queue:work`, or a list of arguments";
            self.find(at.span.clone(), format!("`{}` names no command", at.path), help);
            return None;
        }
        Some(command)
    }
}

/// Help for names of users.
const LOGIN: &str = "write a login name, such as `deploy`";

/// What cannot be 0.
const LEAST: Duration = Duration::from_millis(1);

/// Help for names that `model::names` calls labels.
const LABEL: &str = "use letters, digits, `-`, `_` and `.`, and begin with a letter or digit";

/// All of them, or none when one is wrong; every one is looked at.
fn each<T, U>(list: &[T], mut make: impl FnMut(usize, &T) -> Option<U>) -> Option<Vec<U>> {
    let all: Vec<Option<U>> = list.iter().enumerate().map(|(position, element)| make(position, element)).collect();
    all.into_iter().collect()
}

/// What need not be written, but must be right where it is: none at all when it is wrong.
#[expect(clippy::option_option, reason = "not written, wrong, and right are three cases")]
fn optional<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(made) => made.map(Some),
    }
}

fn texts(map: &BTreeMap<String, Text>) -> BTreeMap<String, String> {
    map.iter().map(|(key, Text(value))| (key.clone(), value.clone())).collect()
}
