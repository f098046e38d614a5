//! Whether the next releases have room.

use crate::model::app::App;
use crate::model::facts::{AppFacts, Space};
use crate::model::finding::{Finding, Severity};
use crate::model::process::Known;

/// Less than this is too little for any release, and for what is kept in reserve.
const LEAST: u64 = 64 << 20;
/// Fewer inodes than this are too few: a release with its dependencies has tens of thousands.
const FEWEST: u64 = 50_000;
/// Fuller than this, in percent, a disk is full before anybody looks again.
const FULL: u64 = 95;

pub(super) fn findings(app: &App, facts: &AppFacts) -> Vec<Finding> {
    match &facts.space {
        Known::Known(space) => vec![bytes(app, space, &facts.release_sizes), inodes(app, space)]
            .into_iter()
            .chain(mount(app, space))
            .collect(),
        Known::Unknown(why) => vec![Finding::unknown("disk.space", format!("the disk: {why}"), "df -h")],
    }
}

fn bytes(app: &App, space: &Space, sizes: &[Option<u64>]) -> Finding {
    const CHECK: &str = "disk.space";
    let free = mebibytes(space.free_bytes);
    let largest = sizes.iter().flatten().max().copied();
    let there = u64::try_from(sizes.len()).unwrap_or(u64::MAX);
    // Those that are kept, the one in force, and the one that is being made.
    let to_come = (u64::from(app.release.keep) + 2).saturating_sub(there).max(1);
    let needed = largest.unwrap_or(0).saturating_mul(to_come);
    let mend = format!("du -xh --max-depth=1 {} | sort -h  # and: df -h {}", app.root, app.root);
    if space.free_bytes < LEAST.max(largest.unwrap_or(0)) {
        let size = largest.map_or_else(String::new, |size| format!("; a release has {}", mebibytes(size)));
        return Finding::new(CHECK, Severity::Error, format!("{free} are free for `{}`{size}", app.root))
            .why("the next release cannot be made")
            .mend(mend);
    }
    if space.free_bytes < needed {
        let size = mebibytes(largest.unwrap_or(0));
        let found = format!(
            "{free} are free; {to_come} releases of {size} are to come before old ones go (`keep: {}`)",
            app.release.keep
        );
        return Finding::new(CHECK, Severity::Warning, found)
            .why("the disk is full before the first release is pruned")
            .mend(format!("keep: 2\n# or: {mend}"));
    }
    let full = 100 - (u128::from(space.free_bytes) * 100 / u128::from(space.bytes.max(1))).min(100);
    if full >= u128::from(FULL) {
        return Finding::new(
            CHECK,
            Severity::Warning,
            format!("the disk of `{}` is {full} % full: {free} are free", app.root),
        )
        .why("logs and caches fill what is left, and the next release cannot be made")
        .mend(mend);
    }
    Finding::ok(CHECK, format!("{free} are free"))
}

fn inodes(app: &App, space: &Space) -> Finding {
    const CHECK: &str = "disk.inodes";
    if space.inodes == 0 || space.free_inodes >= FEWEST.min(space.inodes / 2) {
        return Finding::ok(CHECK, "inodes are left");
    }
    Finding::new(CHECK, Severity::Warning, format!("{} inodes are left for `{}`", space.free_inodes, app.root))
        .why("a release with its dependencies has tens of thousands of files: the disk is full with room on it")
        .mend(format!("df -i {}  # and: du --inodes -x {} | sort -n | tail", app.root, app.root))
}

fn mount(app: &App, space: &Space) -> Vec<Finding> {
    let mut found = Vec::new();
    if space.read_only {
        found.push(
            Finding::new(
                "disk.mount",
                Severity::Error,
                format!("the file system of `{}` may not be written to", app.root),
            )
            .why("nothing can be changed")
            .mend(format!("mount -o remount,rw \"$(findmnt -no TARGET -T {})\"", app.root)),
        );
    }
    if space.no_exec {
        found.push(
            Finding::new(
                "disk.mount",
                Severity::Warning,
                format!("nothing may be executed on the file system of `{}`", app.root),
            )
            .why("steps and workers that are programs of the release (`./worker`, `vendor/bin/…`) cannot run")
            .mend(format!("mount -o remount,exec \"$(findmnt -no TARGET -T {})\"", app.root)),
        );
    }
    found
}

fn mebibytes(bytes: u64) -> String {
    if bytes >= 10 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}
