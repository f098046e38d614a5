//! Services on a real host: php-fpm and nginx under systemd, programs of supervisord, commands; seen, reloaded,
//! restarted, refused.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

#[path = "../support/mod.rs"]
mod support;

mod php_fpm;
mod programs;
mod units;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use support::Host;
use support::door::{self, Door};
use support::fixtures::{fix_pool, main_pid};
use trueup::host::proc;
use trueup::host::spawn::Shim;
use trueup::managers::HostManagers;
use trueup::model::app::{App, CommandLine, Supervisord};
use trueup::model::names::{AppName, GroupName, ReleaseId, Root, UserName};
use trueup::model::release::Release;
use trueup::model::service::{OnRelease, Renewal, Service, ServiceManager};
use trueup::ports::HostError;

const SOON: Duration = Duration::from_mins(1);
const FPM: &str = "php8.2-fpm.service";
const FPM_CONFIG: &str = "/etc/php/8.2/fpm/php-fpm.conf";

/// Runs inside the host.
#[test]
fn door() {
    door::serve(|request| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(act(&request))
    });
}

/// Looks at a service, or does `{"do": "reload"}` and tells what of `"old"` was alive the moment it returned.
async fn act(request: &Value) -> Value {
    let app = app(request);
    let doors = HostManagers::new(Shim::new("/usr/local/bin/trueup"));
    let how = match request["do"].as_str().unwrap() {
        "look" => {
            let table = proc::walk().unwrap();
            let began = Instant::now();
            let seen = doors.services(&[&app], &table).await.remove(0).remove(0);
            let took = u64::try_from(began.elapsed().as_micros()).unwrap();
            let again = Instant::now();
            doors.services(&[&app], &table).await;
            let again = u64::try_from(again.elapsed().as_micros()).unwrap();
            assert_eq!(seen.service, app.services[0].name);
            let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
            return match seen.seen {
                Ok(state) => json!({
                    "up": state.up, "detail": state.detail, "oldest": millis(state.oldest),
                    "started": millis(state.started), "renewed": millis(state.renewed),
                    "canReload": state.can_reload, "warning": state.warning,
                    "tookUs": [took, again],
                }),
                Err(why) => json!({ "unreadable": why.message, "help": why.help }),
            };
        }
        "reload" => Renewal::Reload,
        "restart" => Renewal::Restart,
        other => panic!("{other}"),
    };
    let began = Instant::now();
    let result = doors.renew(&app, &app.services[0], how).await;
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    let table = proc::walk().unwrap();
    let alive = |pid: &&Value| {
        let found = table.processes.iter().find(|process| u64::from(process.id.pid.0) == pid.as_u64().unwrap());
        found.is_some_and(|process| !process.zombie)
    };
    let old = request["old"].as_array().cloned().unwrap_or_default();
    let mut answer = told(result);
    answer["left"] = old.iter().filter(alive).cloned().collect();
    answer["tookMs"] = json!(took);
    answer
}

fn told(result: Result<(), HostError>) -> Value {
    match result {
        Ok(()) => json!({ "ok": true }),
        Err(error) => json!({ "error": format!("{:?}", error.kind), "message": error.message, "help": error.help }),
    }
}

fn app(request: &Value) -> App {
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    let manager = if let Some(unit) = text("unit") {
        ServiceManager::Systemd { unit }
    } else if let Some(group) = text("group") {
        let socket = text("socket").map(PathBuf::from);
        ServiceManager::Supervisord(Supervisord { group, program: None, socket, username: None, password: None })
    } else {
        let line = |name| text(name).map(CommandLine::Shell);
        let user = text("commandUser").map(|name| UserName::new(name).unwrap());
        ServiceManager::Command { reload: line("reloadCommand"), restart: line("restartCommand"), user }
    };
    let service = Service {
        name: GroupName::new("web").unwrap(),
        manager,
        on_release: OnRelease::Auto,
        timeout: Duration::from_millis(request["timeoutMs"].as_u64().unwrap_or(30_000)),
        restart_on: Vec::new(),
    };
    let release = Release::present(ReleaseId::new("r1").unwrap());
    let app = App::new(AppName::new("app").unwrap(), Root::new("/srv/app").unwrap(), release);
    App { services: vec![service], ..app }
}

/// A service on a host, from outside.
struct Served<'host> {
    host: &'host Host,
    door: Door<'host>,
    request: Value,
}

impl<'host> Served<'host> {
    fn new(host: &'host Host, request: Value) -> Self {
        Self { host, door: Door::new(host), request }
    }

    fn unit(host: &'host Host, unit: &str) -> Self {
        Self::new(host, json!({ "unit": unit }))
    }

    fn by(&self, user: &str) -> Self {
        Self { host: self.host, door: self.door.user(user), request: self.request.clone() }
    }

    fn with(&self, key: &str, value: Value) -> Self {
        let mut request = self.request.clone();
        request[key] = value;
        Self { host: self.host, door: Door::new(self.host), request }
    }

    fn asking(&self, what: &str, old: &[u32]) -> Value {
        let mut request = self.request.clone();
        request["do"] = json!(what);
        request["old"] = json!(old);
        request
    }

    #[track_caller]
    fn look(&self) -> Value {
        let state = self.door.ask(&self.asking("look", &[]));
        assert!(state["up"].is_boolean(), "{state}");
        state
    }

    #[track_caller]
    fn renew(&self, how: &str, old: &[u32]) -> Value {
        self.door.ask(&self.asking(how, old))
    }

    /// The processes below the unit's main one.
    fn children(&self, unit: &str) -> Vec<u32> {
        children(self.host, main_pid(self.host, unit))
    }
}

fn children(host: &Host, main: u32) -> Vec<u32> {
    let children = host.run(&["pgrep", "--parent", &main.to_string()]);
    children.stdout.lines().map(|pid| pid.parse().unwrap()).collect()
}

/// When a process started, in milliseconds since 1970, as `ps` has it: in whole seconds.
fn second_of_start(host: &Host, pid: u32) -> i64 {
    let script = r#"date -d "$(ps -o lstart= -p "$1")" +%s"#;
    host.run(&["sh", "-c", script, "-", &pid.to_string()]).ok().parse::<i64>().unwrap() * 1000
}

fn moment(state: &Value, name: &str) -> i64 {
    state[name].as_i64().unwrap_or_else(|| panic!("{name} in {state}"))
}

fn about(moment: i64, second: i64) -> bool {
    (second - 1_500..=second + 2_500).contains(&moment)
}

#[track_caller]
fn done(answer: &Value) {
    assert!(answer["ok"] == true && answer["left"] == json!([]), "{answer}");
}

#[track_caller]
fn refused(answer: &Value, kind: &str, words: &[&str]) {
    assert_eq!(answer["error"], kind, "{answer}");
    for word in words {
        assert!(answer.to_string().contains(word), "{word} in {answer}");
    }
    assert!(answer["help"].is_string(), "{answer}");
}

/// A php-fpm whose children can be counted.
fn steady(host: &Host) {
    fix_pool(host);
    host.run(&["systemctl", "restart", FPM]).ok();
}

fn set_timeout(host: &Host, value: &str) {
    host.run(&["sed", "-i", &format!("s/^;*process_control_timeout.*/process_control_timeout = {value}/"), FPM_CONFIG])
        .ok();
    host.run(&["systemctl", "restart", FPM]).ok();
}
