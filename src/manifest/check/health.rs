//! The health contract.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Checker, LEAST, each, optional, texts, url};
use crate::decide::health::{self, ProbeKind};
use crate::manifest::node::{Cursor, cut};
use crate::manifest::shape;
use crate::model::app::ConnectTo;
use crate::model::health::{HealthContract, Probe, Rule};
use crate::model::names::Root;
use crate::model::rollout::Patience;

/// How long one answer may take by default.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked by default.
const ATTEMPTS: u32 = Patience::USUAL.attempts;
/// The pause between two attempts by default.
const INTERVAL: Duration = Patience::USUAL.interval;
/// Most rules of one contract: each is compiled at every probe.
const RULES: usize = 50;

impl Checker<'_> {
    /// `root` is none when it is wrong itself; then the contract is looked at, but not made.
    pub(super) fn health(
        &mut self,
        health: &shape::Health,
        root: Option<&Root>,
        at: &Cursor<'_>,
    ) -> Option<HealthContract> {
        let kind = self.one_probe(health, at);
        let http = health.http.as_ref().map(|http| (self.http(http, &at.key("http")), &http.timeout, "http"));
        let file = health.file.as_ref().map(|file| (self.file(file, root, &at.key("file")), &file.timeout, "file"));
        let command = health.command.as_ref().map(|command| {
            let run = command.run.as_ref().and_then(|run| self.command(run, &at.key("command").key("run")));
            (run.map(|run| Probe::Command { run }), &command.timeout, "command")
        });
        let mut timeouts = Vec::new();
        for (_, timeout, key) in [&http, &file, &command].into_iter().flatten() {
            timeouts.push(self.duration(timeout.as_ref(), &at.key(key).key("timeout"), LEAST, TIMEOUT));
        }
        let interval = self.duration(health.interval.as_ref(), &at.key("interval"), Duration::ZERO, INTERVAL);
        let place = at.key("watch");
        let watch = health.watch.as_ref().map(|watch| self.second_or_more(Some(watch), &place, INTERVAL));
        let list = at.key("expect");
        if health.expect.len() > RULES {
            let message = format!("`{}` has {} rules; at most {RULES} are allowed", list.path, health.expect.len());
            self.find(list.span, message, "join some of them by &&");
            return None;
        }
        let rules = each(&health.expect, |position, rule| self.rule(rule, kind, &list.item(position)));
        let (kind, rules) = (kind?, rules?);
        Some(HealthContract {
            probe: [http, file, command].into_iter().flatten().next()?.0?,
            timeout: timeouts.into_iter().next()??,
            attempts: health.attempts.unwrap_or(ATTEMPTS),
            interval: interval?,
            watch: optional(watch)?,
            expect: if rules.is_empty() { kind.default_rules() } else { rules },
        })
    }

    fn one_probe(&mut self, health: &shape::Health, at: &Cursor<'_>) -> Option<ProbeKind> {
        let written = [
            health.http.as_ref().map(|_| ("http", ProbeKind::Http)),
            health.file.as_ref().map(|_| ("file", ProbeKind::File)),
            health.command.as_ref().map(|_| ("command", ProbeKind::Command)),
        ];
        let mut written = written.into_iter().flatten();
        let first = written.next();
        if first.is_none() {
            let message = format!("`{}` lacks a probe", at.path);
            self.find(at.span.clone(), message, "add one of `http`, `file` and `command`");
        }
        for (key, _) in written {
            let message = format!("`{}` has a second probe, `{key}`", at.path);
            self.find(at.name_of(key), message, "keep one of `http`, `file` and `command`");
        }
        first.map(|(_, kind)| kind)
    }

    fn http(&mut self, http: &shape::Http, at: &Cursor<'_>) -> Option<Probe> {
        let url = http.url.as_ref().and_then(|url| self.url(url, &at.key("url")));
        let connect_to = http.connect_to.as_ref().map(|target| self.connect_to(target, &at.key("connectTo")));
        let ca_file = http.ca_file.as_ref().map(|path| self.absolute(path, &at.key("caFile")));
        let places = at.key("headers");
        let mut sound = true;
        for (name, shape::Text(value)) in &http.headers {
            if reqwest::header::HeaderName::try_from(name.as_str()).is_err() {
                let message = format!("`{}` is no header name", cut(name));
                self.find(places.name_of(name), message, "use letters, digits and `-`");
                sound = false;
            }
            if reqwest::header::HeaderValue::try_from(value.as_str()).is_err() {
                let message =
                    format!("the value of the header `{}` has characters that a header cannot carry", cut(name));
                self.find(places.key(name).span, message, "use one line of visible characters");
                sound = false;
            }
        }
        Some(Probe::Http {
            url: url.filter(|_| sound)?,
            headers: texts(&http.headers),
            connect_to: optional(connect_to)?,
            ca_file: optional(ca_file)?,
        })
    }

    fn url(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        const EXAMPLE: &str = "http://localhost/health";
        let (wrong, help) = match url::parse(text, "http", EXAMPLE) {
            Err(told) => told,
            Ok(url) if !matches!(url.scheme(), "http" | "https") => (
                format!("is a URL for `{}`, not for http or https", cut(url.scheme())),
                format!("write it whole, such as `{EXAMPLE}`"),
            ),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "has a user or password in it, which would be shown wherever the URL is".to_owned(),
                "send an `authorization` header instead".to_owned(),
            ),
            Ok(_) => return Some(text.to_owned()),
        };
        self.find(at.span.clone(), format!("`{}` {wrong}", at.path), help);
        None
    }

    fn connect_to(&mut self, text: &str, at: &Cursor<'_>) -> Option<ConnectTo> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if Path::new(path).is_absolute() {
            return Some(ConnectTo::Unix(PathBuf::from(path)));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(ConnectTo::Tcp(address));
        }
        let message = format!("`{}` is neither an address with a port nor a socket's path: `{}`", at.path, cut(text));
        let help = "write an IP address and a port, such as `127.0.0.1:443` or `[::1]:443`, or `unix:/run/app.sock`";
        self.find(at.span.clone(), message, help);
        None
    }

    fn file(&mut self, file: &shape::File, root: Option<&Root>, at: &Cursor<'_>) -> Option<Probe> {
        let max_age = file.max_age.as_ref().map(|age| self.duration(Some(age), &at.key("maxAge"), LEAST, LEAST));
        let path = file.path.as_ref().and_then(|path| {
            if Path::new(path).is_absolute() {
                return Some(PathBuf::from(path));
            }
            let inside = self.inside(path, &at.key("path"), "the root")?;
            Some(root?.path().join(inside.as_path()))
        });
        Some(Probe::File { path: path?, max_age: optional(max_age)? })
    }

    fn rule(&mut self, rule: &str, kind: Option<ProbeKind>, at: &Cursor<'_>) -> Option<Rule> {
        // Without a probe nobody knows which names exist; its absence has been told.
        let error = match health::check(rule, kind?) {
            Ok(()) => return Some(Rule(rule.to_owned())),
            Err(error) => error,
        };
        let span = error.offset.map_or_else(|| at.span.clone(), |offset| at.inside(offset, self.source));
        let message = format!("a rule that can never hold: {}", error.message);
        self.find(span, message, error.help.unwrap_or_else(|| "see the rule language in the documentation".to_owned()));
        None
    }
}
