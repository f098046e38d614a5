//! Worker groups and their managers.

use std::time::Duration;

use super::{Checker, LABEL, each, optional, texts};
use crate::manifest::node::{Place, cut};
use crate::manifest::shape;
use crate::model::app::{
    Builtin, Manager, MaxUnavailable, RestartOn, SecretSource, Supervisord, Systemd, TemplateUnit, WorkerGroup,
};
use crate::model::names::GroupName;

/// How long a worker may take to finish, unless said.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

impl Checker<'_> {
    pub(super) fn workers(&mut self, groups: &[shape::Worker], list: &Place<'_>) -> Option<Vec<WorkerGroup>> {
        let first_own = self.claims.len();
        let made = each(groups, |position, group| self.group(group, &list.item(position)));
        // Group names are unique in their App only: those clashes are told here.
        let (names, rest): (Vec<_>, Vec<_>) =
            self.claims.drain(first_own..).partition(|claim| claim.what.starts_with(GROUP_NAMED));
        self.claims.extend(rest);
        for (at, name) in names.iter().enumerate() {
            if let Some(first) = names.iter().take(at).find(|first| first.clashes(name)) {
                let line = super::super::yaml::line_of(self.source, first.span.start);
                let help = format!("the first stands in line {line}; {}", name.help);
                self.find(name.span.clone(), format!("{} is there already", name.what), help);
            }
        }
        made
    }

    fn group(&mut self, group: &shape::Worker, at: &Place<'_>) -> Option<WorkerGroup> {
        let name = group.name.as_ref().and_then(|name| {
            let at = at.key("name");
            self.claim(
                &at,
                format!("{GROUP_NAMED} `{}`", cut(name)),
                None,
                "every group of an App needs a name of its own",
            );
            self.accept(&at, GroupName::new(name), LABEL)
        });
        let manager = group.manager.as_ref().and_then(|manager| self.manager(manager, &at.key("manager")));
        let timeout = at.key("stopTimeout");
        let stop_timeout = self.duration(group.stop_timeout.as_ref(), &timeout, Duration::ZERO, STOP_TIMEOUT);
        let share = group.rollout.as_ref().and_then(|rollout| rollout.max_unavailable.as_ref());
        let max_unavailable = self.share(share, &at.key("rollout").key("maxUnavailable"));
        let list = at.key("restartOn");
        let restart_on = each(&group.restart_on, |position, watched| {
            let at = list.item(position);
            let path = watched.path.as_ref().and_then(|path| self.inside(path, &at.key("path"), "the root"));
            let run = watched.run.as_ref().map(|run| self.command(run, &at.key("run")));
            Some(RestartOn { path: path?, run: optional(run)? })
        });
        Some(WorkerGroup {
            name: name?,
            count: group.count.unwrap_or(1),
            manager: manager?,
            stop_timeout: stop_timeout?,
            max_unavailable: max_unavailable?,
            restart_on: restart_on?,
            drain: None,
            min_healthy: Duration::ZERO,
        })
    }

    fn manager(&mut self, manager: &shape::Manager, at: &Place<'_>) -> Option<Manager> {
        match manager {
            shape::Manager::Supervisord(supervisord) => {
                self.supervisord(supervisord, &at.key("supervisord")).map(Manager::Supervisord)
            }
            shape::Manager::Systemd(systemd) => self.systemd(systemd, &at.key("systemd")).map(Manager::Systemd),
            shape::Manager::Builtin(builtin) => {
                let at = at.key("builtin");
                let run = builtin.run.as_ref().and_then(|run| self.command(run, &at.key("run")));
                let places = at.key("env");
                let mut named = true;
                for name in builtin.env.keys() {
                    if name.is_empty() || name.contains('=') {
                        let message = format!("`{}` is no name of an environment variable", cut(name));
                        self.find(places.name_of(name), message, "use letters, digits and `_`");
                        named = false;
                    }
                }
                run.filter(|_| named).map(|run| Manager::Builtin(Builtin { run, env: texts(&builtin.env) }))
            }
        }
    }

    fn supervisord(&mut self, supervisord: &shape::Supervisord, at: &Place<'_>) -> Option<Supervisord> {
        let socket = supervisord.socket.as_ref().map(|socket| self.absolute(socket, &at.key("socket")));
        let password = supervisord.password.as_ref().map(|password| self.password(password, &at.key("password")));
        let program = supervisord.program.as_ref().map(|name| self.supervisord_name(name, &at.key("program")));
        let group = supervisord.group.as_ref().and_then(|name| self.supervisord_name(name, &at.key("group")));
        if let Some(group) = &group {
            let daemon = supervisord.socket.as_ref().map(|socket| format!(" at `{}`", cut(socket))).unwrap_or_default();
            let what = format!("a worker group over supervisord's group `{group}`{daemon}");
            let help = "a group of supervisord belongs to one worker group; name different programs of it, if it mixes several";
            self.claim(&at.key("group"), what, supervisord.program.clone(), help);
        }
        Some(Supervisord {
            group: group?,
            program: optional(program)?,
            socket: optional(socket)?,
            username: supervisord.username.clone(),
            password: optional(password)?,
        })
    }

    fn supervisord_name(&mut self, name: &str, at: &Place<'_>) -> Option<String> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '[' | ']' | '*');
        if name.is_empty() || name.contains(odd) {
            let help = "write the name as in supervisord's `[group:NAME]` or `[program:NAME]`, without `:*`";
            self.find(at.span.clone(), format!("`{}` is no name that supervisord allows", at.path), help);
            return None;
        }
        Some(name.to_owned())
    }

    fn password(&mut self, password: &shape::Password, at: &Place<'_>) -> Option<SecretSource> {
        match password {
            shape::Password::File(file) => self.absolute(file, &at.key("file")).map(SecretSource::File),
            shape::Password::EnvVar(name) => {
                if name.is_empty() || name.contains(['=', ' ']) {
                    let at = at.key("envVar");
                    let message = format!("`{}` is no name of an environment variable", at.path);
                    self.find(at.span, message, "write its name only, without `$`, such as `SUPERVISOR_PASSWORD`");
                    return None;
                }
                Some(SecretSource::EnvironmentVariable(name.clone()))
            }
        }
    }

    fn systemd(&mut self, systemd: &shape::Systemd, at: &Place<'_>) -> Option<Systemd> {
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

    fn share(&mut self, share: Option<&shape::Share>, at: &Place<'_>) -> Option<MaxUnavailable> {
        let Some(shape::Share(text)) = share else { return Some(MaxUnavailable::Percent(100)) };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let made = match text.strip_suffix('%') {
            Some(percent) if digits(percent) => {
                percent.parse().ok().filter(|percent| *percent <= 100).map(MaxUnavailable::Percent)
            }
            None if digits(text) => text.parse().ok().map(MaxUnavailable::Count),
            _ => None,
        };
        if made.is_none() {
            let message = format!("`{}` is neither a number nor a percentage: `{}`", at.path, cut(text));
            self.find(
                at.span.clone(),
                message,
                "write how many workers may be down at a time, such as `1` or `50%`; at most `100%`",
            );
        }
        made
    }
}

const GROUP_NAMED: &str = "a worker group named";
