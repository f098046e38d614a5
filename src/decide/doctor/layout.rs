//! The root: what stands in it, on which file systems, and whose it is.

use std::path::Path;

use crate::model::app::App;
use crate::model::facts::{AppFacts, FileKind, HostFacts, PathFacts};
use crate::model::finding::{Finding, Severity};
use crate::model::process::Known;

pub(super) fn findings(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let mut found = user(app, facts);
    found.extend(of_root(app, host, facts));
    found
}

/// Whether there is somebody whom commands and files belong to.
fn user(app: &App, facts: &AppFacts) -> Vec<Finding> {
    const CHECK: &str = "user";
    match &facts.user {
        Known::Known(person) => vec![Finding::ok(CHECK, format!("commands and files belong to {}", person.name))],
        Known::Unknown(why) => {
            vec![Finding::new(CHECK, Severity::Error, why).why("commands and files have nobody to belong to").mend(
                app.user.as_ref().map_or_else(|| "id".to_owned(), |user| format!("useradd --create-home {user}")),
            )]
        }
    }
}

fn of_root(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let root = app.root.path().display();
    let standing = match &facts.root {
        Known::Known(Some(standing)) if standing.kind == FileKind::Directory => standing,
        Known::Known(Some(_)) => {
            return vec![
                Finding::new("layout.root", Severity::Error, format!("`{root}` is no directory"))
                    .why("releases have no place")
                    .mend(format!("ls -ld {root}")),
            ];
        }
        Known::Known(None) => {
            return vec![Finding::new(
                "layout.root",
                Severity::Note,
                format!("`{root}` is not there yet; the first pass makes it"),
            )];
        }
        Known::Unknown(why) => {
            return vec![Finding::unknown(
                "layout.root",
                format!("the root: {why}"),
                format!("sudo trueup doctor  # or: sudo chmod o+x {root}"),
            )];
        }
    };
    let mut found = vec![current(app, facts), devices(app, standing, facts), writable(app, standing, host)];
    found.extend(real(app, facts));
    found.extend(open_to_all(app, standing, facts));
    found.extend(owner(app, facts));
    for (path, what) in &facts.inside {
        if let Known::Unknown(why) = what {
            found.push(Finding::unknown("layout.inside", format!("`{path}`: {why}"), "sudo trueup doctor"));
        }
    }
    found
}

fn inside<'a>(facts: &'a AppFacts, path: &str) -> Option<&'a PathFacts> {
    facts.inside.get(path)?.known()?.as_ref()
}

fn current(app: &App, facts: &AppFacts) -> Finding {
    const CHECK: &str = "layout.current";
    let (current, releases) = (app.root.current(), app.root.releases());
    let (current, releases) = (current.display(), releases.display());
    match (inside(facts, "current"), &facts.current) {
        (None, _) => Finding::ok(CHECK, "`current` is not there yet"),
        (Some(PathFacts { kind: FileKind::Link, .. }), target) => {
            let target = target.as_ref().map(|target| target.display().to_string()).unwrap_or_default();
            if facts.serving.is_none() {
                return Finding::new(
                    CHECK,
                    Severity::Warning,
                    format!("`current` leads to `{target}`, which is not there"),
                )
                .why("whatever starts now fails, until a pass moves the link")
                .mend("trueup reconcile");
            }
            if app.root.path().join(&target).starts_with(app.root.releases()) {
                return Finding::ok(CHECK, format!("`current` leads to `{target}`"));
            }
            Finding::new(
                CHECK,
                Severity::Note,
                format!("`current` leads to `{target}`, which is no release of this root"),
            )
            .why("there is no way back to it after the first switch")
            .mend(format!("cp -a {current}/. {releases}/before-trueup && ln -sfnT releases/before-trueup {current}"))
        }
        (Some(PathFacts { kind: kind @ (FileKind::File | FileKind::Other), .. }), _) => {
            let what = if *kind == FileKind::File { "a file" } else { "neither a directory nor a link" };
            Finding::new(CHECK, Severity::Error, format!("`{current}` is {what}, where a link belongs"))
                .why("trueup never removes what it did not make")
                .mend(format!("mv {current} {current}.before-trueup"))
        }
        (Some(_), _) => Finding::new(CHECK, Severity::Error, format!("`{current}` is a real directory, not a link"))
            .why("a directory cannot be replaced in one step, and trueup never removes what it did not make")
            .mend(format!(
                "mkdir -p {releases} && mv {current} {releases}/before-trueup && ln -s releases/before-trueup {current}"
            )),
    }
}

/// What trueup opens in the root itself, and never through a link.
fn real(app: &App, facts: &AppFacts) -> Vec<Finding> {
    const CHECK: &str = "layout.real";
    let wanted = [
        ("releases", FileKind::Directory, "mount --bind it there, or set `spec.root` to a directory on its disk"),
        (".trueup", FileKind::Directory, "mv it away; trueup makes it anew"),
        (".trueup/lock", FileKind::File, "rm it; trueup makes it anew"),
    ];
    let wrong = wanted.into_iter().filter_map(|(path, kind, mend)| {
        let found = inside(facts, path).filter(|found| found.kind != kind)?;
        let what = match found.kind {
            FileKind::Link => "a link",
            FileKind::Directory => "a directory",
            FileKind::File => "a file",
            FileKind::Other => "a pipe, a socket or a device",
        };
        let wanted = if kind == FileKind::Directory { "real directory" } else { "regular file" };
        let path = app.root.path().join(path);
        let path = path.display();
        let found = format!("`{path}` is {what}, where a {wanted} belongs");
        let why = "every pass that would act fails: what root opens there, whoever owns the root could lead elsewhere";
        Some(Finding::new(CHECK, Severity::Error, found).why(why).mend(format!("ls -ld {path}  # {mend}")))
    });
    wrong.collect()
}

fn devices(app: &App, root: &PathFacts, facts: &AppFacts) -> Finding {
    const CHECK: &str = "layout.fileSystem";
    let elsewhere = |path: &&str| {
        inside(facts, path).is_some_and(|one| one.kind == FileKind::Directory && one.device != root.device)
    };
    let others: Vec<&str> = ["releases", "shared", ".trueup"].into_iter().filter(|path| elsewhere(path)).collect();
    if others.is_empty() {
        return Finding::ok(CHECK, "all of the root is on one file system");
    }
    let names = others.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" and ");
    let are = if others.len() == 1 { "is" } else { "are" };
    Finding::new(CHECK, Severity::Warning, format!("{names} {are} on another file system than `{}`", app.root))
        .why(
            "nothing can be moved from one to the other in one step: what a release brings for `shared` cannot be \
             moved there, and reflinks are copies",
        )
        .mend(format!("findmnt -T {}/{}  # mount the root as a whole", app.root, others.concat()))
}

/// Whether who runs trueup may write to the root at all.
fn writable(app: &App, root: &PathFacts, host: &HostFacts) -> Finding {
    const CHECK: &str = "layout.writable";
    let who = &host.user;
    let bit = match () {
        () if who.uid == 0 => 0o777,
        () if who.uid == root.uid => 0o300,
        () if who.groups.contains(&root.gid) => 0o030,
        () => 0o003,
    };
    if root.mode & bit == bit || who.uid == 0 {
        return Finding::ok(CHECK, format!("{} may write to the root", who.name));
    }
    Finding::new(CHECK, Severity::Error, format!("{}, who runs trueup, may not write to `{}`", who.name, app.root))
        .why("neither `current` can be moved nor a release made")
        .mend(format!("sudo chown {}: {}", who.name, app.root))
}

fn open_to_all(app: &App, root: &PathFacts, facts: &AppFacts) -> Vec<Finding> {
    let places = [("", Some(root)), ("releases", inside(facts, "releases"))];
    let open = |one: &PathFacts| one.kind == FileKind::Directory && one.mode & 0o1002 == 0o002;
    let open = places.into_iter().filter(|(_, standing)| standing.is_some_and(open));
    open.map(|(path, _)| {
        let path = app.root.path().join(path);
        let path = trimmed(&path);
        Finding::new("layout.openToAll", Severity::Warning, format!("everybody may write to `{path}`"))
            .why("any user of this host could put another release in force")
            .mend(format!("chmod o-w {path}"))
    })
    .collect()
}

fn trimmed(path: &Path) -> String {
    path.display().to_string().trim_end_matches('/').to_owned()
}

/// Whether the release in force, and what is shared, belong to the App's user.
fn owner(app: &App, facts: &AppFacts) -> Vec<Finding> {
    const CHECK: &str = "layout.owner";
    // Said already.
    let Known::Known(person) = &facts.user else { return Vec::new() };
    let serving = facts.serving.as_ref().map(|standing| ("current/".to_owned(), standing));
    let shared = facts.inside.iter().filter(|(path, _)| path.starts_with("shared/"));
    let shared = shared.filter_map(|(path, one)| Some((path.clone(), one.known()?.as_ref()?)));
    let foreign: Vec<String> =
        serving.into_iter().chain(shared).filter(|(_, one)| one.uid != person.uid).map(|(path, _)| path).collect();
    if foreign.is_empty() {
        return vec![Finding::ok(CHECK, format!("the files belong to {}", person.name))];
    }
    let paths: Vec<String> = foreign.iter().map(|path| app.root.path().join(path).display().to_string()).collect();
    let names = foreign.iter().map(|path| format!("`{}`", path.trim_end_matches('/'))).collect::<Vec<_>>().join(", ");
    vec![
        Finding::new(CHECK, Severity::Warning, format!("{names}: of another user than {}, the App's", person.name))
            .why("the application fails at its first write, such as into `bootstrap/cache`")
            .mend(format!("chown -R {}: {}", person.name, paths.join(" "))),
    ]
}
