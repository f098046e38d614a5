//! Manifests on a file system that does not answer: a pipe holds whoever reads it just so.

use std::fs::{OpenOptions, rename, write};
use std::io::Write;

use futures_util::FutureExt;
use rustix::fs::{FileType, Mode, mknodat};

use super::*;

const MANIFEST: &str = "apiVersion: trueup/v1\nkind: App\nmetadata: {name: web}\n\
                        spec: {root: /srv/web, release: {id: r1}}\n";

#[tokio::test(start_paused = true)]
async fn manifests_that_do_not_answer_are_given_up_and_hold_one_thread_only() {
    let room = tempfile::tempdir().unwrap();
    let (path, fresh) = (room.path().join("web.yaml"), room.path().join("fresh"));
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // As long as somebody may write into it, it has no end.
    let mut writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut source = Directory::new(vec![path.clone()]);

    let silent = |looked: Result<Found, SourceProblem>| {
        let problem = looked.expect_err("there is nothing to be found");
        assert_eq!(problem.kind, SourceProblemKind::Unreachable, "what was in force stays");
        assert!(problem.message.contains("web.yaml") && problem.help.is_some(), "{problem:?}");
    };
    {
        let mut looking = std::pin::pin!(source.look());
        assert!(looking.as_mut().now_or_never().is_none());
        tokio::time::advance(WITHIN + Duration::from_secs(1)).await;
        silent(looking.now_or_never().expect("it is given up"));
    }
    for _ in 0..3 {
        silent(source.look().now_or_never().expect("nobody waits for it again"));
    }

    write(&fresh, MANIFEST).unwrap();
    rename(&fresh, &path).unwrap();
    writer.write_all(MANIFEST.as_bytes()).unwrap();
    drop(writer);
    let found = loop {
        match source.look().await {
            Ok(found) => break found,
            Err(problem) => assert_eq!(problem.kind, SourceProblemKind::Unreachable),
        }
        std::thread::yield_now();
    };
    assert_eq!(found.apps.len(), 1, "it answers again");
}

#[test]
fn the_remedy_is_told_of_each_mistake_and_of_each_once() {
    let refused = |spec: &str| {
        let text = MANIFEST.replace("release: {id: r1}", spec);
        let errors = manifest::load(&["-".into()], &mut text.as_bytes()).expect_err(&text);
        SourceProblem::from(errors).remedy()
    };
    let rows = [
        ("relaese: {id: r1}", "did you mean `release`?"),
        ("release: {id: r1}, strays: stopp, sycn: {}", "did you mean `stop`?; did you mean `sync`?"),
        ("release: {id: r1, sharde: {}}, sharde: {}", "did you mean `shared`?; known are "),
        (
            "release: {id: r1, sharde: {}}, workers: [{conut: 1, name: a, manager: {builtin: {run: x}}}, {conut: 1, name: b, manager: {builtin: {run: x}}}]",
            "did you mean `shared`?; did you mean `count`?",
        ),
    ];
    for (spec, expected) in rows {
        let remedy = refused(spec).unwrap();
        assert!(remedy.starts_with(expected), "{spec}: {remedy}");
        assert_eq!(remedy.matches("`count`?").count(), usize::from(spec.contains("conut")), "{spec}: {remedy}");
    }
}
