//! What is said to systemd over the system bus.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join;
use jiff::Timestamp;
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use zbus::connection::Builder;
use zbus::{Connection, DBusError, DynamicType, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Type};

use super::unit::{Details, Facts, Loaded, Serving};
use crate::managers::systemctl::Verb;
use crate::model::process::Pid;
use crate::ports::{HostError, HostErrorKind};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const WORKER: &str = "org.freedesktop.systemd1.Service";
const ROOM: &str = "/org/freedesktop/systemd1";
/// How long systemd may take to answer one question.
const ANSWER: Duration = Duration::from_secs(30);
/// systemd's times are exact to a microsecond; rounding between clocks is not.
const COARSE: Duration = Duration::from_millis(1);

/// The system bus; one connection, made when it is first needed and again when it broke.
#[derive(Debug, Default)]
pub(super) struct Bus {
    connection: Mutex<Option<Open>>,
}

#[derive(Debug, Clone)]
struct Open {
    connection: Connection,
    /// systemd was told to send its signals.
    subscribed: bool,
}

impl Bus {
    /// All loaded units that match one of the patterns.
    pub(super) async fn units(&self, patterns: Vec<String>) -> Result<Vec<Loaded>, HostError> {
        type Line = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        let states: Vec<String> = Vec::new();
        let lines: Vec<Line> = self.call("ListUnitsByPatterns", &(states, patterns)).await?;
        let loaded = |(name, _, load, active, sub, _, path, ..): Line| Loaded {
            name,
            load,
            active,
            sub,
            path: path.as_str().to_owned(),
        };
        Ok(lines.into_iter().map(loaded).collect())
    }

    /// What the unit's file says of its being started at boot; none where there is no such file.
    pub(super) async fn file_state(&self, unit: &str) -> Result<Option<String>, HostError> {
        match self.ask(ROOM, MANAGER, "GetUnitFileState", &(unit,)).await {
            Ok(state) => Ok(Some(state)),
            Err(Failure { name, .. }) if name.ends_with(".FileNotFound") || name.ends_with(".NoSuchUnit") => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// What is asked of every listed unit.
    pub(super) async fn facts(&self, unit: &Loaded) -> Result<Facts, HostError> {
        let (main_process, (started, result)) = try_join(
            self.property::<u32>(&unit.path, WORKER, "MainPID"),
            try_join(
                self.property::<u64>(&unit.path, WORKER, "ExecMainStartTimestamp"),
                self.property::<String>(&unit.path, WORKER, "Result"),
            ),
        )
        .await?;
        let main_process = process(main_process);
        let started = moment(started).filter(|_| main_process.is_some()).map(|at| (at, COARSE));
        Ok(Facts { main_process, started, result })
    }

    /// What is asked of a unit that is being changed.
    pub(super) async fn details(&self, unit: &str) -> Result<Details, HostError> {
        let path: OwnedObjectPath = self.call("LoadUnit", &(unit,)).await?;
        Box::pin(self.details_at(path.as_str())).await
    }

    async fn details_at(&self, path: &str) -> Result<Details, HostError> {
        let text = |of: &'static str, name: &'static str| self.property::<String>(path, of, name);
        let number = |name: &'static str| self.property::<i32>(path, WORKER, name);
        let state = try_join(text(UNIT, "LoadState"), try_join(text(UNIT, "ActiveState"), text(UNIT, "SubState")));
        let sort = try_join(text(WORKER, "Result"), text(WORKER, "Type"));
        let main = try_join(
            self.property::<u32>(path, WORKER, "MainPID"),
            try_join(number("ExecMainCode"), number("ExecMainStatus")),
        );
        let ((load, (active, sub)), ((result, kind), (main_process, (exit_code, exit_status)))) =
            try_join(state, try_join(sort, main)).await?;
        let main_process = process(main_process);
        Ok(Details { load, active, sub, result, kind, main_process, exit_code, exit_status })
    }

    /// What is asked of a unit that serves the release.
    pub(super) async fn serving(&self, unit: &str) -> Result<Serving, HostError> {
        let path: OwnedObjectPath = self.call("LoadUnit", &(unit,)).await?;
        let path = path.as_str();
        let time = |of: &'static str, name: &'static str| self.property::<u64>(path, of, name);
        let reload = try_join(self.property(path, UNIT, "CanReload"), self.property(path, WORKER, "ReloadResult"));
        let times = try_join(
            time(WORKER, "ExecMainStartTimestamp"),
            try_join(time(UNIT, "ActiveEnterTimestamp"), time(UNIT, "StateChangeTimestamp")),
        );
        let (details, ((can_reload, reload_result), (started, (entered, changed)))) =
            try_join(Box::pin(self.details_at(path)), try_join(reload, times)).await?;
        let (started, entered, changed) = (moment(started), moment(entered), moment(changed));
        Ok(Serving { details, can_reload, reload_result, started, entered, changed })
    }

    /// Makes one change and waits until systemd has done it.
    pub(super) async fn change(&self, verb: Verb, unit: &str) -> Result<(), HostError> {
        type Changes = Vec<(String, String, String)>;
        match verb {
            Verb::Start => self.job("StartUnit", unit).await,
            Verb::Restart => self.job("RestartUnit", unit).await,
            Verb::Reload => self.job("ReloadUnit", unit).await,
            Verb::Stop => self.job("StopUnit", unit).await,
            Verb::Kill => self.call("KillUnit", &(unit, "all", Signal::KILL.as_raw())).await,
            Verb::ResetFailed => self.call("ResetFailedUnit", &(unit,)).await,
            Verb::Enable => {
                let files = vec![unit];
                self.call::<_, (bool, Changes)>("EnableUnitFiles", &(files, false, false)).await.map(drop)
            }
            Verb::Disable => {
                let files = vec![unit];
                self.call::<_, Changes>("DisableUnitFiles", &(files, false)).await.map(drop)
            }
        }
    }

    /// Queues a job and waits for its end, however that is.
    async fn job(&self, method: &str, unit: &str) -> Result<(), HostError> {
        let connection = self.subscribed().await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SERVICE)
            .interface(MANAGER)
            .member("JobRemoved")
            .arg(2, unit)
            .build()
            .map_err(Failure::from)?;
        // Before the job, whose end could else come first.
        let mut ends =
            MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(256)).await.map_err(Failure::from)?;
        let job: OwnedObjectPath = match self.ask(ROOM, MANAGER, method, &(unit, "replace")).await {
            Ok(job) => job,
            // What is not loaded does not run.
            Err(failure) if method == "StopUnit" && failure.name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(failure) => return Err(failure.into()),
        };
        while let Some(message) = ends.next().await {
            let message = message.map_err(Failure::from)?;
            let body = message.body();
            let (_, ended, _, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize().map_err(Failure::from)?;
            if ended == job {
                tracing::debug!(unit, method, result, "job ended");
                return Ok(());
            }
        }
        Err(HostError::new(
            HostErrorKind::Unreachable,
            format!("the system bus went away while systemd worked on `{unit}`"),
        )
        .with_help("run again: what was done is not done twice"))
    }

    async fn property<T: TryFrom<OwnedVariant, Error = zbus::Error>>(
        &self,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<T, HostError> {
        let value: OwnedVariant = self.ask(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
        Ok(T::try_from(value).map_err(Failure::from)?)
    }

    async fn call<B, R>(&self, method: &str, body: &B) -> Result<R, HostError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        Ok(self.ask(ROOM, MANAGER, method, body).await?)
    }

    async fn ask<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Failure>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let connection = self.open(false).await?;
        let reply = connection.call_method(Some(SERVICE), path, Some(interface), method, body).await?;
        Ok(reply.body().deserialize()?)
    }

    async fn subscribed(&self) -> Result<Connection, HostError> {
        Ok(self.open(true).await?)
    }

    async fn open(&self, subscribe: bool) -> Result<Connection, Failure> {
        let mut kept = self.connection.lock().await;
        let mut open = match kept.take() {
            Some(open) if !open.connection.is_closed() => open,
            _ => Open { connection: Builder::system().method_timeout(ANSWER).build().await?, subscribed: false },
        };
        if subscribe && !open.subscribed {
            let told = open.connection.call_method(Some(SERVICE), ROOM, Some(MANAGER), "Subscribe", &()).await;
            open.subscribed = told.is_ok();
            told?;
        }
        let connection = open.connection.clone();
        *kept = Some(open);
        Ok(connection)
    }
}

fn process(pid: u32) -> Option<Pid> {
    (pid != 0).then_some(Pid(pid))
}

/// A time in microseconds; 0 is never.
fn moment(micros: u64) -> Option<Timestamp> {
    let micros = i64::try_from(micros).ok().filter(|micros| *micros != 0)?;
    Timestamp::from_microsecond(micros).ok()
}

/// An answer that is none.
#[derive(Debug)]
struct Failure {
    /// The error's name on the bus; empty if it did not come from there.
    name: String,
    text: String,
    kind: HostErrorKind,
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        let (name, text) = match &error {
            zbus::Error::MethodError(name, text, _) => (name.as_str().to_owned(), text.clone()),
            zbus::Error::FDO(error) => (error.name().as_str().to_owned(), error.description().map(str::to_owned)),
            _ => (String::new(), None),
        };
        let kind = match name.rsplit('.').next().unwrap_or_default() {
            "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => HostErrorKind::Denied,
            "NoSuchUnit" | "UnitMasked" | "LoadFailed" | "BadUnitSetting" | "FileNotFound" => {
                HostErrorKind::Misconfigured
            }
            "ServiceUnknown" | "NameHasNoOwner" | "Disconnected" | "NoServer" => HostErrorKind::Unreachable,
            "Timeout" | "TimedOut" | "NoReply" => HostErrorKind::TimedOut,
            _ => match &error {
                zbus::Error::InputOutput(io) if io.kind() == std::io::ErrorKind::TimedOut => HostErrorKind::TimedOut,
                zbus::Error::Connection(..) | zbus::Error::Handshake(_) | zbus::Error::InputOutput(_) => {
                    HostErrorKind::Unreachable
                }
                _ => HostErrorKind::Other,
            },
        };
        let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| error.to_string());
        Self { name, text, kind }
    }
}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> Self {
        let error = |what: &str| HostError::new(failure.kind, format!("{what}: {}", failure.text));
        match failure.kind {
            HostErrorKind::Unreachable => error("systemd cannot be asked over the system bus")
                .with_help("it takes a running systemd and the package `dbus`: see `systemctl status dbus`"),
            HostErrorKind::Denied => error("systemd refused").with_help("run as root"),
            HostErrorKind::TimedOut => error("systemd did not answer"),
            HostErrorKind::Misconfigured => {
                error("systemd refused").with_help("see `systemctl status` and `systemctl cat` of the unit")
            }
            _ => error("systemd refused"),
        }
    }
}
