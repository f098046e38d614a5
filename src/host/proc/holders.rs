//! Who still uses a directory: every process that works in it, runs or has open or mapped something of it, or sees it
//! mounted at a second place, also through a view of the file system of its own, as in a container.
//!
//! It goes over all open files of the machine, so it is for moments in which a directory is about to go.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::reader::{Reader, in_want, read_long, there};
use super::{boot_time, id, trouble};
use crate::model::process::{Holder, Pid};
use crate::ports::HostError;

/// The first process found for each of these directories, which are named by their real paths. What may not be read of
/// a process tells nothing; nor does the process that asks.
///
/// # Errors
/// `/proc` cannot be read, or this process has not the means to.
pub fn holders(directories: &[PathBuf]) -> Result<Vec<Holder>, HostError> {
    let unreadable = |error: std::io::Error| trouble::unreadable("/proc", &error);
    let mut search = Search::new(directories).map_err(|error| unreadable(error.into()))?;
    for entry in std::fs::read_dir("/proc").map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid) else { continue };
        if pid.0 == std::process::id() {
            continue;
        }
        if let Err(error) = search.look(pid)
            && trouble::is_want(error)
        {
            return Err(trouble::cannot_look_at(pid, error));
        }
        if search.found.len() == directories.len() {
            break;
        }
    }
    Ok(search.found.into_values().collect())
}

/// One mounted file system, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: Vec<u8>,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// How the directories are called in one view of the file system.
#[derive(Debug, Clone, Default)]
struct View {
    /// With the number of each.
    names: Vec<(usize, PathBuf)>,
    /// Where one of them is mounted once more, as a whole or in part.
    mounted: Vec<(usize, PathBuf)>,
}

struct Search<'a> {
    reader: Reader,
    directories: &'a [PathBuf],
    own: Vec<Mount>,
    /// By the number of the namespace.
    views: BTreeMap<Vec<u8>, View>,
    found: BTreeMap<usize, Holder>,
}

impl<'a> Search<'a> {
    fn new(directories: &'a [PathBuf]) -> Result<Self, Errno> {
        let reader = Reader::new(boot_time())?;
        let home = reader.open(Pid(std::process::id()))?;
        let own = mounts(&read_long(&home, "mountinfo")?);
        Ok(Self { reader, directories, own, views: BTreeMap::new(), found: BTreeMap::new() })
    }

    fn look(&mut self, pid: Pid) -> Result<(), Errno> {
        let Some(home) = there(self.reader.open(pid))? else { return Ok(()) };
        let Some(stat) = there(self.reader.stat(&home))? else { return Ok(()) };
        if stat.zombie || stat.kernel {
            return Ok(());
        }
        let view = self.view(&home)?;
        let mut seen: Vec<(usize, String)> = Vec::new();
        for (at, point) in &view.mounted {
            seen.push((*at, format!("mounted at {}", point.display())));
        }
        let mut notes = |how: &str, path: &Path| {
            let inside = view.names.iter().filter(|(_, name)| path.starts_with(name) || is_deleted(name, path));
            seen.extend(inside.map(|(at, _)| (*at, format!("{how} {}", path.display()))));
        };
        for (link, how) in [("cwd", "cwd"), ("root", "root"), ("exe", "executable")] {
            if let Ok(path) = in_want(target(&home, link))? {
                notes(how, &path);
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(entries) = in_want(openat(&home, "fd", flags, Mode::empty()).and_then(rustix::fs::Dir::new))? {
            for entry in entries.flatten() {
                // One that was closed since is open no more.
                if let Ok(path) = in_want(target(&home, &format!("fd/{}", entry.file_name().to_string_lossy())))? {
                    notes("open file", &path);
                }
            }
        }
        if let Ok(maps) = in_want(read_long(&home, "maps"))? {
            for line in maps.split(|&byte| byte == b'\n') {
                // Behind addresses, rights, offset, device and inode, and the only field with a slash.
                if let Some(at) = line.iter().position(|&byte| byte == b'/') {
                    notes("mapped file", Path::new(std::ffi::OsStr::from_bytes(line.get(at..).unwrap_or_default())));
                }
            }
        }
        for (directory, seen) in seen {
            let holder = Holder { process: id(pid, stat), directory, seen };
            self.found.entry(directory).or_insert(holder);
        }
        Ok(())
    }

    /// How a process sees the file system; as we do where that is not told.
    fn view(&mut self, home: &OwnedFd) -> Result<View, Errno> {
        let namespace = match in_want(readlinkat(home, "ns/mnt", Vec::new()))? {
            Ok(namespace) => namespace.into_bytes(),
            Err(_) => Vec::new(),
        };
        if let Some(view) = self.views.get(&namespace) {
            return Ok(view.clone());
        }
        // Not kept when it could not be read: others of this view may tell.
        let Some(mounts) = in_want(read_long(home, "mountinfo"))?.ok().filter(|_| !namespace.is_empty()) else {
            return Ok(view(self.directories, &self.own, &self.own));
        };
        let view = view(self.directories, &self.own, &self::mounts(&mounts));
        self.views.insert(namespace, view.clone());
        Ok(view)
    }
}

fn target(home: &OwnedFd, link: &str) -> Result<PathBuf, Errno> {
    let target = readlinkat(home, link, Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes())))
}

/// The directory itself, without its name.
fn is_deleted(directory: &Path, path: &Path) -> bool {
    path.as_os_str().as_bytes().strip_suffix(b" (deleted)") == Some(directory.as_os_str().as_bytes())
}

/// What directories of our view are called in a view with these mounts.
fn view(directories: &[PathBuf], own: &[Mount], theirs: &[Mount]) -> View {
    let mut found = View::default();
    for (at, directory) in directories.iter().enumerate() {
        // Of several at one place the last one is seen.
        let inside = own.iter().filter(|mount| directory.starts_with(&mount.point));
        let mount = inside.max_by_key(|mount| mount.point.as_os_str().len());
        let Some((mount, rest)) = mount.and_then(|mount| Some((mount, directory.strip_prefix(&mount.point).ok()?)))
        else {
            found.names.push((at, directory.clone()));
            continue;
        };
        // Not `join`: an empty rest would add a slash.
        let within: PathBuf = mount.root.components().chain(rest.components()).collect();
        for other in theirs.iter().filter(|other| other.device == mount.device) {
            if let Ok(rest) = within.strip_prefix(&other.root) {
                found.names.push((at, other.point.components().chain(rest.components()).collect()));
            }
            if other.root.starts_with(&within) && other.point != *directory {
                found.mounted.push((at, other.point.clone()));
            }
        }
    }
    found
}

fn mounts(bytes: &[u8]) -> Vec<Mount> {
    bytes.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// A line of `mountinfo`: two numbers, the device, the root, the place, and more.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ').skip(2);
    let device = fields.next()?.to_vec();
    let mut path = || fields.next().map(|field| PathBuf::from(std::ffi::OsStr::from_bytes(&spelled_out(field))));
    Some(Mount { device, root: path()?, point: path()? })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn spelled_out(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = behind.get(3..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn directories_are_called_otherwise_where_they_are_mounted_otherwise() {
        let own = "1 0 8:1 / / rw\n2 1 8:2 / /srv rw\n3 1 0:5 / /proc rw\n";
        let r1 = PathBuf::from("/srv/app/releases/r1");
        let rows: [(&str, &[&str], &[&str]); 6] = [
            (own, &["/srv/app/releases/r1"], &[]),
            ("9 8 8:2 / /data rw\n", &["/data/app/releases/r1"], &[]),
            ("9 8 8:2 /app /app rw\n8 8 8:2 /app2 /b rw\n", &["/app/releases/r1"], &[]),
            ("9 8 8:2 /app/releases/r1 /my\\040www rw\n", &["/my www"], &["/my www"]),
            ("9 8 8:2 /app/releases/r1/public /www rw\n", &[], &["/www"]),
            ("9 8 8:2 /app/releases/r10 /www rw\n9 8 8:1 /app/releases/r1 /x rw\n", &[], &[]),
        ];
        for (theirs, names, mounted) in rows {
            let found = view(std::slice::from_ref(&r1), &mounts(own.as_bytes()), &mounts(theirs.as_bytes()));
            let paths = |found: Vec<(usize, PathBuf)>| found.into_iter().map(|(_, path)| path).collect::<Vec<_>>();
            assert_eq!(paths(found.names), names.iter().map(PathBuf::from).collect::<Vec<_>>(), "{theirs}");
            assert_eq!(paths(found.mounted), mounted.iter().map(PathBuf::from).collect::<Vec<_>>(), "{theirs}");
        }
    }

    #[test]
    fn whoever_has_a_file_open_or_works_there_holds_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let directories = ["open", "works", "free"].map(|name| place.join(name));
        for directory in &directories {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(place.join("open/file"), "").unwrap();
        let file = std::fs::File::open(place.join("open/file")).unwrap();
        let sleep = || Command::new("sleep").arg("600").stdin(Stdio::null()).current_dir("/").spawn();
        let mut children = [
            Command::new("sleep").arg("600").stdin(Stdio::from(file)).current_dir("/").spawn().unwrap(),
            Command::new("sleep").arg("600").current_dir(place.join("works")).spawn().unwrap(),
            sleep().unwrap(),
        ];
        let found = holders(&directories).unwrap();
        let told: Vec<_> = found.iter().map(|one| (one.directory, one.process.pid.0, one.seen.clone())).collect();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let open = format!("open file {}", place.join("open/file").display());
        let works = format!("cwd {}", place.join("works").display());
        assert_eq!(told, [(0, children[0].id(), open), (1, children[1].id(), works)]);
        assert_eq!(holders(&directories).unwrap(), []);
    }

    #[test]
    fn whoever_runs_or_has_mapped_a_file_holds_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let directories = ["runs", "maps"].map(|name| place.join(name));
        for directory in &directories {
            std::fs::create_dir(directory).unwrap();
        }
        let sleep = ["/bin/sleep", "/usr/bin/sleep"].into_iter().find(|path| Path::new(path).exists()).unwrap();
        let (program, library) = (place.join("runs/sleep"), place.join("maps/library"));
        std::fs::copy(sleep, &program).unwrap();
        // Any library will do, and this process has one.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let of_ours = maps.split_whitespace().find(|word| word.contains("/libgcc_s.so")).unwrap();
        std::fs::copy(of_ours, &library).unwrap();
        // Waited for: only who has come to its program shows it.
        let ready = |command: &mut Command, shows: &Path| {
            let child = command.arg("600").stdin(Stdio::null()).current_dir("/").spawn().unwrap();
            let maps = format!("/proc/{}/maps", child.id());
            while !std::fs::read_to_string(&maps).unwrap().contains(shows.to_str().unwrap()) {
                std::thread::yield_now();
            }
            child
        };
        let mut children = [
            ready(&mut Command::new(&program), &program),
            ready(Command::new(sleep).env("LD_PRELOAD", &library), &library),
        ];
        let found = holders(&directories).unwrap();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let told: Vec<_> = found.iter().map(|one| (one.directory, one.process.pid.0, one.seen.clone())).collect();
        let runs = format!("executable {}", program.display());
        let maps = format!("mapped file {}", library.display());
        assert_eq!(told, [(0, children[0].id(), runs), (1, children[1].id(), maps)]);
    }
}
