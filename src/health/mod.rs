//! Asks applications how they are: over HTTP, from a file, by a command.
//!
//! In: an App with a health contract. Out: one [`ProbeAnswer`], or why there is none, within the
//! contract's timeout. Whether an answer is healthy is not decided here.
//! Begin at [`Probes::probe`].

mod command;
mod file;
mod http;
mod tls;

pub use command::{Finished, Runner};

use serde_json::Value;

use crate::model::app::App;
use crate::model::health::{Probe, ProbeAnswer, ProbeFailure};

/// Most bytes of an answer's body; more is a failure, not a cut.
const BODY_LIMIT: usize = 1 << 20;

/// All probes; holds what is worth keeping between two of them.
#[derive(Debug, Default)]
pub struct Probes<R> {
    runner: R,
    clients: http::Clients,
}

impl<R: Runner> Probes<R> {
    /// Probes that run their commands through `runner`. Costs nothing yet.
    pub fn new(runner: R) -> Self {
        Self { runner, clients: http::Clients::default() }
    }

    /// Probes once, within the contract's timeout.
    ///
    /// # Errors
    /// Why there was no answer, or none that counts: an answer too large, a file too old. An App
    /// without a contract has nothing to be asked.
    pub async fn probe(&self, app: &App) -> Result<ProbeAnswer, ProbeFailure> {
        let Some(contract) = &app.health else {
            return Err(failure(format!("`{}` has no health contract", app.name)));
        };
        match &contract.probe {
            Probe::Http { url, headers, connect_to, ca_file } => {
                let request =
                    http::Request { url, headers, connect_to: connect_to.as_ref(), ca_file: ca_file.as_deref() };
                self.clients.probe(&request, contract.timeout).await
            }
            Probe::File { path, max_age } => file::probe(path, *max_age, contract.timeout).await,
            Probe::Command { run } => command::probe(&self.runner, app, run, contract.timeout).await,
        }
    }
}

fn failure(message: impl Into<String>) -> ProbeFailure {
    ProbeFailure { message: message.into() }
}

/// Parsed JSON, else the text.
fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::decide::testing;
    use crate::model::app::CommandLine;
    use crate::model::health::HealthContract;
    use crate::ports::{HostError, HostErrorKind};

    /// An App that is asked by this probe.
    pub(super) fn app(probe: Probe, timeout: Duration) -> App {
        App {
            health: Some(HealthContract {
                probe,
                timeout,
                attempts: 1,
                interval: Duration::from_secs(1),
                watch: None,
                expect: Vec::new(),
            }),
            ..testing::app("r1", Vec::new())
        }
    }

    #[derive(Debug, Default)]
    struct NoCommands;

    impl Runner for NoCommands {
        async fn finish(&self, _: &App, _: &CommandLine, _: Duration) -> Result<Finished, HostError> {
            Err(HostError::new(HostErrorKind::Other, "no commands here"))
        }
    }

    #[tokio::test]
    async fn each_sort_of_probe_reaches_its_transport() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("health.json");
        std::fs::write(&file, r#"{"status": "healthy"}"#).unwrap();
        let probes = Probes::new(NoCommands);
        let timeout = Duration::from_secs(10);

        let answer = probes.probe(&app(Probe::File { path: file, max_age: None }, timeout)).await.unwrap();
        assert_eq!(answer.body, json!({"status": "healthy"}));

        let command = Probe::Command { run: CommandLine::Shell("true".to_owned()) };
        let failure = probes.probe(&app(command, timeout)).await.unwrap_err();
        assert_eq!(failure.message, "no commands here");

        let http =
            Probe::Http { url: "not a url".to_owned(), headers: BTreeMap::new(), connect_to: None, ca_file: None };
        let failure = probes.probe(&app(http, timeout)).await.unwrap_err();
        assert!(failure.message.contains("`not a url`"), "{failure}");

        let mut without = app(Probe::File { path: "/".into(), max_age: None }, timeout);
        without.health = None;
        assert!(probes.probe(&without).await.unwrap_err().message.contains("no health contract"));
    }

    #[test]
    fn bodies_are_json_or_text() {
        let rows: [(&[u8], Value); 5] = [
            (br#"{"a": [1]}"#, json!({"a": [1]})),
            (b" true\n", json!(true)),
            (b"OK", json!("OK")),
            (b"", json!("")),
            (b"caf\xe9", json!("caf\u{fffd}")),
        ];
        for (bytes, expected) in rows {
            assert_eq!(body(bytes), expected);
        }
    }
}
