//! How the daemons of this host are configured, by their files. Everything here blocks, and changes nothing.

use super::services::{nginx, php_fpm};
use super::{supervisord, systemd};
use crate::model::facts::{Configuration, Fpm, Nginx, Setting, Unit};
use crate::model::process::ProcessTable;

/// Every supervisord that runs, or that would be found if it were started.
#[must_use]
pub fn supervisords(table: &ProcessTable) -> Vec<Configuration> {
    supervisord::files::configurations(table)
}

/// nginx; none where there is none.
#[must_use]
pub fn nginx(table: &ProcessTable) -> Option<Nginx> {
    nginx::configuration(table)
}

/// Every php-fpm that runs.
#[must_use]
pub fn php_fpms(table: &ProcessTable) -> Vec<Fpm> {
    let living = table.processes.iter().filter(|process| !process.zombie && php_fpm::is_main(&process.command));
    let mut found: Vec<Fpm> = Vec::new();
    for fpm in living.filter_map(|process| php_fpm::configured(&process.command)) {
        if !found.iter().any(|known| known.configuration.file == fpm.configuration.file) {
            found.push(fpm);
        }
    }
    found
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
