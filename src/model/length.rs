//! Lengths of time, as people read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long something took: `12 ms`, `1.2 s`, `2 min 5 s`, `3 h 20 min`.
#[must_use]
pub fn took(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..60 => format!("{seconds}.{} s", length.subsec_millis() / 100),
        _ => in_seconds(length),
    }
}

/// The same in whole seconds, where more would only flicker: `0 s`, `59 s`, `2 min 5 s`, `3 h 20 min`.
#[must_use]
pub fn in_seconds(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
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

/// How far apart two moments are, in the largest sensible unit: `5 ms`, `119 s`, `3 min`, `4 h`, `12 d`; with a sign
/// where that is negative.
#[must_use]
pub fn apart(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    match seconds.unsigned_abs() {
        0 => format!("{} ms", length.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago something was, in the same units, but in whole seconds; never negative.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    match now.duration_since(then) {
        length if length.as_secs() <= 0 => "0 s".to_owned(),
        length => apart(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_well() {
        let rows = [
            (0, "0 ms", "0 s", "0s"),
            (12, "12 ms", "0 s", "12ms"),
            (999, "999 ms", "0 s", "999ms"),
            (1_250, "1.2 s", "1 s", "1s 250ms"),
            (30_000, "30.0 s", "30 s", "30s"),
            (59_999, "59.9 s", "59 s", "59s 999ms"),
            (125_000, "2 min 5 s", "2 min 5 s", "2m 5s"),
            (600_000, "10 min 0 s", "10 min 0 s", "10m"),
            (12_000_000, "3 h 20 min", "3 h 20 min", "3h 20m"),
            (90_061_000, "25 h 1 min", "25 h 1 min", "25h 1m 1s"),
        ];
        for (millis, measured, whole, chosen) in rows {
            let length = Duration::from_millis(millis);
            let words = (took(length), in_seconds(length), limit(length));
            assert_eq!((words.0.as_str(), words.1.as_str(), words.2.as_str()), (measured, whole, chosen));
        }
    }

    #[test]
    fn what_lies_apart_has_one_unit() {
        let rows = [
            (-1_500, "-1 s"),
            (-5, "-5 ms"),
            (0, "0 ms"),
            (999, "999 ms"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (200_000_000, "2 d"),
        ];
        for (millis, expected) in rows {
            assert_eq!(apart(SignedDuration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn ages_have_one_unit_and_are_never_negative() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let rows = [
            (-5_000, "0 s"),
            (999, "0 s"),
            (59_000, "59 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (200_000_000, "2 d"),
        ];
        for (millis, expected) in rows {
            assert_eq!(age(now - SignedDuration::from_millis(millis), now), expected);
        }
    }
}
