//! Users of the machine: whom an App's commands, workers and files belong to.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, getgrouplist};

use crate::model::app::App;
use crate::ports::{HostError, HostErrorKind};

/// One user, with everything that a child of his needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name; the number in digits where the machine has no name for it.
    pub name: String,
    /// His number.
    pub uid: u32,
    /// His primary group.
    pub gid: u32,
    /// All his groups, the primary one among them.
    pub groups: Vec<u32>,
    /// His home directory; `/` where the machine knows none.
    pub home: PathBuf,
    /// His shell; `/bin/sh` where the machine knows none.
    pub shell: PathBuf,
}

/// Users, each looked up once: for one look at many Apps. Not to be kept longer, for users change.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<Whose, Result<User, HostError>>);

impl Users {
    /// As [`User::of`].
    ///
    /// # Errors
    /// As [`User::of`].
    pub fn of(&mut self, app: &App) -> Result<User, HostError> {
        self.0.entry(Whose::of(app)?).or_insert_with_key(Whose::user).clone()
    }
}

/// By what a user is looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Name(String),
    /// With the group that stands for one without a name.
    Number(u32, u32),
}

impl Whose {
    fn of(app: &App) -> Result<Self, HostError> {
        if let Some(name) = &app.user {
            return Ok(Self::Name(name.as_str().to_owned()));
        }
        let ourselves = || Self::Number(nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        if !nix::unistd::geteuid().is_root() {
            return Ok(ourselves());
        }
        match std::fs::metadata(app.root.path()) {
            Ok(root) => Ok(Self::Number(root.uid(), root.gid())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ourselves()),
            Err(error) => Err(HostError::io(format!("cannot look at `{}`", app.root), &error)),
        }
    }

    fn user(&self) -> Result<User, HostError> {
        match self {
            Self::Name(name) => User::named(name),
            Self::Number(uid, gid) => User::numbered(*uid, *gid),
        }
    }
}

/// The number of a group.
///
/// # Errors
/// There is no such group, or nobody can tell.
pub fn group(name: &str) -> Result<u32, HostError> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(HostError::new(HostErrorKind::Misconfigured, format!("there is no group `{name}` here"))
            .with_help(format!("add it: `groupadd --system {name}`"))),
        Err(error) => Err(HostError::io(format!("cannot look up the group `{name}`"), &error.into())),
    }
}

impl User {
    /// Looks a login name up. Blocks while name services are asked.
    ///
    /// # Errors
    /// There is no such user, or the name service does not answer.
    pub fn named(name: &str) -> Result<Self, HostError> {
        match nix::unistd::User::from_name(name) {
            Ok(Some(found)) => Self::complete(found),
            Ok(None) => Err(HostError::new(HostErrorKind::Misconfigured, format!("there is no user `{name}`"))
                .with_help("create the user, or set `spec.user` to one that exists")),
            Err(error) => Err(HostError::io(format!("cannot look up the user `{name}`"), &error.into())),
        }
    }

    /// Looks a number up. A number without a name is a user nevertheless, with `gid` as his only group.
    ///
    /// # Errors
    /// The name service does not answer.
    pub fn numbered(uid: u32, gid: u32) -> Result<Self, HostError> {
        match nix::unistd::User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(found)) => Self::complete(found),
            Ok(None) => Ok(Self {
                name: uid.to_string(),
                uid,
                gid,
                groups: vec![gid],
                home: PathBuf::from("/"),
                shell: PathBuf::from("/bin/sh"),
            }),
            Err(error) => Err(HostError::io(format!("cannot look up the user {uid}"), &error.into())),
        }
    }

    /// Who runs this program.
    ///
    /// # Errors
    /// The name service does not answer.
    pub fn who_runs() -> Result<Self, HostError> {
        Self::numbered(nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    }

    /// Whom an App's commands, workers and made files belong to: `spec.user`; without it the owner of the
    /// root when run as root, else who runs; also where the root is yet to be made.
    ///
    /// # Errors
    /// There is no such user, or the root cannot be looked at.
    pub fn of(app: &App) -> Result<Self, HostError> {
        Whose::of(app)?.user()
    }

    /// The part of a path, itself or a directory above it, that this user could put something else in place of;
    /// none when only root and others could. A link counts as what it leads to.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn could_replace(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let failed = |error: std::io::Error| HostError::io(format!("cannot look at `{}`", path.display()), &error);
        let real = path.canonicalize().map_err(failed)?;
        for part in real.ancestors() {
            let found = std::fs::symlink_metadata(part).map_err(failed)?;
            let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
            let by_others = found.mode() & 0o002 != 0 && !sticky;
            let by_group = found.mode() & 0o020 != 0 && !sticky && self.groups.contains(&found.gid());
            if found.uid() == self.uid || by_others || by_group {
                return Ok(Some(part.to_owned()));
            }
        }
        Ok(None)
    }

    fn complete(found: nix::unistd::User) -> Result<Self, HostError> {
        let cannot = |error: std::io::Error| {
            HostError::io(format!("cannot look up the groups of the user `{}`", found.name), &error)
        };
        let name = CString::new(found.name.as_str()).map_err(|error| cannot(error.into()))?;
        let groups = getgrouplist(&name, found.gid).map_err(|error| cannot(error.into()))?;
        let or = |path: PathBuf, default: &str| if path.as_os_str().is_empty() { default.into() } else { path };
        Ok(Self {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: or(found.dir, "/"),
            shell: or(found.shell, "/bin/sh"),
            name: found.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(User::numbered(0, 0).unwrap(), root);
    }

    #[test]
    fn what_a_user_could_replace_is_found_anywhere_on_the_way() {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::{PermissionsExt, symlink};
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::fs::write(real.join("a/program"), "").unwrap();
        symlink(real.join("a/program"), real.join("link")).unwrap();
        let stranger = User::numbered(3_999_999_999, 3_999_999_998).unwrap();
        let replaceable = || stranger.could_replace(&real.join("link")).unwrap();
        assert_eq!(replaceable(), None);
        for (path, mode) in [("a/program", 0o646), ("a", 0o757)] {
            let before = std::fs::metadata(real.join(path)).unwrap().permissions();
            set_permissions(real.join(path), Permissions::from_mode(mode)).unwrap();
            assert_eq!(replaceable(), Some(real.join(path)));
            set_permissions(real.join(path), before).unwrap();
        }
        set_permissions(real.join("a"), Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(replaceable(), None, "sticky");
        let owner = User::who_runs().unwrap();
        assert_eq!(owner.could_replace(&real.join("link")).unwrap(), Some(real.join("a/program")));
    }

    #[test]
    fn a_number_without_a_name_is_a_user_and_a_name_without_a_number_is_none() {
        let nameless = User::numbered(3_999_999_999, 77).unwrap();
        assert_eq!((nameless.name.as_str(), nameless.gid, nameless.groups.as_slice()), ("3999999999", 77, &[77][..]));
        let error = User::named("no-such-user-here").unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert!(error.message.contains("no-such-user-here") && error.help.is_some(), "{error:?}");
    }
}
