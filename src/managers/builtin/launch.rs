//! Prepares the start of one worker: which release, which environment, where it prints to. Blocks.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::family::Place;
use crate::host::log;
use crate::host::spawn::{Launch, base_environment};
use crate::model::app::Builtin as Settings;
use crate::model::names::{MemberName, Root};
use crate::model::process::{APP_VARIABLE, RECIPE_VARIABLE, ROOT_VARIABLE, WORKER_VARIABLE};
use crate::ports::{HostError, HostErrorKind};

/// A log longer than this is put aside at the worker's next start; one old one is kept.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// A worker's log, open for appending and reading.
pub(super) struct Log {
    /// The file.
    pub(super) file: File,
    /// Its name, for people.
    pub(super) path: PathBuf,
    /// Its length before the start: what stands behind it is this start's.
    pub(super) length: u64,
}

/// Everything for the start of `member`, in the release that `current` leads to now.
///
/// # Errors
/// `current` leads to no release of this root, or the log cannot be opened.
pub(super) fn prepare(place: &Place, settings: &Settings, member: &MemberName) -> Result<(Launch, Log), HostError> {
    let (release, directory) = current_release(&place.root)?;
    let log = open_log(place, member)?;
    let output = log.file.try_clone().map_err(|error| failed(&log.path, &error))?;
    let mut environment = base_environment(&place.user);
    environment.extend(settings.env.clone());
    let ours = [
        (ROOT_VARIABLE, place.real.to_string_lossy().into_owned()),
        (APP_VARIABLE, place.app.clone()),
        (WORKER_VARIABLE, member.as_str().to_owned()),
        (RECIPE_VARIABLE, recipe(place, settings)),
        ("RELEASE_ID", release),
        ("RELEASE_PATH", directory.to_string_lossy().into_owned()),
    ];
    environment.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    let launch = Launch {
        command: settings.run.argv(),
        directory,
        user: place.user.clone(),
        environment,
        output: output.into(),
        discard_errors: false,
        lock: None,
    };
    Ok((launch, log))
}

/// Digest of what workers are started with, as far as the manifest says it: command, environment, user.
pub(super) fn recipe(place: &Place, settings: &Settings) -> String {
    let mut digest = Sha256::new();
    let mut add = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    settings.run.argv().iter().for_each(|argument| add(argument));
    add("");
    for (name, value) in &settings.env {
        add(name);
        add(value);
    }
    add(&format!("{}:{}", place.user.uid, place.user.gid));
    digest.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Id and real directory of the release that `current` leads to.
fn current_release(root: &Root) -> Result<(String, PathBuf), HostError> {
    let link = root.current();
    let refused = |what: String| {
        HostError::new(HostErrorKind::Misconfigured, format!("cannot start a worker: `{}` {what}", link.display()))
            .with_help("switch to a release first")
    };
    let text = std::fs::read_link(&link).map_err(|error| refused(format!("cannot be read as a link: {error}")))?;
    let directory = link.canonicalize().map_err(|error| refused(format!("leads nowhere: {error}")))?;
    let releases = root.releases().canonicalize();
    let releases =
        releases.map_err(|error| HostError::io(format!("cannot find `{}`", root.releases().display()), &error))?;
    // By the link's own words first: `releases/ID` may itself be a link to another disk.
    let named = root.path().join(text);
    let inside = |path: &Path| {
        path.parent().and_then(|parent| parent.canonicalize().ok()).is_some_and(|parent| parent == releases)
    };
    let id = [named.as_path(), directory.as_path()].into_iter().find(|path| inside(path)).and_then(Path::file_name);
    match id {
        Some(id) => Ok((id.to_string_lossy().into_owned(), directory)),
        None => Err(refused(format!("leads to `{}`, which is no release of this root", directory.display()))),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> HostError {
    HostError::io(format!("cannot open the log `{}`", path.display()), error)
}

/// Opens `ROOT/.trueup/log/GROUP-ORDINAL.log`. Links are not followed below the root: the folder may be
/// writable to the App's user, and root must not be led elsewhere by it.
fn open_log(place: &Place, member: &MemberName) -> Result<Log, HostError> {
    let name = format!("{}.log", member.as_str().replace('/', "-"));
    let path = place.root.state().join("log").join(&name);
    let failed = |error: Errno| failed(&path, &error.into());
    let folder = log::folder(&place.root, &[]).map_err(failed)?;
    let refused = |what: &str| {
        HostError::new(HostErrorKind::Denied, format!("will not write the log `{}`: {what}", path.display()))
            .with_help("remove it")
    };

    let open = |extra: OFlags| {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | extra;
        openat(&folder, name.as_str(), flags, Mode::from_raw_mode(0o640)).map(File::from)
    };
    let existing = match open(OFlags::empty()) {
        Ok(file) => {
            let found = file.metadata().map_err(|error| self::failed(&path, &error))?;
            if !found.is_file() || found.nlink() != 1 || !place.uids.contains(&found.uid()) {
                return Err(refused("it is not a plain file of the App's user"));
            }
            if found.len() <= LOG_LIMIT {
                Some((file, found.len()))
            } else {
                renameat(&folder, name.as_str(), &folder, format!("{name}.1")).map_err(failed)?;
                None
            }
        }
        Err(Errno::NOENT) => None,
        Err(Errno::LOOP) => return Err(refused("it is a link")),
        Err(error) => return Err(failed(error)),
    };
    let (file, length) = if let Some(existing) = existing {
        existing
    } else {
        let file = open(OFlags::CREATE | OFlags::EXCL).map_err(failed)?;
        if geteuid().is_root() {
            // Programs that open `/dev/stderr` anew need the right to.
            std::os::unix::fs::fchown(&file, Some(place.user.uid), Some(place.user.gid))
                .map_err(|error| self::failed(&path, &error))?;
        }
        (file, 0)
    };
    // Only the opening must not block, on a pipe that somebody put there.
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND).map_err(failed)?;
    Ok(Log { file, path, length })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::users::User;

    fn place(site: &Path) -> Place {
        let user = User::who_runs().unwrap();
        let root = Root::new(site).unwrap();
        Place { real: root.path().canonicalize().unwrap(), root, app: "app".into(), uids: vec![user.uid], user }
    }

    fn member() -> MemberName {
        MemberName::new("default/1").unwrap()
    }

    #[test]
    fn the_release_is_the_one_that_the_link_names() {
        let site = tempfile::tempdir().unwrap();
        let place = place(site.path());
        let root = &place.root;
        let kind = |root: &Root| current_release(root).map_err(|error| error.kind);
        assert_eq!(kind(root), Err(HostErrorKind::Misconfigured), "no link");
        std::fs::create_dir_all(root.releases().join("1e3")).unwrap();
        std::fs::create_dir(site.path().join("elsewhere")).unwrap();
        symlink("../elsewhere", root.releases().join("moved")).unwrap();
        let real = site.path().canonicalize().unwrap();
        let rows = [
            ("releases/1e3", Ok(("1e3", "releases/1e3"))),
            ("./releases//1e3/", Ok(("1e3", "releases/1e3"))),
            ("releases/moved", Ok(("moved", "elsewhere"))),
            ("releases/none", Err(HostErrorKind::Misconfigured)),
            ("elsewhere", Err(HostErrorKind::Misconfigured)),
        ];
        for (target, expected) in rows {
            symlink(target, root.current()).unwrap();
            let expected = expected.map(|(id, path)| (id.to_owned(), real.join(path)));
            assert_eq!(kind(root), expected, "{target}");
            std::fs::remove_file(root.current()).unwrap();
        }
    }

    #[test]
    fn a_log_is_continued_and_put_aside_when_it_is_long() {
        let site = tempfile::tempdir().unwrap();
        let place = place(site.path());
        let mut log = open_log(&place, &member()).unwrap();
        assert_eq!(log.length, 0);
        assert_eq!(log.path, site.path().join(".trueup/log/default-1.log"));
        assert_eq!(log.file.metadata().unwrap().mode() & 0o777, 0o640);
        log.file.write_all(b"first\n").unwrap();
        assert_eq!(open_log(&place, &member()).unwrap().length, 6);
        log.file.set_len(LOG_LIMIT + 1).unwrap();
        assert_eq!(open_log(&place, &member()).unwrap().length, 0);
        let old = std::fs::metadata(site.path().join(".trueup/log/default-1.log.1")).unwrap();
        assert_eq!(old.len(), LOG_LIMIT + 1);
    }

    #[test]
    fn a_log_never_leads_elsewhere() {
        let site = tempfile::tempdir().unwrap();
        let place = place(site.path());
        let precious = site.path().join("precious");
        std::fs::write(&precious, "x").unwrap();
        drop(open_log(&place, &member()).unwrap());
        let log = site.path().join(".trueup/log/default-1.log");
        for kind in ["link", "hard link", "directory"] {
            let _ = std::fs::remove_file(&log);
            match kind {
                "link" => symlink(&precious, &log).unwrap(),
                "hard link" => std::fs::hard_link(&precious, &log).unwrap(),
                _ => std::fs::create_dir(&log).unwrap(),
            }
            assert!(open_log(&place, &member()).is_err(), "{kind}");
        }
        std::fs::remove_dir_all(site.path().join(".trueup")).unwrap();
        symlink("/tmp", site.path().join(".trueup")).unwrap();
        assert!(open_log(&place, &member()).is_err(), "the folder");
    }
}
