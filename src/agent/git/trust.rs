//! Whether a commit may come into force: who signed it, and whether it follows the one that is.

use std::collections::HashSet;
use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::agent::source::{SourceProblem, SourceProblemKind};
use crate::documents::agent::Revision;
use crate::host::blocking;
use crate::host::command::Wanted;
use crate::host::git::Git;
use crate::host::hex::hexadecimal;
use crate::model::wake::short_commit;
use crate::ports::{HostError, HostErrorKind};

/// Why there is nothing to bring into force.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Something went wrong on the way.
    Host(HostError),
    /// It was found, and is kept out.
    KeptOut(Box<SourceProblem>),
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<SourceProblem> for Trouble {
    fn from(problem: SourceProblem) -> Self {
        Self::KeptOut(Box::new(problem))
    }
}

impl From<Trouble> for SourceProblem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Host(error) => unreachable(error),
            Trouble::KeptOut(problem) => *problem,
        }
    }
}

fn unsigned(revision: Revision, found: &str) -> SourceProblem {
    let commit = short_commit(&revision.commit);
    let message = format!("commit {commit} is signed by none of the allowed signers: {found}");
    untrusted(revision, message, "sign it with a key of the allowed signers, or add its key to their file")
}

/// A commit does not follow the one in force, as far as that many commits back; none: all there are.
pub(super) fn rewritten(revision: Revision, in_force: &str, within: Option<u32>) -> SourceProblem {
    let so_far = match within {
        Some(within) => format!(" within {within} commits"),
        None => ": the branch was rewritten".to_owned(),
    };
    let (commit, in_force) = (short_commit(&revision.commit), short_commit(in_force));
    let message = format!("commit {commit} does not follow {in_force}{so_far}");
    let help = "push a commit that follows the one in force, or run the agent with `--allow-force` for once";
    untrusted(revision, message, help)
}

fn untrusted(revision: Revision, message: String, help: &str) -> SourceProblem {
    SourceProblem {
        kind: SourceProblemKind::Untrusted,
        revision: Some(revision),
        message,
        help: Some(help.to_owned()),
        mistakes: Vec::new(),
    }
}

/// Nobody can tell now.
pub(super) fn unreachable(error: HostError) -> SourceProblem {
    let HostError { message, help, .. } = error;
    SourceProblem { kind: SourceProblemKind::Unreachable, revision: None, message, help, mistakes: Vec::new() }
}

/// What git is told besides what it always is.
pub(super) fn configuration(signers: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("core.useReplaceRefs", "false".to_owned()),
        ("i18n.logOutputEncoding", "UTF-8".to_owned()),
        ("log.showSignature", "false".to_owned()),
    ];
    if let Some(signers) = signers {
        all.push(("gpg.ssh.allowedSignersFile", signers.to_string_lossy().into_owned()));
        all.push(("gpg.ssh.program", "ssh-keygen".to_owned()));
        all.push(("gpg.minTrustLevel", "fully".to_owned()));
        // Whoever is in the keyring of the agent's user was not allowed by that.
        for key in ["gpg.program", "gpg.openpgp.program", "gpg.x509.program"] {
            all.push((key, "/bin/false".to_owned()));
        }
    }
    all
}

/// What there is to say of a commit of the mirror, which must be signed where `signers` are given.
///
/// # Errors
/// It cannot be read, or is not signed by one of them.
pub(super) async fn revision(git: &Git<'_>, commit: &str, signers: Option<&Path>) -> Result<Revision, Trouble> {
    let signature = if signers.is_some() { "%G?%x00%GT%x00%GF%x00%GS" } else { "%x00%x00%x00" };
    let format = format!("--format=%ct%x00{signature}%x00%an%x00%s");
    let answer = git.answer(&["log", "-1", "--no-notes", "--no-color", &format, commit]).await?;
    let answer = answer.unwrap_or_default();
    let unreadable = || {
        let message = format!("commit {} cannot be read from `{}`", short_commit(commit), git.mirror.display());
        HostError::new(HostErrorKind::Other, message)
    };
    let parts: Vec<&str> = answer.trim_end_matches('\n').splitn(7, '\0').collect();
    let [seconds, verdict, level, key, signer, author, subject] = parts.as_slice() else {
        return Err(unreadable().into());
    };
    let at = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(unreadable)?;
    let mut revision = Revision {
        commit: commit.to_owned(),
        subject: (*subject).to_owned(),
        author: (*author).to_owned(),
        at,
        signed_by: None,
    };
    if signers.is_none() {
        return Ok(revision);
    }
    let checked = git.run(None, &[], &["verify-commit", commit], Wanted::Tail).await?;
    if checked.status.success() && *verdict == "G" && *level == "fully" && !signer.is_empty() {
        revision.signed_by = Some((*signer).to_owned());
        return Ok(revision);
    }
    let found = match *verdict {
        "N" | "" => "it has no signature".to_owned(),
        "B" => "its signature does not fit its content".to_owned(),
        _ if key.is_empty() => "its signature is none of an SSH key that can be checked".to_owned(),
        _ => format!("its key is {key}"),
    };
    Err(unsigned(revision, &found).into())
}

/// Whose signatures count, as far as it matters whether that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signers(Option<String>);

/// Whose signatures count; `file` names them, where any are asked for. Blocks.
///
/// # Errors
/// The file cannot be read.
pub(super) fn signers(file: Option<&Path>) -> Result<Signers, HostError> {
    let Some(file) = file else { return Ok(Signers(None)) };
    let content = std::fs::read(file).map_err(|error| {
        HostError::io(format!("cannot read the allowed signers `{}`", file.display()), &error)
            .with_help("put `NAME namespaces=\"git\" KEY` into it, a line for each key, readable for the agent")
    })?;
    Ok(Signers(Some(hexadecimal(&Sha256::digest(content)))))
}

/// Whether a commit follows another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Yes,
    No,
    /// Not in the history that is here, which is not all of it.
    Perhaps,
}

/// Whether a commit follows another one, by the history in the mirror.
pub(super) async fn follows(git: &Git<'_>, before: &str, commit: &str) -> Result<Follows, HostError> {
    if git.commit(before).await?.is_some() {
        let asked = git.run(None, &[], &["merge-base", "--is-ancestor", before, commit], Wanted::Tail).await?;
        if asked.status.success() {
            return Ok(Follows::Yes);
        }
    }
    Ok(if is_whole(git, commit).await? { Follows::No } else { Follows::Perhaps })
}

/// Whether all the history of a commit is in the mirror.
async fn is_whole(git: &Git<'_>, commit: &str) -> Result<bool, HostError> {
    let file = git.mirror.join("shallow");
    let shallow = match blocking(move || std::fs::read_to_string(file)).await? {
        Ok(shallow) => shallow,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(HostError::io(format!("cannot read `{}`", git.mirror.display()), &error)),
    };
    let cut: HashSet<&str> = shallow.lines().collect();
    let listed = git.answer(&["rev-list", commit]).await?;
    Ok(listed.is_some_and(|listed| !listed.lines().any(|commit| cut.contains(commit))))
}
