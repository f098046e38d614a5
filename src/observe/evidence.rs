//! The ladder of evidence: which release does a process run?
//!
//! In: what was read of a process and its descendants, and the layout. Out: one [`Evidence`]. Rungs 1 to 3 (working
//! directory; entry script; executable and mapped files) name releases; rungs that disagree make the worker mixed; a
//! witness speaks for a process that hides them from us. Rung 4 (start time against the link's last change) speaks only
//! where they are silent. Nothing here reads anything, and nothing is ever guessed to be fresh.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::length::apart;
use crate::model::names::{ReleaseId, Root};
use crate::model::observed::{Evidence, Layout, Link, Rung, Runs};
use crate::model::process::{Known, Place, ProcessFacts, ProcessSummary, START_GUARD};

/// A release that something named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    id: ReleaseId,
    /// The thing that named it has no name any more.
    deleted: bool,
    rung: Rung,
    seen: String,
}

/// When a worker was started, and how coarse that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Not before this.
    pub at: Timestamp,
    /// Not later than this after `at`.
    pub within: Duration,
    /// Who says so.
    pub by: Teller,
}

/// Who says when a worker was started, and by which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teller {
    /// The kernel: by the clock as it goes now.
    Kernel,
    /// Its manager: by the clock as it went then, as the link tells when it was changed.
    Manager,
}

/// Judges a worker by its own facts and those of its descendants, and by what a witness said of any of them;
/// `started` by its manager.
#[must_use]
pub fn judge(
    root: &Root,
    layout: &Layout,
    family: &[ProcessFacts],
    told: &[&Evidence],
    started: Option<Started>,
) -> Evidence {
    let own = family.iter().flat_map(|facts| rungs(root, layout, facts));
    let named: Vec<Named> = own.chain(told.iter().flat_map(|evidence| retold(evidence))).collect();
    by_name(&named).unwrap_or_else(|| by_start(layout, started))
}

/// The releases that a witness named; it has nothing to say of start times, which everybody sees.
fn retold(evidence: &Evidence) -> Vec<Named> {
    let (ids, deleted) = match &evidence.runs {
        Runs::Release { id } => (std::slice::from_ref(id), false),
        Runs::Deleted { id } => (std::slice::from_ref(id), true),
        Runs::Mixed { ids } => (ids.as_slice(), false),
        Runs::BeforeSwitch | Runs::AfterSwitch | Runs::Unknown => (&[][..], false),
    };
    let Some(rung) = evidence.rung.filter(|rung| *rung < Rung::StartTime) else { return Vec::new() };
    ids.iter().map(|id| Named { id: id.clone(), deleted, rung, seen: evidence.seen.clone() }).collect()
}

/// Which release of this root a process runs by rungs 1 to 3; none when they are silent.
#[must_use]
pub fn names_release(root: &Root, layout: &Layout, facts: &ProcessFacts) -> Option<Evidence> {
    by_name(&rungs(root, layout, facts))
}

/// The same, by what everybody may see of it.
#[must_use]
pub fn summary_names_release(root: &Root, layout: &Layout, summary: &ProcessSummary) -> Option<Evidence> {
    let silent = || Known::Known(Vec::new());
    let facts = ProcessFacts {
        summary: summary.clone(),
        open_files: silent(),
        mapped_files: silent(),
        environment: Known::Known(Vec::new()),
    };
    names_release(root, layout, &facts)
}

/// Every rung from 1 to 3 that names a release.
fn rungs(root: &Root, layout: &Layout, facts: &ProcessFacts) -> Vec<Named> {
    let summary = &facts.summary;
    let mut named = Vec::new();
    if let Known::Known(cwd) = &summary.cwd {
        let found = release_of_directory(layout, cwd);
        named.extend(found.map(|id| says(id, cwd.deleted, Rung::WorkingDirectory, "cwd", &cwd.path)));
    }
    let started = summary.started;
    let scripts: Vec<Named> = held(layout, started, &facts.open_files, Rung::EntryScript, "open file").collect();
    if scripts.is_empty() {
        named.extend(on_command_line(root, layout, &summary.command));
    } else {
        named.extend(scripts);
    }
    if let Known::Known(executable) = &summary.executable {
        let found = release_below(layout, &executable.path);
        named.extend(found.map(|id| says(id, executable.deleted, Rung::Executable, "executable", &executable.path)));
    }
    named.extend(held(layout, started, &facts.mapped_files, Rung::Executable, "mapped file"));
    named
}

fn says(id: ReleaseId, deleted: bool, rung: Rung, what: &str, path: &Path) -> Named {
    let mark = if deleted { " (deleted)" } else { "" };
    Named { id, deleted, rung, seen: format!("{what} {}{mark}", path.display()) }
}

/// Files of a release that a process holds. A deleted file in a release that was there when the process
/// started, and still is, says nothing: programs replace their logs and caches.
fn held<'a>(
    layout: &'a Layout,
    started: Timestamp,
    files: &'a Known<Vec<Place>>,
    rung: Rung,
    what: &'static str,
) -> impl Iterator<Item = Named> + 'a {
    files.known().into_iter().flatten().filter_map(move |file| {
        let id = release_below(layout, &file.path)?;
        // Made since: another directory of the same name.
        let gone = layout.release(&id).is_none_or(|release| release.made.is_some_and(|made| made > started));
        (gone || !file.deleted).then(|| says(id, file.deleted && gone, rung, what, &file.path))
    })
}

/// The release that a path lies in, by name.
fn release_below(layout: &Layout, path: &Path) -> Option<ReleaseId> {
    let below = path.strip_prefix(&layout.releases_path).ok()?;
    let name = below.components().next()?.as_os_str().to_str()?;
    ReleaseId::new(name).ok()
}

/// The release that a directory is or lies in: by name, else by device and inode (a bind mount has another name).
fn release_of_directory(layout: &Layout, place: &Place) -> Option<ReleaseId> {
    let by_inode = || {
        let inode = place.inode?;
        layout.releases.iter().find(|release| release.inode == inode).map(|release| release.id.clone())
    };
    release_below(layout, &place.path).or_else(by_inode)
}

/// A release that an argument names itself, such as `php /srv/app/releases/3/artisan`.
fn on_command_line(root: &Root, layout: &Layout, command: &[String]) -> Option<Named> {
    let written = root.releases();
    let spellings = [written.as_path(), layout.releases_path.as_path()];
    command.iter().find_map(|argument| {
        spellings.iter().find_map(|releases| {
            let prefix = format!("{}/", releases.display());
            let after = &argument[argument.find(&prefix)? + prefix.len()..];
            let ends = |c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | ';' | ':' | ')');
            let name = after.split(ends).next().unwrap_or_default();
            let id = ReleaseId::new(name).ok()?;
            let gone = layout.release(&id).is_none();
            Some(Named { id, deleted: gone, rung: Rung::EntryScript, seen: format!("argument {argument}") })
        })
    })
}

/// The first rung that names a release wins; rungs that disagree make it mixed.
fn by_name(named: &[Named]) -> Option<Evidence> {
    let first = named.iter().min_by_key(|one| one.rung)?;
    let ids: BTreeSet<&ReleaseId> = named.iter().map(|one| &one.id).collect();
    if ids.len() > 1 {
        let mut seen: Vec<&str> =
            ids.iter().filter_map(|id| named.iter().find(|one| one.id == **id)).map(|one| one.seen.as_str()).collect();
        seen.dedup();
        return Some(Evidence {
            runs: Runs::Mixed { ids: ids.into_iter().cloned().collect() },
            rung: Some(first.rung),
            seen: seen.join(", "),
        });
    }
    // One thing that was deleted is enough: a directory of that name may be there again, with other files.
    let witness = named.iter().find(|one| one.deleted).unwrap_or(first);
    let id = first.id.clone();
    let runs = if witness.deleted { Runs::Deleted { id } } else { Runs::Release { id } };
    Some(Evidence { runs, rung: Some(witness.rung), seen: witness.seen.clone() })
}

/// Rung 4.
fn by_start(layout: &Layout, started: Option<Started>) -> Evidence {
    let Some(started) = started else { return Evidence::unknown("its start time cannot be read") };
    let (Link::Release { id }, Some(link_changed)) = (&layout.link, layout.link_changed) else {
        return Evidence::unknown("it names no release, and current leads to none");
    };
    let switched = match started.by {
        Teller::Kernel => layout.switched().unwrap_or(link_changed),
        Teller::Manager => link_changed,
    };
    // Nobody runs a directory that was made after them, however long the link has named it.
    let made = layout.release(id).and_then(|release| release.made);
    let made = made.filter(|made| *made > link_changed && *made > switched);
    let (changed, what) =
        made.map_or((switched, "current was switched".to_owned()), |made| (made, format!("{id} was made")));
    let since = |from: Timestamp, to: Timestamp| to.duration_since(from);
    let guard = jiff::SignedDuration::try_from(START_GUARD).unwrap_or_default();
    let within = jiff::SignedDuration::try_from(started.within).unwrap_or_default();
    let after = since(changed, started.at);
    let (runs, seen) = if after >= guard {
        (Runs::AfterSwitch, format!("started {} after {what}", apart(after)))
    } else if after + within + guard <= jiff::SignedDuration::ZERO {
        (Runs::BeforeSwitch, format!("started {} before {what}", apart(-after)))
    } else {
        return Evidence::unknown(format!("started too close to when {what} to tell ({})", apart(after)));
    };
    Evidence { runs, rung: Some(Rung::StartTime), seen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{id, noon, process, seconds_before, seen};
    use crate::model::process::Pid;

    /// A process of `current/artisan`, started this long before noon, that holds these files.
    fn holder(seconds: i64, open: &[(&str, bool)]) -> ProcessFacts {
        let summary = ProcessSummary {
            id: process(1),
            parent: Pid(1),
            session: Pid(1),
            uid: 0,
            terminal: false,
            started: seconds_before(noon(), seconds),
            zombie: false,
            command: vec!["php".to_owned(), "/srv/app/current/artisan".to_owned()],
            cwd: Known::Unknown("unasked".to_owned()),
            executable: Known::Unknown("unasked".to_owned()),
        };
        let place = |(path, deleted): &(&str, bool)| Place { path: path.into(), deleted: *deleted, inode: None };
        let (none, files) = (Known::Known(Vec::new()), Known::Known(open.iter().map(place).collect()));
        ProcessFacts { summary, open_files: files, mapped_files: none, environment: Known::Known(Vec::new()) }
    }

    #[test]
    fn a_witness_speaks_for_who_hides_and_never_overrules() {
        let root = Root::new("/srv/app").unwrap();
        let mut layout = seen("r2", Vec::new()).layout;
        layout.releases_path = root.releases();
        layout.link_changed = Some(seconds_before(noon(), 60));
        let told = |runs, rung| Evidence { runs, rung, seen: "told".to_owned() };
        let of = |name: &str| Runs::Release { id: id(name) };
        let mixed = || Runs::Mixed { ids: vec![id("r1"), id("r2")] };
        let script = Some(Rung::EntryScript);
        let held = [("/srv/app/releases/r2/artisan", false)];
        // Started after the link was moved: by that alone it would be fresh.
        let rows = [
            ("nobody said anything", vec![], &[][..], Runs::AfterSwitch),
            ("stale, whenever it started", vec![told(of("r1"), script)], &[], of("r1")),
            ("fresh", vec![told(of("r2"), script)], &[], of("r2")),
            ("deleted", vec![told(Runs::Deleted { id: id("r1") }, script)], &[], Runs::Deleted { id: id("r1") }),
            ("of several minds", vec![told(mixed(), script)], &[], mixed()),
            ("its children differ", vec![told(of("r1"), script), told(of("r2"), script)], &[], mixed()),
            ("we see another one", vec![told(of("r1"), script)], &held, mixed()),
            (
                "start times are ours to judge",
                vec![told(Runs::BeforeSwitch, Some(Rung::StartTime))],
                &[],
                Runs::AfterSwitch,
            ),
            ("a name without a rung is none", vec![told(of("r1"), None)], &[], Runs::AfterSwitch),
        ];
        for (name, told, open, runs) in rows {
            let facts = holder(30, open);
            let started = Started { at: facts.summary.started, within: Duration::from_millis(10), by: Teller::Kernel };
            let told: Vec<&Evidence> = told.iter().collect();
            assert_eq!(judge(&root, &layout, &[facts], &told, Some(started)).runs, runs, "{name}");
        }
    }

    #[test]
    fn a_directory_made_after_the_process_is_not_what_it_runs() {
        let root = Root::new("/srv/app").unwrap();
        let mut layout = seen("r2", Vec::new()).layout;
        layout.releases_path = root.releases();
        layout.link_changed = Some(seconds_before(noon(), 60));
        let script = ("/srv/app/releases/r2/artisan", true);
        let log = ("/srv/app/releases/r2/log", true);
        let deleted = || Runs::Deleted { id: id("r2") };
        let rows = [
            ("made before the switch, holds a replaced log", 120, 50, vec![log], Runs::AfterSwitch),
            ("made anew, holds a script of the former one", 40, 50, vec![script], deleted()),
            ("made anew, holds nothing", 40, 50, vec![], Runs::BeforeSwitch),
            ("made anew, started since", 40, 30, vec![log], Runs::AfterSwitch),
            (
                "made anew, started since, holds a script",
                40,
                30,
                vec![(script.0, false)],
                Runs::Release { id: id("r2") },
            ),
        ];
        for (name, made, began, open, runs) in rows {
            for release in &mut layout.releases {
                release.made = Some(seconds_before(noon(), made));
            }
            let facts = holder(began, &open);
            let started = Started { at: facts.summary.started, within: Duration::from_millis(10), by: Teller::Kernel };
            assert_eq!(judge(&root, &layout, &[facts], &[], Some(started)).runs, runs, "{name}");
        }
    }
}
