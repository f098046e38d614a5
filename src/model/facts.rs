//! What the doctor looks at: configuration files as they are written, and what the host is like.
//!
//! Files are kept as settings with their places, not as their meaning: that is for `decide::doctor` to find.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::finding::Spot;
use super::names::GroupName;
use super::process::Known;

/// One line of a configuration file that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as written.
    pub key: String,
    /// Its value, without comments and surrounding quotes.
    pub value: String,
    /// Where.
    pub at: Spot,
}

/// What stands below one `[heading]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The text in the brackets; empty before the first one.
    pub name: String,
    /// Where the heading is.
    pub at: Spot,
    /// In the order of the file.
    pub settings: Vec<Setting>,
}

impl Section {
    /// The setting that counts: the last one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|setting| setting.key == key)
    }
}

/// Files of sections, read as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// The file that includes the others; of a unit, that which its drop-ins change.
    pub file: PathBuf,
    /// In the order in which they are read.
    pub sections: Vec<Section>,
    /// What belongs to it and could not be read: which and why.
    pub unread: Vec<String>,
}

impl Configuration {
    /// The setting that counts, of all sections of that name.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<&Setting> {
        self.sections.iter().rev().filter(|one| one.name == section).find_map(|one| one.get(key))
    }

    /// All settings of that name in sections of that name, in order.
    pub fn all<'a>(&'a self, section: &'a str, key: &'a str) -> impl DoubleEndedIterator<Item = &'a Setting> {
        let sections = self.sections.iter().filter(move |one| one.name == section);
        sections.flat_map(move |one| one.settings.iter().filter(move |setting| setting.key == key))
    }
}

/// One directive of nginx; what it includes stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name and arguments, without quotes; never empty.
    pub words: Vec<String>,
    /// Where it begins.
    pub at: Spot,
    /// What stands in its braces; empty where it has none.
    pub block: Vec<Directive>,
}

impl Directive {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Its argument of that number, from 1.
    #[must_use]
    pub fn argument(&self, number: usize) -> Option<&str> {
        self.words.get(number).map(String::as_str)
    }
}

/// nginx's configuration with all that it includes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nginx {
    /// The file that includes the others.
    pub file: PathBuf,
    /// What stands in it.
    pub directives: Vec<Directive>,
    /// What belongs to it and could not be read: which and why.
    pub unread: Vec<String>,
}

/// php-fpm's setting for how long its processes may take for what they have in hand when it is reloaded.
pub const CONTROL_TIMEOUT: &str = "process_control_timeout";

/// That setting in php-fpm's configuration; what stands before the first heading is global, too.
#[must_use]
pub fn control_timeout(configuration: &Configuration) -> Option<&Setting> {
    let global = |section: &&Section| section.name.is_empty() || section.name.eq_ignore_ascii_case("global");
    configuration.sections.iter().rev().filter(global).find_map(|section| section.get(CONTROL_TIMEOUT))
}

/// Whether a reload of this php-fpm drops requests: its own default is to wait for none.
#[must_use]
pub fn drops_requests(configuration: &Configuration) -> bool {
    let is_zero = |value: &str| value.trim_end_matches(['s', 'm', 'h', 'd']).parse::<u64>().is_ok_and(|time| time == 0);
    control_timeout(configuration).is_none_or(|setting| is_zero(&setting.value))
}

/// One php-fpm of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fpm {
    /// Its own configuration with its pools.
    pub configuration: Configuration,
    /// `php.ini` and what is beside it; none where nobody knows which belongs to it.
    pub ini: Option<Configuration>,
    /// The groups of each user that a pool names, by number.
    pub groups: BTreeMap<String, Known<Vec<u32>>>,
}

/// What the doctor sees of the host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Who runs trueup.
    pub user: HostUser,
    /// The configuration of every supervisord that runs, or that would be found if it were started.
    pub supervisord: Vec<Configuration>,
    /// nginx's configuration; none where there is no nginx.
    pub nginx: Known<Option<Nginx>>,
    /// Every php-fpm that runs.
    pub fpm: Known<Vec<Fpm>>,
    /// The units that run trueup.
    pub trueup_units: Known<Vec<Unit>>,
    /// How long systemd waits before it kills, where a unit says nothing.
    pub default_stop_timeout: Option<Setting>,
    /// `max_user_watches` of inotify.
    pub inotify_watches: Known<u64>,
    /// `max_user_instances` of inotify.
    pub inotify_instances: Known<u64>,
    /// Whether the clock is synchronised with others.
    pub clock_synchronised: Known<bool>,
    /// `/proc` hides the processes of others from us.
    pub hidden_processes: Known<bool>,
}

/// A unit of systemd: its file and its drop-ins as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Its name, such as `w@.service`.
    pub name: String,
    /// What is written of it.
    pub configuration: Configuration,
}

/// A user of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUser {
    /// Login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// All groups, by number.
    pub groups: Vec<u32>,
    /// Names of the groups, where they have any.
    pub group_names: Vec<String>,
}

/// What stands at a path, which is not followed where it is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFacts {
    /// What it is.
    pub kind: FileKind,
    /// The file system that it is on.
    pub device: u64,
    /// Whom it belongs to.
    pub uid: u32,
    /// Which group it belongs to.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A regular file.
    File,
    /// Anything else: a pipe, a socket, a device.
    Other,
}

/// What is left on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub bytes: u64,
    /// Bytes that a user may still write.
    pub free_bytes: u64,
    /// All inodes; 0 where there is no such limit.
    pub inodes: u64,
    /// Inodes that a user may still use.
    pub free_inodes: u64,
    /// Nothing may be written.
    pub read_only: bool,
    /// Nothing may be executed.
    pub no_exec: bool,
}

/// What the doctor sees of one App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFacts {
    /// Whom commands and files belong to.
    pub user: Known<HostUser>,
    /// The root; none where it is absent.
    pub root: Known<Option<PathFacts>>,
    /// What stands in the root, by its path there: `current`, `releases`, `shared`, `.trueup`, and what is shared.
    pub inside: BTreeMap<String, Known<Option<PathFacts>>>,
    /// What `current` leads to, as the link says it; none where it is no link.
    pub current: Option<PathBuf>,
    /// The release that `current` leads to, itself; none where it leads nowhere.
    pub serving: Option<PathFacts>,
    /// Bytes on disk of the releases that are there; none where that was not found out in time.
    pub release_sizes: Vec<Option<u64>>,
    /// What is left where the root is, or will be.
    pub space: Known<Space>,
    /// What the host of the health URL resolves to, each with whether it is this host; none where nothing is to be
    /// resolved.
    pub health: Option<Known<Vec<(IpAddr, bool)>>>,
    /// The units of its groups (their templates) and services, by their name; none where there is no such file.
    pub units: BTreeMap<GroupName, Known<Option<Unit>>>,
    /// What is run by sudo where we may not do it ourselves.
    pub rights: Vec<Right>,
    /// For each program that a command of the manifest names, and the user who runs it: whether it is there.
    pub programs: Vec<Program>,
}

/// How one group or service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// For people: ``workers `default` ``.
    pub what: String,
    /// Which way is open.
    pub door: ManagerAccess,
}

/// Which way to a manager is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagerAccess {
    /// Nobody needs leave: it is our own doing, or we are root.
    Own,
    /// Its socket may be opened.
    Socket(PathBuf),
    /// Commands by sudo.
    Sudo {
        /// How many are needed.
        needed: usize,
        /// Which of them no rule allows, as sudoers lines spell them.
        refused: Vec<String>,
        /// Rules ask for a password.
        password: bool,
    },
    /// It does not answer, or may not be asked: why, and what to do.
    Shut(String, Option<String>),
    /// It could not be found out, and why.
    Unknown(String),
}

/// A program that a command of the manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name, or its absolute path.
    pub name: String,
    /// Who runs it; none: the App's user.
    pub user: Option<String>,
    /// Which keys of the manifest need it.
    pub needed_by: Vec<String>,
    /// Whether that user could run it.
    pub there: Known<bool>,
}
