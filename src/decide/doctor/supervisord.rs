//! Programs of supervisord, by its configuration files.

use std::cmp::Ordering;
use std::path::Path;

use super::command::{Job, fixed_release, is_through_current, is_wrapper, job_timeout, seconds};
use crate::model::app::{App, Manager, Supervisord, WorkerGroup};
use crate::model::facts::{AppFacts, Configuration, HostFacts, Section, Setting};
use crate::model::finding::{Finding, Severity, Spot};

/// supervisord's own default for `stopwaitsecs`.
const STOP_WAIT: u64 = 10;
const RESTARTS: &str = "# then: supervisorctl reread && supervisorctl update  (restarts the whole group)";

pub(super) fn findings(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let groups = app.workers.iter().filter_map(|group| match &group.manager {
        Manager::Supervisord(manager) => Some((group, manager)),
        Manager::Systemd(_) | Manager::Builtin(_) => None,
    });
    groups.flat_map(|(group, manager)| of_group(app, group, manager, host, facts)).collect()
}

fn of_group(app: &App, group: &WorkerGroup, manager: &Supervisord, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let what = format!("workers `{}`", group.name);
    let Some(configuration) = configuration(manager, &host.supervisord) else {
        let found = format!("{what}: no configuration of supervisord was found");
        return vec![Finding::unknown("supervisord.program", found, "systemctl status supervisor")];
    };
    let programs = programs(manager, configuration);
    if programs.is_empty() {
        return vec![missing(app, &what, group, manager, configuration)];
    }
    let mut found = vec![count(&what, group, &programs)];
    for program in programs {
        let default_user = configuration.get("supervisord", "user").map_or("root", |user| user.value.as_str());
        let one = Program { app, group, section: program, what: &what, default_user };
        found.extend([one.directory(), one.autorestart(), one.stop_wait()]);
        found.extend(
            [one.user(facts), one.job(), one.autostart(), one.wrapper(), one.stop_signal()].into_iter().flatten(),
        );
    }
    found
}

/// The configuration of the supervisord that has the group, or would have it.
fn configuration<'a>(manager: &Supervisord, all: &'a [Configuration]) -> Option<&'a Configuration> {
    let socket = |one: &&Configuration| match (&manager.socket, one.get("unix_http_server", "file")) {
        (Some(wanted), Some(file)) => {
            let here = one.file.parent().unwrap_or(Path::new("/")).to_string_lossy();
            Path::new(&file.value.replace("%(here)s", &here)) == wanted
        }
        _ => true,
    };
    let mut candidates: Vec<&Configuration> = all.iter().filter(socket).collect();
    candidates.sort_by_key(|one| programs(manager, one).is_empty());
    candidates.first().copied()
}

fn programs<'a>(manager: &Supervisord, configuration: &'a Configuration) -> Vec<&'a Section> {
    let grouped = configuration.get(&format!("group:{}", manager.group), "programs");
    let names: Vec<&str> = match (&manager.program, grouped) {
        (Some(program), _) => vec![program],
        (None, Some(programs)) => programs.value.split([',', '\n']).map(str::trim).collect(),
        (None, None) => vec![&manager.group],
    };
    let is_one = |section: &&Section| {
        let name = section.name.strip_prefix("program:").or_else(|| section.name.strip_prefix("fcgi-program:"));
        name.is_some_and(|name| names.contains(&name.trim()))
    };
    configuration.sections.iter().filter(is_one).collect()
}

fn missing(app: &App, what: &str, group: &WorkerGroup, manager: &Supervisord, read: &Configuration) -> Finding {
    let (name, count) = (manager.program.as_ref().unwrap_or(&manager.group), group.count);
    let found = format!("{what}: `{}` has no program `{name}`", read.file.display());
    if !read.unread.is_empty() {
        let found = format!("{found}; not all of it could be read: {}", read.unread.join("; "));
        return Finding::unknown("supervisord.program", found, "sudo trueup doctor");
    }
    let user = app.user.as_ref().map(|user| format!("user={user}\n")).unwrap_or_default();
    let root = app.root.current();
    Finding::new("supervisord.program", Severity::Error, found).why("there is nothing that trueup could start").mend(
        format!(
            "# a file of its own, such as /etc/supervisor/conf.d/{name}.conf\n[program:{name}]\n\
             command=php {}/artisan queue:work\nprocess_name=%(program_name)s_%(process_num)02d\nnumprocs={count}\n\
             directory={}\n{user}autorestart=true\nstopwaitsecs={}\n# then: supervisorctl reread && supervisorctl \
             update",
            root.display(),
            root.display(),
            seconds(group.stop_timeout)
        ),
    )
}

fn count(what: &str, group: &WorkerGroup, programs: &[&Section]) -> Finding {
    const CHECK: &str = "supervisord.numprocs";
    let numbers = programs.iter().map(|program| program.get("numprocs").map_or(Ok(1), |one| one.value.parse::<u32>()));
    let Ok(numbers) = numbers.collect::<Result<Vec<u32>, _>>() else {
        let found = format!("{what}: `numprocs` is no plain number");
        return Finding::unknown(CHECK, found, "supervisorctl status");
    };
    let (there, wanted) = (numbers.iter().sum::<u32>(), group.count);
    let finding = match there.cmp(&wanted) {
        Ordering::Equal => return Finding::ok(CHECK, format!("{what}: numprocs is {there}, as the count")),
        Ordering::Less => {
            let found = format!("{what}: `count: {wanted}`, but supervisord has only {there} of them");
            Finding::new(CHECK, Severity::Error, found)
                .why("trueup starts and stops members of a group, and cannot add any: the count is never reached")
        }
        Ordering::Greater => {
            Finding::new(CHECK, Severity::Note, format!("{what}: supervisord has {there} of them, `count` is {wanted}"))
                .why("supervisord starts all of them when it starts, and the next pass stops what is beyond the count")
        }
    };
    let finding = finding.mend(format!("numprocs={wanted}\n{RESTARTS}"));
    match programs.first() {
        Some(program) => finding.at(&place(program, "numprocs")),
        None => finding,
    }
}

/// Where a setting stands; where it is missing, the section that lacks it.
fn place(section: &Section, key: &str) -> Spot {
    section.get(key).map_or_else(|| section.at.clone(), |setting| setting.at.clone())
}

struct Program<'a> {
    app: &'a App,
    group: &'a WorkerGroup,
    section: &'a Section,
    what: &'a str,
    /// Whom programs run as that name no user.
    default_user: &'a str,
}

impl Program<'_> {
    fn get(&self, key: &str) -> Option<&Setting> {
        self.section.get(key).filter(|setting| !setting.value.trim().is_empty())
    }

    fn command(&self) -> &str {
        self.get("command").map_or("", |command| command.value.as_str())
    }

    fn says(&self, text: impl std::fmt::Display) -> String {
        format!("{}: `[{}]` {text}", self.what, self.section.name)
    }

    fn directory(&self) -> Finding {
        const CHECK: &str = "supervisord.directory";
        let (root, current) = (&self.app.root, self.app.root.current());
        let mend = format!("directory={}\n{RESTARTS}", current.display());
        for key in ["directory", "command"] {
            let Some(setting) = self.get(key) else { continue };
            if let Some(id) = fixed_release(root, &setting.value) {
                let fixed = setting.value.replace(&format!("releases/{id}"), "current");
                return Finding::new(CHECK, Severity::Error, self.says(format!("names the release {id} itself")))
                    .at(&setting.at)
                    .why("whatever `current` leads to, its workers go on running that release")
                    .mend(format!("{key}={fixed}\n{RESTARTS}"));
            }
        }
        match self.get("directory") {
            Some(set) if is_through_current(root, &set.value) => {
                Finding::ok(CHECK, self.says(format!("has `directory={}`", set.value)))
            }
            Some(set) => Finding::new(CHECK, Severity::Warning, self.says(format!("works in `{}`", set.value)))
                .at(&set.at)
                .why("only behind `current` does the working directory tell which release a worker runs")
                .mend(mend),
            None => Finding::new(CHECK, Severity::Warning, self.says("has no `directory=`"))
                .at(&self.section.at)
                .why(
                    "its workers work in `/`: relative paths of the application lead nowhere, and which release a \
                     worker runs can be told by its open files only, if at all",
                )
                .mend(mend),
        }
    }

    fn autorestart(&self) -> Finding {
        const CHECK: &str = "supervisord.autorestart";
        let set = self.get("autorestart").map_or("unexpected", |set| set.value.as_str());
        let why = match set.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => return Finding::ok(CHECK, self.says("is restarted whenever it ends")),
            "unexpected" => {
                "a worker that ends with exit code 0, as `queue:restart`, `--max-time` and a gentle stop make it, \
                 stays down until the next pass"
            }
            _ => "a worker that ends, for whatever reason, stays down until the next pass",
        };
        let default = if self.get("autorestart").is_none() { ", supervisord's default" } else { "" };
        Finding::new(CHECK, Severity::Warning, self.says(format!("has `autorestart={set}`{default}")))
            .at(&place(self.section, "autorestart"))
            .why(why)
            .mend(format!("autorestart=true\n{RESTARTS}"))
    }

    fn stop_wait(&self) -> Finding {
        const CHECK: &str = "supervisord.stopwaitsecs";
        let Ok(wait) = self.get("stopwaitsecs").map_or(Ok(STOP_WAIT), |set| set.value.parse::<u64>()) else {
            return Finding::unknown(CHECK, self.says("has no plain number for `stopwaitsecs`"), "supervisorctl avail");
        };
        let job = job_timeout(self.command());
        let longest = job.map(|job| job.length).into_iter().chain([self.group.stop_timeout]).max().map_or(0, seconds);
        if wait >= longest {
            return Finding::ok(CHECK, self.says(format!("has `stopwaitsecs={wait}`")));
        }
        let default = if self.get("stopwaitsecs").is_none() { ", supervisord's default" } else { "" };
        let stop = seconds(self.group.stop_timeout);
        let than = match job.filter(|job| wait < job.seconds()) {
            Some(job) if wait < stop => format!("{}, and `stopTimeout` is {stop} s", job.words()),
            Some(job) => job.words(),
            None => format!("`stopTimeout` is {stop} s"),
        };
        Finding::new(CHECK, Severity::Warning, self.says(format!("has `stopwaitsecs={wait}`{default}; {than}")))
            .at(&place(self.section, "stopwaitsecs"))
            .why(
                "when supervisord stops a worker (for fewer workers, at a restart or shutdown of its own), it kills \
                 the job in hand after that time, and the queue gives it out again only much later",
            )
            .mend(format!("stopwaitsecs={longest}\n{RESTARTS}"))
    }

    fn user(&self, facts: &AppFacts) -> Option<Finding> {
        const CHECK: &str = "supervisord.user";
        // That there is no such user is said already.
        let person = facts.user.known()?;
        let mend = format!("user={}\n{RESTARTS}", person.name);
        let runs = self.get("user").map_or(self.default_user, |set| set.value.as_str());
        let uid_of = |name: &str| name == person.name || name == person.uid.to_string();
        if uid_of(runs) {
            return Some(Finding::ok(CHECK, self.says(format!("runs as {runs}"))));
        }
        let whose = if self.get("user").is_none() { " (it has no `user=`)" } else { "" };
        let finding = Finding::new(
            CHECK,
            Severity::Warning,
            self.says(format!("runs as {runs}{whose}, the App's user is {}", person.name)),
        )
        .at(&place(self.section, "user"))
        .why(
            "what its workers write (logs, caches) belongs to another user than the release, and a trueup that runs \
                 as the App's user may neither signal them nor see what they run",
        )
        .mend(mend);
        Some(finding)
    }

    /// Whether trueup itself lets a job be finished.
    fn job(&self) -> Option<Finding> {
        const CHECK: &str = "workers.stopTimeout";
        let job = job_timeout(self.command())?;
        Some(stop_timeout(CHECK, self.what, job, self.group, self.get("command").map(|set| &set.at)))
    }

    fn autostart(&self) -> Option<Finding> {
        let set = self.get("autostart")?;
        matches!(set.value.to_lowercase().as_str(), "false" | "0" | "no" | "off").then(|| {
            Finding::new("supervisord.autostart", Severity::Note, self.says(format!("has `autostart={}`", set.value)))
                .at(&set.at)
                .why("after a restart of supervisord its workers are down until the next pass")
                .mend("autostart=true")
        })
    }

    fn wrapper(&self) -> Option<Finding> {
        const CHECK: &str = "supervisord.wrapper";
        let command = self.get("command").filter(|set| is_wrapper(&set.value))?;
        let on = |key: &str| {
            let set = self.get(key).map(|set| set.value.to_lowercase());
            set.is_some_and(|value| matches!(value.as_str(), "true" | "1" | "yes" | "on"))
        };
        if on("stopasgroup") {
            return Some(Finding::ok(CHECK, self.says("signals its whole process group")));
        }
        Some(
            Finding::new(CHECK, Severity::Warning, self.says("runs its worker behind a shell"))
                .at(&command.at)
                .why("a signal ends the shell, and the worker behind it goes on running the old release")
                .mend("# begin the last command of the shell with `exec`, or:\nstopasgroup=true\nkillasgroup=true"),
        )
    }

    fn stop_signal(&self) -> Option<Finding> {
        let set = self.get("stopsignal").filter(|set| set.value.trim_start_matches("SIG") == "KILL")?;
        Some(
            Finding::new("supervisord.stopsignal", Severity::Warning, self.says("has `stopsignal=KILL`"))
                .at(&set.at)
                .why("no worker can finish the job in hand")
                .mend("stopsignal=TERM"),
        )
    }
}

/// Whether `stopTimeout` lets a job of that length be finished. `at` is the command that says how long it is; what is to be
/// mended stands in the manifest.
pub(super) fn stop_timeout(
    check: &'static str,
    what: &str,
    job: Job,
    group: &WorkerGroup,
    at: Option<&Spot>,
) -> Finding {
    let stop = seconds(group.stop_timeout);
    if job.seconds() <= stop {
        let found = format!("{what}: a job of {} s is finished within `stopTimeout: {stop}s`", job.seconds());
        return Finding::ok(check, found);
    }
    let by = at.map(|at| format!(", by its command at {at}")).unwrap_or_default();
    Finding::new(check, Severity::Warning, format!("{what}: {}{by}; `stopTimeout` is {stop} s", job.words()))
        .why("a worker that is replaced in the middle of a long job is killed before it is done")
        .mend(format!("# in the manifest, at `{}` of spec.workers:\nstopTimeout: {}s", group.name, job.seconds()))
}
