//! Where the agent's manifests come from, by the command line and its own configuration.

use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::load::{common_place, usual_place};
use super::super::options::agent::{Agent as Options, Git};
use super::super::render::problem::Complaint;
use crate::agent::web::Watched;
use crate::manifest::load_agent;
use crate::model::agent::{AgentConfig, AgentSource, BRANCH, GitOptions, POLL};
use crate::model::release::public;
use crate::ports::HostError;

/// Read when no other one is named and it is there.
pub(in crate::cli) const CONFIG: &str = "/etc/trueup/agent.yaml";

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Files and directories of this host; absolute, since the present directory means nothing to those who read of
    /// them.
    Paths(Vec<PathBuf>),
    /// A branch of a git repository.
    Git(GitOptions),
}

impl Place {
    /// What the webhooks are to be about.
    pub(super) fn watched(&self) -> Watched {
        match self {
            Self::Git(GitOptions { url, branch, .. }) => {
                let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
                Watched { repository: Some(url.clone()), branch: Some(branch.to_owned()) }
            }
            Self::Paths(_) => Watched::default(),
        }
    }

    /// One line that is the same as long as manifests come from there, for a host that is called so.
    pub(super) fn origin(&self, names: &[String]) -> String {
        format!("{} for {}", self.line(), names.join(" "))
    }

    /// One line that is the same as long as manifests come from there.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Git(GitOptions { url, branch, path, .. }) => {
                let path = path.as_ref().map(|path| path.as_path().display().to_string()).unwrap_or_default();
                format!("git {} {branch} {path}", public(url))
            }
            Self::Paths(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
                format!("dir {}", paths.join(" "))
            }
        }
    }
}

/// The agent's own configuration; nothing is said where there is none.
pub(in crate::cli) fn configuration(named: Option<&Path>) -> Result<AgentConfig, Failure> {
    let usual = Path::new(CONFIG);
    let path = named.or_else(|| usual.exists().then_some(usual));
    path.map_or_else(|| Ok(AgentConfig::default()), |path| load_agent(path).map_err(Failure::Manifests))
}

/// Where manifests come from. The command line goes before the configuration.
pub(super) fn place(options: &Options, config: &AgentConfig) -> Result<Place, Failure> {
    let Options { git, paths, .. } = options;
    if git.url.is_none() && !paths.is_empty() {
        refuse_git_options(git)?;
        return manifests(paths);
    }
    let configured = match &config.source {
        Some(AgentSource::Git(configured)) => Some(configured.clone()),
        Some(AgentSource::Dir(_)) | None => None,
    };
    let base = match &git.url {
        Some(url) => Some(GitOptions {
            url: absolute_repository(url)?,
            branch: BRANCH.to_owned(),
            path: None,
            poll: POLL,
            allow_force: false,
            // Whoever wants signatures wants them of another repository all the more.
            allowed_signers: configured.and_then(|configured| configured.allowed_signers),
        }),
        None => configured,
    };
    if let Some(base) = base {
        let signers = git.verify_signatures.as_deref().map(absolute).transpose()?;
        return Ok(Place::Git(GitOptions {
            url: base.url,
            branch: git.branch.clone().unwrap_or(base.branch),
            path: git.path.clone().or(base.path),
            poll: git.poll.unwrap_or(base.poll),
            allow_force: git.allow_force || base.allow_force,
            allowed_signers: signers.or(base.allowed_signers),
        }));
    }
    refuse_git_options(git)?;
    match &config.source {
        Some(AgentSource::Dir(path)) => Ok(Place::Paths(vec![path.clone()])),
        // Where nothing is there yet, something will be: it is told, and waited for.
        Some(AgentSource::Git(_)) | None => manifests(&[usual_place().unwrap_or_else(common_place)]),
    }
}

fn refuse_git_options(git: &Git) -> Result<(), Failure> {
    let given = [
        ("--branch", git.branch.is_some()),
        ("--path", git.path.is_some()),
        ("--poll", git.poll.is_some()),
        ("--allow-force", git.allow_force),
        ("--verify-signatures", git.verify_signatures.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            let complaint = Complaint::new(format!("`{name}` says nothing of manifests that are files of this host"));
            Err(Failure::Usage(complaint.help("name the repository, too: `--git URL`")))
        }
        None => Ok(()),
    }
}

fn manifests(paths: &[PathBuf]) -> Result<Place, Failure> {
    if paths.iter().any(|path| path == Path::new("-")) {
        let complaint = Complaint::new("the standard input cannot be followed");
        return Err(Failure::Usage(complaint.help("name files or directories")));
    }
    paths.iter().map(|path| absolute(path)).collect::<Result<_, _>>().map(Place::Paths)
}

/// git runs elsewhere: what is meant relative to the present directory must not be.
fn absolute_repository(url: &str) -> Result<String, Failure> {
    let relative = matches!(url.split('/').next(), Some("." | ".."));
    if relative { Ok(absolute(Path::new(url))?.to_string_lossy().into_owned()) } else { Ok(url.to_owned()) }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let error = |error: std::io::Error| HostError::io(format!("cannot tell where `{}` is", path.display()), &error);
    Ok(std::path::absolute(path).map_err(error)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::options::{Cli, Verb};

    fn said(arguments: &[&str], source: Option<AgentSource>) -> Result<Place, Failure> {
        let all = [&["trueup", "agent"], arguments].concat();
        let Verb::Agent(options) = Cli::parse_from(all).verb else { panic!("not the agent") };
        place(&options, &AgentConfig { source, ..AgentConfig::default() })
    }

    fn git(url: &str) -> GitOptions {
        let (url, branch) = (url.to_owned(), "main".to_owned());
        GitOptions { url, branch, path: None, poll: POLL, allow_force: false, allowed_signers: None }
    }

    #[test]
    fn the_command_line_goes_before_the_configuration() {
        let configured =
            || GitOptions { allowed_signers: Some("/s".into()), branch: "prod".to_owned(), ..git("/conf") };
        let dir = || AgentSource::Dir("/etc/m".into());
        let rows = [
            (&["/srv/m", "/srv/n"][..], None, Place::Paths(vec!["/srv/m".into(), "/srv/n".into()])),
            (&[], Some(dir()), Place::Paths(vec!["/etc/m".into()])),
            (&["/srv/m"], Some(AgentSource::Git(configured())), Place::Paths(vec!["/srv/m".into()])),
            (&[], Some(AgentSource::Git(configured())), Place::Git(configured())),
            (
                &["--allow-force", "--poll", "5s"],
                Some(AgentSource::Git(configured())),
                Place::Git(GitOptions { allow_force: true, poll: Duration::from_secs(5), ..configured() }),
            ),
            (
                &["--git", "/repo", "--branch", "x"],
                Some(dir()),
                Place::Git(GitOptions { branch: "x".to_owned(), ..git("/repo") }),
            ),
            (
                &["--git", "/repo"],
                Some(AgentSource::Git(configured())),
                Place::Git(GitOptions { allowed_signers: Some("/s".into()), ..git("/repo") }),
            ),
        ];
        for (arguments, source, expected) in rows {
            assert_eq!(said(arguments, source).unwrap(), expected, "{arguments:?}");
        }
        // Where there are no manifests yet, they are waited for.
        if usual_place().is_none() {
            assert_eq!(said(&[], None).unwrap(), Place::Paths(vec!["/etc/trueup/manifests".into()]));
        }
        let here = std::env::current_dir().unwrap().join("repo");
        let Place::Git(found) = said(&["--git", "./repo"], None).unwrap() else { panic!() };
        assert_eq!(Path::new(&found.url), here);
    }

    #[test]
    fn what_does_not_go_together_is_wrong_usage() {
        for arguments in [&["-"][..], &["/srv/m", "--branch", "x"], &["/srv/m", "--allow-force"]] {
            assert!(matches!(said(arguments, None), Err(Failure::Usage(_))), "{arguments:?}");
        }
        let dir = AgentSource::Dir("/etc/m".into());
        assert!(matches!(said(&["--path", "x"], Some(dir)), Err(Failure::Usage(_))));
    }
}
