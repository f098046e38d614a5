//! Which processes could be of a root at all: found for every App in one table, so that no App has to look closely at
//! each process of the machine.
//!
//! In: the table of one look. Out: for an App, the few processes that name anything of its root. Nothing is judged here:
//! whoever is left out names nothing, and whoever is in may name nothing after all.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::model::inventory::Witness;
use crate::model::names::Root;
use crate::model::observed::Layout;
use crate::model::process::{Inode, Place, ProcessId, ProcessSummary, ProcessTable};

/// The processes of one look, by what they name.
#[derive(Debug)]
pub struct Suspects<'t> {
    processes: &'t [ProcessSummary],
    /// Working directories and programs, in the order of their bytes.
    places: Vec<(&'t [u8], usize)>,
    /// Working directories.
    inodes: BTreeMap<Inode, Vec<usize>>,
    /// All arguments, each ended by what no argument has.
    arguments: String,
    /// Where in `arguments` those of a process begin; ordered.
    begins: Vec<(usize, usize)>,
    ids: BTreeMap<ProcessId, usize>,
}

impl<'t> Suspects<'t> {
    /// Goes through the table once.
    #[must_use]
    pub fn new(table: &'t ProcessTable) -> Self {
        let mut new = Self {
            processes: &table.processes,
            places: Vec::new(),
            inodes: BTreeMap::new(),
            arguments: String::new(),
            begins: Vec::new(),
            ids: BTreeMap::new(),
        };
        for (at, process) in table.processes.iter().enumerate() {
            let (cwd, executable) = (process.cwd.known(), process.executable.known());
            new.places.extend(cwd.into_iter().chain(executable).map(|place| (bytes(&place.path), at)));
            if let Some(Place { inode: Some(inode), .. }) = cwd {
                new.inodes.entry(*inode).or_default().push(at);
            }
            new.begins.push((new.arguments.len(), at));
            for argument in &process.command {
                new.arguments.push_str(argument);
                new.arguments.push('\0');
            }
            new.ids.insert(process.id, at);
        }
        new.places.sort_unstable();
        new
    }

    /// Those that could be of this root, in the order of their pids: whose working directory or program lies in its
    /// releases, who name it in an argument, and of whom a witness speaks.
    pub fn of(&self, root: &Root, layout: &Layout, told: &[Witness]) -> impl Iterator<Item = &'t ProcessSummary> {
        let mut found: BTreeSet<usize> = told.iter().filter_map(|one| self.ids.get(&one.process).copied()).collect();
        let releases = bytes(&layout.releases_path);
        let first = self.places.partition_point(|(path, _)| *path < releases);
        let inside = self.places[first..].iter().take_while(|(path, _)| path.starts_with(releases));
        found.extend(inside.map(|(_, at)| *at));
        let directories = layout.releases.iter().filter_map(|release| self.inodes.get(&release.inode));
        found.extend(directories.flatten().copied());
        let real = layout.releases_path.parent().map(Path::to_string_lossy).unwrap_or_default();
        let written = root.path().to_string_lossy();
        found.extend(self.naming(&written));
        if real != written && !real.is_empty() {
            found.extend(self.naming(&real));
        }
        let processes = self.processes;
        found.into_iter().filter_map(move |at| processes.get(at))
    }

    fn naming<'s>(&'s self, text: &'s str) -> impl Iterator<Item = usize> + 's {
        self.arguments.match_indices(text).filter_map(|(offset, _)| {
            let next = self.begins.partition_point(|(begin, _)| *begin <= offset);
            self.begins.get(next.checked_sub(1)?).map(|(_, at)| *at)
        })
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::decide::testing::{noon, process, seen};
    use crate::model::process::{Known, Pid};
    use crate::observe::evidence::summary_names_release;
    use crate::observe::strays::mentions;

    /// The root is a link to `/data/app`, and its neighbours have names that begin like its own.
    fn site() -> (Root, Layout) {
        let mut layout = seen("r2", Vec::new()).layout;
        layout.releases_path = "/data/app/releases".into();
        for (number, release) in (1..).zip(&mut layout.releases) {
            release.inode = Inode { device: 7, number };
        }
        (Root::new("/srv/app").unwrap(), layout)
    }

    const PATHS: [&str; 10] = [
        "/",
        "/srv/app",
        "/srv/app/releases/r1",
        "/srv/app2/releases/r1",
        "/data/app/releases",
        "/data/app/releases/r1",
        "/data/app/releases/r2/bin/tool",
        "/data/app/releases.old/r1",
        "/data/ap",
        "/usr/bin/php",
    ];

    fn a_place() -> impl Strategy<Value = Known<Place>> {
        let place = (select(&PATHS[..]), proptest::option::of(0u64..4)).prop_map(|(path, number)| {
            let inode = number.map(|number| Inode { device: 7, number });
            Known::Known(Place { path: path.into(), deleted: false, inode })
        });
        prop_oneof![3 => place, 1 => Just(Known::Unknown("denied".to_owned()))]
    }

    fn a_process() -> impl Strategy<Value = (Vec<String>, Known<Place>, Known<Place>)> {
        let argument = (select(&["", "php ", "--root="][..]), select(&PATHS[..]), select(&["", "/artisan"][..]));
        let argument = argument.prop_map(|(before, path, after)| format!("{before}{path}{after}"));
        (proptest::collection::vec(argument, 0..4), a_place(), a_place())
    }

    fn summary(pid: u32, (command, cwd, executable): (Vec<String>, Known<Place>, Known<Place>)) -> ProcessSummary {
        let (parent, session) = (Pid(1), Pid(1));
        ProcessSummary {
            id: process(pid),
            parent,
            session,
            uid: 0,
            terminal: false,
            started: noon(),
            zombie: false,
            command,
            cwd,
            executable,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nobody_who_names_the_root_is_left_out(processes in proptest::collection::vec(a_process(), 0..12)) {
            let (root, layout) = site();
            let processes = (1..).zip(processes).map(|(pid, one)| summary(pid, one)).collect();
            let table = ProcessTable { processes };
            let suspects = Suspects::new(&table);
            let found: Vec<ProcessId> = suspects.of(&root, &layout, &[]).map(|process| process.id).collect();
            prop_assert!(found.is_sorted());
            for process in &table.processes {
                let names = summary_names_release(&root, &layout, process).is_some()
                    || mentions(&root, &layout, process);
                prop_assert!(!names || found.contains(&process.id), "{process:?}");
            }
        }
    }

    #[test]
    fn strangers_are_passed_over_and_witnesses_believed() {
        let (root, layout) = site();
        let at = |path: &str| Known::Known(Place { path: path.into(), deleted: false, inode: None });
        let of =
            |command: &[&str], cwd| (command.iter().map(|word| (*word).to_owned()).collect(), cwd, at("/usr/bin/php"));
        let rows = [
            ("inside", of(&["php"], at("/data/app/releases/r1")), true),
            ("its argument", of(&["php", "/srv/app/current/artisan"], at("/")), true),
            ("a neighbour", of(&["php", "/srv/other/artisan"], at("/data/other/releases/r1")), false),
            ("two arguments that only together name it", of(&["/srv/", "app"], at("/")), false),
        ];
        let processes = (1..).zip(&rows).map(|(pid, (_, one, _))| summary(pid, one.clone())).collect();
        let table = ProcessTable { processes };
        let suspects = Suspects::new(&table);
        let found: Vec<ProcessId> = suspects.of(&root, &layout, &[]).map(|one| one.id).collect();
        for (process, (name, _, expected)) in table.processes.iter().zip(&rows) {
            assert_eq!(found.contains(&process.id), *expected, "{name}");
        }
        let evidence = crate::model::observed::Evidence::unknown("told");
        let told = [Witness { process: process(3), uid: 0, evidence }];
        assert!(suspects.of(&root, &layout, &told).any(|one| one.id == process(3)));
    }
}
