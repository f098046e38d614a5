//! Children for tests: they never outlive the test that made them, whatever becomes of it.

use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::proc;
use crate::model::process::{Pid, ProcessId};

/// Waits to be ended.
pub(crate) const IDLE: &str = "import time; print('ready', flush=True); time.sleep(600)";

/// A child that is killed when it is dropped.
pub(crate) struct TestChild(Child);

impl TestChild {
    /// Runs a Python script in `directory`, with `MARK` in its environment; returns when it has printed a
    /// line, and that line.
    pub(crate) fn python(directory: &Path, script: &str) -> (Self, String) {
        let mut command = Command::new("python3");
        command.args(["-c", script]).current_dir(directory).env("MARK", "a=b").stdout(Stdio::piped());
        let mut child = Self::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line.trim().to_owned())
    }

    /// Spawns a command.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().expect("the program is installed"))
    }

    /// Number and start.
    pub(crate) fn process(&self) -> ProcessId {
        proc::identify(Pid(self.id())).expect("it can be looked at").expect("it runs")
    }
}

impl Deref for TestChild {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for TestChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
