//! Health from a file that the application writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::{BODY_LIMIT, body, failure};
use crate::host::way::{self, OpenError, Wanted};
use crate::model::health::{ProbeAnswer, ProbeFailure};
use crate::model::length::{in_seconds, limit};

/// Reads the file once. One that is older than `max_age` is a failure, whatever it says.
pub(super) async fn probe(
    path: &Path,
    max_age: Option<Duration>,
    timeout: Duration,
) -> Result<ProbeAnswer, ProbeFailure> {
    let reading = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || read(&path, max_age)
    });
    match tokio::time::timeout(timeout, reading).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(failure(format!("reading `{}` did not come to its end: {error}", path.display()))),
        Err(_) => Err(failure(format!("`{}` could not be read within {}", path.display(), limit(timeout)))),
    }
}

fn read(path: &Path, max_age: Option<Duration>) -> Result<ProbeAnswer, ProbeFailure> {
    let began = Instant::now();
    let failed = |error: &std::io::Error| failure(format!("cannot read `{}`: {error}", path.display()));
    // What it says ends in reports that the App's user may read.
    let (opened, _) = way::open(path, Wanted::File).map_err(|error| match error {
        OpenError::Failed(error) => failed(&error.into()),
        OpenError::Other(what) => failure(format!("`{}` {what}", path.display())),
        led @ OpenError::Led { .. } => failure(format!("cannot read `{}`: {led}", path.display())),
    })?;
    let file = File::from(opened);
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    let written = metadata.modified().map_err(|error| failed(&error))?;
    // A file from the future, as clocks go, is new.
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    if let Some(max_age) = max_age
        && age > max_age
    {
        return Err(failure(format!(
            "`{}` is {} old, at most {} allowed",
            path.display(),
            in_seconds(age),
            limit(max_age)
        )));
    }
    let mut bytes = Vec::new();
    file.take(BODY_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() > BODY_LIMIT {
        return Err(failure(format!("`{}` is larger than 1 MiB", path.display())));
    }
    Ok(ProbeAnswer {
        status: None,
        headers: BTreeMap::new(),
        body: body(&bytes),
        latency: began.elapsed(),
        age: Some(age),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use serde_json::json;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_content_and_the_age_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("health");
        fs::write(&path, "ready\n").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(45))
            .unwrap();
        let answer = probe(&path, None, TIMEOUT).await.unwrap();
        assert_eq!((answer.status, &answer.body), (None, &json!("ready\n")));
        let age = answer.age.unwrap();
        assert!(age >= Duration::from_secs(45) && age < Duration::from_secs(105), "{age:?}");
        assert!(probe(&path, Some(Duration::from_hours(1)), TIMEOUT).await.is_ok());

        let failure = probe(&path, Some(Duration::from_secs(30)), TIMEOUT).await.unwrap_err();
        assert!(failure.message.ends_with(" s old, at most 30s allowed"), "{failure}");

        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::now() + Duration::from_secs(45))
            .unwrap();
        let answer = probe(&path, Some(Duration::from_secs(30)), TIMEOUT).await.unwrap();
        assert_eq!(answer.age, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_file_that_its_user_may_not_read_is_not_read_for_him() {
        use std::os::unix::fs::{PermissionsExt, lchown, symlink};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(place("secret"), "s3cret").unwrap();
        fs::set_permissions(place("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("secret", place("health.json")).unwrap();
        assert!(probe(&place("health.json"), None, TIMEOUT).await.is_ok(), "all of it is root's");
        lchown(place("health.json"), Some(4242), Some(4242)).unwrap();
        let failure = probe(&place("health.json"), None, TIMEOUT).await.unwrap_err();
        let words = format!("`{}`, which belongs to `root` and which `4242` may not read", place("secret").display());
        assert!(failure.message.contains(&words) && !failure.message.contains("s3cret"), "{failure}");
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("large"), vec![b' '; BODY_LIMIT + 1]).unwrap();
        fs::write(place("largest"), vec![b' '; BODY_LIMIT]).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, place("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(probe(&place("largest"), None, TIMEOUT).await.is_ok());
        let rows = [
            (place("absent"), "cannot read"),
            (place("pipe"), "no regular file"),
            (directory.path().to_owned(), "no regular file"),
            (place("large"), "larger than 1 MiB"),
        ];
        for (path, words) in rows {
            let failure = probe(&path, None, TIMEOUT).await.unwrap_err();
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.message.contains(&*path.to_string_lossy()), "{failure}");
        }
    }
}
