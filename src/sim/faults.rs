//! Which call fails, lies, or is the last before a crash; and how often each was reached.

use std::collections::BTreeMap;

use super::random::Random;

/// What the engine asks of a host; the rows of the coverage table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Fetch,
    Link,
    Steps,
    Renew,
    Record,
    Remove,
    Switch,
    ApplyConfig,
    Start,
    Restart,
    Stop,
    Enable,
    StopStray,
    Journal,
    Remember,
    Recall,
    Lock,
    Layout,
    Walk,
    List,
    Facts,
    Witnesses,
    Probe,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Fetch,
        Self::Link,
        Self::Steps,
        Self::Renew,
        Self::Record,
        Self::Remove,
        Self::Switch,
        Self::ApplyConfig,
        Self::Start,
        Self::Restart,
        Self::Stop,
        Self::Enable,
        Self::StopStray,
        Self::Journal,
        Self::Remember,
        Self::Recall,
        Self::Lock,
        Self::Layout,
        Self::Walk,
        Self::List,
        Self::Facts,
        Self::Witnesses,
        Self::Probe,
    ];

    /// Calls that few hosts have a reason for; a share of the schedules is made so that they do.
    pub const RARE: [Self; 9] = [
        Self::Fetch,
        Self::Link,
        Self::Steps,
        Self::Renew,
        Self::Remove,
        Self::ApplyConfig,
        Self::Enable,
        Self::StopStray,
        Self::Remember,
    ];

    /// Changes the host.
    pub fn acts(self) -> bool {
        matches!(
            self,
            Self::Fetch
                | Self::Link
                | Self::Steps
                | Self::Renew
                | Self::Record
                | Self::Remove
                | Self::Switch
                | Self::ApplyConfig
                | Self::Start
                | Self::Restart
                | Self::Stop
                | Self::Enable
                | Self::StopStray
                | Self::Journal
                | Self::Remember
        )
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Trueup is killed before the call has had any effect.
    CrashBefore,
    /// Trueup is killed once the call has begun to have effect.
    CrashAfter,
    /// The call fails without effect.
    ErrorBefore,
    /// The call has its effect and reports a failure all the same.
    ErrorAfter,
    /// The call reports success without having had its effect.
    Lie,
    /// The call takes a long time.
    Slow,
}

impl Fault {
    /// All of them; the columns of the coverage table.
    pub const ALL: [Self; 6] =
        [Self::CrashBefore, Self::CrashAfter, Self::ErrorBefore, Self::ErrorAfter, Self::Lie, Self::Slow];

    /// Whether this can happen to that call: a reading has no effect that could outlive it.
    pub fn fits(self, call: Call) -> bool {
        match self {
            Self::CrashBefore | Self::Slow => true,
            Self::ErrorBefore => !matches!(call, Call::Facts),
            Self::CrashAfter => call.acts() || call == Call::Lock,
            Self::ErrorAfter => call.acts(),
            // A manager may answer too soon; our own writes either fail or are done.
            Self::Lie => matches!(call, Call::Start | Call::Restart | Call::Stop | Call::Enable | Call::StopStray),
        }
    }
}

/// How often each fault met each call.
#[derive(Debug, Clone, Default)]
pub struct Coverage(pub BTreeMap<(Call, Fault), u64>);

impl Coverage {
    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// The table, a row a call; `·` where a fault cannot meet a call.
    pub fn table(&self) -> String {
        let mut lines = vec![format!("{:<12}{}", "", Fault::ALL.map(|f| format!("{:>13}", format!("{f:?}"))).concat())];
        for call in Call::ALL {
            let cells = Fault::ALL.map(|fault| {
                let text = if fault.fits(call) { self.count(call, fault).to_string() } else { "·".to_owned() };
                format!("{text:>13}")
            });
            lines.push(format!("{:<12}{}", format!("{call:?}"), cells.concat()));
        }
        lines.join("\n")
    }

    pub fn count(&self, call: Call, fault: Fault) -> u64 {
        self.0.get(&(call, fault)).copied().unwrap_or(0)
    }
}

/// The faults of one schedule.
#[derive(Debug, Clone)]
pub struct Faults {
    random: Random,
    /// Counts down to the next fault; each one in turn picks the distance to the one after it.
    until_next: u64,
    /// What the next fault is aimed at; none: whatever call comes.
    target: Option<Call>,
    pub enabled: bool,
    pub coverage: Coverage,
}

impl Faults {
    /// The first fault is aimed at `focus`, if there is one.
    pub fn new(mut random: Random, focus: Option<Call>) -> Self {
        let mut faults = Self {
            until_next: 0,
            target: None,
            enabled: true,
            coverage: Coverage::default(),
            random: Random::new(random.next()),
        };
        faults.aim();
        if focus.is_some() {
            faults.target = focus;
            faults.until_next = 0;
        }
        faults
    }

    fn aim(&mut self) {
        // Most faults are aimed at one kind of call, so that each kind meets every fault.
        if self.random.percent(60) {
            self.target = Some(self.random.pick(&Call::ALL));
            self.until_next = self.random.below(3);
        } else {
            self.target = None;
            self.until_next = self.random.below(40);
        }
    }

    /// What happens to this call.
    pub fn meet(&mut self, call: Call) -> Option<Fault> {
        if !self.enabled || self.target.is_some_and(|target| target != call) {
            return None;
        }
        if self.until_next > 0 {
            self.until_next -= 1;
            return None;
        }
        let fitting: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| fault.fits(call)).collect();
        let fault = self.random.pick(&fitting);
        *self.coverage.0.entry((call, fault)).or_default() += 1;
        self.aim();
        Some(fault)
    }
}
