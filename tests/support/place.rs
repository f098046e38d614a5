//! An App `shop` with builtin workers in a temporary root, and the program itself as people call it there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use trueup::host::proc;
use trueup::model::process::ProcessId;

use super::local::{kill, marked, wait_for};

/// An App `shop` in a temporary root. Its workers are killed in the end.
pub struct Place {
    room: tempfile::TempDir,
    workers: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.workers().into_iter().for_each(kill);
    }
}

impl Place {
    /// With these releases, put there by hand, of which none is wished for yet, and so many workers to come.
    pub fn bare(releases: &[&str], workers: u32) -> Self {
        let place = Self { room: tempfile::tempdir().unwrap(), workers };
        for release in releases {
            fs::create_dir_all(place.root().join("releases").join(release)).unwrap();
            fs::write(place.root().join("releases").join(release).join("file"), "x".repeat(10_000)).unwrap();
        }
        place
    }

    /// Where the program is called, and where `shop.yaml` is.
    pub fn room(&self) -> &Path {
        self.room.path()
    }

    pub fn root(&self) -> PathBuf {
        self.room.path().canonicalize().unwrap().join("shop")
    }

    /// Writes the manifest: this release, and further lines of `spec`.
    pub fn wish(&self, release: &str, more: &str) {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: {release}}}\n  \
             workers:\n    - name: default\n      count: {}\n      rollout: {{minHealthy: 0s}}\n      \
             manager: {{builtin: {{run: exec sleep 600}}}}\n{more}",
            self.root().display(),
            self.workers
        );
        fs::write(self.room.path().join("shop.yaml"), text).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("SUDO_USER", "anna").current_dir(self.room.path());
        command.args(arguments).output().unwrap()
    }

    /// Runs a verb on the manifest for programs; what it said, and its exit code.
    pub fn ask(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.run(&[arguments, &["shop.yaml", "--format", "json"]].concat());
        let said = serde_json::from_slice(&output.stdout);
        (said.unwrap_or_else(|_| panic!("{arguments:?}: {}", words(&output))), output.status.code().unwrap())
    }

    /// A pass by a verb: its report, and outcome and exit code.
    pub fn pass(&self, arguments: &[&str]) -> (Value, (String, i32)) {
        let (said, code) = self.ask(arguments);
        let report = said["items"][0].clone();
        let outcome = report["outcome"].as_str().unwrap_or_else(|| panic!("{arguments:?}: {said}")).to_owned();
        (report, (outcome, code))
    }

    /// A pass that ends well.
    #[track_caller]
    pub fn converges(&self) {
        let (report, ended) = self.pass(&["reconcile"]);
        assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    }

    /// A verb that is refused; what it says.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(&[arguments, &["shop.yaml"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", words(&output));
        words(&output)
    }

    pub fn current(&self) -> String {
        fs::read_link(self.root().join("current")).unwrap().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// All processes of the root's own.
    pub fn workers(&self) -> Vec<ProcessId> {
        marked(&self.root())
    }

    /// `current` leads to that release, and every worker runs it, as the kernel says.
    #[track_caller]
    pub fn is_all(&self, release: &str) {
        assert_eq!(self.current(), release);
        let cwd = |process: ProcessId| {
            let cwd = proc::facts(process.pid).unwrap().summary.cwd;
            cwd.known().unwrap().path.file_name().unwrap().to_string_lossy().into_owned()
        };
        wait_for(|| {
            let run: Vec<String> = self.workers().into_iter().map(cwd).collect();
            (run == vec![release; self.workers as usize]).then_some(())
        });
    }
}

/// All that a run has printed.
pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}
