//! Units of systemd: the templates that workers are instances of, and those of services.

use std::time::Duration;

use super::command::{fixed_release, is_through_current, job_timeout, seconds};
use super::supervisord::stop_timeout;
use crate::model::app::{App, Manager, Systemd, WorkerGroup};
use crate::model::facts::{AppFacts, HostFacts, Setting, Unit};
use crate::model::finding::{Finding, Severity, Spot};
use crate::model::process::Known;
use crate::model::service::ServiceManager;

const SERVICE: &str = "Service";
/// systemd's own time before it kills.
const STOP: Duration = Duration::from_secs(90);

pub(super) fn findings(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    for group in &app.workers {
        let Manager::Systemd(systemd) = &group.manager else { continue };
        let what = format!("workers `{}`", group.name);
        match facts.units.get(&group.name) {
            Some(Known::Known(Some(unit))) => {
                found.extend(Template { app, group, systemd, unit, what }.findings(host, facts));
            }
            Some(Known::Known(None)) => found.push(no_template(app, group, systemd, &what)),
            Some(Known::Unknown(why)) => found.push(unread(&what, why, &systemd.unit.template())),
            None => {}
        }
    }
    for service in &app.services {
        let ServiceManager::Systemd { unit } = &service.manager else { continue };
        let what = format!("service `{}`", service.name);
        match facts.units.get(&service.name) {
            Some(Known::Known(Some(_))) => {
                found.push(Finding::ok("systemd.unit", format!("{what}: `{unit}` is installed")));
            }
            Some(Known::Known(None)) => found.push(
                Finding::new("systemd.unit", Severity::Error, format!("{what}: there is no unit `{unit}`"))
                    .why("it can be neither looked at nor reloaded")
                    .mend("systemctl list-unit-files --type=service"),
            ),
            Some(Known::Unknown(why)) => found.push(unread(&what, why, unit)),
            None => {}
        }
    }
    found
}

fn unread(what: &str, why: &str, unit: &str) -> Finding {
    Finding::unknown("systemd.unit", format!("{what}: {why}"), format!("systemctl cat {unit}"))
}

fn no_template(app: &App, group: &WorkerGroup, systemd: &Systemd, what: &str) -> Finding {
    let (unit, current) = (systemd.unit.template(), app.root.current());
    let user = app.user.as_ref().map(|user| format!("User={user}\n")).unwrap_or_default();
    Finding::new("systemd.unit", Severity::Error, format!("{what}: there is no unit `{unit}`"))
        .why("there is nothing that trueup could start")
        .mend(format!(
            "# /etc/systemd/system/{unit}, then: systemctl daemon-reload\n[Service]\n\
             ExecStart=/usr/bin/php {current}/artisan queue:work\nWorkingDirectory={current}\n{user}Restart=always\n\
             TimeoutStopSec={}\n\n[Install]\nWantedBy=multi-user.target",
            seconds(group.stop_timeout),
            current = current.display(),
        ))
}

struct Template<'a> {
    app: &'a App,
    group: &'a WorkerGroup,
    systemd: &'a Systemd,
    unit: &'a Unit,
    what: String,
}

impl Template<'_> {
    fn findings(&self, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
        let fixed = [self.restart(), self.stop(host), self.directory(), self.install()];
        let job = self.command().and_then(|command| job_timeout(&command.value));
        let job = job.map(|job| {
            let at = self.command().map(|command| &command.at);
            stop_timeout("workers.stopTimeout", &self.what, job, self.group, at)
        });
        fixed
            .into_iter()
            .chain(self.user(facts))
            .chain(self.kill_mode())
            .chain(job)
            .chain(self.unread_parts())
            .collect()
    }

    fn get(&self, key: &str) -> Option<&Setting> {
        self.unit.configuration.get(SERVICE, key).filter(|set| !set.value.is_empty())
    }

    fn command(&self) -> Option<&Setting> {
        self.get("ExecStart")
    }

    fn says(&self, text: impl std::fmt::Display) -> String {
        format!("{}: `{}` {text}", self.what, self.unit.name)
    }

    /// Where a setting stands; where it is missing, the section that lacks it.
    fn place(&self, key: &str) -> Spot {
        let section = self.unit.configuration.sections.iter().find(|section| section.name == SERVICE);
        let lacking =
            section.map_or_else(|| Spot { file: self.unit.configuration.file.clone(), line: 1 }, |one| one.at.clone());
        self.get(key).map_or(lacking, |set| set.at.clone())
    }

    fn restart(&self) -> Finding {
        const CHECK: &str = "systemd.restart";
        let set = self.get("Restart").map_or("no", |set| set.value.as_str());
        let why = match set {
            "always" => return Finding::ok(CHECK, self.says("is restarted whenever it ends")),
            "no" => "a worker that ends, for whatever reason, stays down until the next pass",
            _ => {
                "a worker that ends as it should, as `queue:restart` and `--max-time` make it, stays down until the \
                 next pass"
            }
        };
        let default = if self.get("Restart").is_none() { ", systemd's default" } else { "" };
        Finding::new(CHECK, Severity::Warning, self.says(format!("has `Restart={set}`{default}")))
            .at(&self.place("Restart"))
            .why(why)
            .mend(mend("Restart=always"))
    }

    fn stop(&self, host: &HostFacts) -> Finding {
        const CHECK: &str = "systemd.timeoutStopSec";
        let own = self.unit.configuration.sections.iter().filter(|section| section.name == SERVICE);
        let mut own = own.flat_map(|section| &section.settings);
        // Whichever comes last, of the two that set it.
        let set = own.rfind(|set| matches!(set.key.as_str(), "TimeoutStopSec" | "TimeoutSec"));
        let set = set.filter(|set| !set.value.is_empty()).or(host.default_stop_timeout.as_ref());
        let limit = set.map_or(Some(STOP), |set| time_span(&set.value));
        let at = set.map_or_else(|| self.place("TimeoutStopSec"), |set| set.at.clone());
        let Some(limit) = limit else {
            let value = set.map(|set| format!("has `{}={}`", set.key, set.value)).unwrap_or_default();
            return Finding::unknown(CHECK, self.says(value), "systemd-analyze timespan").at(&at);
        };
        let job = self.command().and_then(|command| job_timeout(&command.value));
        let longest = job.map(|job| job.length).into_iter().chain([self.group.stop_timeout]).max().unwrap_or_default();
        if limit >= longest {
            return Finding::ok(CHECK, self.says("waits long enough before it kills"));
        }
        let (limit, stop) = (seconds(limit), seconds(self.group.stop_timeout));
        let than = match job.filter(|job| limit < job.seconds()) {
            Some(job) => job.words(),
            None => format!("`stopTimeout` is {stop} s"),
        };
        let found = self.says(format!("kills a worker {limit} s after it was asked to end; {than}"));
        Finding::new(CHECK, Severity::Warning, found)
            .at(&at)
            .why("systemd kills the job in hand, whatever `stopTimeout` says")
            .mend(mend(&format!("TimeoutStopSec={}", seconds(longest))))
    }

    fn directory(&self) -> Finding {
        const CHECK: &str = "systemd.directory";
        let (root, current) = (&self.app.root, self.app.root.current());
        for key in ["WorkingDirectory", "ExecStart"] {
            let Some(set) = self.get(key) else { continue };
            if let Some(id) = fixed_release(root, &set.value) {
                let fixed = set.value.replace(&format!("releases/{id}"), "current");
                return Finding::new(CHECK, Severity::Error, self.says(format!("names the release {id} itself")))
                    .at(&set.at)
                    .why("whatever `current` leads to, its workers go on running that release")
                    .mend(mend(&format!("{key}={fixed}")));
            }
        }
        match self.get("WorkingDirectory") {
            Some(set) if is_through_current(root, &set.value) => Finding::ok(CHECK, self.says("works in `current`")),
            set => {
                let found = set
                    .map_or_else(|| "has no `WorkingDirectory=`".to_owned(), |set| format!("works in `{}`", set.value));
                Finding::new(CHECK, Severity::Warning, self.says(found))
                    .at(&self.place("WorkingDirectory"))
                    .why(
                        "relative paths of the application lead nowhere, and which release a worker runs can be told \
                         by its open files only, if at all",
                    )
                    .mend(mend(&format!("WorkingDirectory={}", current.display())))
            }
        }
    }

    fn user(&self, facts: &AppFacts) -> Option<Finding> {
        const CHECK: &str = "systemd.user";
        // That there is no such user is said already.
        let person = facts.user.known()?;
        let runs = self.get("User").map_or("root", |set| set.value.as_str());
        if runs == person.name || runs == person.uid.to_string() {
            return Some(Finding::ok(CHECK, self.says(format!("runs as {runs}"))));
        }
        let whose = if self.get("User").is_none() { " (it has no `User=`)" } else { "" };
        let finding = Finding::new(
            CHECK,
            Severity::Warning,
            self.says(format!("runs as {runs}{whose}, the App's user is {}", person.name)),
        )
        .at(&self.place("User"))
        .why(
            "what its workers write (logs, caches) belongs to another user than the release, and a trueup that runs \
                 as the App's user may not see what they run",
        )
        .mend(mend(&format!("User={}", person.name)));
        Some(finding)
    }

    fn install(&self) -> Finding {
        const CHECK: &str = "systemd.install";
        let wanted = ["WantedBy", "RequiredBy", "UpheldBy"];
        if wanted.iter().any(|key| self.unit.configuration.get("Install", key).is_some()) {
            return Finding::ok(CHECK, self.says("can be enabled"));
        }
        Finding::new(CHECK, Severity::Warning, self.says("cannot be enabled: it has no section `[Install]`"))
            .at(&Spot { file: self.unit.configuration.file.clone(), line: 1 })
            .why(format!(
                "after a reboot {} and its like are down until a pass starts them",
                self.systemd.unit.instance(1)
            ))
            .mend(mend("[Install]\nWantedBy=multi-user.target"))
    }

    fn kill_mode(&self) -> Option<Finding> {
        let set = self.get("KillMode").filter(|set| matches!(set.value.as_str(), "process" | "none"))?;
        Some(
            Finding::new("systemd.killMode", Severity::Warning, self.says(format!("has `KillMode={}`", set.value)))
                .at(&set.at)
                .why("what a worker has started goes on after its end, and on the old release")
                .mend(mend("KillMode=mixed")),
        )
    }

    fn unread_parts(&self) -> Vec<Finding> {
        let unread = |why: &String| unread(&self.what, why, &self.unit.name);
        self.unit.configuration.unread.iter().map(unread).collect()
    }
}

fn mend(line: &str) -> String {
    format!("{line}\n# then: systemctl daemon-reload")
}

/// A length of time as systemd reads it; none where it is none. For ever is as long as can be.
fn time_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    if matches!(text, "infinity" | "0") {
        return Some(Duration::MAX);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "ms" | "msec" => 0.001,
            "us" | "usec" => 0.000_001,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "w" | "week" | "weeks" => 604_800.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        total = total.checked_add(part)?;
        rest = after.trim_start();
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_systemd_s() {
        let rows = [
            ("90", Some(Duration::from_secs(90))),
            ("1min 30s", Some(Duration::from_secs(90))),
            ("1min30s", Some(Duration::from_secs(90))),
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5h", Some(Duration::from_mins(90))),
            ("infinity", Some(Duration::MAX)),
            ("0", Some(Duration::MAX)),
            ("", None),
            ("soon", None),
            ("5 moons", None),
        ];
        for (text, expected) in rows {
            assert_eq!(time_span(text), expected, "{text}");
        }
    }
}
