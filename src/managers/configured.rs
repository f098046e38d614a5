//! How the daemons of this host are configured, by their files. Everything here blocks, and changes nothing.
//!
//! Anybody can give a process any command line, and with that name any file. So only processes of those who are
//! believed are: root, whoever asks, and the users of the Apps.

use std::collections::BTreeSet;

use super::services::{nginx, php_fpm};
use super::{supervisord, systemd};
use crate::model::facts::{Configuration, Fpm, Nginx, Setting, Unit};
use crate::model::process::{ProcessSummary, ProcessTable};

/// The processes that are believed, and live.
#[derive(Debug)]
pub struct Believed<'a> {
    table: &'a ProcessTable,
    users: BTreeSet<u32>,
}

impl<'a> Believed<'a> {
    /// Those of root, of whoever asks, and of these users.
    #[must_use]
    pub fn new(table: &'a ProcessTable, users: impl IntoIterator<Item = u32>) -> Self {
        let own = [0, rustix::process::geteuid().as_raw()];
        Self { table, users: users.into_iter().chain(own).collect() }
    }

    fn processes(&self) -> impl Iterator<Item = &'a ProcessSummary> {
        self.table.processes.iter().filter(|process| !process.zombie && self.users.contains(&process.uid))
    }

    /// Every supervisord that runs, or that would be found if it were started.
    #[must_use]
    pub fn supervisords(&self) -> Vec<Configuration> {
        supervisord::files::configurations(self.processes())
    }

    /// nginx; none where there is none.
    #[must_use]
    pub fn nginx(&self) -> Option<Nginx> {
        nginx::configuration(self.processes())
    }

    /// Every php-fpm that runs.
    #[must_use]
    pub fn php_fpms(&self) -> Vec<Fpm> {
        let mut found: Vec<Fpm> = Vec::new();
        let mains = self.processes().filter(|process| php_fpm::is_main(&process.command));
        for fpm in mains.filter_map(|process| php_fpm::configured(&process.command)) {
            if !found.iter().any(|known| known.configuration.file == fpm.configuration.file) {
                found.push(fpm);
            }
        }
        found
    }
}

/// A unit of systemd, a template too; none where there is no file of it.
#[must_use]
pub fn unit(name: &str) -> Option<Unit> {
    systemd::files::unit(name)
}

/// The units of this host's own making that run a command in which one of these lines stands.
#[must_use]
pub fn units_that_run(lines: &[&str]) -> Vec<Unit> {
    systemd::files::that_run(lines)
}

/// How long systemd waits before it kills, where a unit says nothing; none where nobody has set it.
#[must_use]
pub fn default_stop_timeout() -> Option<Setting> {
    systemd::files::default_stop_timeout()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::process::{Known, Pid, ProcessId, StartTicks};

    #[test]
    fn only_root_who_asks_and_the_users_of_apps_name_files() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("s.conf");
        std::fs::write(&file, "[supervisord]\n").unwrap();
        let own = rustix::process::geteuid().as_raw();
        let rows = [(0, false, true), (own, false, true), (4711, false, true), (4712, false, false), (0, true, false)];
        for (uid, zombie, believed) in rows {
            let process = ProcessSummary {
                id: ProcessId { pid: Pid(7), start_ticks: StartTicks(7) },
                parent: Pid(1),
                session: Pid(7),
                uid,
                terminal: false,
                started: Timestamp::UNIX_EPOCH,
                zombie,
                command: ["supervisord", "-c", file.to_str().unwrap()].map(str::to_owned).to_vec(),
                cwd: Known::Unknown(String::new()),
                executable: Known::Unknown(String::new()),
            };
            let table = ProcessTable { processes: vec![process] };
            let found = Believed::new(&table, [4711]).supervisords();
            assert_eq!(found.iter().any(|found| found.file == file), believed, "{uid} {zombie}");
        }
    }
}
