//! Sizes, counts and foreign text, as people read them.

use crate::manifest::turns;
use crate::model::names::ReleaseId;
use crate::model::observed::{Evidence, Link, Runs};

/// A size on disk: `512 B`, `1.2 MiB`.
#[must_use]
pub fn bytes(size: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = u128::from(size) * 10;
    let mut unit = None;
    for next in units {
        if scaled < 10_240 {
            break;
        }
        scaled /= 1024;
        unit = Some(next);
    }
    unit.map_or_else(|| format!("{size} B"), |unit| format!("{}.{} {unit}", scaled / 10, scaled % 10))
}

/// `1 action`, `3 actions`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Text from the host or from elsewhere, made safe for a terminal: no control characters, no changes of
/// direction, one line.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            c if c.is_control() || turns(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// What a worker runs, in as few words as possible. A silent worker that was started after the switch
/// runs what `link` names.
#[must_use]
pub fn runs(evidence: &Evidence, link: &Link) -> String {
    match &evidence.runs {
        Runs::Release { id } => id.to_string(),
        Runs::Deleted { id } => format!("{id} (deleted)"),
        Runs::Mixed { ids } => ids.iter().map(ReleaseId::as_str).collect::<Vec<_>>().join(" and "),
        Runs::BeforeSwitch => "an older one".to_owned(),
        Runs::AfterSwitch => match link {
            Link::Release { id } => id.to_string(),
            Link::Absent | Link::Dangling { .. } | Link::Outside { .. } | Link::NotALink { .. } => "unknown".to_owned(),
        },
        Runs::Unknown => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_unit() {
        let rows = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "15.9 EiB")];
        for (size, expected) in rows {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn foreign_text_cannot_write_to_the_terminal() {
        assert_eq!(safe("php \u{1b}[2J\u{7}x\ny\u{202e}z ä 日本"), "php \\u{1b}[2J\\u{7}x y\\u{202e}z ä 日本");
    }
}
