//! Services.

use std::time::Duration;

use super::{Checker, LABEL, LEAST, LOGIN, each, optional};
use crate::manifest::node::{Cursor, cut};
use crate::manifest::shape;
use crate::model::names::{GroupName, UserName};
use crate::model::service::{OnRelease, Service, ServiceManager};

/// How long a reload or restart may take by default.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of a unit's name.
const UNIT_LENGTH: usize = 255;
/// What systemd's units end in, besides services.
const OTHER_UNITS: [&str; 10] =
    ["socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];

impl Checker<'_> {
    pub(super) fn services(&mut self, services: &[shape::Service], list: &Cursor<'_>) -> Option<Vec<Service>> {
        each(services, |position, service| self.service(service, &list.item(position)))
    }

    fn service(&mut self, service: &shape::Service, at: &Cursor<'_>) -> Option<Service> {
        let name = service.name.as_ref().and_then(|name| {
            let at = at.key("name");
            self.named.push(("a service", name.clone(), at.span.clone()));
            self.accept(&at, GroupName::new(name), LABEL)
        });
        let manager = service.manager.as_ref().and_then(|manager| self.service_manager(manager, &at.key("manager")));
        let on_release = match service.on_release {
            None | Some(shape::OnRelease::Auto) => OnRelease::Auto,
            Some(shape::OnRelease::Reload) => OnRelease::Reload,
            Some(shape::OnRelease::Restart) => OnRelease::Restart,
            Some(shape::OnRelease::None) => OnRelease::None,
        };
        let able = manager.as_ref().is_none_or(|manager| self.is_able(manager, on_release, at));
        let timeout = self.duration(service.timeout.as_ref(), &at.key("timeout"), LEAST, TIMEOUT);
        let restart_on = self.restart_on(&service.restart_on, &at.key("restartOn"));
        Some(Service {
            name: name?,
            manager: manager.filter(|_| able)?,
            on_release,
            timeout: timeout?,
            restart_on: restart_on?,
        })
    }

    fn service_manager(&mut self, manager: &shape::ServiceManager, at: &Cursor<'_>) -> Option<ServiceManager> {
        match manager {
            shape::ServiceManager::Systemd(systemd) => {
                let unit = self.unit(systemd.unit.as_ref()?, &at.key("systemd").key("unit"))?;
                Some(ServiceManager::Systemd { unit })
            }
            shape::ServiceManager::Supervisord(supervisord) => {
                self.supervisord(supervisord, &at.key("supervisord")).map(ServiceManager::Supervisord)
            }
            shape::ServiceManager::Command(command) => {
                let at = at.key("command");
                let reload = command.reload.as_ref().map(|run| self.command(run, &at.key("reload")));
                let restart = command.restart.as_ref().map(|run| self.command(run, &at.key("restart")));
                if reload.is_none() && restart.is_none() {
                    let message = format!("`{}` has no command", at.path);
                    self.find(at.span, message, "add `reload`, `restart` or both");
                    return None;
                }
                let user = command.user.as_ref().map(|user| self.accept(&at.key("user"), UserName::new(user), LOGIN));
                Some(ServiceManager::Command {
                    reload: optional(reload)?,
                    restart: optional(restart)?,
                    user: optional(user)?,
                })
            }
        }
    }

    /// Whether there is a command for what the service is to do.
    fn is_able(&mut self, manager: &ServiceManager, on_release: OnRelease, at: &Cursor<'_>) -> bool {
        let ServiceManager::Command { reload, restart, .. } = manager else { return true };
        let (needed, word) = match on_release {
            OnRelease::Auto if reload.is_none() => ("reload", "auto"),
            OnRelease::Reload if reload.is_none() => ("reload", "reload"),
            OnRelease::Restart if restart.is_none() => ("restart", "restart"),
            _ => return true,
        };
        let place = at.key("manager").key("command");
        let message = format!("`{}` lacks the key `{needed}`, which `onRelease: {word}` needs", place.path);
        let help = match on_release {
            OnRelease::Auto => "add it, or say `onRelease: restart`, which has every switch restart it".to_owned(),
            _ => format!("add it, or say something else than `onRelease: {word}`"),
        };
        self.find(place.span, message, help);
        false
    }

    fn unit(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        const EXAMPLE: &str = "write the name of a service, such as `php8.2-fpm` or `php8.2-fpm.service`";
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
        let name = text.strip_suffix(".service").unwrap_or(text);
        let other = name.rsplit_once('.').map(|(_, suffix)| suffix).filter(|suffix| OTHER_UNITS.contains(suffix));
        let (message, help) = match name.split_once('@') {
            Some((prefix, "")) if !prefix.is_empty() => (
                "is a template, of which no service runs".to_owned(),
                format!("name an instance of it, such as `{}1`", cut(name)),
            ),
            _ if other.is_some_and(|_| name == text) => {
                (format!("is a {}, not a service", other.unwrap_or_default()), EXAMPLE.to_owned())
            }
            _ if name.is_empty()
                || name.starts_with(['-', '.', '@'])
                || !name.chars().all(allowed)
                || text.len() > UNIT_LENGTH =>
            {
                ("is no name of a unit".to_owned(), EXAMPLE.to_owned())
            }
            _ => return Some(format!("{name}.service")),
        };
        self.find(at.span.clone(), format!("`{}` {message}: `{}`", at.path, cut(text)), help);
        None
    }
}
