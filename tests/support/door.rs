//! Calls the library on a host, where only programs run: the test executable itself is the program.
//!
//! A test file has one `#[test] fn door()` that does nothing but call [`serve`] with a function
//! from a request to an answer. [`Door::ask`] runs that test alone, on the host, and hands back its answer.

use std::time::Duration;

use serde_json::Value;

use super::{Background, Host, Output, SOON};

/// The variable that holds the request, inside.
const REQUEST: &str = "TRUEUP_TEST_DOOR";
/// What stands before the answer.
const MARK: &str = "the door answers: ";
/// Where the executable is, inside.
const PROGRAM: &str = "/run/door";

/// Inside: answers the request, if there is one.
pub fn serve(answer: impl FnOnce(Value) -> Value) {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let answer = answer(serde_json::from_str(&request).expect("a request is JSON"));
    println!("\n{MARK}{answer}");
}

/// Outside: the way in.
pub struct Door<'host> {
    host: &'host Host,
    user: Option<String>,
}

impl<'host> Door<'host> {
    /// Puts the test executable on the host.
    pub fn new(host: &'host Host) -> Self {
        let own = std::env::current_exe().expect("this test has a file");
        let there = host.root_path().join(PROGRAM.trim_start_matches('/'));
        // By another process: a child that a neighbouring test starts meanwhile would have our file open for writing, and
        // until it has become another program nobody can run the file.
        let copied = std::process::Command::new("cp").arg(own).arg(there).status().expect("cp is there");
        assert!(copied.success(), "the host has room");
        Door { host, user: None }
    }

    /// The same door for another user.
    pub fn user(&self, user: &str) -> Self {
        Door { host: self.host, user: Some(user.to_owned()) }
    }

    /// Has a request answered inside.
    ///
    /// # Panics
    /// If there is no answer, with all that was said instead.
    #[track_caller]
    pub fn ask(&self, request: &Value) -> Value {
        let request = format!("{REQUEST}={request}");
        let argv = Self::argv(&request);
        let output = match &self.user {
            None => self.host.run(&argv),
            Some(user) => self.host.run_as(user, &argv),
        };
        Self::answer(&output)
    }

    /// Has a request answered in the background.
    pub fn spawn(&self, request: &Value) -> Asked<'host> {
        let request = format!("{REQUEST}={request}");
        Asked { background: self.host.spawn(&Self::argv(&request)) }
    }

    fn argv(request: &str) -> [&str; 6] {
        ["env", request, PROGRAM, "--exact", "door", "--nocapture"]
    }

    #[track_caller]
    fn answer(output: &Output) -> Value {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(MARK));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no answer: {output}"))).expect("an answer is JSON")
    }
}

/// A request that is being answered.
pub struct Asked<'host> {
    background: Background<'host>,
}

impl Asked<'_> {
    /// The inner pid of the one who answers, as text.
    pub fn pid(&self) -> String {
        self.background.pid().to_string()
    }

    /// Waits for the answer.
    #[track_caller]
    pub fn answer(mut self, timeout: Duration) -> Value {
        Door::answer(&self.background.wait(timeout))
    }

    /// Ends the one who answers, as a crash would.
    pub fn kill(mut self) {
        self.background.signal("KILL");
        let _ = self.background.wait(SOON);
    }
}
