//! What the machine is like: its limits, clock, file systems, addresses and programs. Only looks.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Mode, StatVfsMountFlags, statvfs};

use super::config::text;
use super::spawn::base_environment;
use super::users::User;
use crate::model::facts::{FileKind, HostUser, PathFacts, Space};
use crate::model::process::Known;

/// How long the clock's daemon may take to answer.
const CLOCK: Duration = Duration::from_secs(5);

/// A number that the kernel shows below `/proc/sys`.
#[must_use]
pub fn kernel_number(path: &str) -> Known<u64> {
    let said = text(Path::new("/proc/sys").join(path).as_path());
    match said.map(|text| text.trim().parse()) {
        Ok(Ok(number)) => Known::Known(number),
        Ok(Err(_)) => Known::Unknown(format!("`/proc/sys/{path}` is no number")),
        Err(error) => Known::Unknown(format!("`/proc/sys/{path}`: {error}")),
    }
}

/// What the kernel calls this host; `localhost` where it does not tell.
#[must_use]
pub fn hostname() -> String {
    let name = text(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Whether the clock is synchronised with others, as systemd tells it.
pub async fn clock_synchronised() -> Known<bool> {
    let mut timedatectl = tokio::process::Command::new("timedatectl");
    timedatectl.args(["show", "--property=NTPSynchronized", "--value"]).env("LC_ALL", "C");
    let asked = timedatectl.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(CLOCK, asked).await {
        Ok(Ok(output)) => match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => Known::Known(true),
            "no" => Known::Known(false),
            _ => Known::Unknown(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        },
        Ok(Err(error)) => Known::Unknown(format!("`timedatectl` cannot be run: {error}")),
        Err(_) => Known::Unknown("`timedatectl` does not answer".to_owned()),
    }
}

/// Whether `/proc` is mounted so that it hides the processes of others from this user.
#[must_use]
pub fn hidden_processes(user: &User) -> Known<bool> {
    if user.uid == 0 {
        return Known::Known(false);
    }
    match text(Path::new("/proc/self/mountinfo")) {
        Ok(mounts) => Known::Known(hides(&mounts, &user.groups)),
        Err(error) => Known::Unknown(format!("`/proc/self/mountinfo`: {error}")),
    }
}

fn hides(mounts: &str, groups: &[u32]) -> bool {
    let mount = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = mount.and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    let option = |name: &str| options.split(',').find_map(|one| one.strip_prefix(name));
    let closed = option("hidepid=").is_some_and(|how| !matches!(how, "0" | "off"));
    let exempt = option("gid=").and_then(|gid| gid.parse().ok()).is_some_and(|gid| groups.contains(&gid));
    closed && !exempt
}

/// A user, with the names of his groups.
#[must_use]
pub fn person(user: &User) -> HostUser {
    let name = |gid: &u32| Some(nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(*gid)).ok()??.name);
    HostUser {
        name: user.name.clone(),
        uid: user.uid,
        group_names: user.groups.iter().filter_map(name).collect(),
        groups: user.groups.clone(),
    }
}

/// What stands at a path; a link is not followed.
#[must_use]
pub fn standing(path: &Path) -> Known<Option<PathFacts>> {
    let found = path.symlink_metadata();
    match found {
        Ok(found) => Known::Known(Some(stands(&found))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Known::Known(None)
        }
        Err(error) => Known::Unknown(format!("`{}`: {error}", path.display())),
    }
}

/// What a path leads to, whatever links are on the way; none where it leads nowhere.
#[must_use]
pub fn followed(path: &Path) -> Option<PathFacts> {
    path.metadata().ok().map(|found| stands(&found))
}

fn stands(found: &std::fs::Metadata) -> PathFacts {
    let kind = match found.file_type() {
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link,
        kind if kind.is_file() => FileKind::File,
        _ => FileKind::Other,
    };
    PathFacts { kind, device: found.dev(), uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 }
}

/// What is left on the file system of a path, or of the nearest directory above it that is there.
#[must_use]
pub fn space(path: &Path) -> Known<Space> {
    let Some(there) = path.ancestors().find(|above| above.exists()) else {
        return Known::Unknown(format!("`{}` cannot be looked at", path.display()));
    };
    match statvfs(there) {
        Ok(found) => Known::Known(Space {
            bytes: found.f_blocks.saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            free_inodes: found.f_favail,
            read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
            no_exec: found.f_flag.contains(StatVfsMountFlags::NOEXEC),
        }),
        Err(error) => Known::Unknown(format!("`{}`: {}", there.display(), io::Error::from(error))),
    }
}

/// Whether an address is one of this machine's: only then may one listen there. Nothing is sent.
#[must_use]
pub fn is_own_address(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether this user could run a program, found by its name in the `PATH` that steps have, or by its path.
#[must_use]
pub fn could_run(user: &User, program: &str) -> Known<bool> {
    let environment: BTreeMap<String, String> = base_environment(user);
    let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        path.split(':').filter(|place| place.starts_with('/')).map(|place| Path::new(place).join(program)).collect()
    };
    let mut unknown = None;
    for place in places {
        match may_execute(user, &place) {
            Ok(true) => return Known::Known(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unknown = Some(format!("`{}`: {error}", place.display()));
            }
            // Not there, or not his.
            Ok(false) | Err(_) => {}
        }
    }
    unknown.map_or(Known::Known(false), Known::Unknown)
}

/// By the permissions of the file and of the directories on the way; access lists are not looked at.
fn may_execute(user: &User, path: &Path) -> io::Result<bool> {
    let real = path.canonicalize()?;
    let file = real.metadata()?;
    let allowed = |found: &std::fs::Metadata| {
        let bits = match found {
            _ if user.uid == 0 => Mode::XUSR | Mode::XGRP | Mode::XOTH,
            found if found.uid() == user.uid => Mode::XUSR,
            found if user.groups.contains(&found.gid()) => Mode::XGRP,
            _ => Mode::XOTH,
        };
        found.mode() & bits.bits() != 0
    };
    let mut above = real.ancestors().skip(1);
    let reached =
        above.try_fold(true, |so_far, directory| Ok::<_, io::Error>(so_far && allowed(&directory.metadata()?)));
    Ok(file.is_file() && allowed(&file) && reached?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn proc_hides_processes_only_from_those_who_are_not_exempt() {
        let line = |options: &str| {
            format!("22 1 0:21 / /sys rw - sysfs sysfs rw\n21 1 0:20 / /proc rw,nosuid - proc proc {options}\n")
        };
        let rows = [
            ("rw", false),
            ("rw,hidepid=invisible", true),
            ("rw,hidepid=2", true),
            ("rw,hidepid=0", false),
            ("rw,hidepid=off", false),
            ("rw,gid=7,hidepid=2", false),
            ("rw,gid=8,hidepid=2", true),
        ];
        for (options, hidden) in rows {
            assert_eq!(hides(&line(options), &[7]), hidden, "{options}");
        }
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own_address("127.0.0.1".parse().unwrap()));
        assert!(!is_own_address("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn a_program_is_run_by_those_who_may() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().canonicalize().unwrap().join("program");
        std::fs::write(&program, "").unwrap();
        let stranger = User::numbered(3_999_999_999, 3_999_999_998).unwrap();
        let could = |mode: u32, above: u32| {
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(above)).unwrap();
            could_run(&stranger, program.to_str().unwrap())
        };
        assert_eq!(could(0o755, 0o755), Known::Known(true));
        assert_eq!(could(0o750, 0o755), Known::Known(false));
        assert_eq!(could(0o755, 0o700), Known::Known(false));
        assert_eq!(could_run(&stranger, "sh"), Known::Known(true));
        assert_eq!(could_run(&stranger, "no-such-program-here"), Known::Known(false));
    }

    #[test]
    fn what_stands_at_a_path_is_told_without_following_it() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", place.path().join("link")).unwrap();
        let kind = |path: &Path| standing(path).known().copied().flatten().map(|found| found.kind);
        assert_eq!(kind(place.path()), Some(FileKind::Directory));
        assert_eq!(kind(&place.path().join("link")), Some(FileKind::Link));
        assert_eq!(kind(&place.path().join("none")), None);
        assert!(space(&place.path().join("none/below")).known().unwrap().bytes > 0);
    }
}
