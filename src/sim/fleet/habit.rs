//! What a host of a simulated fleet does that others do not.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// Nothing.
    Plain,
    /// It has the new release already.
    Settled,
    /// Nobody answers, ever.
    Unreachable,
    /// It is there when it is looked at, and not when it is to be changed.
    Vanishing,
    /// The connection breaks in the middle of a pass, and comes back.
    Blinking,
    /// The connection breaks in the middle of a pass, and does not come back in time.
    Lost,
    /// The same, for much longer than the pass lasts, which fails the gate meanwhile.
    Returned,
    /// It goes down in the middle of a pass, and comes up with nothing left of what the pass has told.
    Forgotten,
    /// The maker of a pass is stopped in the middle, and nobody lets it go on: what it holds, it keeps.
    Stopped,
    /// The new release fails its gate there.
    Failing,
    /// Its pass ends before the switch: it cannot fetch the release, say.
    Hindered,
    /// It has the new release already, proven long ago, and a worker there is down.
    Drifted,
    /// Its passes take minutes.
    Slow,
    /// The maker of its first pass is killed in the middle.
    Killed,
    /// So is every one.
    KilledAgain,
    /// The maker of the first pass that takes it back is killed behind its switch.
    KilledBack,
    /// It is well after its pass, and ill some time later.
    Sickening,
    /// It is well after its pass, and somebody else brings another release there some time later.
    Overtaken,
    /// It is as [`Habit::Plain`], and cannot be asked for its health.
    Deaf,
    /// Changes are withheld there.
    Withheld,
    /// The new release is kept out there already.
    KeptOut,
    /// The same, and a worker is down.
    KeptOutDrifted,
    /// It is as [`Habit::Plain`], and is lost while it is taken back.
    Stubborn,
}

impl Habit {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Plain,
        Self::Settled,
        Self::Unreachable,
        Self::Vanishing,
        Self::Blinking,
        Self::Lost,
        Self::Returned,
        Self::Forgotten,
        Self::Stopped,
        Self::Failing,
        Self::Hindered,
        Self::Drifted,
        Self::Slow,
        Self::Killed,
        Self::KilledAgain,
        Self::KilledBack,
        Self::Sickening,
        Self::Overtaken,
        Self::Deaf,
        Self::Withheld,
        Self::KeptOut,
        Self::KeptOutDrifted,
        Self::Stubborn,
    ];
}
