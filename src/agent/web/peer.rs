//! Who is at the other end, and what they may.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode};
use nix::unistd::geteuid;

use super::answer::Refusal;
use super::listen::Reach;
use crate::host::users::{self, User};
use crate::ports::HostError;

/// For whom root asks; believed of nobody else.
pub const PERSON: &str = "trueup-person";
/// More of a name says nothing more.
const NAME: usize = 64;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process of this host, by what the kernel says of it.
    Local { uid: u32, gid: u32 },
    /// Somebody who has reached a port.
    Network { from: SocketAddr, reach: Reach },
}

/// Who may change something through the unix socket, besides root and the agent's own user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operators {
    /// The members of this group, by its number.
    pub group: Option<u32>,
}

impl Operators {
    /// The members of this group, by its name.
    ///
    /// # Errors
    /// There is no such group.
    pub fn named(group: Option<&str>) -> Result<Self, HostError> {
        Ok(Self { group: group.map(users::group).transpose()? })
    }

    /// The name for the history of somebody who may change things.
    pub(super) async fn admit(self, peer: Peer, headers: &HeaderMap) -> Result<String, Refusal> {
        let Peer::Local { uid, gid } = peer else {
            let refusal = Refusal::new(StatusCode::FORBIDDEN, "nothing is changed through this port");
            return Err(refusal.help("use the agent's unix socket on the host: `trueup reconcile --request`, say"));
        };
        let looked = tokio::task::spawn_blocking(move || User::numbered(uid, gid)).await;
        let user = looked.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
        if !self.admits(&user) {
            let message = format!("`{}` may not change anything here", user.name);
            let help = match self.group {
                Some(group) => format!("use sudo, or have the user added to the group with the number {group}"),
                None => "use sudo; `--operator-group` lets the members of a group in".to_owned(),
            };
            return Err(Refusal::new(StatusCode::FORBIDDEN, message).help(help));
        }
        let person = headers.get(PERSON).and_then(|name| name.to_str().ok()).filter(|_| user.uid == 0);
        Ok(match person.map(str::trim).filter(|name| !name.is_empty() && *name != user.name) {
            // Root could write anything into the history anyway.
            Some(person) => format!("{} as {}", person.chars().take(NAME).collect::<String>(), user.name),
            None => user.name,
        })
    }

    fn admits(self, user: &User) -> bool {
        user.uid == 0 || user.uid == geteuid().as_raw() || self.group.is_some_and(|group| user.groups.contains(&group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_the_agents_own_user_and_operators_may_and_nobody_else() {
        let own = geteuid().as_raw();
        let local = |uid, gid| Peer::Local { uid, gid };
        let network = Peer::Network { from: "127.0.0.1:1".parse().unwrap(), reach: Reach::Anywhere };
        let rows = [
            (local(0, 0), None, true),
            (local(own, 0), None, true),
            (local(3_999_999_999, 77), None, false),
            (local(3_999_999_999, 77), Some(78), false),
            (local(3_999_999_999, 77), Some(77), true),
            (network, None, false),
        ];
        for (peer, group, may) in rows {
            let admitted = Operators { group }.admit(peer, &HeaderMap::new()).await;
            assert_eq!(admitted.is_ok(), may, "{peer:?} {group:?}: {admitted:?}");
        }
    }

    #[tokio::test]
    async fn only_root_may_ask_for_somebody_else() {
        let mut headers = HeaderMap::new();
        headers.insert(PERSON, "anna".parse().unwrap());
        let operators = Operators { group: Some(77) };
        let name = async |uid, gid| operators.admit(Peer::Local { uid, gid }, &headers).await.unwrap();
        assert_eq!(name(0, 0).await, "anna as root");
        assert_eq!(name(3_999_999_999, 77).await, "3999999999");
    }
}
