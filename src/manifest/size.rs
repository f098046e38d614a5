//! Sizes as people write them in manifests: `500MiB`, `2GiB`.

/// What the JSON schema allows; [`parse`] accepts the same and looks at the size too.
pub(super) const PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$";

/// The units, in bytes.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    // Last: the others end in it, too.
    ("B", 1),
];

/// Why a text is no size; the message reads on after "`x` is".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// `30`.
    #[error("a number without a unit")]
    NoUnit,
    /// More than can be counted.
    #[error("larger than any disk")]
    TooLarge,
    /// Anything else.
    #[error("no size")]
    Unreadable,
}

impl SizeError {
    /// What to write instead of `text`.
    pub fn help(&self, text: &str) -> String {
        match self {
            Self::NoUnit => format!("write `{text}MiB`, or another unit: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB"),
            Self::TooLarge => "write a smaller one".to_owned(),
            Self::Unreadable => "write a whole number with its unit, such as `500MiB` or `2GiB`".to_owned(),
        }
    }
}

/// Reads `2GiB`: a whole number with its unit, without spaces; in bytes.
///
/// # Errors
/// [`SizeError`] for anything else.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(text) {
        return Err(SizeError::NoUnit);
    }
    let cut = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let Some((number, factor)) = cut.filter(|(number, _)| digits(number)) else { return Err(SizeError::Unreadable) };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let rows = [
            ("0B", Ok(0)),
            ("7B", Ok(7)),
            ("1KiB", Ok(1024)),
            ("500MiB", Ok(500 << 20)),
            ("2GiB", Ok(2 << 30)),
            ("1TB", Ok(1_000_000_000_000)),
            ("3kB", Ok(3000)),
            ("30", Err(SizeError::NoUnit)),
            ("", Err(SizeError::Unreadable)),
            ("GiB", Err(SizeError::Unreadable)),
            ("-1GiB", Err(SizeError::Unreadable)),
            ("1.5GiB", Err(SizeError::Unreadable)),
            ("2 GiB", Err(SizeError::Unreadable)),
            ("2G", Err(SizeError::Unreadable)),
            ("2gib", Err(SizeError::Unreadable)),
            ("99999999999TiB", Err(SizeError::TooLarge)),
            ("99999999999999999999B", Err(SizeError::TooLarge)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
            if let Err(error) = parse(text) {
                assert!(!error.help(text).is_empty());
            }
        }
    }
}
