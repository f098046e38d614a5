//! How many of a whole: of a group's workers, of a fleet's hosts.

/// So many, or such a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// That many.
    Count(u32),
    /// That share of the whole, 0 to 100, rounded up.
    Percent(u8),
}

impl Amount {
    /// How many of `whole` that are.
    #[must_use]
    pub fn of(self, whole: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            // u64, so that no count overflows; a percentage is at most 100, so the result fits again.
            Self::Percent(percent) => {
                u32::try_from((u64::from(whole) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }
}
