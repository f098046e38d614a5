//! Why hosts are not well, so far as it was told while they are worked on: what one has said is not said again by twelve.

use std::collections::HashMap;

use crate::cli::render::shared::{common, own};
use crate::model::fleet::{FleetHost, HostName};

/// What is shorter than that is told as quickly as whose it was.
const LONG: usize = 32;

/// What was told, and of whom.
#[derive(Debug, Default)]
pub struct Causes {
    /// What each host is called in texts about it.
    own: HashMap<HostName, Vec<String>>,
    /// Of whom each was told first.
    first: HashMap<String, HostName>,
}

impl Causes {
    /// Of these hosts, nothing was told so far.
    pub fn new<'a>(hosts: impl Iterator<Item = &'a FleetHost>) -> Self {
        Self { own: hosts.map(|host| (host.name.clone(), own(host))).collect(), first: HashMap::new() }
    }

    /// Takes in that a host has this to tell; the words that do instead, if another one has told it in full.
    pub fn instead(&mut self, host: &HostName, cause: &str) -> Option<String> {
        if cause.len() < LONG {
            return None;
        }
        let own = self.own.get(host).map(Vec::as_slice).unwrap_or_default();
        let teller = self.first.entry(common(cause, own)).or_insert_with(|| host.clone());
        (teller != host).then(|| format!("as on {teller}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ssh::SshTarget;

    #[test]
    fn what_another_host_has_told_is_referred_to() {
        let hosts = ["web1", "web2", "web3"].map(|name| FleetHost {
            name: HostName::new(name).unwrap(),
            ssh: SshTarget::new(format!("deploy@{name}.example")).unwrap(),
            labels: std::collections::BTreeMap::new(),
            vars: std::collections::BTreeMap::new(),
        });
        let mut causes = Causes::new(hosts.iter());
        let refused = |host: &FleetHost| format!("`{}` refuses the connection: port 22: refused", host.ssh.as_str());
        let long = "cannot copy `/srv/from/large`: No space left on device";
        let rows = [
            (1, refused(&hosts[1]), None),
            (0, refused(&hosts[0]), Some("as on web2")),
            (1, refused(&hosts[1]), None),
            (2, refused(&hosts[2]), Some("as on web2")),
            (2, long.to_owned(), None),
            (1, long.to_owned(), Some("as on web3")),
            (0, "no answer".to_owned(), None),
            (1, "no answer".to_owned(), None),
        ];
        for (at, cause, expected) in rows {
            assert_eq!(causes.instead(&hosts[at].name, &cause).as_deref(), expected, "{at} {cause}");
        }
    }
}
