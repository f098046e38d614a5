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
