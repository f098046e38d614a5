//! Lengths of time, counts and foreign text, as people read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::manifest::turns;
use crate::model::names::ReleaseId;
use crate::model::observed::{Evidence, Link, Runs};

/// How long something took: `12 ms`, `1.2 s`, `2 min 5 s`, `3 h 20 min`.
#[must_use]
pub fn took(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..60 => format!("{seconds}.{} s", length.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A length of time that was chosen, not measured: `30s`, `1m 30s`, `500ms`.
#[must_use]
pub fn limit(length: Duration) -> String {
    let (seconds, millis) = (length.as_secs(), length.subsec_millis());
    let units = [(seconds / 3600, "h"), (seconds % 3600 / 60, "m"), (seconds % 60, "s"), (u64::from(millis), "ms")];
    let parts: Vec<String> =
        units.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// How long ago something was, in its largest sensible unit: `5 s`, `1m59s`, `3 min`, `4 h`, `12 d`.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..120 => format!("1m{}s", seconds - 60),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

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
    fn lengths_of_time_read_well() {
        let rows = [
            (0, "0 ms", "0s"),
            (12, "12 ms", "12ms"),
            (999, "999 ms", "999ms"),
            (1_250, "1.2 s", "1s 250ms"),
            (30_000, "30.0 s", "30s"),
            (125_000, "2 min 5 s", "2m 5s"),
            (12_000_000, "3 h 20 min", "3h 20m"),
        ];
        for (millis, measured, chosen) in rows {
            let length = Duration::from_millis(millis);
            assert_eq!((took(length).as_str(), limit(length).as_str()), (measured, chosen));
        }
    }

    #[test]
    fn ages_have_one_unit_and_are_never_negative() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (seconds, expected) in
            [(-5, "0 s"), (59, "59 s"), (119, "1m59s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
        {
            assert_eq!(age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now), expected);
        }
    }

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
