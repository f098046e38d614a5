//! Holds every worker's process, and tells at once when one has ended.
//!
//! A hold is a pidfd: it costs nothing while the process lives, and never means another process of the same number.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::senses::{HostNews, Member};
use crate::host::signal::Handle;
use crate::model::names::AppName;
use crate::model::process::ProcessId;
use crate::ports::HostError;

/// The holds on all workers of all Apps.
#[derive(Debug)]
pub struct Deaths {
    held: BTreeMap<AppName, BTreeMap<ProcessId, Hold>>,
    news: UnboundedSender<HostNews>,
    open: Open,
    /// Apps not all of whose workers are held: tried again after each pass.
    unheld: BTreeSet<AppName>,
    /// Whether it was said that there are such.
    complained: bool,
}

/// Takes hold of a process.
type Open = fn(ProcessId) -> Result<Option<Handle>, HostError>;

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
    pub fn new(news: UnboundedSender<HostNews>) -> Self {
        Self::with(Handle::open, news)
    }

    fn with(open: Open, news: UnboundedSender<HostNews>) -> Self {
        Self { held: BTreeMap::new(), news, open, unheld: BTreeSet::new(), complained: false }
    }

    /// These are all the workers of the App. One that has ended already is told of. Must be called within the runtime.
    pub fn hold(&mut self, app: &AppName, members: &[Member]) {
        let mut before = self.held.remove(app).unwrap_or_default();
        // What has been told once is told again if somebody still takes the process for living.
        before.retain(|_, hold| !hold.0.is_finished());
        let (mut held, mut failed) = (BTreeMap::new(), false);
        for member in members {
            match before.remove(&member.process).map_or_else(|| self.take(app, member), |hold| Ok(Some(hold))) {
                Ok(hold) => held.extend(hold.map(|hold| (member.process, hold))),
                Err(error) => {
                    self.complain(app, member, &error);
                    failed = true;
                }
            }
        }
        self.held.insert(app.clone(), held);
        if failed {
            self.unheld.insert(app.clone());
        } else {
            self.unheld.remove(app);
            self.take_heart();
        }
    }

    /// Lets go of an App's workers.
    pub fn forget(&mut self, app: &AppName) {
        self.held.remove(app);
        self.unheld.remove(app);
        self.take_heart();
    }

    /// The timers are left; said once, until it is over.
    fn complain(&mut self, app: &AppName, member: &Member, error: &HostError) {
        let process = member.process;
        if self.complained {
            debug!(%app, %process, %error, "a worker's death will be noticed late");
        } else {
            let help = error.help.as_deref().unwrap_or_default();
            warn!(%app, %process, %error, help, "deaths of workers will be noticed by the timers only");
        }
        self.complained = true;
    }

    fn take_heart(&mut self) {
        if self.complained && self.unheld.is_empty() {
            info!("deaths of workers are noticed at once again");
            self.complained = false;
        }
    }

    /// A hold; none on one that has ended.
    fn take(&self, app: &AppName, member: &Member) -> Result<Option<Hold>, HostError> {
        let died = HostNews::Death { app: app.clone(), member: member.clone() };
        let Some(handle) = (self.open)(member.process)? else {
            let _ = self.news.send(died);
            return Ok(None);
        };
        let news = self.news.clone();
        let waiting = tokio::spawn(async move {
            if handle.gone().await.is_ok() {
                // Nobody listens any more when the agent ends.
                let _ = news.send(died);
            }
        });
        Ok(Some(Hold(waiting.abort_handle())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::host::testchild::{IDLE, TestChild};
    use crate::model::names::{GroupName, MemberName};

    fn member(child: &TestChild) -> Member {
        let (group, member) = (GroupName::new("default").unwrap(), MemberName::new("default/1").unwrap());
        Member { group, member, process: child.process() }
    }

    /// Descriptors are used up, and some are let go of later.
    #[tokio::test]
    async fn a_worker_that_cannot_be_held_is_complained_of_once_until_it_can_be() {
        static USED_UP: AtomicBool = AtomicBool::new(true);
        fn scarce(process: ProcessId) -> Result<Option<Handle>, HostError> {
            if USED_UP.load(Ordering::SeqCst) {
                return Err(HostError::io("cannot take hold of it", &rustix::io::Errno::MFILE.into()));
            }
            Handle::open(process)
        }
        let [shop, blog] = ["shop", "blog"].map(|name| AppName::new(name).unwrap());
        let (news, mut told) = unbounded_channel();
        let mut deaths = Deaths::with(scarce, news);
        let (mut child, _) = TestChild::python(std::path::Path::new("/"), IDLE);
        let members = [member(&child)];
        deaths.hold(&shop, &members);
        deaths.hold(&blog, &members);
        assert!(deaths.complained && deaths.unheld.len() == 2 && told.try_recv().is_err());
        deaths.forget(&blog);
        USED_UP.store(false, Ordering::SeqCst);
        assert!(deaths.complained, "the other one is not held yet");
        // After the next pass.
        deaths.hold(&shop, &members);
        assert!(!deaths.complained && deaths.unheld.is_empty());
        crate::host::signal::terminate(child.process(), std::time::Duration::ZERO).await.unwrap();
        child.wait().unwrap();
        assert_eq!(told.recv().await, Some(HostNews::Death { app: shop.clone(), member: members[0].clone() }));
        USED_UP.store(true, Ordering::SeqCst);
        deaths.hold(&shop, &members);
        assert!(deaths.complained, "it is said again");
        deaths.forget(&shop);
        assert!(!deaths.complained);
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
        let died = HostNews::Death { app: app.clone(), member: members[0].clone() };
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
