//! Lines that stay below everything that is said on the standard error, while something goes on.
//!
//! There is one foot, for there is one terminal: whoever says something has it drawn again below that.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::output::{size, stderr_has_colour};
use super::render::style::plain;

/// How often it is drawn again while nothing but time goes by.
pub const TICK: Duration = Duration::from_millis(500);

/// Its lines, as they stand on the terminal.
static FOOT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has these lines stand below everything, in the place of those before. Each has to fit into a line of the terminal.
pub fn set(lines: Vec<String>) {
    let mut foot = foot();
    if *foot != lines {
        write(&drawn(foot.len(), "", &lines));
        *foot = lines;
    }
}

/// Says something above the foot; false where there is none, and nothing was said.
pub fn say_above(text: &str) -> bool {
    let foot = foot();
    if foot.is_empty() {
        return false;
    }
    write(&drawn(foot.len(), text, &foot));
    true
}

/// Whether the standard error is a terminal that can be drawn on.
#[must_use]
pub fn draws() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Columns and lines that the foot may take. The last column is left alone: terminals go on to the next line when it is
/// written to.
#[must_use]
pub fn room() -> (usize, usize) {
    let (columns, lines) = size(&std::io::stderr()).unwrap_or((80, 24));
    (columns.saturating_sub(1), (lines / 2).max(1))
}

fn foot() -> MutexGuard<'static, Vec<String>> {
    FOOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What takes `before` lines off the terminal, and puts `above` and then `lines` there.
fn drawn(before: usize, above: &str, lines: &[String]) -> String {
    let shown = |line: &str| {
        if stderr_has_colour() { line.to_owned() } else { plain(line) }
    };
    let mut text = wiped(before);
    for line in above.lines().chain(lines.iter().map(String::as_str)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", shown(line));
    }
    text
}

/// To the first of the last so many lines.
#[must_use]
pub fn up(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\r\x1b[{lines}A") }
}

/// To there, with nothing left of them. Line by line: clearing all that is below means to some terminals that their
/// screen is cleared, when they are at its top, and that what was on it must be kept.
#[must_use]
pub fn wiped(lines: usize) -> String {
    if lines == 0 { String::new() } else { up(lines) + &"\x1b[2K\x1b[B".repeat(lines) + "\x1b[2K" + &up(lines) }
}

/// Nobody looking is no error.
pub fn write(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_to_stand_above_the_foot() {
        let foot = ["one".to_owned(), "two".to_owned()];
        assert_eq!(drawn(0, "", &foot), "one\ntwo\n");
        let wiped = "\r\x1b[2A\x1b[2K\x1b[B\x1b[2K\x1b[B\x1b[2K\r\x1b[2A";
        assert_eq!(drawn(2, "said\n", &foot), format!("{wiped}said\none\ntwo\n"));
        assert_eq!(drawn(2, "", &[]), wiped);
    }
}
