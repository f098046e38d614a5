//! A release that is one commit of a git repository.
//!
//! In: a URL and a revision. Out: the files of one commit, without `.git`, and its full hash. What was fetched
//! once stays in a bare mirror, `ROOT/.trueup/git`, which belongs to the App's user; a commit that is there
//! already is not asked for. Begin at [`fetch`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::place::{DIRECTORY, ReleaseDirectory, discard, own_directory};
use crate::host::blocking;
use crate::host::git::leftovers::clean;
use crate::host::git::{FETCH, Git, LIMIT, Remote, words};
use crate::host::spawn::Shim;
use crate::host::users::User;
use crate::model::release::{Revision, public};
use crate::ports::{HostError, HostErrorKind};

/// The mirror, in `ROOT/.trueup`.
const MIRROR: &str = "git";

/// Where people say which repository.
const NAMED_IN: &str = "`spec.release.source`";

/// The ref that keeps what was fetched last.
const LAST: &str = "refs/trueup/last";

/// Submodules of submodules are followed so deep.
const DEEPEST: u32 = 10;

/// One commit to be brought.
#[derive(Debug, Clone)]
pub(super) struct WantedCommit {
    /// Of which repository.
    pub(super) url: String,
    /// Which one.
    pub(super) revision: Revision,
    /// Whether its submodules come along.
    pub(super) submodules: bool,
}

/// A revision, as far as it can be told without the mirror.
#[derive(Debug)]
enum Target {
    /// A hash, or the beginning of one.
    Commit(String),
    /// What a ref of the remote leads to.
    Tip { name: String, hash: String },
}

/// Brings a commit into the place and returns its full hash.
///
/// # Errors
/// As [`super::fetch`].
pub(super) async fn fetch(
    shim: &Shim,
    place: &Arc<ReleaseDirectory>,
    user: User,
    lock: Option<OwnedFd>,
    wish: &WantedCommit,
) -> Result<String, HostError> {
    check(wish)?;
    let mirror = place.root.state().join(MIRROR);
    let configuration = Vec::new();
    let mut git = Git { shim, user, lock, mirror, own_ssh: false, limit: LIMIT, named_in: NAMED_IN, configuration };
    let mut fresh = prepare(place, &git.user, false).await?;
    git.heed_own_ssh().await?;
    loop {
        match bring(&git, place, wish, fresh).await {
            Err(error) if error.kind == HostErrorKind::Other && !fresh && git.is_damaged(&error).await? => {
                tracing::warn!(mirror = %git.mirror.display(), %error, "the mirror is damaged and is fetched anew");
                fresh = prepare(place, &git.user, true).await?;
            }
            ended => {
                sweep(place).await?;
                return ended;
            }
        }
    }
}

/// Refuses what git could take for something else than it is.
fn check(wish: &WantedCommit) -> Result<(), HostError> {
    let refuse = |message: String| {
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(format!("correct {NAMED_IN}")))
    };
    words::check_url(&wish.url, NAMED_IN)?;
    match &wish.revision {
        Revision::Commit(hash) if !words::is_abbreviation(hash) => {
            refuse(format!("`{hash}` is no hash of a commit: those have 4 to 64 digits of 0-9 and a-f"))
        }
        Revision::Ref(name) if !words::is_ref(name) => refuse(format!("`{name}` is no name of a branch or tag")),
        _ => Ok(()),
    }
}

/// Makes the mirror's directory and says whether it is new. One that belongs to somebody else is made anew, for git
/// would refuse it; with `anew`, any.
async fn prepare(place: &Arc<ReleaseDirectory>, user: &User, anew: bool) -> Result<bool, HostError> {
    let (place, user) = (Arc::clone(place), user.clone());
    blocking(move || {
        let state = place.state(Some(&user))?;
        let path = place.root.state().join(MIRROR);
        let failed =
            |error: Errno| HostError::io(format!("cannot make the mirror `{}`", path.display()), &error.into());
        let usable = match rustix::fs::statat(&state, MIRROR, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found.st_uid == user.uid && !anew,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(failed(error)),
        };
        if !usable {
            discard(state.as_fd(), MIRROR, &place.root.state())?;
        }
        let mirror = own_directory(state.as_fd(), MIRROR, 0o700, place.owner).map_err(failed)?;
        clean(&mirror).map_err(failed)?;
        // One that a killed pass has only begun has no HEAD yet.
        Ok(matches!(rustix::fs::statat(&mirror, "HEAD", AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)))
    })
    .await?
}

async fn sweep(place: &Arc<ReleaseDirectory>) -> Result<(), HostError> {
    let place = Arc::clone(place);
    blocking(move || {
        let state = place.state(None)?;
        let swept = rustix::fs::openat(&state, MIRROR, DIRECTORY, Mode::empty()).and_then(|mirror| clean(&mirror));
        swept.map_err(|error| {
            HostError::io(format!("cannot tidy `{}/{MIRROR}`", place.root.state().display()), &error.into())
        })
    })
    .await?
}

/// Asks the remote what a ref leads to.
async fn resolve(git: &Git<'_>, wish: &WantedCommit) -> Result<Target, HostError> {
    let name = match &wish.revision {
        Revision::Commit(hash) => return Ok(Target::Commit(hash.clone())),
        Revision::Ref(name) => name,
    };
    let names = if name.starts_with("refs/") || name == "HEAD" {
        vec![name.clone()]
    } else {
        vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")]
    };
    let peeled: Vec<String> = names.iter().map(|name| format!("{name}^{{}}")).collect();
    let mut arguments = vec!["ls-remote", "source"];
    arguments.extend(names.iter().chain(&peeled).map(String::as_str));
    let remote = Remote { url: &wish.url, trusted: true };
    let output = git.must(Some(remote), &[], &arguments).await?;
    let find = |name: &str| words::listed(&output).find(|(_, listed)| *listed == name).map(|(hash, _)| hash.to_owned());
    // An annotated tag is an object of its own; what it leads to is listed beside it.
    let mut found = names.iter().zip(&peeled).filter_map(|(name, peeled)| {
        find(peeled).or_else(|| find(name)).map(|hash| Target::Tip { name: name.clone(), hash })
    });
    let wrong = |message: String, help: &str| {
        Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(help.to_owned()))
    };
    let shown = public(&wish.url);
    match (found.next(), found.next()) {
        (Some(Target::Tip { hash, .. }), Some(Target::Tip { hash: other, .. })) if hash != other => wrong(
            format!("`{shown}` has a branch and a tag `{name}` that differ"),
            &format!("write `refs/heads/{name}` or `refs/tags/{name}`"),
        ),
        (Some(found), _) => Ok(found),
        (None, _) => wrong(format!("`{shown}` has no branch or tag `{name}`"), "correct `spec.release.source`"),
    }
}

/// Brings the commit into the mirror and its files into the place.
async fn bring(
    git: &Git<'_>,
    place: &Arc<ReleaseDirectory>,
    wish: &WantedCommit,
    fresh: bool,
) -> Result<String, HostError> {
    let target = resolve(git, wish).await?;
    if fresh {
        let (Target::Commit(hash) | Target::Tip { hash, .. }) = &target;
        git.initialise(hash).await?;
    }
    let remote = Remote { url: &wish.url, trusted: true };
    let commit = obtain(git, remote, &target).await?;
    let making = Arc::clone(place);
    blocking(move || making.finish(making.begin()?.as_fd(), 0o755)).await??;
    git.check_out(&commit, &place.path()).await?;
    if wish.submodules {
        submodules(git, remote, &commit, place.path(), DEEPEST).await?;
    }
    Ok(commit)
}

/// Sees that a commit is in the mirror, asking the remote for as little as can be, and returns its full hash.
async fn obtain(git: &Git<'_>, remote: Remote<'_>, target: &Target) -> Result<String, HostError> {
    let is_final = |error: &HostError| !matches!(error.kind, HostErrorKind::Misconfigured | HostErrorKind::Other);
    match target {
        Target::Tip { name, hash } => {
            if let Some(commit) = git.commit(hash).await? {
                return Ok(commit);
            }
            get(git, remote, name).await?;
            // The ref may have moved since it was asked for.
            for name in [hash.as_str(), LAST] {
                if let Some(commit) = git.commit(name).await? {
                    return Ok(commit);
                }
            }
            let message = format!("`{name}` of `{}` leads to no commit", public(remote.url));
            Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("correct `spec.release.source`"))
        }
        Target::Commit(hash) => {
            if let Some(commit) = git.commit(hash).await? {
                return Ok(commit);
            }
            if words::is_hash(hash) {
                // Not every server gives a commit by its hash.
                match get(git, remote, hash).await {
                    Err(error) if is_final(&error) => return Err(error),
                    Err(_) => {}
                    Ok(()) => {
                        if let Some(commit) = git.commit(hash).await? {
                            return Ok(commit);
                        }
                    }
                }
            }
            get_all(git, remote).await?;
            if let Some(commit) = git.commit(hash).await? {
                return Ok(commit);
            }
            let message = format!("no branch or tag of `{}` has one commit `{hash}`", public(remote.url));
            Err(HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("push it, or correct `spec.release.source`; a short hash must fit one commit only"))
        }
    }
}

/// Fetches one ref or commit; the first of all without its history.
async fn get(git: &Git<'_>, remote: Remote<'_>, what: &str) -> Result<(), HostError> {
    let refspec = format!("+{what}:{LAST}");
    let fetch = |more: &'static [&'static str]| [&FETCH, more, &["source", &refspec]].concat();
    if git.commit(LAST).await?.is_none() {
        match git.must(Some(remote), &[], &fetch(&["--depth=1"])).await {
            // Some servers cannot leave the history out.
            Err(error) if error.kind == HostErrorKind::Other => {}
            ended => return ended.map(|_| ()),
        }
    }
    git.must(Some(remote), &[], &fetch(&["--no-prune"])).await.map(|_| ())
}

/// Fetches all branches and tags with their history.
async fn get_all(git: &Git<'_>, remote: Remote<'_>) -> Result<(), HostError> {
    let shallow = git.answer(&["rev-parse", "--is-shallow-repository"]).await?;
    let deepen: &[&str] = if shallow.is_some_and(|answer| answer.trim() == "true") { &["--unshallow"] } else { &[] };
    // One name can be a branch today and a directory of branches tomorrow.
    let refs = ["--prune", "source", "+refs/heads/*:refs/trueup/heads/*", "+refs/tags/*:refs/trueup/tags/*"];
    git.must(Some(remote), &[], &[&FETCH, deepen, &refs].concat()).await.map(|_| ())
}

/// Brings the submodules of a commit into its files, from the same mirror.
async fn submodules(
    git: &Git<'_>,
    parent: Remote<'_>,
    commit: &str,
    directory: PathBuf,
    deep: u32,
) -> Result<(), HostError> {
    let blob = format!("{commit}:.gitmodules");
    let pattern = r"^submodule\..*\.(path|url)$";
    let ask = ["config", "--null", "--blob", &blob, "--get-regexp", pattern];
    // Without that file it has none.
    let named = git.answer(&ask).await?.map(|answer| words::submodules(&answer)).unwrap_or_default();
    for (path, url) in named {
        let listed = git.answer(&["--literal-pathspecs", "ls-tree", "-z", commit, "--", &path]).await?;
        let entry = listed.as_deref().and_then(|listed| listed.split('\0').next());
        let hash = entry
            .and_then(|entry| entry.split_once('\t'))
            .filter(|(_, listed)| *listed == path)
            .and_then(|(entry, _)| entry.strip_prefix("160000 commit "));
        let Some(hash) = hash else { continue };
        let url = words::absolute(&url, parent.url);
        if deep == 0 {
            let message = format!("the submodules of `{}` lie more than {DEEPEST} deep in each other", public(&url));
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help("set `submodules: false`"));
        }
        check(&WantedCommit { url: url.clone(), revision: Revision::Commit(hash.to_owned()), submodules: true })?;
        // A repository of this host may name others of this host; one from elsewhere may not.
        let remote = Remote { url: &url, trusted: parent.trusted && is_local(parent.url) };
        let commit = obtain(git, remote, &Target::Commit(hash.to_owned())).await?;
        let below = directory.join(&path);
        git.check_out(&commit, &below).await?;
        Box::pin(submodules(git, remote, &commit, below, deep - 1)).await?;
    }
    Ok(())
}

fn is_local(url: &str) -> bool {
    url.starts_with('/') || url.starts_with("file://")
}
