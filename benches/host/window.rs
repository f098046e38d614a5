//! How long workers go on with the old release: from the rename of `current` until the open entry script of
//! each of them names the new one, as seen from outside every half millisecond.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Fallible, raw};

/// Between two looks. Short against what is measured, long enough to leave the processors to the workers.
const PAUSE: Duration = Duration::from_micros(500);
/// Nobody waits longer.
const LIMIT: Duration = Duration::from_mins(1);

/// A site whose workers are watched.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its root.
    pub root: PathBuf,
    /// The supervisord whose children are its workers.
    pub supervisord: u32,
    /// How many there are.
    pub workers: usize,
}

impl Site {
    /// Starts to look, runs `switch`, and says how long the old release lived.
    pub fn window(&self, to: &str, switch: impl FnOnce() -> Fallible<()>) -> Fallible<Duration> {
        let (seen, ready) = self.watch(to);
        ready.recv()?;
        switch()?;
        seen.recv()?.ok_or_else(|| format!("not all workers came to run {to}").into())
    }

    fn watch(&self, to: &str) -> (Receiver<Option<Duration>>, Receiver<()>) {
        let ((tell, seen), (begun, ready)) = (channel(), channel());
        let (site, target) = (self.clone(), self.root.join("releases").join(to));
        thread::spawn(move || {
            let began = Instant::now();
            let mut renamed: Option<Instant> = None;
            // Whoever listens has gone only if the benchmark has failed already.
            let _ = begun.send(());
            while began.elapsed() < LIMIT {
                if renamed.is_none() && site.root.join("current").canonicalize().is_ok_and(|found| found == target) {
                    renamed = Some(Instant::now());
                }
                if let Some(renamed) = renamed
                    && site.running(&target) == site.workers
                {
                    let _ = tell.send(Some(renamed.elapsed()));
                    return;
                }
                thread::sleep(PAUSE);
            }
            let _ = tell.send(None);
        });
        (seen, ready)
    }

    /// How many workers have the release's entry script open.
    fn running(&self, release: &Path) -> usize {
        let children = format!("/proc/{0}/task/{0}/children", self.supervisord);
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let runs =
            |pid: &&str| std::fs::read_link(format!("/proc/{pid}/fd/3")).is_ok_and(|file| file.starts_with(release));
        children.split_whitespace().filter(runs).count()
    }

    /// Moves the link as any deployment script does.
    pub fn rename(&self, to: &str) -> Fallible<()> {
        let temporary = self.root.join("current.raw");
        std::os::unix::fs::symlink(Path::new("releases").join(to), &temporary)?;
        Ok(std::fs::rename(temporary, self.root.join("current"))?)
    }

    /// Waits until supervisord calls all workers RUNNING, so that each round begins alike.
    pub fn settle(&self) -> Fallible<()> {
        let began = Instant::now();
        loop {
            let up = raw::processes()?.into_iter().filter(|(_, state, _)| state == "RUNNING").count();
            if up == self.workers {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                return Err("the workers do not come up".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Signals these workers side by side through supervisord, which is kept awake until their successors are there.
pub fn signal_raw(names: &[String]) -> Fallible<()> {
    let before = raw::processes()?;
    thread::scope(|scope| {
        let signals: Vec<_> = names
            .iter()
            .map(|name| {
                scope.spawn(move || {
                    raw::call("supervisor.signalProcess", &[name, "TERM"]).map_err(|error| error.to_string())
                })
            })
            .collect();
        for signal in signals {
            signal.join().map_err(|_| "a signal's thread died")??;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let began = Instant::now();
    loop {
        let now = raw::processes()?;
        let replaced =
            now.iter().all(|(name, _, pid)| *pid != 0 && !before.iter().any(|(old, _, was)| old == name && was == pid));
        if replaced {
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            return Err("supervisord does not replace the workers".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
