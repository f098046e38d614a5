//! The release that should be in force: where it comes from, and the steps that make it ready.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::app::{CommandLine, SecretSource};
use super::names::{RelativePath, ReleaseId, UserName};

/// The release that should be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its directory in `releases/`.
    pub id: ReleaseId,
    /// What must be there before it may be switched to: guards against half-uploaded releases.
    pub requires: Vec<RelativePath>,
    /// Where it comes from while it is not there; none: somebody else puts it there.
    pub source: Option<Source>,
    /// What all releases have in common, kept in `ROOT/shared`.
    pub shared: Shared,
    /// Further links in the release: where, and what inside the release they lead to.
    pub links: BTreeMap<RelativePath, RelativePath>,
    /// Run once in a fetched release, after its links are there.
    pub build: Vec<CommandStep>,
    /// Must succeed before the release may be switched to; recorded, so it runs once.
    pub verify: Vec<CommandStep>,
    /// Run once for each release, before the switch; never undone.
    pub migrate: Vec<CommandStep>,
    /// Run around the switch.
    pub hooks: Hooks,
    /// How many proven releases are kept; 5 by default, at least 1. What trueup has neither made nor seen in force is
    /// not counted, and stays.
    pub keep: u32,
}

impl Release {
    /// A release that is there already and of which nothing else is said.
    #[must_use]
    pub fn present(id: ReleaseId) -> Self {
        Self {
            id,
            requires: Vec::new(),
            source: None,
            shared: Shared::default(),
            links: BTreeMap::new(),
            build: Vec::new(),
            verify: Vec::new(),
            migrate: Vec::new(),
            hooks: Hooks::default(),
            keep: 5,
        }
    }
}

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Source {
    /// A copy of this directory on the same host.
    Dir {
        /// Absolute.
        path: PathBuf,
    },
    /// One commit of a git repository.
    Git {
        /// Anything that git can fetch from; may have credentials in it, so it is shown without them.
        #[serde(serialize_with = "without_credentials")]
        url: String,
        /// Which commit.
        revision: Revision,
        /// Whether its submodules come along.
        submodules: bool,
    },
    /// A tar file, plain or packed with gzip or zstd.
    Archive {
        /// Where it is.
        location: Location,
        /// SHA-256 of the file in lower-case hexadecimal, checked before anything is unpacked.
        sha256: Option<String>,
        /// How many leading components of each entry's path are dropped.
        strip_components: u32,
        /// Most bytes that its files may have when unpacked.
        limit: u64,
    },
}

/// Which commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Revision {
    /// Its full or abbreviated hash, in lower case.
    Commit(String),
    /// A branch or tag; resolved once, when the release is fetched.
    Ref(String),
}

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// A file on this host; absolute.
    Path(PathBuf),
    /// Fetched by HTTPS.
    Url(#[serde(serialize_with = "without_credentials")] String),
}

#[expect(clippy::ptr_arg, reason = "serde hands over a reference to the field")]
fn without_credentials<S: serde::Serializer>(url: &String, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&public(url))
}

/// A URL without the name and password that may stand in it, and without what a query may hold.
#[must_use]
pub fn public(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            // `ssh://git@host` names a user that is no secret; a password after it is one.
            let shown = match authority.rsplit_once('@') {
                Some((user, host)) if scheme == "ssh" && !user.contains(':') => format!("{user}@{host}"),
                Some((_, host)) => host.to_owned(),
                None => authority.to_owned(),
            };
            format!("{scheme}://{shown}{path}")
        }
        None => url.to_owned(),
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir { path } | Self::Archive { location: Location::Path(path), .. } => {
                write!(f, "{}", path.display())
            }
            Self::Git { url, revision: Revision::Commit(name) | Revision::Ref(name), .. } => {
                write!(f, "{} at {name}", public(url))
            }
            Self::Archive { location: Location::Url(url), .. } => write!(f, "{}", public(url)),
        }
    }
}

/// What all releases have in common, kept in `ROOT/shared` and linked into each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shared {
    /// Directories, such as `storage`.
    pub dirs: Vec<RelativePath>,
    /// Files, such as `.env`.
    pub files: Vec<RelativePath>,
    /// Directories of `shared/` or of the release that a web user of the App's group writes to.
    pub writable: Vec<RelativePath>,
}

/// Commands around the switch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Before `current` moves to the release; a failure keeps it from moving.
    pub before_switch: Vec<CommandStep>,
    /// After `current` has moved to the desired release.
    pub after_switch: Vec<CommandStep>,
    /// After `current` was taken back to an earlier release.
    pub after_rollback: Vec<CommandStep>,
}

/// One command of a build, a verification, a migration or a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandStep {
    /// What to run.
    pub run: CommandLine,
    /// How long it may take; then its whole process group goes. 10 minutes by default.
    pub timeout: Duration,
    /// Added to its environment.
    pub env: BTreeMap<String, EnvValue>,
    /// Where, inside the release; none: its top.
    pub working_directory: Option<RelativePath>,
    /// As whom; none: the App's user.
    pub user: Option<UserName>,
}

/// What every step finds in its environment, set by trueup.
pub const STEP_VARIABLES: [&str; 5] = ["RELEASE_ID", "RELEASE_PATH", "PREVIOUS_RELEASE", "ROOT", "APP"];

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// As written.
    Plain(String),
    /// Read when it is needed; never in logs, diffs or the journal.
    Secret(SecretSource),
}

/// Which steps of a release are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// `build`.
    Build,
    /// `verify`.
    Verify,
    /// `migrate`.
    Migrate,
    /// `hooks.beforeSwitch`.
    BeforeSwitch,
    /// `hooks.afterSwitch`.
    AfterSwitch,
    /// `hooks.afterRollback`.
    AfterRollback,
}

impl Stage {
    /// The key in the manifest.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Verify => "verify",
            Self::Migrate => "migrate",
            Self::BeforeSwitch => "beforeSwitch",
            Self::AfterSwitch => "afterSwitch",
            Self::AfterRollback => "afterRollback",
        }
    }

    /// The word for doing it: `build`, `run afterSwitch of`.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Verify => "verify",
            Self::Migrate => "migrate",
            Self::BeforeSwitch => "run beforeSwitch of",
            Self::AfterSwitch => "run afterSwitch of",
            Self::AfterRollback => "run afterRollback of",
        }
    }

    /// Its steps in that release.
    #[must_use]
    pub fn steps(self, release: &Release) -> &[CommandStep] {
        match self {
            Self::Build => &release.build,
            Self::Verify => &release.verify,
            Self::Migrate => &release.migrate,
            Self::BeforeSwitch => &release.hooks.before_switch,
            Self::AfterSwitch => &release.hooks.after_switch,
            Self::AfterRollback => &release.hooks.after_rollback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_may_be_secret() {
        let rows = [
            ("https://name:token@host/repo.git", "https://host/repo.git"),
            ("https://token@host/repo.git", "https://host/repo.git"),
            ("https://host/a.tar.gz?signature=abc#x", "https://host/a.tar.gz"),
            ("ssh://git@host:22/repo.git", "ssh://git@host:22/repo.git"),
            ("ssh://git:secret@host/repo.git", "ssh://host/repo.git"),
            ("git@host:team/repo.git", "git@host:team/repo.git"),
            ("/srv/git/repo.git", "/srv/git/repo.git"),
        ];
        for (url, shown) in rows {
            assert_eq!(public(url), shown);
        }
    }
}
