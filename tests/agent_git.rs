//! Manifests out of real git repositories: what is followed, and what is kept out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

#[path = "agent_git/mirror.rs"]
mod mirror;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::git::git;
use support::local::dead_port;
use support::{Unit, require_host};
use trueup::agent::git::GitSource;
use trueup::agent::host_filter::HostFilter;
use trueup::agent::source::{Found, Source, SourceProblem, SourceProblemKind};
use trueup::host::spawn::Shim;
use trueup::model::agent::GitOptions;
use trueup::model::names::RelativePath;

/// Puts something into a repository: beside it, a secret, and the file to be made.
type Plant = fn(&Site, &Path, &Path);

/// Does harm to what is kept of a branch.
type Damage = fn(&Path);

/// A repository, and an agent's state beside it.
struct Site {
    room: tempfile::TempDir,
    source: GitSource,
    options: GitOptions,
}

impl Site {
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    fn with(change: impl FnOnce(&Path, &mut GitOptions)) -> Self {
        let room = tempfile::tempdir().unwrap();
        let origin = room.path().join("origin");
        fs::create_dir_all(origin.join("hosts/web01")).unwrap();
        let mut options = GitOptions {
            url: origin.display().to_string(),
            branch: "main".to_owned(),
            path: RelativePath::new("hosts/web01").ok(),
            poll: Duration::from_mins(1),
            allow_force: false,
            allowed_signers: None,
        };
        change(room.path(), &mut options);
        let source = Self::source(room.path(), &options);
        let site = Self { room, source, options };
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site.change("r1");
        site
    }

    fn source(room: &Path, options: &GitOptions) -> GitSource {
        GitSource::with(Shim::new(env!("CARGO_BIN_EXE_trueup")), options.clone(), &room.join("state"))
    }

    /// The agent is started again.
    fn restart(&mut self) {
        self.source = Self::source(self.room.path(), &self.options);
    }

    fn origin(&self, path: &str) -> PathBuf {
        self.room.path().join("origin").join(path)
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.origin(""), self.room.path(), arguments)
    }

    fn write(&self, release: &str) {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: web}}\nspec:\n  root: /srv/web\n  release: {{id: {release}}}\n"
        );
        fs::write(self.origin("hosts/web01/web.yaml"), text).unwrap();
    }

    fn commit(&self, options: &[&str]) -> String {
        self.git(&["add", "--all"]);
        self.git(&[&["commit", "--quiet", "--allow-empty", "--message", "a change\n\nand why"], options].concat());
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits a manifest with another release.
    fn change(&self, release: &str) -> String {
        self.write(release);
        self.commit(&[])
    }

    /// Looks, and has what is found come into force.
    async fn look(&mut self) -> Result<Found, SourceProblem> {
        let found = self.source.look().await?;
        self.source.keep().await?;
        Ok(found)
    }

    /// Looks, and says which release of which commit is found.
    async fn release(&mut self) -> (String, String) {
        said(&self.look().await.unwrap())
    }

    async fn refused(&mut self, kind: SourceProblemKind, words: &str) -> SourceProblem {
        let problem = self.look().await.unwrap_err();
        assert!(problem.kind == kind && problem.message.contains(words), "{problem:?}");
        problem
    }
}

fn said(found: &Found) -> (String, String) {
    assert_eq!(found.apps.len(), 1);
    (found.revision.as_ref().unwrap().commit.clone(), found.apps[0].app.release.id.to_string())
}

fn is(commit: &str, release: &str) -> (String, String) {
    (commit.to_owned(), release.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_followed_and_what_was_in_force_is_known_after_a_restart() {
    let mut site = Site::new();
    assert_eq!(site.source.resume().await, None);
    let one = site.git(&["rev-parse", "HEAD"]);
    let found = site.look().await.unwrap();
    let revision = found.revision.clone().unwrap();
    assert_eq!(
        (revision.commit.as_str(), revision.subject.as_str(), revision.author.as_str()),
        (&*one, "a change", "Test")
    );
    assert_eq!(revision.at.as_second().to_string(), site.git(&["log", "-1", "--format=%ct"]));
    assert_eq!(revision.signed_by, None);
    let place = found.apps[0].source.to_string();
    assert_eq!(place, "hosts/web01/web.yaml:1", "the path in the repository, wherever it lies here");
    assert_eq!(site.look().await.unwrap(), found, "nothing has changed");

    // More of them at once than are fetched at first.
    for number in 0..60 {
        site.git(&["commit", "--quiet", "--allow-empty", "--message", &number.to_string()]);
    }
    let two = site.change("r2");
    assert_eq!(site.release().await, is(&two, "r2"));
    site.git(&["checkout", "--quiet", "-b", "side", &one]);
    fs::write(site.origin("side"), "").unwrap();
    site.commit(&[]);
    site.git(&["checkout", "--quiet", "main"]);
    site.git(&["merge", "--quiet", "--no-ff", "--message", "joined", "side"]);
    let three = site.git(&["rev-parse", "HEAD"]);
    assert_eq!(site.release().await, is(&three, "r2"), "a merge follows");

    site.restart();
    fs::rename(site.origin(""), site.room.path().join("away")).unwrap();
    assert_eq!(said(&site.source.resume().await.unwrap()), is(&three, "r2"));
    let kept = fs::read_dir(site.room.path().join("state/git")).unwrap().flatten().find(|entry| entry.path().is_dir());
    let trees = fs::read_dir(kept.unwrap().path().join("trees")).unwrap().count();
    assert!(trees <= 2, "{trees}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_is_away_is_asked_less_often_and_taken_up_again() {
    let mut site = Site::new();
    site.look().await.unwrap();
    let soon = site.source.wakes().every.unwrap();
    assert!((54..=66).contains(&soon.as_secs()), "{soon:?}");
    let away = site.room.path().join("away");
    fs::rename(site.origin(""), &away).unwrap();
    for _ in 0..3 {
        let problem = site.refused(SourceProblemKind::Unreachable, "git").await;
        assert!(problem.help.is_some() && problem.revision.is_none(), "{problem:?}");
    }
    assert!(site.source.wakes().every.unwrap() > soon * 2);
    fs::rename(&away, site.origin("")).unwrap();
    let two = site.change("r2");
    assert_eq!(site.release().await, is(&two, "r2"));
    assert!(site.source.wakes().every.unwrap().as_secs() <= 66);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_branch_is_refused_until_it_follows_or_force_is_allowed() {
    let mut site = Site::new();
    let one = site.git(&["rev-parse", "HEAD"]);
    let two = site.change("r2");
    assert_eq!(site.release().await.0, two);
    site.git(&["reset", "--quiet", "--hard", &one]);
    let other = site.change("other");
    for restarted in [false, true] {
        if restarted {
            site.restart();
            assert_eq!(site.source.resume().await.unwrap().revision.unwrap().commit, two);
        }
        let problem = site.refused(SourceProblemKind::Untrusted, "was rewritten").await;
        assert_eq!(problem.revision.as_ref().unwrap().commit, other);
        assert!(problem.message.contains(&two[..12]) && problem.help.unwrap().contains("--allow-force"));
    }
    // Back to an older commit is not forwards, either.
    site.git(&["reset", "--quiet", "--hard", &one]);
    site.refused(SourceProblemKind::Untrusted, &one[..12]).await;
    site.git(&["reset", "--quiet", "--hard", &two]);
    let three = site.change("r3");
    assert_eq!(site.release().await, is(&three, "r3"));

    site.git(&["reset", "--quiet", "--hard", &one]);
    let forced = site.change("forced");
    site.options.allow_force = true;
    site.restart();
    assert_eq!(site.release().await, is(&forced, "forced"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_only_fetched_as_far_as_it_takes() {
    let mut site = Site::new();
    let mut script = String::new();
    let mut text = |line: &str| {
        script.push_str(line);
        script.push('\n');
    };
    for number in 0..1_500 {
        text("commit refs/heads/main");
        text(&format!("committer Test <test@example.org> {} +0000\ndata 1\nx", 1_700_000_000 + number));
        if number == 0 {
            text("from refs/heads/main^0");
        }
    }
    fs::write(site.room.path().join("script"), script).unwrap();
    site.look().await.unwrap();
    let import = format!("git fast-import --quiet <{}", site.room.path().join("script").display());
    let ran = Command::new("sh").args(["-c", &import]).current_dir(site.origin("")).status().unwrap();
    assert!(ran.success());
    site.git(&["reset", "--quiet", "--hard"]);
    let tip = site.git(&["rev-parse", "HEAD"]);
    assert_eq!(site.release().await.0, tip, "1500 commits later it still follows");
    site.restart();
    // A mirror that was lost knows nothing of what was in force.
    let state = fs::read_dir(site.room.path().join("state/git")).unwrap().flatten().find(|entry| entry.path().is_dir());
    let mirror = state.unwrap().path().join("mirror");
    fs::remove_dir_all(&mirror).unwrap();
    let next = site.change("r2");
    assert_eq!(site.release().await, is(&next, "r2"));
    let count = Command::new("git").arg("-C").arg(&mirror).args(["rev-list", "--count", "--all"]).output().unwrap();
    let count: u32 = String::from_utf8_lossy(&count.stdout).trim().parse().unwrap();
    assert!(count <= 60, "{count} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_do_not_load_leave_the_last_good_ones() {
    let mut site = Site::new();
    let one = site.look().await.unwrap();
    let manifest = fs::read_to_string(site.origin("hosts/web01/web.yaml")).unwrap();
    fs::write(site.origin("hosts/web01/web.yaml"), manifest.replace("root:", "rot:")).unwrap();
    let bad = site.commit(&[]);
    for _ in 0..2 {
        let problem = site.refused(SourceProblemKind::Wrong, "hosts/web01/web.yaml:5:3: unknown key `rot`").await;
        assert_eq!(problem.revision.as_ref().unwrap().commit, bad);
        assert_eq!(problem.mistakes[0].help.as_deref(), Some("did you mean `root`?"), "{problem:?}");
    }
    site.restart();
    assert_eq!(site.source.resume().await.unwrap(), one);
    // What was never in force need not be followed.
    site.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let two = site.change("r2");
    assert_eq!(site.release().await, is(&two, "r2"));
}

/// git keeps no directory that is empty: the one that Apps were in goes with the last of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_manifest_may_go_and_a_path_that_never_was_is_a_mistake() {
    let of = |found: &Found| (found.revision.as_ref().unwrap().commit.clone(), found.apps.len());
    let mut site = Site::with(|_, options| options.path = RelativePath::new("hosts/web02").ok());
    site.refused(SourceProblemKind::Wrong, "hosts/web02: cannot read it").await;
    let right = RelativePath::new("hosts/web01").ok();
    site.options.path.clone_from(&right);
    site.restart();
    site.look().await.unwrap();
    site.git(&["rm", "--quiet", "hosts/web01/web.yaml"]);
    let empty = site.commit(&[]);
    assert!(!site.origin("hosts").exists());
    assert_eq!(of(&site.look().await.unwrap()), (empty.clone(), 0));
    site.restart();
    assert_eq!(of(&site.source.resume().await.unwrap()), (empty.clone(), 0));
    assert_eq!(of(&site.look().await.unwrap()), (empty, 0));
    // A slip in the configuration does not look as if all Apps had gone.
    site.options.path = RelativePath::new("hosts/web03").ok();
    site.restart();
    assert_eq!(site.source.resume().await, None);
    site.refused(SourceProblemKind::Wrong, "hosts/web03: cannot read it").await;
    site.options.path = right;
    site.restart();
    assert!(site.source.resume().await.is_some());
    fs::create_dir_all(site.origin("hosts/web01")).unwrap();
    let back = site.change("r2");
    assert_eq!(site.release().await, is(&back, "r2"));
}

/// Whether two roots are one directory is seen on the host alone; the commit itself is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_this_host_cannot_follow_leaves_the_last_good_one() {
    let site = Site::new();
    let (app, twin) = (site.room.path().join("app"), site.room.path().join("twin"));
    fs::create_dir(&app).unwrap();
    symlink("app", &twin).unwrap();
    let start = || HostFilter::new(Site::source(site.room.path(), &site.options), vec!["web01".to_owned()]);
    let commit_of = |found: Option<Found>| found.unwrap().revision.unwrap().commit;
    let add = |name: &str, root: &Path| {
        let text = format!(
            "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {}, release: {{id: r1}}}}\n",
            root.display()
        );
        fs::write(site.origin(&format!("hosts/web01/{name}.yaml")), text).unwrap();
        site.commit(&[])
    };
    let good = add("app", &app);
    let mut own = start();
    assert_eq!(commit_of(own.look().await.ok()), good);
    let next = add("twin", &twin);
    for restarted in [false, false, true] {
        if restarted {
            own = start();
            assert_eq!(commit_of(own.resume().await), good, "the last good one is there after a restart");
        }
        let problem = own.look().await.unwrap_err();
        assert_eq!((problem.kind, problem.revision.unwrap().commit), (SourceProblemKind::Wrong, next.clone()));
        assert!(problem.message.contains("the same directory"), "{}", problem.message);
    }
    // Mended on the host, without another commit.
    fs::remove_file(&twin).unwrap();
    fs::create_dir(&twin).unwrap();
    assert_eq!(commit_of(own.look().await.ok()), next);
    assert_eq!(commit_of(start().resume().await), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_the_commit_is_read() {
    let mut site = Site::new();
    site.look().await.unwrap();
    let secret = site.room.path().join("secret.yaml");
    fs::write(&secret, "password: hunter2\n").unwrap();
    let file = site.origin("hosts/web01/other.yaml");
    let rows: [(&str, Plant); 4] = [
        ("leads out of the repository", |_, secret, file| symlink(secret, file).unwrap()),
        ("leads out of the repository", |_, _, file| symlink("/proc/self/environ", file).unwrap()),
        ("leads out of the repository", |site, _, _| {
            fs::remove_dir_all(site.origin("hosts/web01")).unwrap();
            symlink("/etc", site.origin("hosts/web01")).unwrap();
        }),
        ("a commit has no directory", |_, _, file| {
            let text =
                "apiVersion: trueup/v1\nkind: App\nmetadata: {name: b}\nspec:\n  root: ./b\n  release: {id: r1}\n";
            fs::write(file, text).unwrap();
        }),
    ];
    for (words, plant) in rows {
        plant(&site, &secret, &file);
        site.commit(&[]);
        let problem = site.refused(SourceProblemKind::Wrong, words).await;
        assert!(!format!("{problem:?}").contains("hunter2"));
        site.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
    // Within the repository links are fine.
    fs::create_dir(site.origin("common")).unwrap();
    fs::rename(site.origin("hosts/web01/web.yaml"), site.origin("common/web.yaml")).unwrap();
    symlink("../../common/web.yaml", site.origin("hosts/web01/web.yaml")).unwrap();
    let linked = site.commit(&[]);
    assert_eq!(site.release().await, is(&linked, "r1"));
}

/// Makes a key; returns its public half, as a line of the allowed signers ends.
fn key(room: &Path, name: &str) -> String {
    let path = room.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    fs::read_to_string(path.with_extension("pub")).unwrap()
}

/// Commits what is there, signed by that key.
fn sign(site: &Site, name: &str) -> String {
    let key = format!("user.signingkey={}", site.room.path().join(name).display());
    site.git(&["add", "--all"]);
    let commit = ["commit", "-S", "--quiet", "--allow-empty", "--message", "signed"];
    site.git(&[&["-c", "gpg.format=ssh", "-c", &key][..], &commit].concat());
    site.git(&["rev-parse", "HEAD"])
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_allowed_key_has_signed_comes_into_force() {
    let mut public = Vec::new();
    let mut site = Site::with(|room, options| {
        public = vec![key(room, "ours"), key(room, "theirs")];
        let signers = room.join("signers");
        fs::write(&signers, format!("release@example.org namespaces=\"git\" {}", public[0])).unwrap();
        options.allowed_signers = Some(signers);
    });
    site.refused(SourceProblemKind::Untrusted, "no signature").await;
    let one = sign(&site, "ours");
    let found = site.look().await.unwrap();
    assert_eq!(said(&found), is(&one, "r1"));
    assert_eq!(found.revision.unwrap().signed_by.as_deref(), Some("release@example.org"));

    site.change("unsigned");
    site.refused(SourceProblemKind::Untrusted, "no signature").await;
    site.write("theirs");
    let theirs = sign(&site, "theirs");
    let problem = site.refused(SourceProblemKind::Untrusted, "its key is SHA256:").await;
    assert_eq!(problem.revision.unwrap().commit, theirs);
    // A signature of another commit.
    let forged = site.git(&["cat-file", "commit", &one]).replace("signed", "forged");
    fs::write(site.origin("forged"), forged).unwrap();
    let forged = site.git(&["hash-object", "-t", "commit", "-w", "forged"]);
    fs::remove_file(site.origin("forged")).unwrap();
    site.git(&["update-ref", "refs/heads/main", &forged]);
    site.refused(SourceProblemKind::Untrusted, "does not fit").await;

    site.git(&["update-ref", "refs/heads/main", &theirs]);
    site.refused(SourceProblemKind::Untrusted, "its key is").await;
    let signers = site.options.allowed_signers.clone().unwrap();
    fs::write(&signers, format!("release@example.org {}them@example.org {}", public[0], public[1])).unwrap();
    assert_eq!(site.release().await, is(&theirs, "theirs"), "allowed since, without a new commit");

    // What is in force is judged again when a key is not allowed any more; it stays in force, also over a restart.
    let both = fs::read_to_string(&signers).unwrap();
    fs::write(&signers, format!("release@example.org {}", public[0])).unwrap();
    for restarted in [false, true] {
        if restarted {
            site.restart();
            assert_eq!(said(&site.source.resume().await.unwrap()), is(&theirs, "theirs"));
        }
        for _ in 0..2 {
            let problem = site.refused(SourceProblemKind::Untrusted, "its key is").await;
            assert_eq!(problem.revision.unwrap().commit, theirs);
        }
    }
    fs::write(&signers, both).unwrap();
    let found = site.look().await.unwrap();
    assert_eq!(said(&found), is(&theirs, "theirs"));
    assert_eq!(found.revision.unwrap().signed_by.as_deref(), Some("them@example.org"));

    // Nothing new is trusted without the file.
    fs::remove_file(&signers).unwrap();
    site.write("ours");
    sign(&site, "ours");
    for restarted in [false, true] {
        if restarted {
            site.restart();
            let found = site.source.resume().await.unwrap();
            assert_eq!(said(&found), is(&theirs, "theirs"));
            assert_eq!(found.revision.unwrap().signed_by, None, "nobody can tell now");
        }
        site.refused(SourceProblemKind::Unreachable, "allowed signers").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_is_judged_again_once_signatures_are_asked_for() {
    let mut site = Site::new();
    let one = site.git(&["rev-parse", "HEAD"]);
    assert_eq!(site.release().await, is(&one, "r1"));
    let signers = site.room.path().join("signers");
    fs::write(&signers, "").unwrap();
    let unchecked = site.options.clone();
    site.options.allowed_signers = Some(signers);
    site.source.renew(&site.options);
    for restarted in [false, true] {
        if restarted {
            site.restart();
            assert_eq!(said(&site.source.resume().await.unwrap()), is(&one, "r1"), "it stays in force");
        }
        let problem = site.refused(SourceProblemKind::Untrusted, "no signature").await;
        assert_eq!(problem.revision.unwrap().commit, one);
    }
    site.source.renew(&unchecked);
    assert_eq!(site.release().await, is(&one, "r1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_fetched_again() {
    // Whether signatures are asked for, and whether the commit has one.
    for (asked, signed) in [(false, false), (true, false), (true, true)] {
        let mut site = Site::new();
        let one = site.git(&["rev-parse", "HEAD"]);
        site.change("r2");
        site.look().await.unwrap();
        site.git(&["reset", "--quiet", "--hard", &one]);
        let signers = site.room.path().join("signers");
        fs::write(&signers, format!("release@example.org {}", key(site.room.path(), "ours"))).unwrap();
        if asked {
            site.options.allowed_signers = Some(signers);
            site.source.renew(&site.options);
        }
        site.write("other");
        if signed {
            sign(&site, "ours")
        } else {
            site.commit(&[])
        };
        let words = if asked && !signed { "no signature" } else { "was rewritten" };
        site.refused(SourceProblemKind::Untrusted, words).await;
        let kept = fs::read_dir(site.room.path().join("state/git")).unwrap();
        let mirror = kept.map(|entry| entry.unwrap().path().join("mirror")).find(|path| path.is_dir()).unwrap();
        let home = site.room.path().to_owned();
        let fetched = || git(&mirror, &home, &["for-each-ref", "--format=%(refname)", "refs/trueup/fetched"]);
        assert_eq!(fetched(), "refs/trueup/fetched");
        git(&mirror, site.room.path(), &["update-ref", "-d", "refs/trueup/fetched"]);
        let again = site.look().await.unwrap_err();
        assert!(again.message.contains(words), "{again:?}");
        assert_eq!(fetched(), "", "{asked} {signed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_git_leaves_and_a_damaged_mirror_are_overcome() {
    let mut site = Site::new();
    site.look().await.unwrap();
    let all = site.room.path().join("state/git");
    let own = fs::read_dir(&all).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap().path();
    let rows: [(&str, Damage); 5] = [
        ("locks", |own| {
            fs::write(own.join("mirror/shallow.lock"), "").unwrap();
            fs::write(own.join("mirror/refs/trueup/fetched.lock"), "").unwrap();
        }),
        ("objects", |own| fs::remove_dir_all(own.join("mirror/objects")).unwrap()),
        ("configuration", |own| fs::write(own.join("mirror/config"), "[[[").unwrap()),
        ("half a tree", |own| fs::create_dir_all(own.join("trees/.fresh-x/y")).unwrap()),
        ("another branch", |own| fs::create_dir_all(own.parent().unwrap().join("0123456789ab/mirror")).unwrap()),
    ];
    for (number, (what, damage)) in rows.into_iter().enumerate() {
        damage(&own);
        let release = format!("r{number}x");
        let commit = site.change(&release);
        assert_eq!(site.release().await, is(&commit, &release), "{what}");
    }
    assert!(!own.join("trees/.fresh-x").exists() && !all.join("0123456789ab").exists());
    let lock = fs::File::open(all.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    site.refused(SourceProblemKind::Unreachable, "another agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_repository_or_no_branch_is_said_without_its_secrets() {
    let (_taken, dead) = dead_port();
    let rows = [
        (None, "nowhere", "no branch `nowhere`"),
        (None, "--upload-pack=x", "no name of a branch"),
        (Some("--upload-pack=touch".to_owned()), "main", "no URL"),
        (Some("ext::sh -c touch% x".to_owned()), "main", "not allowed"),
        (Some(format!("http://me:secret@{dead}/x.git")), "main", "git ls-remote"),
    ];
    for (url, branch, words) in rows {
        let mut site = Site::with(|_, options| {
            options.branch = branch.to_owned();
            if let Some(url) = url {
                options.url = url;
            }
        });
        let problem = site.refused(SourceProblemKind::Unreachable, words).await;
        assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
    }
}

/// Set when this very test is run on the throwaway host.
const INNER: &str = "TRUEUP_TEST_GIT_URL";

#[tokio::test(flavor = "multi_thread")]
async fn over_ssh_nothing_is_asked_and_keys_decide() {
    if let Ok(url) = std::env::var(INNER) {
        let room = tempfile::tempdir().unwrap();
        let options = GitOptions {
            url,
            branch: "main".to_owned(),
            path: None,
            poll: Duration::from_mins(1),
            allow_force: false,
            allowed_signers: None,
        };
        match Site::source(room.path(), &options).look().await {
            Ok(found) => println!("found {}", said(&found).1),
            Err(problem) => println!("problem {:?} {} {:?}", problem.kind, problem.message, problem.help),
        }
        return;
    }
    let host = require_host!("git-ssh", [Unit::Ssh]);
    host.run(&["bash", "-euc", "
        mkdir -p /srv/git/m && cd /srv/git/m
        git init --quiet --initial-branch=main
        printf 'apiVersion: trueup/v1\\nkind: App\\nmetadata: {name: web}\\nspec:\\n  root: /srv/web\\n  release: {id: r7}\\n' >web.yaml
        git add --all
        git -c user.name=Test -c user.email=test@example.org commit --quiet --message one"]).ok();
    let own = std::env::current_exe().unwrap();
    let look = || {
        let url = format!("{INNER}=ssh://root@localhost/srv/git/m");
        let name = "over_ssh_nothing_is_asked_and_keys_decide";
        host.run(&["env", &url, own.to_str().unwrap(), "--exact", name, "--nocapture"]).stdout
    };
    let stranger = look();
    assert!(stranger.contains("problem Unreachable") && stranger.contains("known_hosts"), "{stranger}");
    host.run(&["bash", "-euc", "mkdir -p ~/.ssh; chmod 700 ~/.ssh; ssh-keyscan localhost >>~/.ssh/known_hosts"]).ok();
    let keyless = look();
    assert!(keyless.contains("problem Unreachable") && keyless.contains("Permission denied"), "{keyless}");
    host.run(&[
        "bash",
        "-euc",
        "
        ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
        cat ~/.ssh/id_ed25519.pub >>~/.ssh/authorized_keys; chmod 600 ~/.ssh/authorized_keys",
    ])
    .ok();
    let known = look();
    assert!(known.contains("found r7"), "{known}");
}
