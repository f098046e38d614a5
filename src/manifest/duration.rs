//! Durations as people write them in manifests: `500ms`, `30s`, `1h30m`.

use std::time::Duration;

/// What the JSON schema allows, besides the empty text; [`parse`] accepts the same and looks at the size too.
pub(super) const PATTERN: &str = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// Longer ones are mistakes, and would overflow clocks that they are added to.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// The units in the order in which they may stand, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Why a text is no duration; the message reads on after "`x` is".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// `30`.
    #[error("a number without a unit")]
    NoUnit,
    /// `-5s`.
    #[error("negative")]
    Negative,
    /// More than 365 days.
    #[error("longer than a year")]
    TooLong,
    /// Anything else.
    #[error("no duration")]
    Unreadable,
}

impl DurationError {
    /// What to write instead of `text`.
    pub fn help(&self, text: &str) -> String {
        match self {
            Self::NoUnit => format!("write `{text}s` for seconds; units are d, h, m, s and ms"),
            Self::Negative => "durations count forward: remove the sign".to_owned(),
            Self::TooLong => "365d is the longest".to_owned(),
            Self::Unreadable => {
                "write whole numbers with the units d, h, m, s and ms, the longest first: `30s`, `1h30m`, `500ms`"
                    .to_owned()
            }
        }
    }
}

/// Reads `1h30m`: whole numbers, each with its unit, the longest unit first, without spaces.
///
/// # Errors
/// [`DurationError`] for anything else.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::NoUnit);
    }
    // One sign only: a line of signs must not become a stack of calls.
    let positive = text.strip_prefix('-').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if positive.is_some_and(|rest| matches!(parse(rest), Ok(_) | Err(DurationError::NoUnit))) {
        return Err(DurationError::Negative);
    }
    let mut total = 0u64;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        // `units` goes on from where it is, so that no unit comes twice or too late.
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else { return Err(DurationError::Unreadable) };
        if number.is_empty() {
            return Err(DurationError::Unreadable);
        }
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        total = part.and_then(|part| total.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    match Duration::from_millis(total) {
        _ if text.is_empty() => Err(DurationError::Unreadable),
        long if long > LONGEST => Err(DurationError::TooLong),
        fits => Ok(fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let rows = [
            ("30s", Ok(30_000)),
            ("0s", Ok(0)),
            ("500ms", Ok(500)),
            ("1h30m", Ok(5_400_000)),
            ("1d2h3m4s5ms", Ok(93_784_005)),
            ("365d", Ok(31_536_000_000)),
            ("30", Err(DurationError::NoUnit)),
            ("-5s", Err(DurationError::Negative)),
            ("-5", Err(DurationError::Negative)),
            ("366d", Err(DurationError::TooLong)),
            ("99999999999999999999s", Err(DurationError::TooLong)),
            ("18446744073709551615d", Err(DurationError::TooLong)),
            ("", Err(DurationError::Unreadable)),
            ("1 fortnight", Err(DurationError::Unreadable)),
            ("1 s", Err(DurationError::Unreadable)),
            ("1.5s", Err(DurationError::Unreadable)),
            ("30S", Err(DurationError::Unreadable)),
            ("1s1h", Err(DurationError::Unreadable)),
            ("1s1s", Err(DurationError::Unreadable)),
            ("s", Err(DurationError::Unreadable)),
            ("1sä", Err(DurationError::Unreadable)),
            ("PT1H", Err(DurationError::Unreadable)),
            ("-", Err(DurationError::Unreadable)),
            (&"-".repeat(1_000_000), Err(DurationError::Unreadable)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }
}
