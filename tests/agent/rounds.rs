//! Two hundred saves of all kinds, one after the other: each is noticed once, and none is missed.
//!
//! A round ends when the agent's own count of passes says so. A quarter of a second goes into each, most of it the quiet
//! moment that the agent waits for.

use std::time::Instant;

use crate::saves::{Desk, manifest, save};
use crate::support::wait_until;
use crate::{SOON, saves};

/// The kinds, each with what is run in `live`, the directory that a link leads to. `NEW` is the manifest that is to be
/// there in the end, `$RELEASE` its release.
const KINDS: [(&str, &str); 12] = [
    ("in place", "cat NEW >m/app.yaml"),
    ("renamed over", "cp NEW m/.app.yaml.tmp; mv m/.app.yaml.tmp m/app.yaml"),
    ("vim", "VIM('set nobackup writebackup')"),
    ("vim that renames", "VIM('set backup backupcopy=no')"),
    ("vim that copies", "VIM('set backup backupcopy=yes')"),
    ("sed -i", "sed -i \"s/id: r[12]/id: $RELEASE/\" m/app.yaml"),
    ("removed and made", "rm m/app.yaml; cp NEW m/app.yaml"),
    ("another name", "mv m/app.yaml m/other.yaml; cp NEW m/other.yaml; mv m/other.yaml m/app.yaml"),
    ("a thousand writes", "for i in $(seq 1000); do echo \"# $i\" >>m/app.yaml; done; cp NEW m/app.yaml"),
    ("git checkout", "git checkout --quiet --force $RELEASE"),
    (
        "the directory's link",
        "to=two; [ $(readlink ../live) = one ] || to=one; cp NEW ../$to/m/app.yaml
         cd ..; ln -s $to live.new; mv -T live.new live",
    ),
    ("the directory anew", "cp -r m m.new; cp NEW m.new/app.yaml; mv m m.old; mv m.new m; rm -r m.old"),
];

/// A thousand writes that take a second.
const SLOWLY: &str = "python3 -c '
import time
for i in range(1000):
    with open(\"m/app.yaml\", \"a\") as file:
        file.write(\"# %d\\n\" % i)
    time.sleep(0.001)
'; cp NEW m/app.yaml";

/// What vim does with such settings, or the same by hand where there is no vim.
fn vim(settings: &str) -> String {
    let by_hand = match settings {
        "set nobackup writebackup" => {
            "echo >m/4913; rm m/4913; mv m/app.yaml m/app.yaml~; cp NEW m/app.yaml; sync m/app.yaml; rm m/app.yaml~"
        }
        "set backup backupcopy=no" => "mv m/app.yaml m/app.yaml~; cp NEW m/app.yaml",
        _ => "cp m/app.yaml m/app.yaml~; cat NEW >m/app.yaml",
    };
    format!(
        "if command -v vim >/dev/null
         then vim -Nu NONE -Es -c '{settings}' -c \"%s/id: r[12]/id: $RELEASE/\" -c wq m/app.yaml
         else {by_hand}; fi"
    )
}

fn script(kind: &str) -> String {
    match kind.strip_prefix("VIM('").and_then(|rest| rest.strip_suffix("')")) {
        Some(settings) => vim(settings),
        None => kind.to_owned(),
    }
}

#[test]
fn each_of_many_saves_is_one_pass_and_none_is_missed() {
    let rounds = 200;
    let desk = Desk::new("live/m", |room| {
        save(room, "one/m/app.yaml", "r2");
        let script = "cd one; git init --quiet --initial-branch=r2; git config user.name Test
            git config user.email test@example.org; git add .; git commit --quiet -m two
            git checkout --quiet -b r1; sed -i 's/id: r2/id: r1/' m/app.yaml; git commit --quiet --all -m one
            cd ..; cp -r one two; ln -s one live";
        saves::sh(room, script);
    });
    desk.follows("r1", "the first look");
    wait_until("the first pass", SOON, || desk.passes() == 1);
    let began = Instant::now();
    let (mut release, mut times) = ("r1", Vec::new());
    for round in 0..rounds {
        // Each kind comes after each other kind.
        let (how, kind) = KINDS[(round * 5 + round / KINDS.len()) % KINDS.len()];
        let (how, kind) = if round % 25 == 24 { ("a thousand writes in a second", SLOWLY) } else { (how, kind) };
        release = if release == "r1" { "r2" } else { "r1" };
        let new = desk.path("NEW");
        std::fs::write(&new, manifest(desk.room(), release)).unwrap();
        let script = script(kind).replace("NEW", new.to_str().unwrap());
        desk.sh(&format!("cd live; RELEASE={release}; {script}"));
        let saved = Instant::now();
        desk.follows(release, &format!("{how}, round {round}"));
        times.push(saved.elapsed());
        wait_until(&format!("the pass of {how}, round {round}"), SOON, || desk.passes() > round as u64 + 1);
        assert_eq!(desk.passes(), round as u64 + 2, "{how}, round {round}: {}", desk.said());
    }
    times.sort_unstable();
    let (median, most) = (times[rounds / 2], times[rounds - 1]);
    println!(
        "{rounds} rounds in {:?}; from the save to `current`: median {median:?}, at most {most:?}",
        began.elapsed()
    );
    assert_eq!(desk.wakes("manifest"), rounds as u64, "{}", desk.said());
}
