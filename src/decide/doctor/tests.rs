//! The root, the disk, the ways to managers, the units of trueup, the machine: each trap as a row.

use super::testing::{deploy, directory, good_app, good_host, said, shop, written};
use super::*;
use crate::decide::testing::{builtin, group};
use crate::model::app::RestartOn;
use crate::model::facts::{FileKind, HostUser, ManagerAccess, PathFacts, Right, Space, Unit};
use crate::model::names::RelativePath;
use crate::model::process::Known;

#[test]
fn a_good_host_has_nothing_wrong() {
    let (shop, host, facts) = (shop(), good_host(), good_app());
    assert_eq!(said(&app(&shop, &host, &facts)), Vec::<String>::new());
    assert_eq!(said(&super::host(&host, &[&shop])), Vec::<String>::new());
}

#[test]
fn the_root_and_what_is_in_it() {
    let seen = |path: &str, standing: Option<PathFacts>| {
        let mut facts = good_app();
        facts.inside.insert(path.to_owned(), Known::Known(standing));
        facts
    };
    let open = PathFacts { mode: 0o777, ..directory(1000) };
    let of = |kind| PathFacts { kind, ..directory(1000) };
    let rows: Vec<(&str, AppFacts, &[&str])> = vec![
        ("real directory", seen("current", Some(directory(1000))), &["error layout.current"]),
        ("a file", seen("current", Some(of(FileKind::File))), &["error layout.current"]),
        ("a pipe", seen("current", Some(of(FileKind::Other))), &["error layout.current"]),
        ("releases elsewhere", seen("releases", Some(of(FileKind::Link))), &["error layout.real"]),
        ("state elsewhere", seen(".trueup", Some(of(FileKind::Link))), &["error layout.real"]),
        ("a pipe for a lock", seen(".trueup/lock", Some(of(FileKind::Other))), &["error layout.real"]),
        ("a lock", seen(".trueup/lock", Some(of(FileKind::File))), &[]),
        ("no link", seen("current", None), &[]),
        ("dangling", AppFacts { serving: None, ..good_app() }, &["warning layout.current"]),
        ("outside", AppFacts { current: Some("/opt/x".into()), ..good_app() }, &["note layout.current"]),
        ("absolute", AppFacts { current: Some("/srv/shop/releases/r1".into()), ..good_app() }, &[]),
        ("elsewhere", seen("shared", Some(PathFacts { device: 2, ..directory(1000) })), &["warning layout.fileSystem"]),
        ("open releases", seen("releases", Some(open)), &["warning layout.openToAll"]),
        ("sticky", seen("releases", Some(PathFacts { mode: 0o1777, ..open })), &[]),
        ("of root", AppFacts { serving: Some(directory(0)), ..good_app() }, &["warning layout.owner"]),
        ("shared of root", seen("shared/storage", Some(directory(0))), &["warning layout.owner"]),
        ("absent", AppFacts { root: Known::Known(None), ..good_app() }, &["note layout.root"]),
        ("closed", AppFacts { root: Known::Unknown("EACCES".to_owned()), ..good_app() }, &["unknown layout.root"]),
        ("nobody", AppFacts { user: Known::Unknown("there is no user `x`".to_owned()), ..good_app() }, &["error user"]),
    ];
    for (name, facts, expected) in rows {
        assert_eq!(said(&app(&shop(), &good_host(), &facts)), expected, "{name}");
    }
    for (person, mode, expected) in [
        (deploy(), 0o755, vec![]),
        (HostUser { uid: 7, groups: vec![7], ..deploy() }, 0o755, vec!["error layout.writable"]),
        (HostUser { uid: 7, groups: vec![1000], ..deploy() }, 0o775, vec![]),
        (HostUser { uid: 7, groups: vec![1000], ..deploy() }, 0o755, vec!["error layout.writable"]),
    ] {
        let host = HostFacts { user: person, ..good_host() };
        let facts = AppFacts { root: Known::Known(Some(PathFacts { mode, ..directory(1000) })), ..good_app() };
        assert_eq!(said(&app(&shop(), &host, &facts)), expected, "{:?} {mode:o}", host.user);
    }
}

/// Of each release, in bytes.
type Sizes = Vec<Option<u64>>;

#[test]
fn room_for_the_next_releases() {
    let (mib, gib) = (1 << 20, 1 << 30);
    // Free bytes, free inodes, sizes of the releases that are there.
    let rows: [(u64, u64, Sizes, &[&str]); 8] = [
        (50 * gib, 900_000, vec![], &[]),
        (10 * mib, 900_000, vec![], &["error disk.space"]),
        (gib, 900_000, vec![Some(2 * gib)], &["error disk.space"]),
        // Six more are to come with `keep: 5`.
        (8 * gib, 900_000, vec![Some(gib), Some(2 * gib)], &["warning disk.space"]),
        (11 * gib, 900_000, vec![Some(2 * gib), Some(gib)], &[]),
        (3 * gib, 900_000, vec![Some(2 * gib); 9], &["warning disk.space"]),
        (2 * gib, 900_000, vec![], &["warning disk.space"]),
        (50 * gib, 1_000, vec![], &["warning disk.inodes"]),
    ];
    for (free_bytes, free_inodes, release_sizes, expected) in rows {
        let Known::Known(space) = good_app().space else { unreachable!() };
        let space = Known::Known(Space { free_bytes, free_inodes, ..space });
        let facts = AppFacts { release_sizes, space, ..good_app() };
        assert_eq!(
            said(&app(&shop(), &good_host(), &facts)),
            expected,
            "{free_bytes} {free_inodes} {:?}",
            facts.release_sizes
        );
    }
    let Known::Known(space) = good_app().space else { unreachable!() };
    // Some file systems count no inodes.
    let odd = Space { inodes: 0, free_inodes: 0, read_only: true, no_exec: true, ..space };
    let facts = AppFacts { space: Known::Known(odd), ..good_app() };
    assert_eq!(said(&app(&shop(), &good_host(), &facts)), ["error disk.mount", "warning disk.mount"]);
}

#[test]
fn the_ways_to_managers() {
    let sudo = |refused: &[&str], password| ManagerAccess::Sudo {
        needed: 9,
        refused: refused.iter().map(|&one| one.to_owned()).collect(),
        password,
    };
    let rows: Vec<(ManagerAccess, &[&str])> = vec![
        (ManagerAccess::Own, &[]),
        (ManagerAccess::Socket("/run/s.sock".into()), &[]),
        (ManagerAccess::Shut("no".to_owned(), None), &["error rights"]),
        (ManagerAccess::Unknown("no sudo".to_owned()), &["unknown rights"]),
        (sudo(&[], false), &[]),
        (sudo(&[], true), &["error rights"]),
        (sudo(&["/usr/bin/supervisorctl status"], false), &["error rights"]),
    ];
    for (door, expected) in rows {
        let facts = AppFacts { rights: vec![Right { what: "x".to_owned(), door: door.clone() }], ..good_app() };
        assert_eq!(said(&app(&shop(), &good_host(), &facts)), expected, "{door:?}");
    }
}

#[test]
fn units_that_run_trueup() {
    let mut own = shop();
    own.workers = vec![group("own", 1, builtin())];
    let rows: Vec<(&str, Vec<&App>, &[&str])> = vec![
        ("[Service]\nKillMode=mixed", vec![&own], &["error trueup.killMode:2"]),
        ("[Service]\nKillMode=process", vec![&own], &[]),
        ("[Service]\nPrivateDevices=yes", vec![], &[]),
        ("[Service]\nProtectProc=ptraceable", vec![], &["error trueup.sight:2"]),
        ("[Service]\nProtectProc=default\nProcSubset=all", vec![], &[]),
        ("[Service]\nNice=5", vec![&own], &["error trueup.killMode:1"]),
    ];
    for (text, apps, expected) in rows {
        let unit = Unit { name: "trueup.service".to_owned(), configuration: written(text) };
        let facts = HostFacts { trueup_units: Known::Known(vec![unit]), ..good_host() };
        assert_eq!(said(&host(&facts, &apps)), expected, "{text}");
    }
    let shop = shop();
    let rows: [(&str, &[&str]); 7] = [
        ("User=deploy\nSystemCallFilter=@system-service", &["error trueup.noNewPrivileges:3"]),
        ("User=deploy\nNoNewPrivileges=no", &[]),
        ("NoNewPrivileges=yes", &[]),
        ("ProtectSystem=strict", &["error trueup.writing:2"]),
        ("ProtectSystem=strict\nReadWritePaths=/srv -/opt", &[]),
        ("ProtectSystem=full", &[]),
        ("ProtectHome=yes", &[]),
    ];
    for (text, expected) in rows {
        let unit = Unit { name: "t".to_owned(), configuration: written(&format!("[Service]\n{text}")) };
        let facts = HostFacts { trueup_units: Known::Known(vec![unit]), ..good_host() };
        assert_eq!(said(&host(&facts, &[&shop])), expected, "{text}");
    }
}

#[test]
fn the_machine_itself() {
    let rows: Vec<(HostFacts, &[&str])> = vec![
        (HostFacts { clock_synchronised: Known::Known(false), ..good_host() }, &["note host.clock"]),
        (HostFacts { inotify_watches: Known::Known(100), ..good_host() }, &["warning host.inotifyWatches"]),
        (
            HostFacts { inotify_instances: Known::Unknown("x".to_owned()), ..good_host() },
            &["unknown host.inotifyInstances"],
        ),
        (HostFacts { hidden_processes: Known::Known(true), ..good_host() }, &["warning host.hiddenProcesses"]),
        (HostFacts { trueup_units: Known::Known(vec![]), ..good_host() }, &["note trueup.unit"]),
    ];
    for (facts, expected) in rows {
        assert_eq!(said(&host(&facts, &[])), expected);
    }
}

#[test]
fn a_shared_env_is_to_be_noticed() {
    let mut shop = shop();
    shop.release.shared.files = vec![RelativePath::new(".env").unwrap()];
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), ["note workers.restartOn"]);
    shop.workers[0].restart_on = vec![RestartOn { path: RelativePath::new("shared/.env").unwrap(), run: None }];
    assert_eq!(said(&app(&shop, &good_host(), &good_app())), Vec::<String>::new());
}

#[test]
fn the_worst_finding_is_first_and_is_the_exit_code() {
    use Severity::{Error, Note, Ok, Unknown, Warning};
    let of = |severity| Finding::new("x", severity, "");
    let rows: [(&[Severity], u8); 6] = [
        (&[], 0),
        (&[Ok, Note], 0),
        (&[Note, Unknown], 2),
        (&[Warning, Ok], 2),
        (&[Ok, Error, Warning], 3),
        (&[Error], 3),
    ];
    for (severities, code) in rows {
        let findings: Vec<Finding> = severities.iter().map(|&one| of(one)).collect();
        assert_eq!(exit_code(&findings), code, "{severities:?}");
        let sorted: Vec<Severity> = worst_first(findings).iter().map(|one| one.severity).collect();
        assert!(sorted.is_sorted_by(|a, b| a >= b), "{sorted:?}");
    }
}
