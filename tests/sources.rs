//! Releases that come out of real git repositories.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use support::git::{Forge, git};
use support::local::dead_port;
use trueup::host::spawn::Shim;
use trueup::model::app::App;
use trueup::model::names::{AppName, ReleaseId, Root};
use trueup::model::release::{Release, Revision, Source};
use trueup::ports::{HostError, HostErrorKind};
use trueup::releases::fetch;

/// Whom the root belongs to, where the tests may choose.
const USER: u32 = 4242;

/// A repository and a root, which belong to a user of their own where the tests run as root.
struct Site {
    room: tempfile::TempDir,
    app: App,
}

impl Site {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Root::new(room.path().join("app")).unwrap();
        let app = App::new(AppName::new("web").unwrap(), root, Release::present(ReleaseId::new("r1").unwrap()));
        let site = Self { room, app };
        fs::create_dir(site.app.root.path()).unwrap();
        give(site.app.root.path());
        // For the tests' own git only: it works for root in what belongs to the user.
        fs::write(site.path(".gitconfig"), "[safe]\ndirectory = *\n").unwrap();
        site.make("origin", &[]);
        let origin = site.path("origin");
        fs::write(origin.join("artisan"), "one").unwrap();
        fs::set_permissions(origin.join("artisan"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(origin.join("public")).unwrap();
        fs::write(origin.join("public/tests.txt"), "not exported").unwrap();
        fs::write(origin.join(".gitattributes"), "public/tests.txt export-ignore\n").unwrap();
        symlink("public", origin.join("web")).unwrap();
        site.commit("origin", "one");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    fn url(&self) -> String {
        self.path("origin").display().to_string()
    }

    fn make(&self, name: &str, options: &[&str]) {
        fs::create_dir(self.path(name)).unwrap();
        self.git(name, &[&["init", "--quiet", "--initial-branch=main"], options].concat());
        give(&self.path(name));
    }

    /// Runs git in one of the repositories, untouched by anybody's configuration.
    fn git(&self, name: &str, arguments: &[&str]) -> String {
        git(&self.path(name), self.room.path(), arguments)
    }

    /// Commits everything and returns the hash.
    fn commit(&self, name: &str, message: &str) -> String {
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--allow-empty", "--message", message]);
        let hash = self.git(name, &["rev-parse", "HEAD"]);
        give(&self.path(name));
        hash
    }

    /// Another content of `artisan`, committed.
    fn change(&self, content: &str) -> String {
        fs::write(self.path("origin/artisan"), content).unwrap();
        self.commit("origin", content)
    }

    async fn fetch(&mut self, revision: Revision) -> Result<String, HostError> {
        let url = self.url();
        self.fetch_from(&url, revision, false).await
    }

    async fn fetch_from(&mut self, url: &str, revision: Revision, submodules: bool) -> Result<String, HostError> {
        self.app.release.source = Some(Source::Git { url: url.to_owned(), revision, submodules });
        let shim = Shim::new(env!("CARGO_BIN_EXE_trueup"));
        fetch(&shim, &self.app, None).await.map(|made_of| made_of.expect("a commit"))
    }

    fn release(&self) -> PathBuf {
        self.app.root.release(&self.app.release.id)
    }

    fn artisan(&self) -> String {
        fs::read_to_string(self.release().join("artisan")).unwrap()
    }

    fn mirror(&self) -> PathBuf {
        self.app.root.state().join("git")
    }
}

/// Gives a tree to the user, where we may.
fn give(tree: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::lchown(tree, Some(USER), Some(USER)).unwrap();
    if tree.is_dir() && !tree.is_symlink() {
        for entry in fs::read_dir(tree).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

fn commit(hash: &str) -> Revision {
    Revision::Commit(hash.to_owned())
}

fn named(name: &str) -> Revision {
    Revision::Ref(name.to_owned())
}

/// Files below a directory, by their relative paths.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_of_a_commit_gives_its_files_and_its_full_hash() {
    let mut site = Site::new();
    let one = site.git("origin", &["rev-parse", "HEAD"]);
    site.git("origin", &["tag", "--annotate", "v1", "--message", "v1"]);
    site.git("origin", &["tag", "light"]);
    let two = site.change("two");
    site.git("origin", &["branch", "feature/x"]);
    let three = site.change("three");
    give(&site.path("origin"));
    let rows = [
        (commit(&one), &one, "one"),
        (named("v1"), &one, "one"),
        (named("light"), &one, "one"),
        (named("refs/tags/v1"), &one, "one"),
        (named("feature/x"), &two, "two"),
        (commit(&three[..9]), &three, "three"),
        (commit(&two[..9]), &two, "two"),
        (named("main"), &three, "three"),
        (named("HEAD"), &three, "three"),
    ];
    for fresh in [false, true] {
        for (revision, hash, content) in &rows {
            if fresh && site.mirror().exists() {
                fs::remove_dir_all(site.mirror()).unwrap();
            }
            assert_eq!(site.fetch(revision.clone()).await.as_ref(), Ok(*hash), "{revision:?}");
            assert_eq!(site.artisan(), *content, "{revision:?}");
        }
    }
    let release = site.release();
    assert_eq!(fs::metadata(release.join("artisan")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(release.join("public/tests.txt")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(&release).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_link(release.join("web")).unwrap(), Path::new("public"));
    assert!(!release.join(".git").exists());
    if rustix::process::geteuid().is_root() {
        for path in [release.clone(), release.join("artisan"), release.join("web"), site.mirror()] {
            assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), USER, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_in_the_mirror_needs_no_remote() {
    let mut site = Site::new();
    let one = site.git("origin", &["rev-parse", "HEAD"]);
    let two = site.change("two");
    site.fetch(named("main")).await.unwrap();
    let after_one = files(&site.mirror()).len();
    let three = site.change("three");
    site.fetch(named("main")).await.unwrap();
    assert!(files(&site.mirror()).len() > after_one);
    fs::rename(site.path("origin"), site.path("gone")).unwrap();
    for (hash, content) in [(&two, "two"), (&three, "three")] {
        assert_eq!(site.fetch(commit(hash)).await.as_ref(), Ok(hash));
        assert_eq!(site.artisan(), content);
    }
    // The first fetch left the history out, so this one was never here.
    assert_eq!(site.fetch(commit(&one)).await.unwrap_err().kind, HostErrorKind::Misconfigured);
    fs::rename(site.path("gone"), site.path("origin")).unwrap();
    assert_eq!(site.fetch(commit(&one)).await.as_ref(), Ok(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_rewritten_is_followed() {
    let mut site = Site::new();
    site.change("two");
    site.fetch(named("main")).await.unwrap();
    site.git("origin", &["reset", "--hard", "--quiet", "HEAD~1"]);
    let other = site.change("other");
    assert_eq!(site.fetch(named("main")).await, Ok(other));
    assert_eq!(site.artisan(), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_replaced() {
    let mut site = Site::new();
    fs::create_dir_all(site.release().join("public")).unwrap();
    fs::write(site.release().join("public/half"), "").unwrap();
    site.fetch(named("main")).await.unwrap();
    assert!(!site.release().join("public/half").exists() && site.release().join("public/tests.txt").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_brought_is_said_with_its_kind_and_leaves_nothing() {
    use HostErrorKind::{Misconfigured, Unreachable};
    let mut site = Site::new();
    site.git("origin", &["branch", "both"]);
    site.change("two");
    site.git("origin", &["tag", "both"]);
    give(&site.path("origin"));
    let marker = site.path("app/marker");
    let origin = site.url();
    let (_taken, dead) = dead_port();
    let unknown = "0123456789012345678901234567890123456789";
    let rows = [
        (origin.clone(), named("nowhere"), Misconfigured, "no branch or tag `nowhere`"),
        (origin.clone(), named("both"), Misconfigured, "that differ"),
        (origin.clone(), commit(unknown), Misconfigured, unknown),
        (origin.clone(), commit("0123456"), Misconfigured, "`0123456`"),
        (origin.clone(), commit("xyz"), Misconfigured, "no hash"),
        (origin.clone(), named(&format!("--upload-pack=touch {}", marker.display())), Misconfigured, "no name"),
        (origin, named(&format!("--upload-pack=touch\t{}", marker.display())), Misconfigured, "no name"),
        (format!("--upload-pack=touch {}", marker.display()), named("main"), Misconfigured, "no URL"),
        (format!("ext::sh -c touch% {}", marker.display()), named("main"), Misconfigured, "not allowed"),
        (format!("ext::sh -c touch% {}", marker.display()), commit(unknown), Misconfigured, "not allowed"),
        (site.path("absent").display().to_string(), named("main"), Misconfigured, "not appear to be"),
        (format!("http://me:secret@{dead}/x.git"), named("main"), Unreachable, "connect"),
        (format!("git://{dead}/x.git"), named("main"), Unreachable, "refused"),
    ];
    for (url, revision, kind, words) in rows {
        let error = site.fetch_from(&url, revision.clone(), false).await.unwrap_err();
        assert_eq!(error.kind, kind, "{url} {revision:?}: {error:?}");
        assert!(error.message.contains(words) && !error.message.contains("secret"), "{url}: {error:?}");
        assert!(kind == Unreachable || error.help.is_some(), "{url}: {error:?}");
        assert!(!site.release().exists() && !marker.exists(), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_url_reaches_its_server_and_nobody_else() {
    let mut site = Site::new();
    let hash = site.git("origin", &["rev-parse", "HEAD"]);
    let elsewhere = Forge::start(site.room.path(), "bot:0ther%pw", "");
    let forge = Forge::start(site.room.path(), "bot:s3cret%pw", &format!("http://{}", elsewhere.address));
    let url = |password: &str, path: &str| format!("http://bot:{password}@{}{path}", forge.address);
    let right = url("s3cret%25pw", "/origin/.git");
    assert_eq!(site.fetch_from(&right, named("main"), false).await, Ok(hash));
    let asked = forge.asked();
    assert!(asked.iter().any(|asked| asked.given == "bot:s3cret%pw"));
    let read: Vec<&String> = asked.iter().flat_map(|asked| &asked.read).collect();
    assert!(read.iter().any(|line| line.contains("remote-http")), "who asks is seen: {read:?}");
    assert!(!read.iter().any(|line| line.contains("s3cret")), "{read:?}");

    for url in [url("wr0ng", "/origin/.git"), url("s3cret%25pw", "/away/origin/.git")] {
        let error = site.fetch_from(&url, named("main"), false).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Denied, "{url}: {error:?}");
        assert!(!error.message.contains("wr0ng") && !error.message.contains("s3cret"), "{error:?}");
    }
    let asked = elsewhere.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.given.is_empty()), "a redirect takes nothing along");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_somebody_else_is_refused_as_git_does() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a repository away");
        return;
    }
    let mut site = Site::new();
    std::os::unix::fs::chown(site.path("origin/.git"), Some(USER + 1), Some(USER + 1)).unwrap();
    std::os::unix::fs::chown(site.path("origin"), Some(USER + 1), Some(USER + 1)).unwrap();
    let error = site.fetch(named("main")).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied, "{error:?}");
    assert!(error.help.unwrap().contains("safe.directory"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_mirror_is_fetched_anew() {
    type Damage = fn(&Path);
    let rows: [(&str, Damage); 5] = [
        ("objects lost", |mirror| fs::remove_dir_all(mirror.join("objects")).unwrap()),
        ("objects emptied", |mirror| {
            for file in files(&mirror.join("objects")) {
                fs::remove_file(&file).unwrap();
                fs::write(&file, "").unwrap();
                give(&file);
            }
        }),
        ("no HEAD", |mirror| fs::remove_file(mirror.join("HEAD")).unwrap()),
        ("broken configuration", |mirror| fs::write(mirror.join("config"), "[[[").unwrap()),
        ("locks of the dead", |mirror| {
            fs::write(mirror.join("shallow.lock"), "").unwrap();
            fs::write(mirror.join("trueup-index.lock"), "").unwrap();
            fs::write(mirror.join("refs/trueup/last.lock"), "").unwrap();
        }),
    ];
    for (name, damage) in rows {
        let mut site = Site::new();
        site.fetch(named("main")).await.unwrap();
        let two = site.change("two");
        damage(&site.mirror());
        assert_eq!(site.fetch(named("main")).await, Ok(two.clone()), "{name}");
        assert_eq!(site.artisan(), "two", "{name}");
        // And damaged after the commit has come.
        damage(&site.mirror());
        assert_eq!(site.fetch(commit(&two)).await, Ok(two), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_fetch_left_goes_and_hooks_do_not_run() {
    let mut site = Site::new();
    site.fetch(named("main")).await.unwrap();
    let mirror = site.mirror();
    fs::create_dir_all(mirror.join("objects/pack")).unwrap();
    fs::write(mirror.join("objects/pack/tmp_pack_Ab12"), vec![0; 1000]).unwrap();
    let marker = site.path("app/marker");
    fs::create_dir_all(mirror.join("hooks")).unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        let path = mirror.join("hooks").join(hook);
        fs::write(&path, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    give(&mirror);
    let two = site.change("two");
    assert_eq!(site.fetch(named("main")).await, Ok(two));
    assert!(!marker.exists());
    let left: Vec<PathBuf> = files(&mirror)
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("tmp_") || name.starts_with("trueup-index") || name.strip_suffix(".lock").is_some()
        })
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    assert!(!mirror.join("FETCH_HEAD").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_come_along_when_they_are_asked_for() {
    let mut site = Site::new();
    for name in ["inner", "library"] {
        site.make(name, &[]);
        fs::write(site.path(name).join("name"), name).unwrap();
        site.commit(name, name);
    }
    site.git("library", &["submodule", "--quiet", "add", "../inner", "deep/inner"]);
    site.commit("library", "with inner");
    site.git("origin", &["submodule", "--quiet", "add", "../library", "vendor/library"]);
    let hash = site.commit("origin", "with library");
    // The branch goes on; the release has what the commit names.
    fs::write(site.path("library/name"), "later").unwrap();
    site.commit("library", "later");

    let url = site.url();
    assert_eq!(site.fetch_from(&url, commit(&hash), false).await.as_ref(), Ok(&hash));
    assert_eq!(fs::read_dir(site.release().join("vendor/library")).unwrap().count(), 0);
    assert_eq!(site.fetch_from(&url, commit(&hash), true).await.as_ref(), Ok(&hash));
    let library = site.release().join("vendor/library");
    assert_eq!(fs::read_to_string(library.join("name")).unwrap(), "library");
    assert_eq!(fs::read_to_string(library.join("deep/inner/name")).unwrap(), "inner");
    assert!(files(&site.release()).iter().all(|path| path.file_name().unwrap() != ".git"));

    let modules = fs::read_to_string(site.path("origin/.gitmodules")).unwrap();
    let marker = site.path("app/marker");
    for url in [format!("--upload-pack=touch {}", marker.display()), format!("ext::touch {}", marker.display())] {
        fs::write(site.path("origin/.gitmodules"), modules.replace("../library", &url)).unwrap();
        // A hash that is in no mirror yet.
        let later = site.git("library", &["rev-parse", "HEAD"]);
        site.git("origin", &["update-index", "--cacheinfo", &format!("160000,{later},vendor/library")]);
        site.git("origin", &["add", ".gitmodules"]);
        site.git("origin", &["commit", "--quiet", "--message", "evil"]);
        give(&site.path("origin"));
        let origin = site.url();
        let error = site.fetch_from(&origin, named("main"), true).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Misconfigured, "{url}: {error:?}");
        assert!(!marker.exists() && !site.release().exists(), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_both_kinds_of_hashes_can_follow_each_other() {
    let mut site = Site::new();
    site.make("modern", &["--object-format=sha256"]);
    fs::write(site.path("modern/artisan"), "modern").unwrap();
    let modern = site.commit("modern", "modern");
    assert_eq!(modern.len(), 64);
    let url = site.path("modern").display().to_string();
    site.fetch(named("main")).await.unwrap();
    for revision in [named("main"), commit(&modern)] {
        assert_eq!(site.fetch_from(&url, revision, false).await.as_ref(), Ok(&modern));
        assert_eq!(site.artisan(), "modern");
    }
    site.fetch(named("main")).await.unwrap();
    assert_eq!(site.artisan(), "one");
}
