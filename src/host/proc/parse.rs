//! What the kernel writes under `/proc`, taken apart; no file is touched here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::makedev;

use crate::model::process::Inode;

/// Of `/proc/PID/stat`: what the walk needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit or a letter of the line, and says nothing of the others"
)]
pub(super) struct Stat {
    /// The parent's number.
    pub(super) parent: u32,
    /// The session leader's number.
    pub(super) session: u32,
    /// It has a controlling terminal.
    pub(super) terminal: bool,
    /// A thread of the kernel: no program, no files.
    pub(super) kernel: bool,
    /// Dead, waiting for its parent.
    pub(super) zombie: bool,
    /// It is just ending: it runs nothing any more, and its memory may be gone.
    pub(super) ending: bool,
    /// Start, in ticks since boot.
    pub(super) start: u64,
}

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// `PF_EXITING`, of the same file.
const EXITING: u64 = 0x0000_0004;

/// Takes one line of `/proc/PID/stat` apart; none when it is no such line.
pub(super) fn stat(line: &[u8]) -> Option<Stat> {
    // The program's name stands in parentheses and may itself contain blanks and parentheses;
    // whatever follows the last one is made of numbers.
    let name_end = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let terminal = fields.next()?.parse::<i32>().ok()? != 0;
    let flags: u64 = fields.nth(1)?.parse().ok()?;
    let threads: u64 = fields.nth(10)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    // A first thread that has ended shows as `Z` while the others go on: such a process lives.
    let zombie = matches!(state, "Z" | "X" | "x") && threads < 2;
    let ending = flags & EXITING != 0 && threads < 2;
    Some(Stat { parent, session, terminal, kernel: flags & KERNEL_THREAD != 0, zombie, ending, start })
}

/// Splits what `/proc/PID/cmdline` holds.
pub(super) fn command(bytes: &[u8]) -> Vec<String> {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// Splits what `/proc/PID/environ` holds; what is no `NAME=VALUE` is left out.
pub(super) fn environment(bytes: &[u8]) -> Vec<(String, String)> {
    bytes
        .split(|&byte| byte == 0)
        .filter_map(|entry| {
            let equals = entry.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (entry.get(..equals)?, entry.get(equals + 1..)?);
            (!name.is_empty())
                .then(|| (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
        })
        .collect()
}

/// One line of `/proc/PID/maps` that names a file: its path as written, and its inode as the mapping knows it.
/// None for anonymous memory, shared memory without a file, and the kernel's own areas.
pub(super) fn mapping(line: &[u8]) -> Option<(PathBuf, Inode)> {
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|&byte| byte != b' ')?;
        let tail = rest.get(start..)?;
        let end = tail.iter().position(|&byte| byte == b' ').unwrap_or(tail.len());
        let (field, left) = tail.split_at_checked(end)?;
        rest = left;
        std::str::from_utf8(field).ok()
    };
    let (_range, _rights, _offset) = (field()?, field()?, field()?);
    let (major, minor) = field()?.split_once(':')?;
    let device = makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let number: u64 = field()?.parse().ok()?;
    let path = rest.get(rest.iter().position(|&byte| byte != b' ')?..)?;
    let unnamed = ["/memfd:", "/SYSV", "/dev/zero", "/anon_hugepage"];
    if number == 0 || !path.starts_with(b"/") || unnamed.iter().any(|prefix| path.starts_with(prefix.as_bytes())) {
        return None;
    }
    Some((PathBuf::from(OsString::from_vec(path.to_vec())), Inode { device, number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let tail = "7 70 71 0 -1 FLAGS 1 2 3 4 5 6 7 8 20 0 THREADS 0 4242 9 9";
        let rows = [
            ("plain", "(sleep) S", "4194304", "1", (false, false, false)),
            ("blanks and parentheses", "(a) R 1 (b c)) S", "4194304", "1", (false, false, false)),
            ("zombie", "(x) Z", "4194304", "1", (false, true, false)),
            ("ending", "(x) R", "4194308", "1", (false, false, true)),
            ("its first thread is ending", "(x) R", "4194308", "3", (false, false, false)),
            ("zombie thread of a living process", "(x) Z", "4194304", "3", (false, false, false)),
            ("kernel thread", "(kworker/0:1) I", "69238880", "1", (true, false, false)),
        ];
        for (name, head, flags, threads, (kernel, zombie, ending)) in rows {
            let line = format!("12 {head} {}", tail.replace("FLAGS", flags).replace("THREADS", threads));
            let expected = Stat { parent: 7, session: 71, terminal: false, kernel, zombie, ending, start: 4242 };
            assert_eq!(stat(line.as_bytes()), Some(expected), "{name}");
        }
        // The 34th of the pseudo-terminals.
        let there =
            format!("12 (bash) S {}", tail.replace("71 0", "71 34850").replace("FLAGS", "0").replace("THREADS", "1"));
        assert!(stat(there.as_bytes()).unwrap().terminal);
        for broken in ["", "12 (x", "12 (x) S 1 2", "12 (x) S a b c d"] {
            assert_eq!(stat(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn arguments_and_environment_are_split_at_nul() {
        assert_eq!(command(b"php\0artisan\0\0--x\0"), ["php", "artisan", "", "--x"]);
        assert!(command(b"").is_empty());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(environment(b"A=1\0junk\0=2\0B=x=y\0C=\0"), [pair("A", "1"), pair("B", "x=y"), pair("C", "")]);
    }

    #[test]
    fn only_mapped_files_are_mappings() {
        let file = b"7f00-7f10 r-xp 00001000 fe:02 1234    /usr/lib/a b.so (deleted)";
        let expected = (PathBuf::from("/usr/lib/a b.so (deleted)"), Inode { device: makedev(0xfe, 2), number: 1234 });
        assert_eq!(mapping(file), Some(expected));
        for other in [
            "7f00-7f10 rw-p 00000000 00:00 0 ",
            "7f00-7f10 rw-p 00000000 00:00 0    [heap]",
            "7f00-7f10 rw-s 00000000 00:01 55   /memfd:x (deleted)",
            "7f00-7f10 rw-s 00000000 00:05 9    /dev/zero (deleted)",
            "nonsense",
        ] {
            assert_eq!(mapping(other.as_bytes()), None, "{other}");
        }
    }
}
