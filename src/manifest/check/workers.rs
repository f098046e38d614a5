//! Worker groups and their managers.

use std::time::Duration;

use super::{Checker, LABEL, LEAST, each, optional, texts};
use crate::manifest::node::{Cursor, cut};
use crate::manifest::shape;
use crate::model::amount::Amount;
use crate::model::app::{Builtin, Drain, Manager, Supervisord, Systemd, TemplateUnit, WorkerGroup};
use crate::model::names::GroupName;

/// How long a worker may take to finish by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the command before that may take by default.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Help for `maxUnavailable`.
const SHARE: &str = "write how many workers may be down at a time, such as `1` or `50%`; at most `100%`";
/// How long a worker must have run before it is trusted by default.
const MIN_HEALTHY: Duration = Duration::from_secs(3);

impl Checker<'_> {
    pub(super) fn workers(&mut self, groups: &[shape::WorkerGroup], list: &Cursor<'_>) -> Option<Vec<WorkerGroup>> {
        each(groups, |position, group| self.group(group, &list.item(position)))
    }

    fn group(&mut self, group: &shape::WorkerGroup, at: &Cursor<'_>) -> Option<WorkerGroup> {
        let name = group.name.as_ref().and_then(|name| {
            let at = at.key("name");
            self.named.push(("a worker group", name.clone(), at.span.clone()));
            self.accept(&at, GroupName::new(name), LABEL)
        });
        let manager = group.manager.as_ref().and_then(|manager| self.manager(manager, &at.key("manager")));
        let timeout = at.key("stopTimeout");
        let stop_timeout = self.duration(group.stop_timeout.as_ref(), &timeout, Duration::ZERO, STOP_TIMEOUT);
        let share = group.rollout.as_ref().and_then(|rollout| rollout.max_unavailable.as_ref());
        let place = at.key("rollout").key("maxUnavailable");
        let max_unavailable = self.amount(share, &place, Amount::Percent(100), SHARE);
        if let Some(Amount::Count(0) | Amount::Percent(0)) = max_unavailable {
            let message = format!("`{}` is 0: no worker could ever be replaced", place.path);
            self.find(place.span, message, "write `1` or more");
        }
        let count = match &group.count {
            None => Some(1),
            Some(shape::Count::Number(count)) => Some(*count),
            Some(shape::Count::Named(text)) => {
                let at = at.key("count");
                let message = format!("`{}` names a var, and the manifest has no hosts: `{}`", at.path, cut(text));
                self.find(at.span, message, "write a whole number, or add `hosts` with `vars`");
                None
            }
        };
        let restart_on = self.restart_on(&group.restart_on, &at.key("restartOn"));
        let drain = group.drain.as_ref().map(|drain| self.drain(drain, &at.key("drain")));
        let healthy = group.rollout.as_ref().and_then(|rollout| rollout.min_healthy.as_ref());
        let place = at.key("rollout").key("minHealthy");
        let min_healthy = self.duration(healthy, &place, Duration::ZERO, MIN_HEALTHY);
        Some(WorkerGroup {
            name: name?,
            count: count?,
            manager: manager?,
            stop_timeout: stop_timeout?,
            max_unavailable: max_unavailable?,
            restart_on: restart_on?,
            drain: optional(drain)?,
            min_healthy: min_healthy?,
        })
    }

    fn drain(&mut self, drain: &shape::Drain, at: &Cursor<'_>) -> Option<Drain> {
        let run = drain.run.as_ref().and_then(|run| self.command(run, &at.key("run")));
        let timeout = self.duration(drain.timeout.as_ref(), &at.key("timeout"), LEAST, DRAIN_TIMEOUT);
        Some(Drain { run: run?, timeout: timeout? })
    }

    fn manager(&mut self, manager: &shape::Manager, at: &Cursor<'_>) -> Option<Manager> {
        match manager {
            shape::Manager::Supervisord(supervisord) => {
                let at = at.key("supervisord");
                self.claim_supervisord(supervisord, &at);
                self.supervisord(supervisord, &at).map(Manager::Supervisord)
            }
            shape::Manager::Systemd(systemd) => self.systemd(systemd, &at.key("systemd")).map(Manager::Systemd),
            shape::Manager::Builtin(builtin) => {
                let at = at.key("builtin");
                let run = builtin.run.as_ref().and_then(|run| self.command(run, &at.key("run")));
                let named = self.variables(builtin.env.keys(), &at.key("env"));
                run.filter(|_| named).map(|run| Manager::Builtin(Builtin { run, env: texts(&builtin.env) }))
            }
        }
    }

    /// Services may share a program with others, worker groups may not.
    fn claim_supervisord(&mut self, supervisord: &shape::Supervisord, at: &Cursor<'_>) {
        let Some(group) = &supervisord.group else { return };
        let daemon = supervisord.socket.as_ref().map(|socket| format!(" at `{}`", cut(socket))).unwrap_or_default();
        let what = format!("a worker group over supervisord's group `{}`{daemon}", cut(group));
        let help =
            "a group of supervisord belongs to one worker group; name different programs of it, if it mixes several";
        self.claim(&at.key("group"), what, supervisord.program.clone(), help);
    }

    pub(super) fn supervisord(&mut self, supervisord: &shape::Supervisord, at: &Cursor<'_>) -> Option<Supervisord> {
        let socket = supervisord.socket.as_ref().map(|socket| self.absolute(socket, &at.key("socket")));
        let password = supervisord.password.as_ref().map(|password| self.secret(password, &at.key("password")));
        let program = supervisord.program.as_ref().map(|name| self.supervisord_name(name, &at.key("program")));
        let group = supervisord.group.as_ref().and_then(|name| self.supervisord_name(name, &at.key("group")));
        Some(Supervisord {
            group: group?,
            program: optional(program)?,
            socket: optional(socket)?,
            username: supervisord.username.clone(),
            password: optional(password)?,
        })
    }

    fn supervisord_name(&mut self, name: &str, at: &Cursor<'_>) -> Option<String> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '[' | ']' | '*');
        if name.is_empty() || name.contains(odd) {
            let help = "write the name as in supervisord's `[group:NAME]` or `[program:NAME]`, without `:*`";
            self.find(at.span.clone(), format!("`{}` is no name that supervisord allows", at.path), help);
            return None;
        }
        Some(name.to_owned())
    }

    fn systemd(&mut self, systemd: &shape::Systemd, at: &Cursor<'_>) -> Option<Systemd> {
        let text = systemd.unit.as_ref()?;
        let at = at.key("unit");
        let Some(unit) = TemplateUnit::new(text) else {
            let name = text.strip_suffix(".service").unwrap_or(text);
            let help = match TemplateUnit::new(&format!("{name}@")) {
                Some(_) => {
                    format!("did you mean `{name}@`? Only a template can have as many instances as `count` says")
                }
                None => "write the name of a template unit, such as `app-worker@`".to_owned(),
            };
            self.find(at.span.clone(), format!("`{}` is no template unit", at.path), help);
            return None;
        };
        let what = format!("a worker group over the unit `{}`", unit.template());
        self.claim(&at, what, None, "a template unit belongs to one worker group");
        Some(Systemd { unit })
    }

    /// A number, or a share of something; or what stands for it when nothing is written.
    pub(super) fn amount(
        &mut self,
        share: Option<&shape::Share>,
        at: &Cursor<'_>,
        unless: Amount,
        help: &str,
    ) -> Option<Amount> {
        let Some(shape::Share(text)) = share else { return Some(unless) };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let made = match text.strip_suffix('%') {
            Some(percent) if digits(percent) => {
                percent.parse().ok().filter(|percent| *percent <= 100).map(Amount::Percent)
            }
            None if digits(text) => text.parse().ok().map(Amount::Count),
            _ => None,
        };
        if made.is_none() {
            let message = format!("`{}` is neither a number nor a percentage: `{}`", at.path, cut(text));
            self.find(at.span.clone(), message, help);
        }
        made
    }
}
