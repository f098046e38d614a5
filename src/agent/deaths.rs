//! Holds every worker's process, and tells at once when one has ended.
//!
//! A hold is a pidfd: it costs nothing while the process lives, and never means another process of the same number.

use std::collections::BTreeMap;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tracing::debug;

use super::senses::{Member, News};
use crate::host::signal::Handle;
use crate::model::names::AppName;
use crate::model::process::ProcessId;

/// The holds on all workers of all Apps.
#[derive(Debug)]
pub struct Deaths {
    held: BTreeMap<AppName, BTreeMap<ProcessId, Hold>>,
    news: UnboundedSender<News>,
}

/// Waits for one process; let go when it is dropped.
#[derive(Debug)]
struct Hold(AbortHandle);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Deaths {
    /// Holds nothing yet; deaths are told to `news`.
    #[must_use]
    pub fn new(news: UnboundedSender<News>) -> Self {
        Self { held: BTreeMap::new(), news }
    }

    /// These are all the workers of the App. One that has ended already is told of. Must be called within the runtime.
    pub fn hold(&mut self, app: &AppName, members: &[Member]) {
        let mut before = self.held.remove(app).unwrap_or_default();
        // What has been told once is told again if somebody still takes the process for living.
        before.retain(|_, hold| !hold.0.is_finished());
        let mut held = BTreeMap::new();
        for member in members {
            let hold = before.remove(&member.process).or_else(|| self.take(app, member));
            held.extend(hold.map(|hold| (member.process, hold)));
        }
        self.held.insert(app.clone(), held);
    }

    /// Lets go of an App's workers.
    pub fn forget(&mut self, app: &AppName) {
        self.held.remove(app);
    }

    fn take(&self, app: &AppName, member: &Member) -> Option<Hold> {
        let died = News::Death { app: app.clone(), member: member.clone() };
        match Handle::open(member.process) {
            Ok(Some(handle)) => {
                let news = self.news.clone();
                let waiting = tokio::spawn(async move {
                    if handle.gone().await.is_ok() {
                        // Nobody listens any more when the agent ends.
                        let _ = news.send(died);
                    }
                });
                Some(Hold(waiting.abort_handle()))
            }
            Ok(None) => {
                let _ = self.news.send(died);
                None
            }
            Err(error) => {
                // The timer is left.
                debug!(%app, process = %member.process, %error, "a worker's death will not be noticed at once");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::host::testchild::{IDLE, TestChild};
    use crate::model::names::{GroupName, MemberName};

    fn member(child: &TestChild) -> Member {
        let (group, member) = (GroupName::new("default").unwrap(), MemberName::new("default/1").unwrap());
        Member { group, member, process: child.process() }
    }

    #[tokio::test]
    async fn each_death_is_told_once_and_again_to_who_does_not_believe_it() {
        let app = AppName::new("shop").unwrap();
        let (news, mut told) = unbounded_channel();
        let mut deaths = Deaths::new(news);
        let children = [(); 2].map(|()| TestChild::python(std::path::Path::new("/"), IDLE).0);
        let members = children.each_ref().map(member);
        deaths.hold(&app, &members);
        deaths.hold(&app, &members);
        assert!(told.try_recv().is_err(), "they live");

        let [mut first, mut second] = children;
        crate::host::signal::terminate(first.process(), std::time::Duration::ZERO).await.unwrap();
        first.wait().unwrap();
        let died = News::Death { app: app.clone(), member: members[0].clone() };
        assert_eq!(told.recv().await, Some(died.clone()));
        deaths.hold(&app, &members);
        assert_eq!(told.recv().await, Some(died), "it is still taken for living");
        deaths.hold(&app, &members[1..]);
        assert!(told.try_recv().is_err());

        deaths.forget(&app);
        crate::host::signal::terminate(second.process(), std::time::Duration::ZERO).await.unwrap();
        second.wait().unwrap();
        assert!(told.try_recv().is_err(), "nobody wants to know");
    }
}
