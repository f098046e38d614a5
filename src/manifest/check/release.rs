//! The release as a whole.

use super::{Checker, each, optional};
use crate::manifest::node::Cursor;
use crate::manifest::shape::{self, Text};
use crate::model::names::ReleaseId;
use crate::model::release::{Hooks, Release};

/// How many proven releases are kept by default.
const KEEP: u32 = 5;

impl Checker<'_> {
    pub(super) fn release(&mut self, release: &shape::Release, at: &Cursor<'_>) -> Option<Release> {
        let id = release.id.as_ref().and_then(|Text(id)| {
            let help = "write the name of one directory in `releases/`, such as `20260111-150000`";
            self.accept(&at.key("id"), ReleaseId::new(id), help)
        });
        let list = at.key("requires");
        let requires = each(&release.requires, |position, path| self.inside(path, &list.item(position), "the release"));
        let source = release.source.as_ref().map(|source| self.source(source, &at.key("source")));
        let linked = self.linked(release, at);
        let build = self.steps(&release.build, &at.key("build"));
        let verify = self.steps(&release.verify, &at.key("verify"));
        let migrate = self.steps(&release.migrate, &at.key("migrate"));
        let hooks = release.hooks.as_ref().map(|hooks| self.hooks(hooks, &at.key("hooks")));
        let (shared, links) = linked?;
        Some(Release {
            id: id?,
            requires: requires?,
            source: optional(source)?,
            shared,
            links,
            build: build?,
            verify: verify?,
            migrate: migrate?,
            hooks: optional(hooks)?.unwrap_or_default(),
            keep: release.keep.unwrap_or(KEEP),
        })
    }

    fn hooks(&mut self, hooks: &shape::Hooks, at: &Cursor<'_>) -> Option<Hooks> {
        let before_switch = self.steps(&hooks.before_switch, &at.key("beforeSwitch"));
        let after_switch = self.steps(&hooks.after_switch, &at.key("afterSwitch"));
        let after_rollback = self.steps(&hooks.after_rollback, &at.key("afterRollback"));
        Some(Hooks { before_switch: before_switch?, after_switch: after_switch?, after_rollback: after_rollback? })
    }
}
