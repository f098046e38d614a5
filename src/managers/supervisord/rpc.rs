//! The client through the socket: XML-RPC over HTTP over a unix socket, on one connection that is kept alive.
//!
//! supervisord is single-threaded, so calls take turns here instead of opening a second connection.
//! A call costs less than a millisecond. Faults arrive as HTTP 200 and are looked for first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dxr::{Fault, MethodCall, TryFromValue, Value};
use reqwest::StatusCode;

use super::answers::{ConfigInfo, ProcessInfo, Program, last_lines, parse};
use super::client::{Client, Info, Pace, Settings, StartAnswer, StopSignal, unknown_member};
use crate::model::names::MemberName;
use crate::ports::{HostError, HostErrorKind};

/// No call of ours makes supervisord wait, so an answer that takes longer than this is a fault of its.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// No more of an answer is read: ten times what a thousand programs make. Whoever has the socket need not be
/// supervisord.
const ANSWER_LIMIT: usize = 16 << 20;
/// How much of a worker's log is asked for, in bytes.
const LOG_BYTES: i32 = 2048;

mod fault {
    pub(super) const SHUTDOWN_STATE: i32 = 6;
    pub(super) const BAD_NAME: i32 = 10;
    pub(super) const NO_FILE: i32 = 20;
    pub(super) const NOT_EXECUTABLE: i32 = 21;
    pub(super) const ABNORMAL_TERMINATION: i32 = 40;
    pub(super) const SPAWN_ERROR: i32 = 50;
    pub(super) const ALREADY_STARTED: i32 = 60;
    pub(super) const NOT_RUNNING: i32 = 70;
}

/// One supervisord behind one socket.
pub(super) struct Rpc {
    http: reqwest::Client,
    socket: PathBuf,
    credentials: Option<(String, String)>,
    turn: tokio::sync::Mutex<()>,
    programs: tokio::sync::Mutex<Option<Arc<Vec<Program>>>>,
}

impl Rpc {
    /// Prepares the connection; nothing is asked yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub(super) fn new(socket: &Path, credentials: Option<(String, String)>) -> Result<Self, HostError> {
        let broken = |error: &dyn std::fmt::Display| {
            HostError::new(HostErrorKind::Other, format!("cannot make a client for `{}`: {error}", socket.display()))
        };
        // A finished, empty TLS set-up keeps reqwest from loading CA certificates, which fails on hosts without any.
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&error))?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .unix_socket(socket)
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|error| broken(&error))?;
        Ok(Self {
            http,
            socket: socket.to_owned(),
            credentials,
            turn: tokio::sync::Mutex::new(()),
            programs: tokio::sync::Mutex::new(None),
        })
    }

    /// Forgets the programs' settings, so that the next action reads them anew.
    pub(super) async fn forget_programs(&self) {
        *self.programs.lock().await = None;
    }

    /// All programs of the configuration, asked for once until they are forgotten.
    pub(super) async fn programs(&self) -> Result<Arc<Vec<Program>>, HostError> {
        // Held over the call, so that actions side by side ask once.
        let mut cached = self.programs.lock().await;
        if let Some(programs) = &*cached {
            return Ok(Arc::clone(programs));
        }
        let value = self.demand("supervisor.getAllConfigInfo", Vec::new()).await?;
        let configs = Vec::<ConfigInfo>::try_from_value(&value).map_err(|error| self.nonsense(&error))?;
        let programs = Arc::new(configs.into_iter().map(Program::from).collect::<Vec<_>>());
        *cached = Some(Arc::clone(&programs));
        Ok(programs)
    }

    /// One call: what it returned, or the fault that it answered with.
    async fn call(&self, method: &str, params: Vec<Value>) -> Result<Result<Value, Fault>, HostError> {
        let body = MethodCall { name: method.into(), params }.to_xml().map_err(|error| self.nonsense(&error))?;
        let _turn = self.turn.lock().await;
        let response = match self.send(&body).await {
            // The connection was kept from a supervisord that is gone. What answers now, if anything, is another one;
            // were it the same, every request of ours may be made twice.
            Err(error) if !error.is_timeout() && !error.is_connect() => self.send(&body).await,
            answer => answer,
        };
        let response = response.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(self.unauthorized()),
            status => {
                let message = format!("supervisord at `{}` answered {status} to {method}", self.socket.display());
                return Err(HostError::new(HostErrorKind::Other, message).with_help("its log says why"));
            }
        }
        let body = self.read(response, method).await?;
        parse(&String::from_utf8_lossy(&body)).map_err(|error| self.nonsense(&error))
    }

    async fn read(&self, mut response: reqwest::Response, method: &str) -> Result<Vec<u8>, HostError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_LIMIT {
                let (socket, most) = (self.socket.display(), ANSWER_LIMIT >> 20);
                let message = format!("what answers at `{socket}` sends more than {most} MiB for {method}");
                return Err(HostError::new(HostErrorKind::Other, message).with_help("is that socket supervisord's?"));
            }
        }
        Ok(bytes)
    }

    async fn send(&self, body: &str) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.http.post("http://localhost/RPC2").header("Content-Type", "text/xml").body(body.to_owned());
        match &self.credentials {
            Some((username, password)) => request.basic_auth(username, Some(password)).send().await,
            None => request.send().await,
        }
    }

    /// One call whose faults are errors.
    async fn demand(&self, method: &str, params: Vec<Value>) -> Result<Value, HostError> {
        self.call(method, params).await?.map_err(|fault| self.fault(method, &fault))
    }

    fn fault(&self, method: &str, fault: &Fault) -> HostError {
        let socket = self.socket.display();
        if fault.code() == fault::SHUTDOWN_STATE {
            return HostError::new(HostErrorKind::Unreachable, format!("supervisord at `{socket}` is shutting down"))
                .with_help("try again when it is back");
        }
        let message = format!("supervisord at `{socket}` refused {method}: {} ({})", fault.string(), fault.code());
        HostError::new(HostErrorKind::Other, message)
    }

    fn nonsense(&self, error: &dxr::Error) -> HostError {
        // The error may carry the whole document.
        let reason: String = error.to_string().chars().take(300).collect();
        let message = format!("cannot understand what answers at `{}`: {reason}", self.socket.display());
        HostError::new(HostErrorKind::Other, message).with_help("is that socket supervisord's?")
    }

    fn unauthorized(&self) -> HostError {
        let socket = self.socket.display();
        let (message, help) = match &self.credentials {
            None => (
                format!("supervisord at `{socket}` asks for a user name and a password"),
                "set `username` and `password` under `manager.supervisord`",
            ),
            Some((username, _)) => (
                format!("supervisord at `{socket}` refuses the user name `{username}` with its password"),
                "compare `manager.supervisord` with `[unix_http_server]` in supervisord's configuration",
            ),
        };
        HostError::new(HostErrorKind::Denied, message).with_help(help)
    }

    fn unreachable(&self, error: &reqwest::Error) -> HostError {
        let socket = self.socket.display();
        if error.is_timeout() {
            let message = format!("supervisord at `{socket}` gave no answer for {} s", ANSWER_WITHIN.as_secs());
            return HostError::new(HostErrorKind::TimedOut, message).with_help("it hangs or is stopped: see its log");
        }
        match io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => {
                HostError::new(HostErrorKind::Denied, format!("may not open supervisord's socket `{socket}`"))
                    .with_help("run as root, or set `chmod` and `chown` in `[unix_http_server]`")
            }
            Some(io::ErrorKind::ConnectionRefused) => HostError::new(
                HostErrorKind::Unreachable,
                format!("nobody listens at `{socket}`: the supervisord that made it was killed"),
            )
            .with_help(
                "start it again (`systemctl restart supervisor`); workers that it left behind are still running",
            ),
            Some(io::ErrorKind::NotFound) => {
                HostError::new(HostErrorKind::Unreachable, format!("supervisord's socket `{socket}` is not there"))
                    .with_help("start supervisord (`systemctl start supervisor`)")
            }
            _ => {
                let mut message = format!("cannot talk to supervisord at `{socket}`: {error}");
                let mut cause = std::error::Error::source(error);
                while let Some(inner) = cause {
                    message = format!("{message}: {inner}");
                    cause = inner.source();
                }
                HostError::new(HostErrorKind::Unreachable, message)
            }
        }
    }

    async fn log(&self, member: &MemberName, method: &str) -> Option<String> {
        let params = vec![name(member), Value::Integer(0), Value::Integer(LOG_BYTES)];
        let Ok(Ok(Value::Array(answer))) = self.call(method, params).await else { return None };
        match answer.into_iter().next() {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(last_lines(&text)),
            _ => None,
        }
    }
}

impl Client for Rpc {
    async fn all(&self) -> Result<Vec<Info>, HostError> {
        let value = self.demand("supervisor.getAllProcessInfo", Vec::new()).await?;
        let infos = Vec::<ProcessInfo>::try_from_value(&value).map_err(|error| self.nonsense(&error))?;
        Ok(infos.into_iter().map(Info::from).collect())
    }

    async fn info(&self, member: &MemberName) -> Result<Info, HostError> {
        const METHOD: &str = "supervisor.getProcessInfo";
        match self.call(METHOD, vec![name(member)]).await? {
            Ok(value) => ProcessInfo::try_from_value(&value).map(Info::from).map_err(|error| self.nonsense(&error)),
            Err(fault) if fault.code() == fault::BAD_NAME => Err(unknown_member(member)),
            Err(fault) => Err(self.fault(METHOD, &fault)),
        }
    }

    async fn start(&self, member: &MemberName) -> Result<StartAnswer, HostError> {
        const METHOD: &str = "supervisor.startProcess";
        let Err(fault) = self.call(METHOD, vec![name(member), Value::Boolean(false)]).await? else {
            return Ok(StartAnswer::Accepted);
        };
        match fault.code() {
            fault::ALREADY_STARTED | fault::SPAWN_ERROR | fault::ABNORMAL_TERMINATION => Ok(StartAnswer::Accepted),
            fault::NO_FILE | fault::NOT_EXECUTABLE => Ok(StartAnswer::Refused(fault.string().to_owned())),
            fault::BAD_NAME => Err(unknown_member(member)),
            _ => Err(self.fault(METHOD, &fault)),
        }
    }

    async fn stop(&self, member: &MemberName) -> Result<(), HostError> {
        const METHOD: &str = "supervisor.stopProcess";
        match self.call(METHOD, vec![name(member), Value::Boolean(false)]).await? {
            Err(fault) if fault.code() == fault::BAD_NAME => Err(unknown_member(member)),
            Err(fault) if fault.code() != fault::NOT_RUNNING => Err(self.fault(METHOD, &fault)),
            _ => Ok(()),
        }
    }

    async fn signal(&self, member: &MemberName, signal: StopSignal) -> Result<(), HostError> {
        const METHOD: &str = "supervisor.signalProcess";
        match self.call(METHOD, vec![name(member), Value::String(signal.0.to_string())]).await? {
            Err(fault) if fault.code() == fault::BAD_NAME => Err(unknown_member(member)),
            Err(fault) if fault.code() != fault::NOT_RUNNING => Err(self.fault(METHOD, &fault)),
            _ => Ok(()),
        }
    }

    async fn settings(&self, member: &MemberName) -> Settings {
        // The answer fails as a whole where one number in it, such as a log's size, exceeds what XML-RPC can say.
        let programs = match self.programs().await {
            Ok(programs) => programs,
            Err(error) => {
                tracing::warn!(%member, %error, "taking supervisord's defaults for the stop signal and the times");
                return Settings::default();
            }
        };
        let known = |program: &&Program| member.as_str() == format!("{}:{}", program.group, program.name);
        programs.iter().find(known).map(|program| program.settings.clone()).unwrap_or_default()
    }

    async fn last_words(&self, member: &MemberName) -> String {
        match self.log(member, "supervisor.tailProcessStderrLog").await {
            Some(text) => text,
            // With `redirect_stderr` everything is in the other one.
            None => self.log(member, "supervisor.tailProcessStdoutLog").await.unwrap_or_default(),
        }
    }

    fn pace(&self) -> Pace {
        Pace { first: Duration::from_millis(1), then: Duration::from_millis(10) }
    }
}

fn name(member: &MemberName) -> Value {
    Value::String(member.as_str().to_owned())
}

fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_it() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("s.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let flood = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n").await.unwrap();
            let mut sent = 0;
            while let Ok(piece) = stream.write(&[b' '; 1 << 13]).await {
                sent += piece;
                // Only so that the test ends where nobody hangs up.
                if sent > 4 * ANSWER_LIMIT {
                    break;
                }
            }
            sent
        });
        let error = Rpc::new(&socket, None).unwrap().all().await.unwrap_err();
        assert!(error.message.ends_with("sends more than 16 MiB for supervisor.getAllProcessInfo"), "{error}");
        assert!(flood.await.unwrap() < 2 * ANSWER_LIMIT);
    }
}
