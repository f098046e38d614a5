//! Archives as `tar` makes them, and as only an enemy would: with headers written byte by byte.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode};
use tar::Header;

use super::*;
use crate::decide::testing;
use crate::host::users::User;
use crate::model::app::App;
use crate::model::names::Root;

/// An archive in the making.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// Adds one entry exactly so.
    fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        old.linkflag = [kind];
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name, "", 0o644, content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.raw(b'5', name, "", 0o755, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, target, 0o777, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, target, 0o644, b"")
    }

    fn pax(self, key: &str, value: &str) -> Self {
        let length = key.len() + value.len() + 3;
        let length = (length..length + 9).find(|total| length + total.to_string().len() == *total).unwrap();
        self.raw(b'x', "pax", "", 0o644, format!("{length} {key}={value}\n").as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A root with something precious beside it.
struct Site {
    room: tempfile::TempDir,
    app: App,
}

impl Site {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let mut app = testing::app("r1", Vec::new());
        app.root = Root::new(room.path().join("app")).unwrap();
        fs::create_dir_all(app.root.path().join("shared")).unwrap();
        fs::write(app.root.path().join("shared/.env"), "precious").unwrap();
        fs::create_dir(room.path().join("outside")).unwrap();
        Self { room, app }
    }

    fn place(&self) -> ReleaseDirectory {
        let user = User { uid: 4242, gid: 4343, ..User::who_runs().unwrap() };
        ReleaseDirectory::open(&self.app, &user).unwrap()
    }

    fn terms() -> Terms {
        Terms { sha256: None, strip: 0, limit: 10_000_000 }
    }

    fn unpack(&self, bytes: &[u8], terms: &Terms) -> Result<String, HostError> {
        let path = self.room.path().join("archive");
        fs::write(&path, bytes).unwrap();
        let place = self.place();
        unpack(&place, open(&place, &path)?, "archive", terms).inspect_err(|_| place.abandon())
    }

    fn release(&self) -> PathBuf {
        self.app.root.release(&self.app.release.id)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.release().join(name)).unwrap()
    }

    /// Nothing but what [`Self::new`] made is outside the release.
    fn check_outside(&self, name: &str) {
        assert_eq!(fs::read_dir(self.room.path().join("outside")).unwrap().count(), 0, "{name}");
        assert_eq!(fs::read_to_string(self.app.root.path().join("shared/.env")).unwrap(), "precious", "{name}");
        let mut names: Vec<_> =
            fs::read_dir(self.app.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["releases", "shared"], "{name}");
        let releases: Vec<_> =
            fs::read_dir(self.app.root.releases()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(releases.iter().all(|release| release == "r1"), "{name}: {releases:?}");
    }
}

#[test]
fn what_tar_packs_comes_out_whatever_it_is_packed_with() {
    let plain = Tar::default()
        .directory("./")
        .directory("./bin")
        .raw(b'0', "./bin/worker", "", 0o4777, b"#!/bin/sh\n")
        .raw(b'0', "./secret", "", 0o000, b"s")
        .file("./a/b/c", "deep")
        .symlink("./bin/link", "../a/b")
        .hard("./copy", "./a/b/c")
        .file("./twice", "first")
        .file("./twice", "last")
        .symlink("./was-link", "a")
        .file("./was-link", "file")
        .raw(b'g', "pax_global_header", "", 0o644, b"")
        .end();
    let digest = |bytes: &[u8]| content::hexadecimal(Sha256::new_with_prefix(bytes));
    // Two gzip files one after the other are one, too.
    let halves = [gzip(&plain[..1000]), gzip(&plain[1000..])].concat();
    for bytes in [plain.clone(), gzip(&plain), zstandard(&plain), halves] {
        let site = Site::new();
        fs::create_dir_all(site.release().join("half")).unwrap();
        let terms = Terms { sha256: Some(digest(&bytes)), ..Site::terms() };
        assert_eq!(site.unpack(&bytes, &terms).unwrap(), digest(&bytes));
        assert_eq!(site.unpack(&bytes, &Site::terms()).unwrap(), digest(&bytes));
        assert_eq!([site.read("a/b/c"), site.read("copy"), site.read("twice")], ["deep", "deep", "last"]);
        assert_eq!((site.read("was-link"), site.read("bin/link/c")), ("file".to_owned(), "deep".to_owned()));
        assert!(!site.release().join("half").exists());
        let modes =
            [("", 0o755), ("bin", 0o755), ("bin/worker", 0o755), ("secret", 0o600), ("a", 0o755), ("twice", 0o644)];
        for (name, mode) in modes {
            let found = fs::symlink_metadata(site.release().join(name)).unwrap();
            assert_eq!(found.mode() & 0o7777, mode, "{name}");
        }
        let inode = |name: &str| fs::metadata(site.release().join(name)).unwrap().ino();
        assert_ne!(inode("a/b/c"), inode("copy"), "hard links become copies");
        if rustix::process::geteuid().is_root() {
            for name in ["", "bin", "bin/worker", "bin/link", "a", "a/b", "copy"] {
                let found = fs::symlink_metadata(site.release().join(name)).unwrap();
                assert_eq!((found.uid(), found.gid()), (4242, 4343), "{name}");
            }
        }
        site.check_outside("");
    }
}

#[test]
fn leading_components_are_dropped_and_long_names_are_known() {
    let long = format!("app-1.0/{}/file", ["directory-with-a-name"; 10].join("/"));
    let bytes = Tar::default()
        .directory("app-1.0/")
        .file("readme", "dropped")
        .file("app-1.0/one", "one")
        .hard("app-1.0/copy", "app-1.0/one")
        .raw(b'L', "././@LongLink", "", 0, format!("{long}.gnu\0").as_bytes())
        .file("cut", "gnu")
        .pax("path", &format!("{long}.pax"))
        .file("cut", "pax")
        .pax("linkpath", "one")
        .symlink("app-1.0/link", "cut")
        .end();
    let site = Site::new();
    site.unpack(&bytes, &Terms { strip: 1, ..Site::terms() }).unwrap();
    let inside = long.strip_prefix("app-1.0/").unwrap();
    assert_eq!([site.read("one"), site.read("copy"), site.read("link")], ["one"; 3]);
    assert_eq!([site.read(&format!("{inside}.gnu")), site.read(&format!("{inside}.pax"))], ["gnu", "pax"]);
    assert!(!site.release().join("readme").exists());

    let error = site.unpack(&bytes, &Terms { strip: 50, ..Site::terms() }).unwrap_err();
    assert!(error.message.contains("nothing in it"), "{error:?}");
    assert!(!site.release().exists());
}

#[test]
fn nothing_of_an_archive_leaves_the_release() {
    let long_way_out = format!("{}etc/x", "../".repeat(20));
    let rows: Vec<(&str, Tar, &str)> = vec![
        ("parent", Tar::default().file("../../outside/x", ""), "by `..`"),
        ("parent inside", Tar::default().file("a/../../../outside/x", ""), "by `..`"),
        ("parent of a directory", Tar::default().directory("../../outside/x/"), "by `..`"),
        ("absolute", Tar::default().file("/tmp/trueup-absolute", ""), "absolute path"),
        ("long", Tar::default().raw(b'L', "x", "", 0, long_way_out.as_bytes()).file("x", ""), "by `..`"),
        ("pax", Tar::default().pax("path", "../../outside/x").file("x", ""), "by `..`"),
        ("absolute link", Tar::default().symlink("x", "/etc/passwd"), "absolute path"),
        ("link out", Tar::default().symlink("a/x", "../../shared/.env"), "out of the release"),
        ("link out by pax", Tar::default().pax("linkpath", "../x").symlink("x", "y"), "out of the release"),
        ("link to the top's parent", Tar::default().symlink("x", ".."), "out of the release"),
        ("link through links", Tar::default().symlink("a/b/x", "../..").symlink("y", "a/b/x/../z"), "up again"),
        ("file through a link", Tar::default().symlink("x", "a").directory("a").file("x/y", ""), "is a link or a file"),
        ("directory through a link", Tar::default().symlink("x", ".").directory("x/y/z"), "is a link or a file"),
        ("below a file", Tar::default().file("x", "").file("x/y", ""), "is a link or a file"),
        ("file in place of a directory", Tar::default().directory("x").file("x", ""), "something else as well"),
        ("hard link out", Tar::default().hard("x", "../../shared/.env"), "by `..`"),
        ("absolute hard link", Tar::default().hard("x", "/etc/passwd"), "absolute path"),
        ("hard link to nothing", Tar::default().hard("x", "y"), "no file of the archive"),
        ("hard link to a directory", Tar::default().directory("y").hard("x", "y"), "no file of the archive"),
        ("hard link through a link", Tar::default().file("a/f", "").symlink("l", "a").hard("x", "l/f"), "no file"),
        ("hard link to a link", Tar::default().symlink("a/l", "../f").hard("l", "a/l"), "out of the release"),
        ("device", Tar::default().raw(b'3', "x", "", 0o666, b""), "device"),
        ("block device", Tar::default().raw(b'4', "x", "", 0o666, b""), "device"),
        ("pipe", Tar::default().raw(b'6', "x", "", 0o666, b""), "named pipe"),
        ("sparse", Tar::default().raw(b'S', "x", "", 0o666, b""), "sparse"),
        ("sparse in pax", Tar::default().pax("GNU.sparse.major", "1").file("x", ""), "sparse"),
        ("two sizes", Tar::default().pax("size", "4096").file("x", ""), "sparse or of a size"),
        ("unknown", Tar::default().raw(b'Z', "x", "", 0o666, b""), "not known"),
        ("no name", Tar::default().file("", ""), "no name"),
        ("deep", Tar::default().pax("path", &"d/".repeat(300)).directory("x"), "too deep"),
        ("endless name", Tar::default().raw(b'L', "x", "", 0, &vec![b'a'; 70_000]).file("x", ""), "far too long"),
    ];
    for (name, tar, words) in rows {
        let site = Site::new();
        let bytes = tar.end();
        let error = site.unpack(&bytes, &Site::terms()).expect_err(name);
        assert_eq!(error.kind, HostErrorKind::Misconfigured, "{name}: {error:?}");
        assert!(error.message.contains(words) && error.help.is_some(), "{name}: {error:?}");
        site.check_outside(name);
        assert!(!site.release().exists(), "{name}");
    }
    assert!(!std::path::Path::new("/tmp/trueup-absolute").exists());
}

#[test]
fn a_directory_may_take_the_place_of_a_link_but_never_stand_behind_it() {
    let site = Site::new();
    let bytes = Tar::default().directory("a").symlink("x", "a").directory("x").file("x/y", "here").end();
    site.unpack(&bytes, &Site::terms()).unwrap();
    assert!(!site.release().join("x").is_symlink() && !site.release().join("a/y").exists());
    assert_eq!(site.read("x/y"), "here");
}

#[test]
fn there_is_a_limit_to_everything() {
    let zeros = vec![0; 1_000_000];
    let bomb = Tar::default().raw(b'0', "a", "", 0o644, &zeros).raw(b'0', "b", "", 0o644, &zeros).end();
    let linked = Tar::default().raw(b'0', "a", "", 0o644, &zeros).hard("b", "a").end();
    for (bytes, limit, fits) in [(&bomb, 2_000_000, true), (&bomb, 1_999_999, false), (&linked, 1_999_999, false)] {
        let site = Site::new();
        let unpacked = site.unpack(&gzip(bytes), &Terms { limit, ..Site::terms() });
        assert_eq!(unpacked.is_ok(), fits, "{limit}");
        if let Err(error) = unpacked {
            assert_eq!(error.kind, HostErrorKind::Misconfigured);
            assert!(error.message.contains("more than 1999999 bytes"), "{error:?}");
            assert!(!site.release().exists());
        }
    }

    let many = Tar::default().file("a/b/c", "").file("d", "").end();
    for (entries, fits) in [(4, true), (3, false)] {
        let site = Site::new();
        let release = site.place().begin().unwrap();
        let mut tree = Tree::new(release, None, Limits { entries, ..Limits::default() });
        assert_eq!(tape::unpack(many.as_slice(), u64::MAX, &mut tree, 0).is_ok(), fits, "directories count, too");
    }
    let mut tree = Tree::new(Site::new().place().begin().unwrap(), None, Limits::default());
    assert!(tape::unpack(many.as_slice(), 1024, &mut tree, 0).is_err());
}

#[test]
fn what_is_not_whole_or_not_the_right_one_is_refused() {
    let whole = Tar::default().file("a", "content").end();
    let (zipped, packed) = (gzip(&whole), zstandard(&whole));
    let mut corrupt = zipped.clone();
    let end = corrupt.len() - 5;
    corrupt[end] ^= 1;
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "is empty"),
        ("zip", b"PK\x03\x04".to_vec(), "zip"),
        ("xz", b"\xfd7zXZ\0".to_vec(), "xz"),
        ("bzip2", b"BZh91AY".to_vec(), "bzip2"),
        ("page", b"<html>".to_vec(), "web page"),
        ("noise", vec![7; 2000], "no tar archive"),
        ("no end", whole[..1024].to_vec(), "cut short"),
        ("half a file", whole[..515].to_vec(), "cut short"),
        ("half a gzip", zipped[..zipped.len() - 3].to_vec(), "cannot be unpacked"),
        ("wrong checksum of gzip", corrupt, "cannot be unpacked"),
        ("half a zstd", packed[..packed.len() - 3].to_vec(), "cannot be unpacked"),
        ("gzip of no tar", gzip(&[7; 2000]), "cannot be unpacked"),
    ];
    for (name, bytes, words) in rows {
        let site = Site::new();
        let error = site.unpack(&bytes, &Site::terms()).expect_err(name);
        assert_eq!(error.kind, HostErrorKind::Misconfigured, "{name}");
        assert!(error.message.contains(words) && error.help.is_some(), "{name}: {error:?}");
        assert!(!site.release().exists(), "{name}");
    }

    let site = Site::new();
    fs::create_dir_all(site.release().join("half")).unwrap();
    let error = site.unpack(&whole, &Terms { sha256: Some("0".repeat(64)), ..Site::terms() }).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Misconfigured);
    assert!(error.message.contains("has the SHA-256"), "{error:?}");
    assert!(site.release().join("half").exists(), "nothing was begun");
}

#[test]
fn only_a_plain_file_outside_the_release_is_an_archive() {
    let site = Site::new();
    let pipe = site.room.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let inside = site.release().join("archive.tar");
    fs::create_dir_all(site.release()).unwrap();
    fs::write(&inside, "").unwrap();
    let absent = site.room.path().join("absent");
    for (path, words) in [(&pipe, "is no regular file"), (&inside, "lies in the release"), (&absent, "does not exist")]
    {
        let error = open(&site.place(), path).unwrap_err();
        assert!(error.message.contains(words) && error.kind == HostErrorKind::Misconfigured, "{error:?}");
    }
    assert!(rustix::fs::statat(CWD, &inside, AtFlags::empty()).is_ok());
}

#[test]
fn an_archive_made_by_tar_itself_is_unpacked() {
    let site = Site::new();
    let source = site.room.path().join("source");
    let deep = source.join("vendor/".to_owned() + &"package-with-a-long-name/".repeat(6));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("autoload.php"), "<?php").unwrap();
    fs::write(source.join("artisan"), "x").unwrap();
    fs::set_permissions(source.join("artisan"), fs::Permissions::from_mode(0o775)).unwrap();
    fs::hard_link(source.join("artisan"), source.join("other")).unwrap();
    std::os::unix::fs::symlink("vendor", source.join("link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let made = std::process::Command::new("tar")
            .args(["--create", "--gzip", "--file", "../packed", "--format", format, "."])
            .current_dir(&source)
            .status()
            .unwrap();
        assert!(made.success());
        let bytes = fs::read(site.room.path().join("packed")).unwrap();
        site.unpack(&bytes, &Site::terms()).unwrap();
        let name = deep.strip_prefix(&source).unwrap().join("autoload.php");
        assert_eq!(site.read(name.to_str().unwrap()), "<?php", "{format}");
        assert_eq!([site.read("artisan"), site.read("other")], ["x", "x"], "{format}");
        assert_eq!(fs::read_link(site.release().join("link")).unwrap(), PathBuf::from("vendor"));
        assert_eq!(fs::metadata(site.release().join("artisan")).unwrap().mode() & 0o7777, 0o755);
    }
}
