//! Files and directories in, checked Apps or all mistakes out.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::check::{Checked, Claim, check};
use super::conform::conform;
use super::node::Node;
use super::report::{LoadErrors, Mistake, Text};
use super::schema::SCHEMA;
use super::shape::Document;
use super::yaml::{FINDINGS, Finding, parse};
use crate::model::app::App;

/// Most bytes of one file.
const FILE_LIMIT: u64 = 1024 * 1024;

/// How the standard input is called in messages.
const STDIN: &str = "<stdin>";

/// One document, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it desires.
    pub app: App,
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
    let mut loader = Loader::default();
    if paths.is_empty() {
        loader.mistakes.push(Mistake::unreadable("-", "no manifest is named", "name files or directories"));
    }
    for path in paths {
        loader.path(path, stdin);
    }
    if loader.mistakes.is_empty() { Ok(loader.loaded) } else { Err(LoadErrors { mistakes: loader.mistakes }) }
}

/// A claim and where it stands, in words.
struct Claimed {
    claim: Claim,
    place: String,
}

#[derive(Default)]
struct Loader {
    loaded: Vec<Loaded>,
    mistakes: Vec<Mistake>,
    /// Real paths of the files that were read.
    seen: HashSet<PathBuf>,
    claimed: std::collections::HashMap<String, Vec<Claimed>>,
}

impl Loader {
    fn path(&mut self, path: &Path, stdin: &mut dyn Read) {
        if path == Path::new("-") {
            if self.seen.insert(path.to_owned()) {
                self.read(None, stdin);
            }
            return;
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => self.directory(path),
            Ok(_) => self.file(path),
            Err(error) => self.cannot("read", path, &error),
        }
    }

    fn cannot(&mut self, what: &str, path: &Path, error: &io::Error) {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path; relative ones start at the present directory",
            io::ErrorKind::PermissionDenied => "make it readable for this user, or run as another one",
            _ => "",
        };
        self.mistakes.push(Mistake::unreadable(path.to_string_lossy(), format!("cannot {what} it: {error}"), help));
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
        if files.is_empty() {
            let help = "name the file itself, or rename it";
            let message = "there is no *.yaml and no *.yml in this directory";
            self.mistakes.push(Mistake::unreadable(directory.to_string_lossy(), message, help));
        }
        for file in files {
            self.file(&file);
        }
    }

    fn file(&mut self, path: &Path) {
        let opened = path.canonicalize().and_then(|real| Ok((real, File::open(path)?)));
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
        let name = path.map_or_else(|| STDIN.to_owned(), |path| path.to_string_lossy().into_owned());
        let mut bytes = Vec::new();
        if let Err(error) = from.take(FILE_LIMIT + 1).read_to_end(&mut bytes) {
            return self.cannot("read", path.unwrap_or(Path::new(STDIN)), &error);
        }
        if bytes.len() as u64 > FILE_LIMIT {
            let message = format!("it is larger than {} KiB", FILE_LIMIT / 1024);
            return self.mistakes.push(Mistake::unreadable(
                name,
                message,
                "is this the right file? Manifests are small",
            ));
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => Text::new(&name, text),
            Err(error) => return self.mistakes.push(not_utf8(&name, &error)),
        };
        // Within the directory that the file was found in: a link to a file elsewhere is there too.
        let base = path.and_then(|path| {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            directory.canonicalize().ok()
        });
        self.documents(&text, path, base.as_deref());
    }

    fn documents(&mut self, text: &Text, path: Option<&Path>, base: Option<&Path>) {
        if let Some(at) = text.text().find('\0') {
            let finding = Finding::new(at..at, "a NUL byte: this is no text file").help("is this the right file?");
            return self.mistakes.push(text.mistake(finding));
        }
        let parsed = parse(text.text());
        let mut findings = parsed.findings;
        if parsed.documents.is_empty() && findings.is_empty() {
            let help = "write a manifest into it: apiVersion, kind, metadata and spec";
            return self.mistakes.push(Mistake::unreadable(&text.name, "there is no document in it", help));
        }
        let mut checked = Vec::new();
        for tree in parsed.documents {
            if findings.len() < FINDINGS {
                checked.extend(document(tree, text.text(), base, &mut findings));
            }
        }
        for (document, Checked { app, claims }, start) in checked {
            let source = Source { path: path.map(Path::to_owned), line: text.position(start).0 };
            for claim in claims {
                self.claim(claim, text, &mut findings);
            }
            self.loaded.extend(app.map(|app| Loaded { app, document, source }));
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
            findings.push(Finding::new(claim.span, format!("{} is there already", claim.what)).help(help));
            return;
        }
        let place = format!("{}:{}", text.name, text.position(claim.span.start).0);
        earlier.push(Claimed { claim, place });
    }
}

/// Makes what can be made of one document; with its place in the text.
fn document(
    mut tree: Node,
    text: &str,
    base: Option<&Path>,
    findings: &mut Vec<Finding>,
) -> Option<(Document, Checked, usize)> {
    let start = tree.span.start;
    if let Some(finding) = foreign(&tree) {
        findings.push(finding);
        return None;
    }
    let before = findings.len();
    let value = conform(&mut tree, &SCHEMA, findings)?;
    let document: Document = match serde_json::from_value(value) {
        Ok(document) => document,
        Err(error) => {
            findings.push(Finding::new(tree.span, format!("this is no manifest: {error}")));
            return None;
        }
    };
    let sound = findings.len() == before;
    let mut checked = check(&document, &tree, text, base, findings);
    checked.app = checked.app.filter(|_| sound);
    Some((document, checked, start))
}

/// Another kind of document: what else is in it is not ours to judge.
fn foreign(tree: &Node) -> Option<Finding> {
    let is = |key: &str, ours: &str| match &tree.get(key)?.value.tree {
        super::node::Tree::Scalar { text, .. } if text != ours => Some(text.clone()),
        _ => None,
    };
    let (key, found, ours) = is("apiVersion", "trueup/v1")
        .map(|found| ("apiVersion", found, "trueup/v1"))
        .or_else(|| is("kind", "App").map(|found| ("kind", found, "App")))?;
    let entry = tree.get(key)?;
    let span = if entry.value.span.is_empty() { entry.key_span.clone() } else { entry.value.span.clone() };
    let message = format!("`{key}` must be `{ours}`, not `{}`", super::node::cut(&found));
    Some(Finding::new(span, message).help("keep documents of other programs in other files"))
}

fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Mistake {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let message = if utf16 { "the text is UTF-16, not UTF-8" } else { "the text is not UTF-8" };
    let mut mistake = Mistake::unreadable(name, message, "save it as UTF-8");
    mistake.line = Some(line);
    mistake.column =
        before.rsplit(|byte| *byte == b'\n').next().map(|last| String::from_utf8_lossy(last).chars().count() + 1);
    mistake
}
