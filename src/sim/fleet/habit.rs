//! What a host of a simulated fleet does that others do not.

use crate::sim::fleet::member::Release;

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
    /// The maker of its first pass is killed in the middle, and the host is away when it is asked for another one.
    KilledAway,
    /// The same, and it has no room for another one.
    KilledRefused,
    /// The same, and a step of the killed pass still holds the lock.
    KilledLocked,
    /// The new release is kept out there already, and the maker of its first pass is killed while it waits for the
    /// lock.
    KilledWaiting,
    /// The maker of its first pass is killed when all is done, and nobody has heard of it.
    KilledWhole,
    /// The maker of the first pass that takes it back is killed behind its switch.
    KilledBack,
    /// It answers, and has no room for a pass.
    Refusing,
    /// Every other time that it is asked how it is, it misses the question.
    Missing,
    /// It has the new release already, and misses the first question.
    Dozing,
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
    pub const ALL: [Self; 31] = [
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
        Self::KilledAway,
        Self::KilledRefused,
        Self::KilledLocked,
        Self::KilledWaiting,
        Self::KilledWhole,
        Self::KilledBack,
        Self::Refusing,
        Self::Missing,
        Self::Dozing,
        Self::Sickening,
        Self::Overtaken,
        Self::Deaf,
        Self::Withheld,
        Self::KeptOut,
        Self::KeptOutDrifted,
        Self::Stubborn,
    ];
    /// The maker of its first pass is killed.
    pub fn is_killed(self) -> bool {
        let anew = matches!(self, Self::Killed | Self::KilledAgain | Self::KilledWhole);
        anew || matches!(self, Self::KilledAway | Self::KilledRefused | Self::KilledLocked | Self::KilledWaiting)
    }

    /// What the maker of a pass leaves where it is killed: of one to take the host back, or of the first one of its
    /// sort.
    pub fn killed(self, back: bool, first: bool) -> Option<Release> {
        match self {
            Self::KilledBack if back && first => Some(Release::Old),
            Self::KilledWhole if !back && first => Some(Release::New),
            Self::KilledAgain if !back => Some(Release::Half),
            Self::Killed | Self::KilledAway | Self::KilledRefused | Self::KilledLocked if !back && first => {
                Some(Release::Half)
            }
            _ => None,
        }
    }
}
