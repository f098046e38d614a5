//! Where a release comes from.

use std::path::PathBuf;

use super::{Checker, url};
use crate::manifest::node::{Cursor, Span, cut};
use crate::manifest::shape::{self, SizeText, Text};
use crate::manifest::size;
use crate::model::names::Root;
use crate::model::release::{Location, Revision, Source};

/// Most bytes of an unpacked archive by default.
const LIMIT: u64 = 4 << 30;
/// What git fetches from by a URL.
const SCHEMES: [&str; 5] = ["https", "ssh", "git", "http", "file"];

impl Checker<'_> {
    pub(super) fn source(&mut self, source: &shape::Source, at: &Cursor<'_>) -> Option<Source> {
        match source {
            shape::Source::Dir(directory) => {
                const HELP: &str = "write the directory that is to become the release: an absolute path, or one that starts with `./` or `../` and is then relative to the manifest's own directory";
                let path = self.on_this_host(directory.path.as_ref()?, &at.key("dir").key("path"), HELP)?;
                Some(Source::Dir { path })
            }
            shape::Source::Git(git) => self.git(git, &at.key("git")),
            shape::Source::Archive(archive) => self.archive(archive, &at.key("archive")),
        }
    }

    /// An absolute path, or one beside the manifest.
    pub(super) fn on_this_host(&mut self, text: &str, at: &Cursor<'_>, help: &str) -> Option<PathBuf> {
        let path = self.beside(text, at)?;
        // What is said of a root holds for a source, too.
        let path = self.accept(at, Root::new(path), help)?;
        Some(path.path().to_owned())
    }

    fn git(&mut self, git: &shape::SourceGit, at: &Cursor<'_>) -> Option<Source> {
        let url = git.url.as_ref().and_then(|url| self.git_url(url, &at.key("url")));
        let revision = match (&git.commit, &git.reference) {
            (Some(Text(commit)), None) => self.commit(commit, &at.key("commit")).map(Revision::Commit),
            (None, Some(Text(name))) => self.reference(name, &at.key("ref")).map(Revision::Ref),
            (Some(_), Some(_)) => {
                let message = format!("`{}` has both `commit` and `ref`", at.path);
                self.find(at.name_of("ref"), message, "keep one of them; a commit cannot come to mean something else");
                None
            }
            (None, None) => {
                let message = format!("`{}` does not say which commit", at.path);
                self.find(at.span.clone(), message, "add `commit`, or `ref` with a branch or tag");
                None
            }
        };
        Some(Source::Git { url: url?, revision: revision?, submodules: git.submodules.unwrap_or_default() })
    }

    /// Only what cannot be taken for an option, and no helper program that a URL can name.
    pub(super) fn git_url(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        const EXAMPLE: &str = "write a URL such as `https://host/team/repo.git`, `git@host:team/repo.git`, or the absolute path of a repository";
        let mut refuse = |span: Span, why: &str| {
            self.find(span, format!("`{}` {why}", at.path), EXAMPLE);
            None
        };
        let span = at.span.clone();
        if text.starts_with('-') {
            return refuse(span, "begins with `-`, which git would take for an option");
        }
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))
        };
        if text.split_once("::").is_some_and(|(helper, _)| word(helper)) {
            return refuse(span, "names a helper program, which git would run");
        }
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse(span, "is empty or has a space in it");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            if !SCHEMES.contains(&scheme) {
                return refuse(span, &format!("is a URL for `{}`, from which git does not fetch", cut(scheme)));
            }
            if rest.is_empty() || rest.starts_with('-') {
                return refuse(span, "has no host");
            }
            return Some(text.to_owned());
        }
        if text.starts_with('/') || matches!(text.split('/').next(), Some("." | "..")) {
            let path = self.on_this_host(text, at, EXAMPLE)?;
            return Some(path.to_string_lossy().into_owned());
        }
        match text.split_once(':') {
            // `user@host:path`, without a slash before the colon.
            Some((host, path)) if !host.is_empty() && !host.contains('/') && !path.is_empty() => Some(text.to_owned()),
            _ => refuse(span, "is neither a URL nor an absolute path"),
        }
    }

    fn commit(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        if (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase());
        }
        let message = format!("`{}` is no hash of a commit: `{}`", at.path, cut(text));
        self.find(at.span.clone(), message, "write 7 to 64 hexadecimal digits; a branch or tag is written as `ref`");
        None
    }

    pub(super) fn reference(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        // As `git check-ref-format` has it.
        let odd =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
        let parts = || text.split('/');
        let sound = !text.is_empty()
            && text != "@"
            && !text.starts_with('-')
            && !text.contains(odd)
            && !text.contains("..")
            && !text.contains("@{")
            && !text.ends_with('.')
            && parts().all(|part| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none());
        if sound {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is no name of a branch or tag: `{}`", at.path, cut(text));
        self.find(at.span.clone(), message, "write its name, such as `main` or `v1.4.2`");
        None
    }

    fn archive(&mut self, archive: &shape::SourceArchive, at: &Cursor<'_>) -> Option<Source> {
        let location = match (&archive.path, &archive.url) {
            (Some(path), None) => {
                const HELP: &str = "write an absolute path, or one that starts with `./` or `../` and is then relative to the manifest's own directory";
                self.on_this_host(path, &at.key("path"), HELP).map(Location::Path)
            }
            (None, Some(url)) => self.archive_url(url, archive.sha256.is_some(), at).map(Location::Url),
            (Some(_), Some(_)) => {
                let message = format!("`{}` has both `path` and `url`", at.path);
                self.find(at.name_of("url"), message, "keep one of them");
                None
            }
            (None, None) => {
                let message = format!("`{}` does not say where the archive is", at.path);
                self.find(at.span.clone(), message, "add `path`, or `url` with `sha256`");
                None
            }
        };
        let sha256 = archive.sha256.as_ref().map(|Text(digest)| self.sha256(digest, &at.key("sha256")));
        let limit = self.size(archive.max_size.as_ref(), &at.key("maxSize"));
        Some(Source::Archive {
            location: location?,
            sha256: super::optional(sha256)?,
            strip_components: archive.strip_components.unwrap_or_default(),
            limit: limit?,
        })
    }

    fn archive_url(&mut self, text: &str, has_digest: bool, at: &Cursor<'_>) -> Option<String> {
        const EXAMPLE: &str = "https://host/app.tar.gz";
        let place = at.key("url");
        let wrong = match url::parse(text, "https", EXAMPLE) {
            Err(told) => Some(told),
            Ok(url) if url.scheme() != "https" => Some((
                format!("is a URL for `{}`; only https is fetched from", cut(url.scheme())),
                format!("write it whole, such as `{EXAMPLE}`"),
            )),
            Ok(_) => None,
        };
        let is_url = wrong.is_none();
        if let Some((wrong, help)) = wrong {
            self.find(place.span.clone(), format!("`{}` {wrong}", place.path), help);
        }
        if !has_digest {
            let message = format!("`{}` lacks the key `sha256`, which an archive from a URL needs", at.path);
            self.find(at.name_of("url"), message, "add it: `sha256sum` prints it for the file that you mean");
        }
        (is_url && has_digest).then(|| text.to_owned())
    }

    fn sha256(&mut self, text: &str, at: &Cursor<'_>) -> Option<String> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase());
        }
        let message = format!("`{}` is no SHA-256: `{}`", at.path, cut(text));
        self.find(at.span.clone(), message, "write its 64 hexadecimal digits, as `sha256sum` prints them");
        None
    }

    fn size(&mut self, text: Option<&SizeText>, at: &Cursor<'_>) -> Option<u64> {
        let Some(SizeText(text)) = text else { return Some(LIMIT) };
        match size::parse(text) {
            Ok(0) => {
                self.find(at.span.clone(), format!("`{}` is too small: `{text}`", at.path), "write 1B or more");
                None
            }
            Ok(size) => Some(size),
            Err(error) => {
                let message = format!("`{}` is {error}: `{}`", at.path, cut(text));
                self.find(at.span.clone(), message, error.help(&cut(text)));
                None
            }
        }
    }
}
