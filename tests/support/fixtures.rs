//! Sites and workers to put on a [`Host`]: release directories, supervisord programs, systemd units.
//!
//! [`Site`] makes `ROOT/releases/ID`, `ROOT/shared` and `ROOT/current`; [`Program`] and
//! [`Template`] run its workers under supervisord and systemd; [`serve`] puts nginx and
//! php-fpm in front of it. The releases' files are in `site/` and say what they do.

use std::fmt::Write;
use std::time::Duration;

use super::Host;

const SETTLE: Duration = Duration::from_secs(30);
/// The files of every release, by their path in it.
pub const FILES: [(&str, &str); 5] = [
    ("artisan", include_str!("site/artisan")),
    ("worker.py", include_str!("site/worker.py")),
    ("wrapper.sh", include_str!("site/wrapper.sh")),
    ("public/index.php", include_str!("site/index.php")),
    ("vendor/autoload.php", "<?php\n"),
];

/// Sends requests until it is told to stop, and tells what came of each; says itself how.
pub const LOAD: &str = include_str!("site/load.py");

/// One application's root directory on a host.
pub struct Site<'host> {
    host: &'host Host,
    root: String,
    owner: Option<String>,
}

/// One line of the workers' own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEvent {
    /// The release that the worker was loaded from.
    pub release: String,
    /// The worker's inner pid.
    pub pid: u32,
    /// `started`, `job-begun`, `job-done` or `stopped`.
    pub event: String,
}

impl<'host> Site<'host> {
    /// An empty site: `releases/` and `shared/` with an `.env`, owned by root.
    pub fn new(host: &'host Host, root: &str) -> Self {
        let script = r#"mkdir -p "$1/releases" "$1/shared/storage"
            echo APP_ENV=testing >"$1/shared/.env""#;
        host.run(&["bash", "-euc", script, "-", root]).ok();
        Site { host, root: root.to_owned(), owner: None }
    }

    /// A site with two releases, of which `r1` is in force and `r2` is not.
    pub fn of_two(host: &'host Host, root: &str) -> Self {
        Self::new(host, root).release("r1").release("r2").current("r1")
    }

    /// Gives the site, and all that is added later, to `user`, who is added if missing.
    pub fn owner(mut self, user: &str) -> Self {
        self.host.add_user(user);
        self.owner = Some(user.to_owned());
        self.give_away();
        self
    }

    /// Adds a complete release with the fixture's workers and public directory.
    pub fn release(self, id: &str) -> Self {
        for (path, contents) in FILES {
            self.host.write(&format!("{}/{path}", self.release_dir(id)), contents);
        }
        let dir = self.release_dir(id);
        self.host.run(&["chmod", "+x", &format!("{dir}/artisan"), &format!("{dir}/wrapper.sh")]).ok();
        self.give_away();
        self
    }

    /// Writes one file of a release, which need not be complete or exist.
    pub fn file(self, id: &str, path: &str, contents: &str) -> Self {
        self.host.write(&format!("{}/{path}", self.release_dir(id)), contents);
        self.give_away();
        self
    }

    /// Points `current` at a release, as a part of building the site.
    pub fn current(self, id: &str) -> Self {
        self.switch(id);
        self
    }

    /// Points `current` at a release in one atomic step, behind trueup's back.
    pub fn switch(&self, id: &str) {
        let script = r#"ln -s "$2" "$1/current.new" && mv -T "$1/current.new" "$1/current""#;
        self.host.run(&["sh", "-c", script, "-", &self.root, &self.release_dir(id)]).ok();
        self.give_away();
    }

    /// The site's root directory.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The directory of one release.
    pub fn release_dir(&self, id: &str) -> String {
        format!("{}/releases/{id}", self.root)
    }

    /// The release that `current` names now.
    pub fn current_release(&self) -> Option<String> {
        let target = self.host.read_link(&format!("{}/current", self.root))?;
        Some(target.rsplit('/').next().unwrap_or(&target).to_owned())
    }

    /// Gives one worker a job that takes this long, and returns its pid once it has begun.
    pub fn give_job(&self, seconds: f64) -> u32 {
        let begun = || self.events().into_iter().filter(|line| line.event == "job-begun").collect::<Vec<_>>();
        let before = begun().len();
        let script = r#"echo "$2" >"$1/shared/job.new"; chmod 666 "$1/shared/job.new"
            mv "$1/shared/job.new" "$1/shared/job""#;
        self.host.run(&["bash", "-euc", script, "-", &self.root, &seconds.to_string()]).ok();
        self.host.wait_until("a worker to take the job", SETTLE, || begun().len() > before);
        begun().pop().expect("just waited for").pid
    }

    /// Has that worker be done with its job before its time, and waits until it is.
    pub fn end_job(&self, busy: u32) {
        let told = |events: &[WorkerEvent], what: &str| {
            events.iter().filter(|line| line.pid == busy && line.event == what).count()
        };
        let over = format!("{}/shared/job-over", self.root);
        self.host.write(&over, "");
        self.host.wait_until("the job to be over", SETTLE, || {
            let events = self.events();
            told(&events, "job-done") == told(&events, "job-begun")
        });
        self.host.run(&["rm", &over]).ok();
    }

    /// What the workers have told so far, oldest first.
    pub fn events(&self) -> Vec<WorkerEvent> {
        let log = self.host.run(&["cat", &format!("{}/shared/worker.log", self.root)]).stdout;
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let (release, pid, event) = (words.next()?, words.next()?, words.next()?);
            Some(WorkerEvent { release: release.to_owned(), pid: pid.parse().ok()?, event: event.to_owned() })
        };
        log.lines().filter_map(parse).collect()
    }

    /// Makes the health answer fail with this HTTP status until [`Site::heal`].
    pub fn sicken(&self, code: u16) {
        let answer = format!(r#"{{"code": {code}, "body": {{"status": "ill"}}}}"#);
        self.host.write(&format!("{}/shared/health.json", self.root), &answer);
    }

    /// Makes the health answer good again.
    pub fn heal(&self) {
        self.host.run(&["rm", "-f", &format!("{}/shared/health.json", self.root)]).ok();
    }

    fn give_away(&self) {
        if let Some(owner) = &self.owner {
            self.host.run(&["chown", "-hR", &format!("{owner}:"), &self.root]).ok();
        }
    }
}

/// One `[program:…]` of supervisord, with Debian's and supervisord's defaults where nothing is said.
pub struct Program<'host> {
    group: String,
    command: String,
    numprocs: u32,
    lines: Vec<(String, String)>,
    host: &'host Host,
}

impl<'host> Program<'host> {
    /// A group of one worker that runs `command`; supervisord splits it like a shell, without being one.
    pub fn new(host: &'host Host, group: &str, command: &str) -> Self {
        let lines = vec![("autorestart".to_owned(), "true".to_owned())];
        Program { group: group.to_owned(), command: command.to_owned(), numprocs: 1, lines, host }
    }

    /// The commonest Laravel set-up: `php ROOT/current/artisan` without `directory=`, so its cwd is `/`.
    pub fn php(group: &str, site: &Site<'host>) -> Self {
        Self::new(site.host, group, &format!("php {}/current/artisan queue:work", site.root))
    }

    /// A Python worker, which keeps no file of its release open.
    pub fn python(group: &str, site: &Site<'host>) -> Self {
        Self::new(site.host, group, &format!("python3 {}/current/worker.py", site.root))
    }

    /// A shell wrapper that forks the PHP worker and does not pass signals on.
    pub fn wrapper(group: &str, site: &Site<'host>) -> Self {
        Self::new(site.host, group, &format!("sh {}/current/wrapper.sh", site.root))
    }

    /// How many workers; with more than one they are called `GROUP_00`, `GROUP_01` and so on.
    pub fn numprocs(mut self, numprocs: u32) -> Self {
        self.numprocs = numprocs;
        self
    }

    /// Where workers start, such as `ROOT/current`; resolved anew at each start.
    pub fn directory(self, directory: &str) -> Self {
        self.set("directory", directory)
    }

    /// Whom workers run as; supervisord's own user otherwise.
    pub fn user(self, user: &str) -> Self {
        self.set("user", user)
    }

    /// Sets any other option, such as `stopwaitsecs`, `startsecs` or `autorestart` (here `true` by default).
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.lines.retain(|(seen, _)| seen != key);
        self.lines.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Leaves an option to supervisord's default.
    pub fn unset(mut self, key: &str) -> Self {
        self.lines.retain(|(seen, _)| seen != key);
        self
    }

    /// Writes the program's file, without telling supervisord.
    pub fn install(self) -> Workers<'host> {
        let Program { group, command, numprocs, lines, host } = self;
        let mut text = format!("[program:{group}]\ncommand={command}\nnumprocs={numprocs}\n");
        if numprocs > 1 {
            text.push_str("process_name=%(program_name)s_%(process_num)02d\n");
        }
        for (key, value) in lines {
            writeln!(text, "{key}={value}").expect("a String takes all");
        }
        host.write(&format!("/etc/supervisor/conf.d/{group}.conf"), &text);
        Workers { host, group, count: numprocs }
    }

    /// Writes the program's file, has supervisord load it and waits until all workers are RUNNING.
    pub fn start(self) -> Workers<'host> {
        let workers = self.install();
        workers.host.run(&["supervisorctl", "update"]).ok();
        workers.wait_until_running();
        workers
    }
}

/// One group of workers under supervisord.
pub struct Workers<'host> {
    host: &'host Host,
    group: String,
    count: u32,
}

/// One worker as `supervisorctl status` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Full name, `GROUP:NAME`, or `NAME` alone in a group of one.
    pub name: String,
    /// `RUNNING`, `STOPPED`, `BACKOFF` and so on.
    pub state: String,
    /// Its inner pid, while it has one.
    pub pid: Option<u32>,
}

impl Workers<'_> {
    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// All workers of the group, by name.
    pub fn status(&self) -> Vec<Listed> {
        // Its exit code is 3 when any worker is not RUNNING; that is no failure here.
        let output = self.host.run(&["supervisorctl", "status"]);
        let parse = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, state) = (words.next()?, words.next()?);
            let pid = words.skip_while(|word| *word != "pid").nth(1);
            let pid = pid.and_then(|pid| pid.trim_end_matches(',').parse().ok());
            let ours = name == self.group || name.starts_with(&format!("{}:", self.group));
            ours.then(|| Listed { name: name.to_owned(), state: state.to_owned(), pid })
        };
        output.stdout.lines().filter_map(parse).collect()
    }

    /// The inner pids of the workers that run, by name.
    pub fn pids(&self) -> Vec<u32> {
        self.status().into_iter().filter_map(|worker| worker.pid).collect()
    }

    /// Waits until every worker of the group is RUNNING.
    #[track_caller]
    pub fn wait_until_running(&self) {
        let settled = || {
            let status = self.status();
            status.len() == self.count as usize && status.iter().all(|worker| worker.state == "RUNNING")
        };
        self.host.wait_until(&format!("all of {} to be RUNNING", self.group), SETTLE, settled);
    }
}

/// A systemd template unit whose instances are the workers of one group.
pub struct Template<'host> {
    host: &'host Host,
    name: String,
    lines: Vec<(String, String)>,
}

impl<'host> Template<'host> {
    /// `NAME@.service`, restarted whenever it ends, that runs the PHP worker from `ROOT/current`.
    pub fn php(name: &str, site: &Site<'host>) -> Self {
        let line = |key: &str, value: String| (key.to_owned(), value);
        let lines = vec![
            line("ExecStart", format!("/usr/bin/php {}/current/artisan queue:work", site.root)),
            line("WorkingDirectory", format!("{}/current", site.root)),
            line("Restart", "always".to_owned()),
            line("RestartSec", "100ms".to_owned()),
        ];
        Template { host: site.host, name: name.to_owned(), lines }
    }

    /// Sets any option of `[Service]`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.lines.retain(|(seen, _)| seen != key);
        self.lines.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Installs the template, starts instances `1..=count` and returns their main pids.
    pub fn start(self, count: u32) -> Vec<u32> {
        let Template { host, name, lines } = self;
        let mut text = format!("[Unit]\nDescription={name} %i\n\n[Service]\n");
        for (key, value) in lines {
            writeln!(text, "{key}={value}").expect("a String takes all");
        }
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        host.write(&format!("/etc/systemd/system/{name}@.service"), &text);
        host.run(&["systemctl", "daemon-reload"]).ok();
        let instances: Vec<String> = (1..=count).map(|number| format!("{name}@{number}.service")).collect();
        for instance in &instances {
            host.run(&["systemctl", "enable", "--now", "--quiet", instance]).ok();
        }
        instances.iter().map(|instance| main_pid(host, instance)).collect()
    }
}

/// The inner pid of a unit's main process; 0 while it has none.
pub fn main_pid(host: &Host, unit: &str) -> u32 {
    let pid = host.run(&["systemctl", "show", "--property=MainPID", "--value", unit]);
    pid.ok().parse().expect("systemd answers with a number")
}

/// Has php-fpm neither make nor end children by itself, once it is started anew: a new one is somebody's doing.
pub fn fix_pool(host: &Host) {
    let pool = "/etc/php/8.2/fpm/pool.d/www.conf";
    let script = "s/^pm = dynamic/pm = static/; s/^pm.max_children = .*/pm.max_children = 2/";
    host.run(&["sed", "-i", script, pool]).ok();
}

/// Has nginx and php-fpm serve the site at `http://localhost/` of the host.
///
/// The web root is `ROOT/current/public`, handed to php-fpm by its real path, so a switch needs no reload.
pub fn serve(host: &Host, site: &Site<'_>) {
    configure(host, site, "$realpath_root");
    host.wait_until("nginx to serve the site", SETTLE, || {
        host.run(&["curl", "-s", "http://localhost/"]).stdout.contains(r#""release""#)
    });
}

/// The same for a site that need not have a release yet; `web_root` is `$realpath_root` or `$document_root`.
pub fn configure(host: &Host, site: &Site<'_>, web_root: &str) {
    configure_on(host, site, web_root, 80);
}

/// The same on another port, beside other sites.
pub fn configure_on(host: &Host, site: &Site<'_>, web_root: &str, port: u16) {
    let config = format!(
        "server {{
            listen {port} default_server;
            root {root}/current/public;
            location / {{
                include fastcgi_params;
                fastcgi_param SCRIPT_FILENAME {web_root}/index.php;
                fastcgi_param DOCUMENT_ROOT {web_root};
                fastcgi_pass unix:/run/php/php8.2-fpm.sock;
            }}
        }}
        ",
        root = site.root
    );
    host.run(&["rm", "-f", "/etc/nginx/sites-enabled/default"]).ok();
    host.write(&format!("/etc/nginx/sites-enabled/site-{port}"), &config);
    // Not reloaded: workers of before would go on answering for a moment, with the configuration of before.
    host.run(&["systemctl", "restart", "nginx.service"]).ok();
}
