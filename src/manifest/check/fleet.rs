//! A document with hosts: the hosts themselves, and what the document says on each of them.

use std::collections::HashMap;
use std::time::Duration;

use super::{Checked, Checker, LABEL, each, texts};
use crate::manifest::fill::{Filled, fill, misplaced};
use crate::manifest::node::{Cursor, Node, Span, cut};
use crate::manifest::shape::{self, Document, Hosts, Spec, Text};
use crate::manifest::yaml::{FINDINGS, Finding, line_of};
use crate::model::amount::Amount;
use crate::model::fleet::{Fleet, FleetHost, HostName, HostPattern, Rollout, SshTarget};
use crate::model::nearest::nearest;

/// Who it is that has no directory.
const WHO: &str = "a manifest with `hosts`";

/// Help for the names of vars.
const VAR: &str = "use letters, digits, `-` and `_`, and begin with a letter or `_`";

/// Checks a document with hosts, as it is on each of them. `listed` are the hosts of the file that it names, where
/// nothing is wrong with them.
pub(super) fn check(
    document: &Document,
    spec: &Spec,
    tree: &Node,
    source: &str,
    listed: Option<&[FleetHost]>,
    findings: &mut Vec<Finding>,
) -> Checked {
    let before = findings.len();
    let at = Cursor::root(tree);
    let mut checker = Checker::new(source, Err(WHO), findings);
    let fleet = checker.fleet(spec, listed, &at.key("spec"));
    findings.extend(misplaced(tree, source));
    let hosts: Vec<Option<&FleetHost>> =
        fleet.as_ref().map_or_else(|| vec![None], |fleet| fleet.hosts.iter().map(Some).collect());
    let names =
        fleet.as_ref().map(|fleet| fleet.hosts.iter().map(|host| (host.name.clone(), host.ssh.clone())).collect());
    let mut tally = Tally::default();
    let mut checked = Checked { app: None, claims: Vec::new(), fleet: None };
    for (position, host) in hosts.iter().enumerate() {
        let mut own = Vec::new();
        let Filled { mut document, unfilled } = fill(document, *host, &at, source, &mut own);
        // Rules name no vars, and compiling them is what takes long.
        let rules = document.spec.as_mut().and_then(|spec| spec.health.as_mut()).filter(|_| position > 0);
        if let Some(health) = rules {
            health.expect.clear();
        }
        let mut judged = Vec::new();
        let mut checker = Checker::new(source, Err(WHO), &mut judged);
        checker.hosts.clone_from(&names);
        let app = checker.app(&document, &at);
        if position == 0 {
            checked.app = app;
            checked.claims = checker.claims;
        }
        judged.retain(|finding| !unfilled.iter().any(|span| (span.start..=span.end).contains(&finding.span.start)));
        own.append(&mut judged);
        tally.add(position, own);
    }
    findings.extend(tally.findings(&hosts));
    findings.truncate(FINDINGS.max(before));
    checked.fleet = fleet;
    checked.app = checked.app.filter(|_| findings.len() == before);
    checked
}

/// Checks the hosts of a file.
pub(in crate::manifest) fn check_hosts(
    hosts: &[shape::Host],
    tree: &Node,
    source: &str,
    findings: &mut Vec<Finding>,
) -> Option<Vec<FleetHost>> {
    let before = findings.len();
    let found = Checker::new(source, Err(WHO), findings).hosts(hosts, &Cursor::root(tree));
    found.filter(|_| findings.len() == before)
}

/// What is wrong, and on which hosts.
#[derive(Default)]
struct Tally {
    found: Vec<(Finding, Vec<usize>)>,
    known: HashMap<(Span, String), usize>,
}

impl Tally {
    fn add(&mut self, host: usize, findings: Vec<Finding>) {
        for finding in findings {
            let key = (finding.span.clone(), finding.message.clone());
            match self.known.get(&key).and_then(|at| self.found.get_mut(*at)) {
                Some((_, hosts)) if hosts.last() == Some(&host) => {}
                Some((_, hosts)) => hosts.push(host),
                None => {
                    self.known.insert(key, self.found.len());
                    self.found.push((finding, vec![host]));
                }
            }
        }
    }

    /// What is wrong on some hosts only says on which.
    fn findings(self, all: &[Option<&FleetHost>]) -> impl Iterator<Item = Finding> {
        let named = move |at: &usize| all.get(*at).copied().flatten().map(|host| format!("`{}`", host.name));
        self.found.into_iter().map(move |(mut finding, hosts)| {
            if hosts.len() < all.len() {
                let shown: Vec<String> = hosts.iter().take(3).filter_map(named).collect();
                let others = match hosts.len() - shown.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                finding.message = format!("{}, on {}{others}", finding.message, shown.join(", "));
            }
            finding
        })
    }
}

impl Checker<'_> {
    fn fleet(&mut self, spec: &Spec, listed: Option<&[FleetHost]>, at: &Cursor<'_>) -> Option<Fleet> {
        let hosts = match spec.hosts.as_ref()? {
            Hosts::List(hosts) => self.hosts(hosts, &at.key("hosts")),
            Hosts::File(_) => listed.map(<[FleetHost]>::to_vec),
        };
        let rollout = match &spec.rollout {
            Some(rollout) => self.rollout(rollout, hosts.as_deref(), &at.key("rollout")),
            None => Some(Rollout::default()),
        };
        Some(Fleet { hosts: hosts?, rollout: rollout? })
    }

    fn hosts(&mut self, hosts: &[shape::Host], list: &Cursor<'_>) -> Option<Vec<FleetHost>> {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut places: Vec<(SshTarget, Span)> = Vec::new();
        each(hosts, |position, host| {
            let at = list.item(position);
            let name = host.name.as_ref().and_then(|name| {
                let at = at.key("name");
                let first = names.get(name.as_str()).cloned();
                self.is_first(
                    &at,
                    first,
                    &format!("a host named `{}`", cut(name)),
                    "every host needs a name of its own",
                );
                names.entry(name.clone()).or_insert_with(|| at.span.clone());
                self.accept(&at, HostName::new(name), LABEL)
            });
            let ssh = match &host.ssh {
                Some(ssh) => {
                    const HELP: &str = "write `HOST`, `USER@HOST` or `USER@HOST:PORT`, with an IPv6 address in brackets; what else ssh needs to know stands in its own configuration";
                    self.accept(&at.key("ssh"), SshTarget::new(ssh), HELP)
                }
                None => name.as_ref().and_then(|name| SshTarget::new(name.as_str()).ok()),
            };
            if let Some(ssh) = &ssh {
                let at = at.key(if host.ssh.is_some() { "ssh" } else { "name" });
                if let Some((earlier, first)) = places.iter().find(|(earlier, _)| earlier.is_same_place(ssh)) {
                    self.is_twice(&at, ssh, earlier, first);
                }
                places.push((ssh.clone(), at.span));
            }
            let labels = self.labels(host, &at.key("labels"));
            let vars = self.vars(host, &at.key("vars"));
            let made = FleetHost { name: name?, ssh: ssh?, labels: texts(&host.labels), vars: texts(&host.vars) };
            (labels && vars).then_some(made)
        })
    }

    /// A host that is there already, maybe as another user's.
    fn is_twice(&mut self, at: &Cursor<'_>, ssh: &SshTarget, earlier: &SshTarget, first: &Span) {
        let rule = "no host is changed twice";
        if ssh.user() == earlier.user() {
            return self.is_first(at, Some(first.clone()), &format!("a host at `{ssh}`"), rule);
        }
        let line = line_of(self.source, first.start);
        let help = format!(
            "the first stands in line {line}; {rule}, so keep the user that changes it; where they are hosts behind one \
             gateway, give each an alias in ssh's own configuration"
        );
        self.find(at.span.clone(), format!("`{ssh}` and `{earlier}` are one host"), help);
    }

    fn is_first(&mut self, at: &Cursor<'_>, first: Option<Span>, what: &str, rule: &str) {
        if let Some(first) = first {
            let line = line_of(self.source, first.start);
            let help = format!("the first stands in line {line}; {rule}");
            self.find(at.span.clone(), format!("{what} is there already"), help);
        }
    }

    fn labels(&mut self, host: &shape::Host, at: &Cursor<'_>) -> bool {
        let mut sound = true;
        for (key, Text(value)) in &host.labels {
            // What can be a name can be written behind `--limit` without quotes.
            if let Err(error) = HostName::new(key) {
                self.find(at.name_of(key), format!("the label `{}` is {error}", cut(key)), LABEL);
                sound = false;
            }
            sound &= self.accept(&at.key(key), HostName::new(value), LABEL).is_some();
        }
        sound
    }

    fn vars(&mut self, host: &shape::Host, at: &Cursor<'_>) -> bool {
        let mut sound = true;
        for name in host.vars.keys() {
            let first = |c: char| c.is_ascii_alphabetic() || c == '_';
            let other = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if !name.starts_with(first) || !name.chars().all(other) {
                self.find(at.name_of(name), format!("`{}` is no name of a var", cut(name)), VAR);
                sound = false;
            }
        }
        sound
    }

    fn rollout(
        &mut self,
        rollout: &shape::FleetRollout,
        hosts: Option<&[FleetHost]>,
        at: &Cursor<'_>,
    ) -> Option<Rollout> {
        const SHARE: &str = "write how many hosts, such as `1` or `25%`; at most `100%`";
        let unless = Rollout::default();
        let canary = self.amount(rollout.canary.as_ref(), &at.key("canary"), unless.canary, SHARE);
        let batch = self.amount(rollout.batch.as_ref(), &at.key("batch"), unless.batch, SHARE);
        if let Some(Amount::Count(0) | Amount::Percent(0)) = batch {
            let at = at.key("batch");
            let message = format!("`{}` is 0: nobody would follow those that go first", at.path);
            self.find(at.span, message, "write `1` or more");
        }
        let pause = &at.key("pause");
        let pause = self.duration(rollout.pause.as_ref(), pause, Duration::ZERO, unless.pause);
        let place = &at.key("healthyFor");
        let healthy = self.duration(rollout.healthy_for.as_ref(), place, Duration::ZERO, unless.healthy_for);
        let list = at.key("order");
        let order = each(&rollout.order, |position, text| self.pick(text, hosts, &list.item(position)));
        Some(Rollout {
            canary: canary?,
            batch: batch?,
            max_failures: rollout.max_failures.map_or(unless.max_failures, |most| most as usize),
            pause: pause?,
            healthy_for: healthy?,
            order: order?,
        })
    }

    /// Somebody in `order`; whether there is such a host is seen where hosts are known.
    fn pick(&mut self, text: &str, hosts: Option<&[FleetHost]>, at: &Cursor<'_>) -> Option<HostPattern> {
        let pick = if text.contains('=') {
            self.accept(at, HostPattern::label(text).ok_or("no `LABEL=VALUE`"), "write both, such as `zone=eu`")?
        } else {
            HostPattern::Host(self.accept(at, HostName::new(text), "write the name of a host, or `LABEL=VALUE`")?)
        };
        let Some(hosts) = hosts.filter(|hosts| !hosts.iter().any(|host| pick.is_for(host))) else { return Some(pick) };
        match &pick {
            HostPattern::Host(name) => {
                let help = match nearest(name.as_str(), hosts.iter().map(|host| host.name.as_str())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write the name of a host, or `LABEL=VALUE`".to_owned(),
                };
                self.find(at.span.clone(), format!("`{}` names no host: `{name}`", at.path), help);
            }
            HostPattern::Label { key, value } => {
                let message = format!("`{}` is for no host: none has `{}: {}`", at.path, cut(key), cut(value));
                self.find(at.span.clone(), message, "correct it, or label a host so");
            }
        }
        None
    }
}
