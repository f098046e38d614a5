//! What is linked into a release: no two links may stand in each other's way.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Checker, each};
use crate::manifest::node::{Cursor, Span, cut};
use crate::manifest::shape;
use crate::model::names::RelativePath;
use crate::model::release::Shared;

/// A place in the release that becomes a link.
struct Linked {
    path: PathBuf,
    written: String,
    span: Span,
}

impl Checker<'_> {
    pub(super) fn linked(
        &mut self,
        release: &shape::Release,
        at: &Cursor<'_>,
    ) -> Option<(Shared, BTreeMap<RelativePath, RelativePath>)> {
        const HELP: &str = "write a path inside the release, without `..`, such as `storage`";
        let place = at.key("shared");
        let mut linked = Vec::new();
        let mut paths = |checker: &mut Self, written: &[String], key: &str, links: bool| {
            let list = place.key(key);
            each(written, |position, text| {
                let at = list.item(position);
                let path = checker.inside_with(text, &at, HELP)?;
                if links {
                    linked.push(Linked { path: normal(&path), written: text.clone(), span: at.span });
                }
                Some(path)
            })
        };
        let shared = release.shared.as_ref();
        let dirs = paths(self, shared.map_or(&[], |shared| shared.dirs.as_slice()), "dirs", true);
        let files = paths(self, shared.map_or(&[], |shared| shared.files.as_slice()), "files", true);
        let writable = paths(self, shared.map_or(&[], |shared| shared.writable.as_slice()), "writable", false);

        let places = at.key("links");
        let mut links = Some(BTreeMap::new());
        for (text, target) in &release.links {
            let (at, name) = (places.key(text), places.name_of(text));
            let mut named = at.clone();
            named.span = name.clone();
            let path = self.inside_with(text, &named, HELP);
            let target = self.inside_with(target, &at, "write what inside the release it leads to");
            let (Some(path), Some(target)) = (path, target) else {
                links = None;
                continue;
            };
            if normal(&target).starts_with(normal(&path)) {
                let message = format!("`{}` leads to itself", at.path);
                self.find(at.span.clone(), message, "write another place in the release");
                links = None;
                continue;
            }
            linked.push(Linked { path: normal(&path), written: text.clone(), span: name });
            if let Some(links) = &mut links {
                links.insert(path, target);
            }
        }
        let apart = self.apart(&linked);
        Some((Shared { dirs: dirs?, files: files?, writable: writable? }, links?)).filter(|_| apart)
    }

    /// No link at the place of another one, nor inside of what another one leads to.
    fn apart(&mut self, linked: &[Linked]) -> bool {
        let mut apart = true;
        for (at, one) in linked.iter().enumerate() {
            let other = linked
                .iter()
                .take(at)
                .find(|other| one.path.starts_with(&other.path) || other.path.starts_with(&one.path));
            let Some(other) = other else { continue };
            apart = false;
            let (message, help) = if one.path == other.path {
                (format!("`{}` is linked already", cut(&one.written)), "remove one of the two")
            } else {
                let (inner, outer) = if one.path.starts_with(&other.path) { (one, other) } else { (other, one) };
                let message = format!(
                    "`{}` lies inside of `{}`, which is a link itself",
                    cut(&inner.written),
                    cut(&outer.written)
                );
                (message, "what is in a shared directory is shared with it: remove one of the two")
            };
            self.find(one.span.clone(), message, help);
        }
        apart
    }
}

/// `./a//b/` is `a/b`.
fn normal(path: &RelativePath) -> PathBuf {
    let parts = Path::new(path.as_path()).components();
    parts.filter(|part| matches!(part, Component::Normal(_))).collect()
}
