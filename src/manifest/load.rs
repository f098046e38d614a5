//! Files and directories in, checked Apps or all mistakes out.

mod document;
mod hosts;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use self::document::Made;
pub(super) use self::document::foreign;
use super::check::{Base, Checked, Claim};
use super::report::{LoadErrors, Mistake, Text};
use super::shape::Document;
use super::text::{Unreadable, named, plain, text};
use super::yaml::{FINDINGS, Finding, parse};
use crate::model::app::App;
use crate::model::fleet::{Fleet, FleetHost};

/// How the standard input is called in messages.
const STDIN: &str = "<stdin>";

/// One document, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it desires. With [`Self::fleet`], it is what is desired of the first host: what names no var is the same
    /// for all, and nothing of it is meant for this host.
    pub app: App,
    /// The hosts that it is for; none: the host that reads it.
    pub fleet: Option<Fleet>,
    /// The file that its hosts stand in, where that is another one.
    pub hosts_file: Option<PathBuf>,
    /// The document as it was written, to be printed again.
    pub document: Document,
    /// Where it stands.
    pub source: Source,
}

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file; none for the standard input.
    pub path: Option<PathBuf>,
    /// The line of its first key, from 1.
    pub line: usize,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}:{}", path.display(), self.line),
            None => write!(f, "{STDIN}:{}", self.line),
        }
    }
}

/// Loads all manifests: files with one or more documents, directories (every `*.yaml` and `*.yml` in
/// them that does not begin with a dot, in the order of their names, not what is in their own
/// directories) and `-` for the standard input. A file reached twice, by whatever link, is loaded once.
///
/// # Errors
/// [`LoadErrors`] with everything that is wrong in all of them.
pub fn load(paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Vec<Loaded>, LoadErrors> {
    Loader::default().all(paths, stdin)
}

/// The same where only these Apps are wanted: what is wrong in files that have nothing to do with them is handed back
/// beside what loaded, and whoever asks has to tell of it.
///
/// # Errors
/// As [`load`], where one of them is not in a file without mistakes, or another file claims what it claims.
pub fn load_beside(
    paths: &[PathBuf],
    stdin: &mut dyn Read,
    wanted: &[&str],
) -> Result<(Vec<Loaded>, Option<LoadErrors>), LoadErrors> {
    let (sound, errors) = load_sound(paths, stdin);
    let there = |wanted: &&str| sound.iter().any(|one| one.app.name.as_str() == *wanted);
    match errors {
        Some(errors) if wanted.is_empty() || !wanted.iter().all(there) => Err(errors),
        errors => Ok((sound, errors)),
    }
}

/// What is in files without mistakes that claim nothing which another one claims; and all that is wrong, which whoever
/// asks has to tell. For whoever only looks.
#[must_use]
pub fn load_sound(paths: &[PathBuf], stdin: &mut dyn Read) -> (Vec<Loaded>, Option<LoadErrors>) {
    let mut loader = Loader::default();
    loader.all_of(paths, stdin);
    loader.forgive_lists();
    if loader.mistakes.is_empty() {
        return (loader.loaded, None);
    }
    let Loader { loaded, mistakes, contested, .. } = loader;
    let name = |one: &Loaded| one.source.path.as_deref().unwrap_or(Path::new(STDIN)).to_string_lossy().into_owned();
    let unsound: HashSet<String> = mistakes.iter().map(|mistake| mistake.file.clone()).chain(contested).collect();
    let sound = loaded.into_iter().filter(|one| !unsound.contains(&name(one))).collect();
    (sound, Some(LoadErrors { mistakes }))
}

/// The same of manifests that nobody has approved: no other file that they name is read, for what is wrong with one is
/// told with its lines.
///
/// # Errors
/// As [`load`]; also where hosts are in a file of their own.
pub fn load_unapproved(paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Vec<Loaded>, LoadErrors> {
    Loader { unapproved: true, ..Loader::default() }.all(paths, stdin)
}

/// Loads the manifests of a commit, which was written into `tree`: those at `inside`, or at its top. They are called
/// by their paths in the repository, cannot be meant relative to where they happen to lie, and no link leads out of
/// the tree. Where it `may_be_empty`, a directory without manifests is none that is wrong; nor is one that is not there
/// any more, for git keeps none that is empty.
///
/// # Errors
/// As [`load`].
pub fn load_commit(tree: &Path, inside: Option<&Path>, may_be_empty: bool) -> Result<Vec<Loaded>, LoadErrors> {
    let top = match tree.canonicalize() {
        Ok(top) => top,
        Err(error) => {
            let message = format!("cannot read it: {error}");
            return Err(LoadErrors { mistakes: vec![Mistake::unreadable(tree.to_string_lossy(), message, "")] });
        }
    };
    let path = inside.map_or_else(|| top.clone(), |inside| top.join(inside));
    if may_be_empty && inside.is_some_and(|inside| is_gone(&top, inside)) {
        return Ok(Vec::new());
    }
    let mut loader = Loader { top: Some(top), may_be_empty, ..Loader::default() };
    loader.path(&path, &mut io::empty());
    loader.done()
}

/// Whether there is nothing at that place of a tree, nor any link on the way to it: one that leads nowhere is a
/// mistake.
fn is_gone(top: &Path, inside: &Path) -> bool {
    let mut place = top.to_owned();
    for part in inside {
        place.push(part);
        match place.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return false,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        }
    }
    false
}

/// Loads a document that was loaded before and stood there, as JSON: it means what it meant, whatever has become of its
/// file.
///
/// # Errors
/// As [`load`]: it was another version that could use it.
pub fn load_again(document: &serde_json::Value, source: Source) -> Result<Loaded, LoadErrors> {
    let mut loader = Loader::default();
    loader.read(source.path.as_deref(), &mut for_yaml(document.to_string()).as_bytes());
    match loader.done()?.pop() {
        Some(one) => Ok(Loaded { source, ..one }),
        None => Err(LoadErrors { mistakes: Vec::new() }),
    }
}

/// Of what JSON leaves as it is, YAML wants some as escapes.
pub(super) fn for_yaml(json: String) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if !json.contains(odd) {
        return json;
    }
    json.chars().map(|c| if odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

/// A claim and where it stands, in words.
struct Claimed {
    claim: Claim,
    file: String,
    place: String,
}

#[derive(Default)]
struct Loader {
    /// The real top of a commit's files, where it is one that is loaded.
    top: Option<PathBuf>,
    /// Nobody has approved these manifests.
    unapproved: bool,
    /// A directory without manifests is none that is wrong.
    may_be_empty: bool,
    loaded: Vec<Loaded>,
    mistakes: Vec<Mistake>,
    /// Real paths of the files that were read.
    seen: HashSet<PathBuf>,
    claimed: HashMap<String, Vec<Claimed>>,
    /// Files that claim what a later one claims as well.
    contested: HashSet<String>,
    /// Files of hosts by their real paths; none where something is wrong with one.
    hosts: HashMap<PathBuf, Option<Vec<FleetHost>>>,
    /// What is wrong with them.
    host_mistakes: Vec<Mistake>,
    /// Files that nobody named, but the directory that they are in.
    listed: Vec<(PathBuf, String)>,
}

impl Loader {
    fn all(mut self, paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Vec<Loaded>, LoadErrors> {
        self.all_of(paths, stdin);
        self.done()
    }

    fn all_of(&mut self, paths: &[PathBuf], stdin: &mut dyn Read) {
        if paths.is_empty() {
            self.mistakes.push(Mistake::unreadable("-", "no manifest is named", "name files or directories"));
        }
        for path in paths {
            self.path(path, stdin);
        }
    }

    fn done(mut self) -> Result<Vec<Loaded>, LoadErrors> {
        self.forgive_lists();
        if self.mistakes.is_empty() { Ok(self.loaded) } else { Err(LoadErrors { mistakes: self.mistakes }) }
    }

    fn forgive_lists(&mut self) {
        // A file of hosts may stand among the manifests; it is none of them.
        for (real, name) in &self.listed {
            if self.hosts.contains_key(real) {
                self.mistakes.retain(|mistake| mistake.file != *name);
            }
        }
        self.mistakes.append(&mut self.host_mistakes);
    }

    fn path(&mut self, path: &Path, stdin: &mut dyn Read) {
        if path == Path::new("-") {
            if self.seen.insert(path.to_owned()) {
                self.read(None, stdin);
            }
            return;
        }
        match self.real(path).and_then(|real| real.metadata()) {
            Ok(metadata) if metadata.is_dir() => self.directory(path),
            Ok(_) => self.file(path, named),
            Err(error) => self.cannot("read", path, &error),
        }
    }

    /// What a path leads to, which is not outside of a commit.
    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let real = path.canonicalize()?;
        match &self.top {
            Some(top) if !real.starts_with(top) => {
                Err(io::Error::other("it is a link that leads out of the repository"))
            }
            _ => Ok(real),
        }
    }

    /// How people know a file.
    fn name<'p>(&self, path: &'p Path) -> &'p Path {
        match self.top.as_ref().and_then(|top| path.strip_prefix(top).ok()) {
            Some(inside) if inside.as_os_str().is_empty() => Path::new("."),
            Some(inside) => inside,
            None => path,
        }
    }

    fn cannot(&mut self, what: &str, path: &Path, error: &io::Error) {
        let help = match error.kind() {
            io::ErrorKind::NotFound if self.top.is_some() => "add it to the branch, or correct the path in it",
            io::ErrorKind::NotFound => "check the path; relative ones start at the present directory",
            io::ErrorKind::PermissionDenied => "make it readable for this user, or run as another one",
            _ => "",
        };
        let name = self.name(path).to_string_lossy();
        self.mistakes.push(Mistake::unreadable(name, format!("cannot {what} it: {error}"), help));
    }

    fn directory(&mut self, directory: &Path) {
        let listed = std::fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
        let mut files = match listed {
            Ok(paths) => paths,
            Err(error) => return self.cannot("list", directory, &error),
        };
        files.retain(|path| {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            yaml && !hidden && !path.is_dir()
        });
        files.sort();
        if files.is_empty() && !self.may_be_empty {
            let help = "name the file itself, or rename it";
            let message = "there is no *.yaml and no *.yml in this directory";
            let name = match self.name(directory) {
                top if top == Path::new(".") && self.top.is_some() => "the repository".into(),
                name => name.to_string_lossy(),
            };
            self.mistakes.push(Mistake::unreadable(name, message, help));
        }
        for file in files {
            if let Ok(real) = self.real(&file) {
                self.listed.push((real, self.name(&file).to_string_lossy().into_owned()));
            }
            self.file(&file, plain);
        }
    }

    /// Reads a file, which may be a pipe where somebody has named it.
    fn file(&mut self, path: &Path, open: fn(&Path) -> io::Result<File>) {
        let opened = self.real(path).and_then(|real| open(&real).map(|file| (real, file)));
        match opened {
            Ok((real, mut file)) => {
                if self.seen.insert(real) {
                    self.read(Some(path), &mut file);
                }
            }
            Err(error) => self.cannot("read", path, &error),
        }
    }

    /// Reads one file, or the standard input.
    fn read(&mut self, path: Option<&Path>, from: &mut dyn Read) {
        let name = path.map_or(Path::new(STDIN), |path| self.name(path));
        let text = match text(&name.to_string_lossy(), from) {
            Ok(text) => text,
            Err(Unreadable::File(error)) => return self.cannot("read", path.unwrap_or(name), &error),
            Err(Unreadable::Content(mistake)) => return self.mistakes.push(*mistake),
        };
        let directory = path.map(directory);
        let base = match &directory {
            Some(Ok(directory)) if self.top.is_none() => Ok(directory.as_path()),
            Some(_) if self.top.is_some() => Err("a commit"),
            _ => Err("the standard input"),
        };
        self.documents(&text, path, base);
    }

    fn documents(&mut self, text: &Text, path: Option<&Path>, base: Base<'_>) {
        let parsed = parse(text.text());
        let mut findings = parsed.findings;
        if parsed.documents.is_empty() && findings.is_empty() {
            let help = "write a manifest into it: apiVersion, kind, metadata and spec";
            return self.mistakes.push(Mistake::unreadable(&text.name, "there is no document in it", help));
        }
        let mut checked = Vec::new();
        for tree in parsed.documents {
            if findings.len() < FINDINGS {
                checked.extend(self.document(tree, text.text(), path, base, &mut findings));
            }
        }
        for Made { document, checked: Checked { app, claims, fleet }, start, hosts_file } in checked {
            let name = path.map(|path| self.name(path).to_owned());
            let source = Source { path: name, line: text.position(start).0 };
            for claim in claims {
                self.claim(claim, text, &mut findings);
            }
            self.loaded.extend(app.map(|app| Loaded { app, fleet, hosts_file, document, source }));
        }
        findings.sort_by_key(|finding| finding.span.start);
        let full = findings.len() >= FINDINGS;
        self.mistakes.extend(findings.into_iter().take(FINDINGS).map(|finding| text.mistake(finding)));
        if full {
            let message = format!("{FINDINGS} mistakes; what follows them was not looked at");
            self.mistakes.push(Mistake::unreadable(&text.name, message, "mend these first"));
        }
    }

    fn claim(&mut self, claim: Claim, text: &Text, findings: &mut Vec<Finding>) {
        let earlier = self.claimed.entry(claim.what.clone()).or_default();
        if let Some(first) = earlier.iter().find(|first| first.claim.clashes(&claim)) {
            let help = format!("the first stands at {}; {}", first.place, claim.help);
            self.contested.insert(first.file.clone());
            findings.push(Finding::new(claim.span, format!("{} is there already", claim.what)).help(help));
            return;
        }
        let place = format!("{}:{}", text.name, text.position(claim.span.start).0);
        earlier.push(Claimed { claim, file: text.name.clone(), place });
    }
}

/// The directory that a file was found in: a link to a file elsewhere is there too.
pub(super) fn directory(path: &Path) -> io::Result<PathBuf> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).canonicalize()
}

#[cfg(test)]
mod beside_tests;
