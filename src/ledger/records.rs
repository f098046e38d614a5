//! What is known of each release: `ROOT/.trueup/releases/ID.json`, each replaced whole.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::folder::Folder;
use super::spare;
use crate::host::blocking;
use crate::host::silence;
use crate::model::names::{ReleaseId, Root};
use crate::model::record::ReleaseRecord;
use crate::ports::{HostError, HostErrorKind};

const FOLDER: &str = "releases";
const SUFFIX: &str = ".json";
/// What a record grows as; no id makes this name, since it has no suffix.
const NEW: &str = "record.new";
/// A longer file is none of ours.
const LIMIT: u64 = 1 << 20;
/// Bytes of all records together: some ten thousand releases.
const ALL: u64 = 64 << 20;

/// The records of all releases, ordered by id; none where nothing was ever recorded.
///
/// # Errors
/// One that cannot be read, or makes no sense: half a release must not be taken for a whole one.
pub async fn records(root: &Root) -> Result<Vec<ReleaseRecord>, HostError> {
    let of = root;
    let root = root.clone();
    silence::at(of, move || {
        let failed =
            |error: &io::Error| HostError::io(format!("cannot read `{}`", root.state().join(FOLDER).display()), error);
        let folder = Folder::existing(&root)
            .and_then(|folder| folder.map_or(Ok(None), |folder| folder.existing_inner(FOLDER)))
            .map_err(|error| failed(&error))?;
        let Some(folder) = folder else { return Ok(Vec::new()) };
        let names = folder.names().map_err(|error| failed(&error))?;
        let ours = names.iter().filter(|name| name.as_bytes().ends_with(SUFFIX.as_bytes()));
        let mut left = ALL;
        let mut records =
            ours.filter_map(|name| read(&folder, name, &mut left).transpose()).collect::<Result<Vec<_>, _>>()?;
        records.sort_by(|one: &ReleaseRecord, other| one.id.cmp(&other.id));
        Ok(records)
    })
    .await?
}

/// One record; none when it was removed meanwhile. Takes its size off what may be read yet.
fn read(folder: &Folder, name: &OsStr, left: &mut u64) -> Result<Option<ReleaseRecord>, HostError> {
    let path = folder.path(name);
    let senseless = |why: String| {
        let message = format!("`{}` is no record of a release: {why}", path.display());
        HostError::new(HostErrorKind::Misconfigured, message).with_help(remedy(&path))
    };
    let Some(text) = name.to_str() else { return Err(senseless("its name is not UTF-8".to_owned())) };
    let file = folder.readable(text).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => HostError::io(format!("cannot read `{}`", path.display()), &error),
        _ => senseless(error.to_string()),
    })?;
    let Some(file) = file else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| HostError::io(format!("cannot read `{}`", path.display()), &error))?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
        let folder = path.parent().unwrap_or(&path).display();
        let message = format!("`{folder}` holds more than {} MiB of records", ALL >> 20);
        HostError::new(HostErrorKind::Misconfigured, message).with_help("remove those of releases that are long gone")
    })?;
    let record: ReleaseRecord = serde_json::from_slice(&bytes).map_err(|error| senseless(error.to_string()))?;
    if file_name(&record.id) != text {
        return Err(senseless(format!("it speaks of the release `{}`", record.id)));
    }
    Ok(Some(record))
}

/// Without its record a release counts as whole: only a person can know whether it is.
fn remedy(path: &Path) -> String {
    let release = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("remove it if the release `{release}` is whole; if not, remove the release first, then the record")
}

/// Replaces the record of one release: after a crash it is the old or the new one, whole; on disk when it
/// returns.
///
/// Room for it is kept in reserve, for on a full disk a release must still be taken back.
///
/// # Errors
/// What the file system refuses; the old record is then still there.
pub async fn record(root: &Root, record: &ReleaseRecord) -> Result<(), HostError> {
    let mut text = serde_json::to_vec_pretty(record)
        .map_err(|error| HostError::new(HostErrorKind::Other, format!("cannot write a record as JSON: {error}")))?;
    text.push(b'\n');
    let (root, name) = (root.clone(), file_name(&record.id));
    blocking(move || {
        let above = Folder::open(&root)?;
        let folder = above.inner(FOLDER)?;
        let written = spare::within(&above, || folder.replace(&name, NEW, &text));
        if matches!(written, Ok(false)) {
            spare::keep(&above);
        }
        written
            .map(drop)
            .map_err(|error| HostError::io(format!("cannot write `{}`", folder.path(&name).display()), &error))
    })
    .await?
}

/// Removes the record of one release, whatever is in it; one that is not there is success. On disk when it returns.
///
/// # Errors
/// What the file system refuses.
pub async fn forget(root: &Root, id: &ReleaseId) -> Result<(), HostError> {
    let (root, name) = (root.clone(), file_name(id));
    blocking(move || {
        let path = root.state().join(FOLDER).join(&name);
        let forgotten = Folder::existing(&root)
            .and_then(|folder| folder.map_or(Ok(None), |folder| folder.existing_inner(FOLDER)))
            .and_then(|folder| folder.map_or(Ok(()), |folder| folder.remove(&name).and_then(|()| folder.sync())));
        forgotten.map_err(|error| HostError::io(format!("cannot remove `{}`", path.display()), &error))
    })
    .await?
}

fn file_name(id: &ReleaseId) -> String {
    format!("{id}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use jiff::Timestamp;

    use super::*;
    use crate::ledger::testing::root;
    use crate::model::boot::{Boot, Moment};
    use crate::model::record::{Judge, Making, Quarantine};

    fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn of(text: &str, made: Making) -> ReleaseRecord {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        ReleaseRecord { made, ..ReleaseRecord::adopted(id(text), at) }
    }

    fn file(root: &Root, name: &str) -> PathBuf {
        root.state().join(FOLDER).join(name)
    }

    #[tokio::test]
    async fn records_come_back_in_the_order_of_their_ids_whatever_these_are() {
        let (_directory, root) = root();
        assert_eq!(records(&root).await.unwrap(), []);
        assert!(!root.state().exists(), "reading makes nothing");
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let quarantine = Quarantine {
            key: "ab".to_owned(),
            at,
            by: Judge::Gate,
            reason: "status == 200 does not hold".to_owned(),
            evidence: vec!["status is 500".to_owned()],
            held: true,
            back_to: Some(id("r0")),
        };
        let long = "x".repeat(240);
        let ids = ["007", "1e3", "a b", "a.json", "record.new", "x..", long.as_str()];
        let mut expected = Vec::new();
        for name in ids {
            let full = ReleaseRecord {
                origin: Some("0123456".to_owned()),
                switching: Some(Moment { at, boot: Boot { id: "b".to_owned(), at } }),
                proven: Some(at),
                quarantine: Some(quarantine.clone()),
                ..of(name, Making::Built)
            };
            record(&root, &of(name, Making::Building)).await.unwrap();
            record(&root, &full).await.unwrap();
            expected.push(full);
        }
        expected.sort_by(|one, other| one.id.cmp(&other.id));
        assert_eq!(records(&root).await.unwrap(), expected);
        for name in ids {
            forget(&root, &id(name)).await.unwrap();
            forget(&root, &id(name)).await.unwrap();
        }
        assert_eq!(records(&root).await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_folder_and_its_files_belong_to_the_owner_of_the_root() {
        let (_directory, root) = root();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(root.path(), Some(4242), Some(4343)).unwrap();
        }
        record(&root, &of("r1", Making::Built)).await.unwrap();
        for (path, mode) in [(root.state().join(FOLDER), 0o750), (file(&root, "r1.json"), 0o640)] {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
            if is_root {
                assert_eq!((found.uid(), found.gid()), (4242, 4343), "{}", path.display());
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_record_is_an_error_that_names_it() {
        let (directory, root) = root();
        record(&root, &of("good", Making::Built)).await.unwrap();
        let good = fs::read(file(&root, "good.json")).unwrap();
        // Half a record that a dead pass left is none, and neither is what has another suffix.
        fs::write(file(&root, NEW), "{").unwrap();
        fs::write(file(&root, "notes.txt"), "").unwrap();
        assert_eq!(records(&root).await.unwrap().len(), 1);

        let bad = file(&root, "bad.json");
        let outside = directory.path().join("outside.json");
        fs::write(&outside, &good).unwrap();
        for bytes in [&b""[..], b"{", b"[]", b"{\"id\": \"bad\"}", &good[..good.len() / 2], &good] {
            fs::write(&bad, bytes).unwrap();
            let error = records(&root).await.unwrap_err();
            assert!(error.message.contains("bad.json") && error.help.unwrap().contains("`bad`"), "{bytes:?}");
        }
        for kind in ["link", "hard link", "directory"] {
            fs::remove_file(&bad).unwrap();
            match kind {
                "link" => symlink(&outside, &bad).unwrap(),
                "hard link" => fs::hard_link(&outside, &bad).unwrap(),
                _ => fs::create_dir(&bad).unwrap(),
            }
            let error = records(&root).await.unwrap_err();
            assert!(error.message.contains("bad.json"), "{kind}: {error}");
        }
        fs::remove_dir(&bad).unwrap();
        assert_eq!(records(&root).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn more_than_makes_sense_is_not_read() {
        let (_directory, root) = root();
        record(&root, &of("r1", Making::Built)).await.unwrap();
        for number in 0..=ALL / LIMIT {
            let name = format!("n{number}");
            let mut text = serde_json::to_vec(&of(&name, Making::Built)).unwrap();
            text.resize(usize::try_from(LIMIT).unwrap(), b' ');
            fs::write(file(&root, &format!("{name}.json")), text).unwrap();
        }
        let error = records(&root).await.unwrap_err();
        assert!(error.message.contains("more than 64 MiB") && error.help.is_some(), "{error:?}");
    }

    #[tokio::test]
    async fn links_are_not_followed_and_what_they_lead_to_stays() {
        let (directory, root) = root();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("r1.json"), "precious").unwrap();
        fs::create_dir(root.state()).unwrap();
        symlink(&outside, root.state().join(FOLDER)).unwrap();
        assert!(records(&root).await.is_err());
        assert!(record(&root, &of("r1", Making::Built)).await.is_err());
        assert!(forget(&root, &id("r1")).await.is_err());
        fs::remove_file(root.state().join(FOLDER)).unwrap();

        fs::create_dir(root.state().join(FOLDER)).unwrap();
        symlink(outside.join("r1.json"), file(&root, "r1.json")).unwrap();
        symlink(outside.join("r1.json"), file(&root, NEW)).unwrap();
        record(&root, &of("r1", Making::Built)).await.unwrap();
        assert!(!fs::symlink_metadata(file(&root, "r1.json")).unwrap().is_symlink());
        assert_eq!(records(&root).await.unwrap().len(), 1);
        assert_eq!(fs::read_to_string(outside.join("r1.json")).unwrap(), "precious");
    }
}
