//! What a host's shell is told, and how its answers are read.
//!
//! Each script is one line without single quotes, exclamation marks and backslashes, so that it passes any login shell
//! (also fish and csh) on its way to `sh -c '…'`. It uses what POSIX has, and `sha256sum`, `mktemp` and `df`. Pure.

use super::elf::Glibc;
use super::program::Program;

/// What opens the answer of a host that has no program for us.
const NEEDED: &str = "trueup-needed 1";
/// What ends it.
const NEEDED_END: &str = "trueup-needed-end";

/// Where programs are kept between two visits. Paths that do not begin at the root are no caches, says XDG. What it
/// opens it closes, so that it may stand in a `$(…)`.
pub const CACHE: &str = "c=$XDG_CACHE_HOME; case $c in (/*) ;; (*) c=$HOME/.cache;; esac; c=$c/trueup/bin";

/// How many programs stay in a cache beside that of this version: the one before.
const OTHERS: usize = 1;

/// Runs the far side: the host's own program when it would speak with this `voice`, ours, else the one in the cache
/// when it is ours to the last byte. Otherwise nothing is run, and the host says what it is like.
pub fn run(program: &Program, voice: &str) -> String {
    let sha256 = &program.sha256;
    one_line(&[
        // What a shell says before, and does not end, is not the beginning of our first line.
        "echo",
        r#"p=$(command -v trueup) && [ "$("$p" far --version </dev/null 2>/dev/null)" = "@VOICE" ] && exec "$p" far"#,
        CACHE,
        "f=$c/@SHA256",
        "w=absent",
        "h=yes",
        "command -v sha256sum >/dev/null 2>&1 || h=no",
        // Whatever else stands in its place, or in a folder of somebody else, is as good as changed.
        r#"if [ -e "$f" ] || [ -h "$f" ]; then w=changed; if [ $h = yes ] && [ -f "$f" ] && [ -O "$f" ] && [ -O "$c" ]; then set -- $(sha256sum <"$f"); if [ "$1" = @SHA256 ]; then if [ -x "$f" ]; then exec "$f" far; fi; fi; fi; fi"#,
        "echo",
        "echo @NEEDED",
        "echo why=$w",
        "echo sha256sum=$h",
        "echo system=$(uname -s)",
        "echo machine=$(uname -m)",
        "l=$(getconf GNU_LIBC_VERSION 2>/dev/null) || l=$(ldd --version 2>&1 | head -n 1)",
        r#"echo "libc=$l""#,
        r#"d=$c; until [ -d "$d" ] || [ -z "$d" ]; do d=${d%/*}; done"#,
        r#"echo "space=$(df -Pk "${d:-/}" 2>/dev/null | tail -n 1)""#,
        r#"echo "cache=$c""#,
        "echo @NEEDED-end",
    ])
    .replace("@SHA256", sha256)
    .replace("@VOICE", voice)
    .replace("@NEEDED-end", NEEDED_END)
    .replace("@NEEDED", NEEDED)
}

/// Takes the program from its standard input into the cache. It bears its name there only when it is whole, on
/// disk, and was seen to run. Says each step before it is begun, so that the last one said is the one that failed.
pub fn keep(program: &Program, voice: &str) -> String {
    one_line(&[
        "exec 2>&1",
        "umask 077",
        CACHE,
        "echo",
        "echo step=folder",
        r#"mkdir -p "$c" && chmod 700 "$c" || exit 3"#,
        r#"[ -O "$c" ] || { echo "$c belongs to somebody else"; exit 3; }"#,
        "echo step=file",
        r#"t=$(mktemp "$c/.new.XXXXXX") || exit 3"#,
        // Not its path in the trap's own text: that is read as commands.
        r#"d() { rm -f "$t"; }"#,
        "trap d 0",
        r#"trap "exit 3" 1 2 13 15"#,
        "echo step=write",
        r#"cat >"$t" || exit 3"#,
        "echo step=size",
        r#"n=$(wc -c <"$t"); [ "$n" -eq @SIZE ] || { echo "$n bytes arrived"; exit 3; }"#,
        "echo step=digest",
        r#"set -- $(sha256sum <"$t"); [ "$1" = @SHA256 ] || { echo "its sha256 is $1"; exit 3; }"#,
        "echo step=run",
        r#"chmod 700 "$t" || exit 3"#,
        r#"v=$("$t" far --version </dev/null) || exit 3"#,
        r#"[ "$v" = "@VOICE" ] || { echo "it says: $v"; exit 3; }"#,
        "echo step=name",
        r#"sync "$t" 2>/dev/null"#,
        r#"[ -d "$c/@SHA256" ] && rm -rf "$c/@SHA256""#,
        r#"mv -f "$t" "$c/@SHA256" || exit 3"#,
        // A program in use stays whole without its name.
        // The one that has just come is named: those from before may bear dates to come, when the clock has been ahead.
        r#"cd "$c" && ls -t | grep -Ex "[0-9a-f]{64}" | grep -vx @SHA256 | tail -n +@BEYOND | while read -r o; do rm -f "$o"; done"#,
        r#"find . -name ".new.*" -mmin +60 -exec rm -f {} +"#,
        "echo step=done",
    ])
    .replace("@SHA256", &program.sha256)
    .replace("@SIZE", &program.size.to_string())
    .replace("@VOICE", voice)
    .replace("@BEYOND", &(OTHERS + 1).to_string())
}

fn one_line(commands: &[&str]) -> String {
    format!("exec sh -c '{}'", commands.join("; "))
}

/// What a host says of itself that has no program for us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// There is something in the program's place, and it is not the program.
    pub changed: bool,
    /// The host can compute digests.
    pub digests: bool,
    /// As `uname -s` says: `Linux`.
    pub system: String,
    /// As `uname -m` says: `x86_64`.
    pub machine: String,
    /// Its C library, in its own words.
    pub libc: String,
    /// How much is free where the cache is or would be, in bytes; none where it could not be told.
    pub free: Option<u64>,
    /// Where the cache is.
    pub cache: String,
}

/// Collects the lines of such an answer.
#[derive(Debug, Default)]
pub struct NeededLines {
    begun: bool,
    needed: Needed,
}

impl NeededLines {
    /// Whether a line opens such an answer.
    pub fn opens(line: &str) -> bool {
        line == NEEDED
    }

    /// Takes the next line; the answer after its last one.
    pub fn hear(&mut self, line: &str) -> Option<Needed> {
        self.begun |= Self::opens(line);
        if !self.begun {
            return None;
        }
        if line == NEEDED_END {
            return Some(std::mem::take(&mut self.needed));
        }
        let (key, value) = line.split_once('=')?;
        let needed = &mut self.needed;
        match key {
            "why" => needed.changed = value == "changed",
            "sha256sum" => needed.digests = value == "yes",
            "system" => value.clone_into(&mut needed.system),
            "machine" => value.clone_into(&mut needed.machine),
            "libc" => value.clone_into(&mut needed.libc),
            // Before the percentage, as POSIX has it; names of devices may have spaces.
            "space" => {
                let words: Vec<&str> = value.split_whitespace().collect();
                let used = words
                    .iter()
                    .rposition(|word| word.strip_suffix('%').is_some_and(|part| part.parse::<u8>().is_ok()));
                let kib = used.and_then(|used| words.get(used.checked_sub(1)?)?.parse::<u64>().ok());
                needed.free = kib.map(|kib| kib.saturating_mul(1024));
            }
            "cache" => value.clone_into(&mut needed.cache),
            _ => {}
        }
        None
    }
}

impl Needed {
    /// Its GNU C library; none when it has another one.
    #[must_use]
    pub fn glibc(&self) -> Option<Glibc> {
        // `glibc 2.36`, or where `getconf` is missing: `ldd (Debian GLIBC 2.36-9+deb12u9) 2.36`.
        let lower = self.libc.to_ascii_lowercase();
        if lower.contains("musl") || !(lower.contains("glibc") || lower.contains("gnu libc")) {
            return None;
        }
        lower.split_whitespace().rev().find_map(Glibc::parse)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::fleet::ssh::elf::Needs;
    use crate::host::hex::hexadecimal;

    pub(crate) fn program() -> Program {
        let needs = Needs { machine: Some("x86_64"), glibc: Glibc::parse("2.34") };
        Program { path: "/proc/self/exe".into(), size: 1000, sha256: "0".repeat(64), needs }
    }

    const VOICE: &str = "trueup 1.2.3 wire 4";

    #[test]
    fn a_script_passes_any_login_shell() {
        for script in [run(&program(), VOICE), keep(&program(), VOICE)] {
            let inside = script.strip_prefix("exec sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
            for odd in ['\'', '!', '\\', '\n', '@'] {
                assert!(!inside.contains(odd), "{odd:?} in {inside}");
            }
            let checked = std::process::Command::new("sh").args(["-n", "-c", inside]).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }

    #[test]
    fn a_cache_of_any_name_is_left_clean() {
        // What XDG_CACHE_HOME is, and where the cache is then; both below the room.
        let rows = [
            (Some("/plain"), "plain"),
            (Some("/two words"), "two words"),
            (Some("/a;touch owned;$(touch owned)`touch owned`"), "a;touch owned;$(touch owned)`touch owned`"),
            (Some("relative"), "home/.cache"),
            (Some(""), "home/.cache"),
            (None, "home/.cache"),
        ];
        for (given, cache) in rows {
            let room = tempfile::tempdir().unwrap();
            let cache = room.path().join(cache).join("trueup/bin");
            let told = |script: &str| {
                let mut sh = std::process::Command::new("sh");
                sh.args(["-c", script]).current_dir(&room).env("HOME", room.path().join("home"));
                sh.env_remove("XDG_CACHE_HOME").stdin(std::process::Stdio::null());
                match given {
                    Some(path) if path.starts_with('/') => {
                        sh.env("XDG_CACHE_HOME", format!("{}{path}", room.path().display()));
                    }
                    Some(path) => {
                        sh.env("XDG_CACHE_HOME", path);
                    }
                    None => {}
                }
                String::from_utf8(sh.output().unwrap().stdout).unwrap()
            };
            // Nothing arrives, so that it fails behind the temporary file.
            let said = told(&keep(&program(), VOICE));
            assert!(said.contains("step=size\n0 bytes arrived"), "{given:?}: {said}");
            assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0, "{given:?}");
            let said = told(&run(&program(), VOICE));
            assert!(said.contains(&format!("\ncache={}\n", cache.display())), "{given:?}: {said}");
            let found = std::fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().file_name());
            assert!(!found.collect::<Vec<_>>().contains(&"owned".into()), "{given:?}");
        }
    }

    /// What stands in the PATH is run only where it would be understood: another build of the same version may not be.
    #[test]
    fn a_program_that_speaks_another_wire_is_passed_over() {
        let room = tempfile::tempdir().unwrap();
        let place = |path: &str| room.path().join(path);
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(place(path).parent().unwrap()).unwrap();
            // By another process: a child that another test starts right now would inherit the file open for writing.
            let mut sh = std::process::Command::new("sh");
            sh.args(["-c", "printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"", "sh"]).arg(place(path)).arg(text);
            assert!(sh.status().unwrap().success());
        };
        let cached = "#!/bin/sh\necho cached $*\n";
        let sha256 = hexadecimal(&Sha256::digest(cached));
        let script = run(&Program { sha256: sha256.clone(), ..program() }, VOICE);
        let rows = [
            ("trueup 1.2.3 wire 4", true, "installed far"),
            ("trueup 1.2.3 wire 3", true, "cached far"),
            ("trueup 1.2.3", true, "cached far"),
            ("trueup 1.2.4 wire 4", true, "cached far"),
            ("trueup 1.2.3 wire 3", false, "why=absent"),
        ];
        for (voice, is_cached, expected) in rows {
            // Whatever it is asked for else, it answers as every build of the version does.
            let installed = format!(
                "#!/bin/sh\ncase $* in \"far --version\") echo {voice};; far) echo installed far;; *) echo trueup 1.2.3;; esac\n"
            );
            write("bin/trueup", &installed);
            let kept = format!("home/.cache/trueup/bin/{sha256}");
            if is_cached {
                write(&kept, cached);
            } else {
                std::fs::remove_file(place(&kept)).unwrap();
            }
            let mut sh = std::process::Command::new("sh");
            sh.args(["-c", &script]).env("HOME", place("home")).env_remove("XDG_CACHE_HOME");
            let path = std::env::var("PATH").unwrap_or_default();
            sh.env("PATH", format!("{}:{path}", place("bin").display())).stdin(std::process::Stdio::null());
            let said = String::from_utf8(sh.output().unwrap().stdout).unwrap();
            assert!(said.lines().any(|line| line == expected), "{voice}, {is_cached}: {said}");
        }
    }

    #[test]
    fn an_answer_is_read_behind_whatever_a_shell_says_first() {
        let said = "Welcome!\nwhy=x\ntrueup-needed 1\nwhy=changed\nsha256sum=yes\nsystem=Linux\nmachine=x86_64\n\
                    libc=glibc 2.36\nspace=/dev/my disk 100 50 50 50% /home\ncache=/home/a/.cache/trueup/bin\nnew=1\n\
                    trueup-needed-end\n";
        let mut lines = NeededLines::default();
        let needed = said.lines().find_map(|line| lines.hear(line)).unwrap();
        let expected = Needed {
            changed: true,
            digests: true,
            system: "Linux".to_owned(),
            machine: "x86_64".to_owned(),
            libc: "glibc 2.36".to_owned(),
            free: Some(50 * 1024),
            cache: "/home/a/.cache/trueup/bin".to_owned(),
        };
        assert_eq!(needed, expected);
    }

    #[test]
    fn c_libraries_are_told_apart() {
        let rows = [
            ("glibc 2.36", Glibc::parse("2.36")),
            ("ldd (Debian GLIBC 2.36-9+deb12u9) 2.36", Glibc::parse("2.36")),
            ("ldd (GNU libc) 2.17", Glibc::parse("2.17")),
            ("musl libc (x86_64)", None),
            ("sh: ldd: not found", None),
            ("", None),
        ];
        for (libc, expected) in rows {
            let needed = Needed { libc: libc.to_owned(), ..Needed::default() };
            assert_eq!(needed.glibc(), expected, "{libc}");
        }
    }
}
