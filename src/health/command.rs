//! Health from a command of the application.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use super::{BODY_LIMIT, body, failure};
use crate::model::app::{App, CommandLine};
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::ports::HostError;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; 128 plus the signal's number if a signal ended it.
    pub code: i32,
    /// What it printed to its standard output.
    pub stdout: Vec<u8>,
}

/// Runs commands for probes; the room of commands stands beside this one, whoever wires the host joins them.
pub trait Runner: Send + Sync {
    /// Runs a command in `ROOT/current` as the App's user until it ends; after `timeout` it is
    /// killed with all that it started. Every exit code is an answer, none is an error.
    fn finish(
        &self,
        app: &App,
        command: &CommandLine,
        timeout: Duration,
    ) -> impl Future<Output = Result<Finished, HostError>> + Send;
}

/// Runs the command once: its exit code is the status, its standard output the body.
pub(super) async fn probe<R: Runner>(
    runner: &R,
    app: &App,
    command: &CommandLine,
    timeout: Duration,
) -> Result<ProbeAnswer, ProbeFailure> {
    let began = Instant::now();
    let finished = runner.finish(app, command, timeout).await.map_err(|error| failure(error.message))?;
    if finished.stdout.len() > BODY_LIMIT {
        return Err(failure(format!("`{command}` printed more than 1 MiB")));
    }
    Ok(ProbeAnswer {
        status: Some(finished.code.into()),
        headers: BTreeMap::new(),
        body: body(&finished.stdout),
        latency: began.elapsed(),
        age: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::app;
    use super::*;
    use crate::model::health::Probe;
    use crate::ports::HostErrorKind;

    struct Shell;

    impl Runner for Shell {
        async fn finish(&self, _: &App, command: &CommandLine, _: Duration) -> Result<Finished, HostError> {
            let argv = command.argv();
            let (program, arguments) = argv.split_first().unwrap();
            let output = tokio::process::Command::new(program)
                .args(arguments)
                .output()
                .await
                .map_err(|error| HostError::io(format!("cannot start `{command}`"), &error))?;
            let code = output.status.code().ok_or_else(|| HostError::new(HostErrorKind::Other, "killed"))?;
            Ok(Finished { code, stdout: output.stdout })
        }
    }

    async fn run(line: CommandLine) -> Result<ProbeAnswer, ProbeFailure> {
        let probe = Probe::Command { run: line.clone() };
        super::probe(&Shell, &app(probe, Duration::from_secs(10)), &line, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn the_exit_code_is_the_status_and_the_output_the_body() {
        let answer = run(CommandLine::Shell("echo '{\"jobs\": 3}'; exit 7".to_owned())).await.unwrap();
        assert_eq!((answer.status, &answer.body, answer.age), (Some(7), &json!({"jobs": 3}), None));
        assert!(answer.latency > Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        let failure = run(CommandLine::Arguments(vec!["/absent/program".to_owned()])).await.unwrap_err();
        assert!(failure.message.contains("cannot start `/absent/program`"), "{failure}");
        let failure = run(CommandLine::Shell("head -c 1048577 /dev/zero".to_owned())).await.unwrap_err();
        assert!(failure.message.contains("more than 1 MiB"), "{failure}");
    }
}
