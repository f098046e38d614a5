//! Whose a root is by the newest manifests, and what becomes of each App and each root that was looked after so far.
//!
//! Whoever has a root now looks after what is left there. A root that is nobody's any more is as if its App had
//! disappeared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::names::{AppName, Root};

/// Who has which root by the newest manifests.
#[derive(Debug, Clone, Default)]
pub struct RootOwners {
    roots: BTreeMap<PathBuf, AppName>,
    named: BTreeSet<AppName>,
}

impl RootOwners {
    /// By the Apps that the manifests name. `aliases`: roots that were looked after so far, each with the root of these
    /// Apps that is the same directory by another name.
    pub fn new<'a>(
        apps: impl IntoIterator<Item = (&'a AppName, &'a Root)>,
        aliases: &BTreeMap<PathBuf, PathBuf>,
    ) -> Self {
        let mut owners = Self::default();
        for (name, root) in apps {
            owners.roots.insert(root.path().to_owned(), name.clone());
            owners.named.insert(name.clone());
        }
        for (former, named) in aliases {
            if let Some(name) = owners.roots.get(named).cloned() {
                owners.roots.entry(former.clone()).or_insert(name);
            }
        }
        owners
    }

    /// Whose that root is; none: nobody's.
    #[must_use]
    pub fn of(&self, root: &Root) -> Option<&AppName> {
        self.roots.get(root.path())
    }

    /// The Apps that the manifests name.
    #[must_use]
    pub fn named(&self) -> &BTreeSet<AppName> {
        &self.named
    }
}

/// An App that is looked after.
#[derive(Debug, Clone, Copy)]
pub struct RootHolder<'a> {
    /// Which.
    pub name: &'a AppName,
    /// Where.
    pub root: &'a Root,
    /// It was not named any more before, and its workers are being stopped.
    pub leaving: bool,
}

/// What becomes of an App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppFate {
    /// It was not looked after until now.
    Comes,
    /// It has the root that it had.
    Stays,
    /// It gets another root.
    Moves,
    /// It is not named any more, and another App has its root.
    Succeeded {
        /// That one.
        heir: AppName,
    },
    /// It is not named any more, and its root is nobody's.
    Disappears,
}

/// What becomes of each App that is named or looked after; one that leaves already, and goes on with that, is left out.
#[must_use]
pub fn fates(holders: &[RootHolder<'_>], owners: &RootOwners) -> BTreeMap<AppName, AppFate> {
    let mut fates: BTreeMap<AppName, AppFate> =
        owners.named.iter().map(|name| (name.clone(), AppFate::Comes)).collect();
    for RootHolder { name, root, leaving } in holders {
        let fate = match owners.of(root) {
            Some(heir) if heir == *name => AppFate::Stays,
            _ if owners.named.contains(name) => AppFate::Moves,
            Some(heir) => AppFate::Succeeded { heir: heir.clone() },
            None if *leaving => continue,
            None => AppFate::Disappears,
        };
        fates.insert((*name).clone(), fate);
    }
    fates
}

/// What becomes of a root that an earlier agent has looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormerRootFate {
    /// Its App has it still.
    Kept,
    /// Its App has another one, or had left it for another one, and this one is somebody else's.
    HandedOn,
    /// Its App has another one, and this one is nobody's.
    Left,
    /// Its App is not named any more, and another one has it.
    Succeeded {
        /// That one.
        heir: AppName,
    },
    /// Its App is not named any more, and it is nobody's.
    Orphaned,
    /// The same, and its App had left it for another one before.
    LeftBefore,
}

/// What becomes of roots that an earlier agent has looked after, in that order. An App's own root stands before those
/// that it has left.
#[must_use]
pub fn formers<'a>(
    known: impl IntoIterator<Item = (&'a AppName, &'a Root)>,
    owners: &RootOwners,
) -> Vec<FormerRootFate> {
    let (mut seen, mut went) = (BTreeSet::new(), BTreeSet::new());
    let each = known.into_iter().map(|(name, root)| {
        let named = owners.named.contains(name);
        let is_own = seen.insert(name);
        match owners.of(root) {
            Some(heir) if heir == name => FormerRootFate::Kept,
            Some(_) if named || !is_own => FormerRootFate::HandedOn,
            Some(heir) => FormerRootFate::Succeeded { heir: heir.clone() },
            None if named => FormerRootFate::Left,
            None if went.insert(name) => FormerRootFate::Orphaned,
            None => FormerRootFate::LeftBefore,
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    fn root(path: &str) -> Root {
        Root::new(std::path::Path::new(path)).unwrap()
    }

    /// `shop` at `/a`, `blog` at `/b`; and `/link` is `/a` by another name.
    fn owners() -> RootOwners {
        let aliases = [("/link", "/a"), ("/b", "/a"), ("/other", "/nobodys")];
        let aliases = aliases.map(|(former, named)| (former.into(), named.into())).into();
        RootOwners::new([(&name("shop"), &root("/a")), (&name("blog"), &root("/b"))], &aliases)
    }

    fn succeeded(heir: &str) -> AppFate {
        AppFate::Succeeded { heir: name(heir) }
    }

    #[test]
    fn a_root_is_of_whoever_names_it_by_whatever_name() {
        let owners = owners();
        let rows =
            [("/a", Some("shop")), ("/link", Some("shop")), ("/b", Some("blog")), ("/other", None), ("/c", None)];
        for (path, expected) in rows {
            assert_eq!(owners.of(&root(path)).map(AppName::as_str), expected, "{path}");
        }
    }

    #[test]
    fn an_app_stays_moves_is_succeeded_or_disappears() {
        let rows = [
            ("shop", "/a", false, Some(AppFate::Stays)),
            ("shop", "/link", false, Some(AppFate::Stays)),
            ("shop", "/c", false, Some(AppFate::Moves)),
            ("shop", "/b", false, Some(AppFate::Moves)),
            // It is named again before its workers were stopped.
            ("shop", "/a", true, Some(AppFate::Stays)),
            ("shop", "/c", true, Some(AppFate::Moves)),
            ("old", "/a", false, Some(succeeded("shop"))),
            ("old", "/link", false, Some(succeeded("shop"))),
            ("old", "/b", true, Some(succeeded("blog"))),
            ("old", "/c", false, Some(AppFate::Disappears)),
            ("old", "/c", true, None),
        ];
        for (app, at, leaving, expected) in rows {
            let (app, at) = (name(app), root(at));
            let found = fates(&[RootHolder { name: &app, root: &at, leaving }], &owners());
            assert_eq!(found.get(&app), expected.as_ref(), "{app} {at} {leaving}");
            assert_eq!(found.get(&name("blog")), Some(&AppFate::Comes));
        }
        // Two that swap their roots.
        let (shop, blog, a, b) = (name("shop"), name("blog"), root("/a"), root("/b"));
        let swapped = [
            RootHolder { name: &shop, root: &b, leaving: false },
            RootHolder { name: &blog, root: &a, leaving: false },
        ];
        assert_eq!(fates(&swapped, &owners()).into_values().collect::<Vec<_>>(), [AppFate::Moves, AppFate::Moves]);
    }

    #[test]
    fn a_root_that_an_earlier_agent_has_known_goes_to_whoever_has_it() {
        let rows = [
            ("shop", "/a", FormerRootFate::Kept),
            ("shop", "/b", FormerRootFate::HandedOn),
            ("shop", "/c", FormerRootFate::Left),
            ("old", "/link", FormerRootFate::Succeeded { heir: name("shop") }),
            ("old", "/b", FormerRootFate::HandedOn),
            ("old", "/c", FormerRootFate::Orphaned),
            ("old", "/d", FormerRootFate::LeftBefore),
            ("older", "/d", FormerRootFate::Orphaned),
        ];
        let known = rows.each_ref().map(|(app, at, _)| (name(app), root(at)));
        let found = formers(known.iter().map(|(name, root)| (name, root)), &owners());
        assert_eq!(found, rows.map(|(_, _, expected)| expected));
    }
}
