use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::decide::testing;
use crate::model::app::App;
use crate::model::names::Root;
use crate::ports::{HostErrorKind, Inspection};
use crate::releases::inspect;

fn paths(texts: &[&str]) -> Vec<RelativePath> {
    texts.iter().map(|text| RelativePath::new(*text).unwrap()).collect()
}

/// A release `r1` that shares `storage`, `var/log` and `.env`, has a link of its own and a writable directory.
fn site() -> (tempfile::TempDir, App) {
    let directory = tempfile::tempdir().unwrap();
    let mut app = testing::app("r1", Vec::new());
    app.root = Root::new(directory.path().join("app")).unwrap();
    app.release.shared.dirs = paths(&["storage", "./var//log"]);
    app.release.shared.files = paths(&[".env"]);
    let own = paths(&["public/storage", "storage/app/public"]);
    app.release.links = [(own[0].clone(), own[1].clone())].into();
    fs::create_dir_all(release(&app)).unwrap();
    (directory, app)
}

fn release(app: &App) -> PathBuf {
    app.root.release(&app.release.id)
}

fn shared(app: &App, path: &str) -> PathBuf {
    app.root.path().join("shared").join(path)
}

fn write(path: impl AsRef<Path>, text: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn target(app: &App, place: &str) -> PathBuf {
    fs::read_link(release(app).join(place)).unwrap()
}

/// Everything below a directory: path, inode, mode, owner, and the text of links.
fn everything(directory: &Path) -> Vec<(PathBuf, u64, u32, u32, Option<PathBuf>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let itself = fs::symlink_metadata(&path).unwrap();
        if itself.is_dir() {
            found.extend(everything(&path));
        }
        found.push((path.clone(), itself.ino(), itself.mode(), itself.uid(), fs::read_link(&path).ok()));
    }
    found.sort();
    found
}

async fn assert_settled(app: &App) {
    assert_eq!(inspect(app).await.unwrap().unlinked, []);
    let before = everything(app.root.path());
    link(app).await.unwrap();
    assert_eq!(everything(app.root.path()), before, "linked again, it changes nothing");
}

#[tokio::test]
async fn links_are_relative_and_lead_where_they_should() {
    let (_directory, app) = site();
    write(shared(&app, ".env"), "A=1");
    let all = paths(&["storage", "./var//log", ".env", "public/storage"]);
    assert_eq!(inspect(&app).await.unwrap(), Inspection { empty: true, missing: Vec::new(), unlinked: all });
    link(&app).await.unwrap();
    assert_eq!(target(&app, "storage"), Path::new("../../shared/storage"));
    assert_eq!(target(&app, "var/log"), Path::new("../../../shared/var/log"));
    assert_eq!(target(&app, ".env"), Path::new("../../shared/.env"));
    assert_eq!(target(&app, "public/storage"), Path::new("../storage/app/public"));
    fs::create_dir_all(shared(&app, "storage/app/public")).unwrap();
    write(release(&app).join("public/storage/x"), "through three links");
    assert!(shared(&app, "storage/app/public/x").exists() && shared(&app, "var/log").is_dir());
    assert_eq!(fs::read_to_string(release(&app).join(".env")).unwrap(), "A=1");
    assert_settled(&app).await;
    assert!(!release(&app).join(ASIDE).exists());
}

#[tokio::test]
async fn what_the_first_release_brings_becomes_what_is_shared() {
    let (_directory, mut app) = site();
    write(release(&app).join("storage/app/a"), "first");
    write(release(&app).join(".env"), "A=1");
    fs::set_permissions(release(&app).join("storage"), fs::Permissions::from_mode(0o750)).unwrap();
    let storage = fs::metadata(release(&app).join("storage")).unwrap().ino();
    link(&app).await.unwrap();
    let moved = fs::metadata(shared(&app, "storage")).unwrap();
    assert_eq!((moved.ino(), moved.mode() & 0o777), (storage, 0o750));
    assert_eq!(fs::read_to_string(release(&app).join(".env")).unwrap(), "A=1");
    assert_settled(&app).await;

    // The second one finds it taken: what it brings is put aside, and what is shared stays as it is.
    app.release.id = crate::model::names::ReleaseId::new("r2").unwrap();
    write(release(&app).join("storage/app/a"), "second");
    write(release(&app).join(".env"), "A=2");
    fs::create_dir_all(release(&app).join("var/log")).unwrap();
    link(&app).await.unwrap();
    assert_eq!(fs::read_to_string(shared(&app, "storage/app/a")).unwrap(), "first");
    assert_eq!(fs::read_to_string(shared(&app, ".env")).unwrap(), "A=1");
    let aside = release(&app).join(ASIDE);
    assert_eq!(fs::read_to_string(aside.join("storage/app/a")).unwrap(), "second");
    assert_eq!(fs::read_to_string(aside.join(".env")).unwrap(), "A=2");
    assert!(!aside.join("var").exists(), "an empty directory is no loss");
    assert_eq!(fs::metadata(&aside).unwrap().mode() & 0o777, 0o700);
    assert_settled(&app).await;

    // Somebody unpacks over it: nothing that was put aside is overwritten.
    fs::remove_file(release(&app).join(".env")).unwrap();
    write(release(&app).join(".env"), "A=3");
    link(&app).await.unwrap();
    assert_eq!(fs::read_to_string(aside.join(".env.1")).unwrap(), "A=3");
    assert_eq!(fs::read_to_string(aside.join(".env")).unwrap(), "A=2");
}

/// Whatever a pass that was killed has left, the next one comes to the same end.
#[tokio::test]
async fn half_done_work_is_completed() {
    type Half = fn(&App);
    let rows: [(&str, Half); 7] = [
        ("nothing linked", |_| {}),
        ("shared made, no link", |app| fs::create_dir_all(shared(app, "storage")).unwrap()),
        ("moved, no link", |app| {
            write(shared(app, "storage/kept"), "");
            write(shared(app, ".env"), "A=1");
        }),
        ("a link, and nothing where it leads", |app| {
            symlink("../../shared/storage", release(app).join("storage")).unwrap();
        }),
        ("a temporary link left", |app| {
            symlink("../../shared/storage", release(app).join(TEMPORARY)).unwrap();
            symlink("/etc", release(app).join("storage")).unwrap();
        }),
        ("put aside, no link", |app| {
            write(release(app).join(ASIDE).join("storage/x"), "");
            fs::create_dir_all(shared(app, "storage")).unwrap();
        }),
        ("a directory on the way", |app| fs::create_dir_all(release(app).join("public")).unwrap()),
    ];
    for (name, half) in rows {
        let (_directory, app) = site();
        half(&app);
        if !shared(&app, ".env").exists() {
            write(release(&app).join(".env"), "A=1");
        }
        link(&app).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_settled(&app).await;
        assert_eq!(fs::read_to_string(shared(&app, ".env")).unwrap(), "A=1", "{name}");
        assert!(!fs::symlink_metadata(release(&app).join(TEMPORARY)).is_ok_and(|found| found.is_symlink()), "{name}");
    }
}

#[tokio::test]
async fn a_right_link_of_another_spelling_stays_and_a_wrong_one_is_replaced() {
    let (directory, app) = site();
    write(shared(&app, ".env"), "A=1");
    fs::create_dir_all(shared(&app, "storage/app/public")).unwrap();
    fs::create_dir_all(shared(&app, "var/log")).unwrap();
    fs::create_dir_all(release(&app).join("public")).unwrap();
    symlink(shared(&app, "storage"), release(&app).join("storage")).unwrap();
    symlink("./../../shared//.env", release(&app).join(".env")).unwrap();
    symlink(shared(&app, "storage/app/public"), release(&app).join("public/storage")).unwrap();
    assert_eq!(inspect(&app).await.unwrap().unlinked, paths(&["./var//log"]));
    link(&app).await.unwrap();
    assert_eq!(target(&app, "storage"), shared(&app, "storage"));
    assert_settled(&app).await;

    write(directory.path().join("outside/precious"), "x");
    for (place, elsewhere) in [("storage", "../../../outside"), (".env", "nowhere"), ("public/storage", "/etc")] {
        fs::remove_file(release(&app).join(place)).unwrap();
        symlink(elsewhere, release(&app).join(place)).unwrap();
        assert!(inspect(&app).await.unwrap().unlinked.contains(&paths(&[place])[0]), "{place}");
        link(&app).await.unwrap();
        assert_settled(&app).await;
    }
    assert!(directory.path().join("outside/precious").exists());
}

#[tokio::test]
async fn what_cannot_come_right_by_linking_is_refused_before_anything_moves() {
    type Wrong = fn(&App);
    let rows: [(&str, Wrong); 6] = [
        ("no shared file", |_| {}),
        ("is to be a shared file", |app| fs::create_dir_all(shared(app, ".env")).unwrap()),
        ("is to be a shared directory", |app| {
            write(shared(app, ".env"), "");
            write(shared(app, "var/log"), "");
        }),
        ("a link or a file", |app| {
            write(shared(app, ".env"), "");
            symlink("/tmp", release(app).join("public")).unwrap();
        }),
        ("a link or a file", |app| {
            write(shared(app, ".env"), "");
            symlink("/tmp", shared(app, "var")).unwrap();
        }),
        ("a link or a file", |app| symlink("/tmp", app.root.path().join("shared")).unwrap()),
    ];
    for (words, wrong) in rows {
        let (_directory, app) = site();
        write(release(&app).join("storage/x"), "");
        wrong(&app);
        let before = everything(app.root.path());
        assert!(!inspect(&app).await.unwrap().unlinked.is_empty(), "{words}");
        let error = link(&app).await.unwrap_err();
        assert!(error.message.contains(words) && error.help.is_some(), "{words}: {error:?}");
        assert_eq!(error.kind, HostErrorKind::Misconfigured, "{words}");
        assert_eq!(everything(app.root.path()), before, "{words}");
    }
}

#[tokio::test]
async fn a_shared_directory_on_another_disk_is_not_followed() {
    let (directory, mut app) = site();
    app.release.shared.writable = paths(&["storage"]);
    write(shared(&app, ".env"), "");
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    symlink(&disk, shared(&app, "storage")).unwrap();
    let error = link(&app).await.unwrap_err();
    assert!(error.message.contains("writable") && error.message.contains("a link"), "{error:?}");
    assert_eq!(fs::metadata(&disk).unwrap().mode() & 0o2020, 0);
    app.release.shared.writable.clear();
    link(&app).await.unwrap();
    assert_settled(&app).await;
    assert_eq!(release(&app).join("storage").canonicalize().unwrap(), disk.canonicalize().unwrap());
}

#[tokio::test]
async fn writable_directories_are_the_groups_too_and_files_are_left_alone() {
    let (directory, mut app) = site();
    app.release.shared.writable = paths(&["storage/app", "bootstrap/cache"]);
    write(shared(&app, ".env"), "");
    write(shared(&app, "storage/app/deep/deeper/file"), "");
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, shared(&app, "storage/app/link")).unwrap();
    assert!(inspect(&app).await.unwrap().unlinked.contains(&app.release.shared.writable[0]));
    link(&app).await.unwrap();
    let mode = |path: PathBuf| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    for path in ["storage/app", "storage/app/deep", "storage/app/deep/deeper"] {
        assert_eq!(mode(shared(&app, path)), 0o2775, "{path}");
    }
    assert_eq!(mode(release(&app).join("bootstrap/cache")), 0o2775);
    assert_eq!(mode(shared(&app, "storage")) & 0o2020, 0, "above it, nothing changes");
    assert_eq!(mode(shared(&app, "storage/app/deep/deeper/file")) & 0o020, 0);
    assert_eq!(mode(outside) & 0o2020, 0);
    assert_settled(&app).await;

    // Killed half-way, the deepest ones are done and the top is not: it begins again.
    fs::set_permissions(shared(&app, "storage/app"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(shared(&app, "storage/app/deep"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(inspect(&app).await.unwrap().unlinked, paths(&["storage/app"]));
    link(&app).await.unwrap();
    assert_eq!(mode(shared(&app, "storage/app/deep")), 0o2775);
    assert_settled(&app).await;
}

#[tokio::test]
async fn what_is_made_belongs_to_the_apps_user() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give things away");
        return;
    }
    let (_directory, mut app) = site();
    app.release.shared.writable = paths(&["bootstrap/cache"]);
    std::os::unix::fs::chown(app.root.path(), Some(4242), Some(4343)).unwrap();
    write(release(&app).join(".env"), "");
    link(&app).await.unwrap();
    let made = [
        shared(&app, ""),
        shared(&app, "storage"),
        shared(&app, "var/log"),
        release(&app).join("storage"),
        release(&app).join("var"),
        release(&app).join("public/storage"),
        release(&app).join("bootstrap/cache"),
    ];
    for path in made {
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (4242, 4343), "{}", path.display());
    }
}

#[tokio::test]
async fn a_release_that_is_not_there_is_an_error() {
    let (directory, app) = site();
    fs::remove_dir(release(&app)).unwrap();
    assert!(link(&app).await.unwrap_err().message.contains("not a directory"));
    symlink(directory.path(), release(&app)).unwrap();
    assert!(inspect(&app).await.unwrap_err().message.contains("not a directory"));
}
