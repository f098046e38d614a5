//! The command line of git over a directory, whatever this machine is set up with, and repositories over HTTP.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs git in that directory, with `home` for a home, and returns what it prints.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn git(directory: &Path, home: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(directory)
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git prints UTF-8").trim().to_owned()
}

/// Repositories over HTTP, for those who give the right name and password; ends with the test.
pub struct Forge {
    server: Child,
    told: PathBuf,
    /// `HOST:PORT`.
    pub address: String,
}

/// One request.
#[derive(serde::Deserialize)]
pub struct Asked {
    /// `NAME:PASSWORD`, or nothing.
    pub given: String,
    /// What everybody could read meanwhile of the command lines that name the forge or the password.
    pub read: Vec<String>,
}

impl Forge {
    /// Serves the repositories in `home` to `NAME:PASSWORD`; `away` is where another server has what is below `/away`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(home: &Path, login: &str, away: &str) -> Self {
        let told = tempfile::Builder::new().prefix("asked").tempfile_in(home).unwrap().into_temp_path().keep().unwrap();
        let mut server = Command::new("python3")
            .args(["-c", include_str!("git_http.py")])
            .args([home, &told])
            .arg(away)
            .env("LOGIN", login)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { server, told, address: format!("127.0.0.1:{}", port.trim()) }
    }

    /// All requests so far.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn asked(&self) -> Vec<Asked> {
        let told = std::fs::read_to_string(&self.told).unwrap();
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
