//! A fleet: the hosts that one manifest is for, and in which order they change.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::amount::Amount;
pub use super::names::HostName;
pub use super::ssh::{SshTarget, SshTargetError};

/// The hosts of one manifest, checked: at least one, no two with one name or one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// In the order in which they are written.
    pub hosts: Vec<FleetHost>,
    /// How a change goes through them.
    pub rollout: Rollout,
}

impl Fleet {
    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&FleetHost> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }

    /// The hosts in the order in which they change: those that `order` names, then the others as they are written.
    #[must_use]
    pub fn in_order(&self) -> Vec<&FleetHost> {
        let mut rest: Vec<&FleetHost> = self.hosts.iter().collect();
        let mut arranged = Vec::with_capacity(rest.len());
        for pick in &self.rollout.order {
            let (picked, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|host| pick.is_for(host));
            arranged.extend(picked);
            rest = others;
        }
        arranged.extend(rest);
        arranged
    }
}

/// One host of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetHost {
    /// Unique in its fleet.
    pub name: HostName,
    /// Where it is; its name by default.
    pub ssh: SshTarget,
    /// For selecting it.
    pub labels: BTreeMap<String, String>,
    /// What differs there, for the fields that may name it.
    pub vars: BTreeMap<String, String>,
}

/// How a change goes through the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// How many hosts go first, of all; 1 by default, 0: none do.
    pub canary: Amount,
    /// How many change together after them, of all; 25% by default, at least 1.
    pub batch: Amount,
    /// How many hosts may fail; one more stops it. 0 by default.
    pub max_failures: usize,
    /// Between two waves; 0 by default.
    pub pause: Duration,
    /// How long the hosts of a wave must stay healthy before the next one; 10 s by default.
    pub healthy_for: Duration,
    /// Who goes first; the others follow as they are written.
    pub order: Vec<HostPattern>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            canary: Amount::Count(1),
            batch: Amount::Percent(25),
            max_failures: 0,
            pause: Duration::ZERO,
            healthy_for: Duration::from_secs(10),
            order: Vec::new(),
        }
    }
}

/// One or several hosts, as `order` and `--limit` name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// The host of this name.
    Host(HostName),
    /// All hosts that have this label with this value.
    Label {
        /// The label.
        key: String,
        /// Its value.
        value: String,
    },
}

impl HostPattern {
    /// `KEY=VALUE`; none for anything else.
    #[must_use]
    pub fn label(text: &str) -> Option<Self> {
        let (key, value) = text.split_once('=')?;
        let (key, value) = (key.to_owned(), value.to_owned());
        (!key.is_empty() && !value.is_empty()).then_some(Self::Label { key, value })
    }

    /// Whether it means this host.
    #[must_use]
    pub fn is_for(&self, host: &FleetHost) -> bool {
        match self {
            Self::Host(name) => *name == host.name,
            Self::Label { key, value } => host.labels.get(key) == Some(value),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "{name}"),
            Self::Label { key, value } => write!(f, "{key}={value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, labels: &[(&str, &str)]) -> FleetHost {
        FleetHost {
            name: HostName::new(name).unwrap(),
            ssh: SshTarget::new(name).unwrap(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            vars: BTreeMap::new(),
        }
    }

    #[test]
    fn the_order_names_who_goes_first_and_the_others_follow_as_written() {
        let hosts = vec![host("a", &[]), host("b", &[("zone", "x")]), host("c", &[]), host("d", &[("zone", "x")])];
        let rows: [(&[&str], [&str; 4]); 5] = [
            (&[], ["a", "b", "c", "d"]),
            (&["c"], ["c", "a", "b", "d"]),
            (&["zone=x"], ["b", "d", "a", "c"]),
            (&["d", "zone=x"], ["d", "b", "a", "c"]),
            (&["zone=y", "c", "c"], ["c", "a", "b", "d"]),
        ];
        for (order, expected) in rows {
            let pick = |text: &&str| {
                HostPattern::label(text).unwrap_or_else(|| HostPattern::Host(HostName::new(*text).unwrap()))
            };
            let rollout = Rollout { order: order.iter().map(pick).collect(), ..Rollout::default() };
            let fleet = Fleet { hosts: hosts.clone(), rollout };
            let found: Vec<&str> = fleet.in_order().iter().map(|host| host.name.as_str()).collect();
            assert_eq!(found, expected, "{order:?}");
        }
    }
}
