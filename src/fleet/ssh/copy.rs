//! Bringing the program to a host that has none: whether it would run there, and the copying.

use std::time::Duration;

use super::connection::Connection;
use super::conversation::{Conversation, Fallen, Input, Limits, Took};
use super::program::Program;
use super::scripts::{self, Needed};
use super::trouble::{Again, Trouble};
use crate::documents::wire::{PROGRAM, WIRE, voice};
use crate::fleet::reach::Broken;

/// How long the first word may take: that it begins.
const FIRST: Duration = Duration::from_secs(30);

/// How long one of its steps may take. The longest is the copying itself: twenty MiB over a line of 200 kbit/s.
const STEP: Duration = Duration::from_mins(15);

/// What must be left beside the program.
const SPARE: u64 = 1 << 20;

/// Whether the program would run on a host that says this of itself. Pure.
///
/// # Errors
/// It would not, or cannot be kept there.
pub fn fits(target: &str, program: &Program, needed: &Needed) -> Result<(), Trouble> {
    let refused = |message: String| Err(Trouble::new(Broken::Program, message).with_help(install(target)));
    let Needed { system, machine, cache, .. } = needed;
    if system != "Linux" {
        return refused(format!("`{target}` runs {system}, and trueup runs on Linux only"));
    }
    let own = program.needs.machine.unwrap_or("another processor");
    if machine != own {
        return refused(format!(
            "`{target}` has no trueup {PROGRAM} (wire {WIRE}), and ours is for {own}, not for {machine}"
        ));
    }
    if let Some(ours) = program.needs.glibc.filter(|ours| needed.glibc().is_none_or(|theirs| theirs < *ours)) {
        let theirs = match needed.glibc() {
            Some(theirs) => theirs.to_string(),
            None if needed.libc.is_empty() => "none that says its name".to_owned(),
            None => needed.libc.clone(),
        };
        return refused(format!(
            "`{target}` has no trueup {PROGRAM} (wire {WIRE}), and ours needs the GNU C library {ours} or newer, where \
             that host has {theirs}"
        ));
    }
    if !needed.digests {
        return refused(format!(
            "`{target}` has no trueup {PROGRAM} (wire {WIRE}), and no `sha256sum` to see that a copy of it is whole"
        ));
    }
    if let Some(free) = needed.free.filter(|free| *free < program.size + SPARE) {
        let (size, free) = (mebibytes(program.size), mebibytes(free));
        let message =
            format!("trueup does not fit into `{cache}` on `{target}`: it has {size} MiB, and {free} MiB are free");
        let help = format!("free some space there; or {}", install(target));
        return Err(Trouble::new(Broken::Program, message).with_help(help));
    }
    Ok(())
}

fn install(target: &str) -> String {
    format!("install trueup {PROGRAM} (wire {WIRE}) on `{target}`, in the PATH that `ssh {target} env` shows")
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Copies the program into the host's cache, where it bears its name only when it is whole and was seen to run.
///
/// # Errors
/// The connection broke, or the host cannot keep or run it.
pub async fn copy(target: &str, connection: &Connection, program: &Program) -> Result<(), Trouble> {
    let file = tokio::fs::File::open(&program.path)
        .await
        .map_err(|error| Trouble::new(Broken::Program, format!("cannot read `{}`: {error}", program.path.display())))?;
    let mut steps = Steps::default();
    let script = scripts::keep(program, &voice());
    let limits = Limits { first: FIRST, whole: None, silence: Some(STEP) };
    let conversation = Conversation::open(connection, &script).await?;
    let fallen = conversation.hold(Input::File(file), limits, &mut |line| steps.hear(line)).await?;
    match fallen {
        None => Ok(()),
        Some(fallen) => Err(steps.trouble(target, &fallen)),
    }
}

/// What a host says while it takes the program.
#[derive(Debug, Default)]
struct Steps {
    step: String,
    said: Vec<String>,
}

impl Steps {
    fn hear(&mut self, line: &str) -> Took {
        if let Some(step) = line.strip_prefix("step=") {
            step.clone_into(&mut self.step);
            self.said.clear();
        } else if self.said.len() < 8 && !line.trim().is_empty() {
            self.said.push(line.trim().to_owned());
        }
        match &*self.step {
            "" => Took::Noise,
            "done" => Took::Enough,
            _ => Took::Word,
        }
    }

    /// Why it came to no good end.
    fn trouble(&self, target: &str, fallen: &Fallen) -> Trouble {
        let said = if self.said.is_empty() { fallen.errors.clone() } else { self.said.join("; ") };
        if fallen.code.is_none() {
            let message = format!("the connection to `{target}` broke while trueup was copied there");
            return Trouble::new(Broken::Lost, message).again(Again::Later);
        }
        let (what, help) = match &*self.step {
            "" => ("its shell does not run our commands", install(target)),
            "folder" | "file" => (
                "the cache cannot be made",
                format!(
                    "let the user write to `~/.cache` there, or set XDG_CACHE_HOME for its sessions; or {}",
                    install(target)
                ),
            ),
            "write" => ("the copy cannot be written", format!("free some space there; or {}", install(target))),
            "size" | "digest" => ("the copy did not arrive whole", "try again".to_owned()),
            "run" if said.contains("GLIBC_") || said.contains("not found") => {
                ("the copy does not find its C library", install(target))
            }
            "run" if said.contains("ermission denied") => (
                "nothing may be run from the cache, as on a file system mounted with `noexec`",
                format!(
                    "set XDG_CACHE_HOME for its sessions to a place where programs may run; or {}",
                    install(target)
                ),
            ),
            "run" => ("the copy does not run there", install(target)),
            _ => ("the copy cannot be put into its place", install(target)),
        };
        let quoted = if said.is_empty() { String::new() } else { format!(": {said}") };
        Trouble::new(Broken::Program, format!("trueup could not be copied to `{target}`: {what}{quoted}"))
            .with_help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::ssh::elf::{Glibc, Needs};

    fn program(glibc: Option<&str>) -> Program {
        let needs = Needs { machine: Some("x86_64"), glibc: glibc.and_then(Glibc::parse) };
        Program { path: "/p".into(), size: 15 << 20, sha256: "0".repeat(64), needs }
    }

    fn host(system: &str, machine: &str, libc: &str, free_mib: u64, digests: bool) -> Needed {
        let (system, machine, libc) = (system.to_owned(), machine.to_owned(), libc.to_owned());
        let cache = "/home/a/.cache/trueup/bin".to_owned();
        Needed { changed: false, digests, system, machine, libc, free: Some(free_mib << 20), cache }
    }

    #[test]
    fn it_is_copied_only_where_it_would_run() {
        let usual = || host("Linux", "x86_64", "glibc 2.36", 100, true);
        let rows = [
            (Some("2.34"), usual(), None),
            (Some("2.36"), usual(), None),
            (Some("2.38"), usual(), Some("needs the GNU C library 2.38 or newer, where that host has 2.36")),
            (None, host("Linux", "x86_64", "musl libc (x86_64)", 100, true), None),
            (Some("2.34"), host("Linux", "x86_64", "musl libc (x86_64)", 100, true), Some("has musl libc")),
            (Some("2.34"), host("Linux", "x86_64", "", 100, true), Some("none that says its name")),
            (Some("2.34"), host("Linux", "aarch64", "glibc 2.36", 100, true), Some("for x86_64, not for aarch64")),
            (Some("2.34"), host("FreeBSD", "amd64", "", 100, true), Some("runs FreeBSD")),
            (Some("2.34"), host("Linux", "x86_64", "glibc 2.36", 100, false), Some("no `sha256sum`")),
            (Some("2.34"), host("Linux", "x86_64", "glibc 2.36", 15, true), Some("15 MiB are free")),
            (Some("2.34"), Needed { free: None, ..usual() }, None),
        ];
        for (ours, needed, expected) in rows {
            match (fits("web1", &program(ours), &needed), expected) {
                (Ok(()), None) => {}
                (Err(trouble), Some(words)) => {
                    assert!(trouble.message.contains(words), "{trouble:?}");
                    assert!(trouble.help.is_some_and(|help| help.contains("install trueup")), "{words}");
                }
                (found, _) => panic!("{needed:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_step_that_failed_is_told_with_what_to_do() {
        let rows: [(&[&str], Option<i32>, &str, &str); 6] = [
            (&["This account is currently not available."], Some(1), "currently not available", "install"),
            (&["step=folder", "mkdir: cannot create directory"], Some(3), "cache cannot be made", "XDG_CACHE_HOME"),
            (&["step=write", "cat: write error: No space left on device"], Some(3), "No space left", "free some space"),
            (&["step=run", "sh: 1: /x: Permission denied"], Some(3), "noexec", "XDG_CACHE_HOME"),
            (&["step=run", "/lib/libc.so.6: version `GLIBC_2.38' not found"], Some(3), "C library", "install"),
            (&["step=write"], None, "broke", ""),
        ];
        for (lines, code, message, help) in rows {
            let mut steps = Steps::default();
            for line in lines {
                assert_ne!(steps.hear(line), Took::Enough);
            }
            let trouble = steps.trouble("web1", &Fallen { code, errors: String::new() });
            assert!(trouble.message.contains(message), "{trouble:?}");
            assert!(trouble.help.unwrap_or_default().contains(help), "{lines:?}");
        }
        assert_eq!(Steps::default().hear("Welcome!"), Took::Noise);
        assert_eq!(Steps::default().hear("step=write"), Took::Word);
        assert_eq!(Steps::default().hear("step=done"), Took::Enough);
    }
}
