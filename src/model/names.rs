//! Checked names and paths: a constructor looks once, everything after trusts the type.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not the name or path it should be; reads on after "… is".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("empty")]
    Empty,
    /// `.` or `..`, which name a place and not a thing in it.
    #[error("`{0}`, which names a directory relation and not an entry")]
    Dots(String),
    /// A name that listings leave out.
    #[error("`{0}`, which begins with a dot: such a directory is invisible")]
    Hidden(String),
    /// A character that the name may not have.
    #[error("not allowed to contain {what}")]
    Character {
        /// The offending character, in words.
        what: String,
    },
    /// More bytes than one directory entry or label may have.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A root that is not an absolute path.
    #[error("not an absolute path")]
    NotAbsolute,
    /// A path that would leave the directory it is relative to.
    #[error("not a path that stays inside its directory")]
    Escapes,
}

/// Most bytes of one directory entry on every Linux file system that matters.
const ENTRY_LIMIT: usize = 255;

/// Most bytes of a release's id: what is kept of a release is in files named after it, with a suffix.
const ID_LIMIT: usize = 240;

fn id(text: &str) -> Result<(), NameError> {
    entry(text)?;
    if text.starts_with('.') {
        return Err(NameError::Hidden(text.to_owned()));
    }
    if text.len() > ID_LIMIT { Err(NameError::TooLong { limit: ID_LIMIT }) } else { Ok(()) }
}

fn entry(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text == "." || text == ".." {
        return Err(NameError::Dots(text.to_owned()));
    }
    if text.len() > ENTRY_LIMIT {
        return Err(NameError::TooLong { limit: ENTRY_LIMIT });
    }
    for (found, what) in [('/', "a slash"), ('\0', "a NUL byte"), ('\n', "a line break")] {
        if text.contains(found) {
            return Err(NameError::Character { what: what.to_owned() });
        }
    }
    Ok(())
}

/// Letters, digits, `-`, `_` and `.`; starts with a letter or digit.
fn label(text: &str) -> Result<(), NameError> {
    entry(text)?;
    let odd =
        text.char_indices().find(|&(at, c)| !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '-' | '_' | '.'))));
    match odd {
        None => Ok(()),
        Some((_, c)) => Err(NameError::Character { what: format!("`{}`", c.escape_debug()) }),
    }
}

// A name is copied into every drift, action and record that speaks of its bearer: copies share the text.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it as it was typed.
            ///
            /// # Errors
            /// [`NameError`] when the text cannot be such a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text.into()))
            }

            /// The name as it was typed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// Name of one App, unique among the manifests that are reconciled together.
    AppName,
    label
);
name!(
    /// Name of one release directory, such as `20260111-150000`.
    ///
    /// A string, never a number or a date: `1e3`, `007` and `0x10` stay as typed. It does not begin with a dot.
    ReleaseId,
    id
);
name!(
    /// Name of one worker group inside its App.
    GroupName,
    label
);
name!(
    /// What the manager calls one worker: `yujix-worker:yujix-worker_00`, `yujix-worker@1.service`, `default/1`.
    MemberName,
    nonempty
);
name!(
    /// Login name of an operating-system user.
    UserName,
    label
);
name!(
    /// What one host of a fleet is called in its manifest.
    HostName,
    label
);

fn nonempty(text: &str) -> Result<(), NameError> {
    if text.is_empty() { Err(NameError::Empty) } else { Ok(()) }
}

/// A path below some directory: relative, without `..`, at least one component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks that `text` cannot leave the directory that it is relative to.
    ///
    /// # Errors
    /// [`NameError`] for an empty or absolute path, `..`, and a NUL byte.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains('\0') {
            return Err(NameError::Character { what: "a NUL byte".to_owned() });
        }
        let mut named = false;
        for part in Path::new(&text).components() {
            match part {
                Component::Normal(_) => named = true,
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(NameError::Escapes),
            }
        }
        if named { Ok(Self(text)) } else { Err(NameError::Escapes) }
    }

    /// The path as it was typed.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for RelativePath {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

/// The directory of one application: `releases/`, `current`, `shared/` and `.trueup/` live in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Root(PathBuf);

impl Root {
    /// Checks that `path` is absolute, is not `/`, and has no `..` in it.
    ///
    /// # Errors
    /// [`NameError`] otherwise.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, NameError> {
        let path = path.into();
        if path.as_os_str().is_empty() {
            return Err(NameError::Empty);
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(NameError::Character { what: "a NUL byte".to_owned() });
        }
        if !path.is_absolute() {
            return Err(NameError::NotAbsolute);
        }
        let mut clean = PathBuf::from("/");
        for part in path.components() {
            match part {
                Component::Normal(part) => clean.push(part),
                Component::ParentDir => return Err(NameError::Escapes),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        if clean.parent().is_none() {
            return Err(NameError::Dots("/".to_owned()));
        }
        Ok(Self(clean))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The link that names the release in force.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.0.join("current")
    }

    /// Where the releases are.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.0.join("releases")
    }

    /// The directory of one release.
    #[must_use]
    pub fn release(&self, id: &ReleaseId) -> PathBuf {
        self.0.join("releases").join(id.as_str())
    }

    /// Where Trueup keeps its lock, journal and records.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join(".trueup")
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_ids_stay_as_typed_and_cannot_leave_releases() {
        for good in ["1e3", "007", "20260111085234", "2026-01-11", "0x10", "v1.2.3", "x..", "a b", &"x".repeat(240)] {
            assert_eq!(ReleaseId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "..x", ".hidden", "a/b", "/", "a\0b", &"x".repeat(241)] {
            assert!(ReleaseId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_plain() {
        for good in ["a", "yujix", "web-1", "a.b_c", "9lives"] {
            assert!(AppName::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a\n"] {
            assert!(AppName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn relative_paths_stay_inside() {
        for good in ["a", "a/b", "./a", "vendor/autoload.php", ".env"] {
            assert!(RelativePath::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a/../b", "/etc/passwd", "a\0b"] {
            assert!(RelativePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn roots_are_absolute_and_never_the_file_system_root() {
        assert_eq!(Root::new("/srv//app/./").unwrap().path(), Path::new("/srv/app"));
        for bad in ["", "srv/app", "/", "//", "/srv/../etc"] {
            assert!(Root::new(bad).is_err(), "{bad:?}");
        }
    }
}
