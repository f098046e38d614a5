//! YAML in and out: the only room that knows which library reads it.
//!
//! Read through the library's events, not through its data types: an event keeps every scalar as it
//! was typed (`1e3`, `007` and `2026-01-11` are release ids) and where it stands. Bounded in depth,
//! nodes and documents, so a hostile file costs little more than its size.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;
use serde_yaml::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span as EventSpan, Tag};

use super::node::{Entry, Item, Node, Span, Tree, cut};

/// Most nodes of one file, those that aliases repeat counted each time.
const NODES: usize = 50_000;

/// Most maps and lists inside each other.
const DEPTH: usize = 32;

/// Most documents of one file.
const DOCUMENTS: usize = 1000;

/// Most findings of one file; who has more reads no further either.
pub(super) const FINDINGS: usize = 100;

/// Something that is wrong with the text, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub span: Span,
    pub message: String,
    pub help: Option<String>,
}

impl Finding {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that could be read of a file, and everything that could not.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Documents with something in them, in the order of the text.
    pub documents: Vec<Node>,
    /// What is no YAML, or more than Trueup reads.
    pub findings: Vec<Finding>,
}

/// Writes a value as one YAML document, quoting what another reader would take for a number.
///
/// # Errors
/// When the value has no YAML form, such as a map with a map for a key.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}

/// Reads all documents; a mistake in one does not hide the others.
pub(super) fn parse(text: &str) -> Parsed {
    let mut options = Options::default();
    options.flow_nesting_limit = DEPTH;
    options.block_nesting_limit = DEPTH;
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut parsed = Parsed::default();
    let mut builder = Builder::new(text);
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let step = match next {
            Ok((Event::StreamEnd, _)) => break,
            Ok((Event::DocumentStart(..), _)) if documents == DOCUMENTS => {
                let at = text.len()..text.len();
                parsed.findings.push(
                    Finding::new(at, format!("more than {DOCUMENTS} documents in one file")).help("split the file"),
                );
                break;
            }
            Ok((Event::DocumentStart(..), _)) => {
                documents += 1;
                builder.begin();
                Ok(())
            }
            Ok((Event::DocumentEnd, _)) => {
                parsed.documents.extend(builder.root.take().filter(|root| !root.is_null()));
                Ok(())
            }
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err(scan_error(&error, text)),
        };
        parsed.findings.append(&mut builder.findings);
        if parsed.findings.len() >= FINDINGS {
            break;
        }
        if let Err(finding) = step {
            parsed.findings.push(finding);
            builder.begin();
            if builder.nodes > NODES || !matches!(parser.proceed_next_document(), Ok(true)) {
                break;
            }
        }
    }
    parsed
}

fn scan_error(error: &ScanError, text: &str) -> Finding {
    let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let finding = |message: &str| Finding::new(at..at, message);
    match error.kind() {
        ErrorKind::TabInIndentation | ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
            tab(tab_near(text, at).unwrap_or(at))
        }
        ErrorKind::RecursionLimitExceeded => {
            finding(&format!("more than {DEPTH} maps and lists inside each other")).help("no manifest needs that")
        }
        ErrorKind::UnknownAnchor => finding("an alias to an anchor that does not exist")
            .help("a text that begins with `*` has to stand in quotes"),
        ErrorKind::UnclosedQuotedScalar => finding("the quote is never closed").help("add the closing quote"),
        _ => tab_near(text, at).map_or_else(
            || {
                finding(&format!("this is no YAML: {}", error.info()))
                    .help("mind the indentation; put texts with `: `, ` #` or brackets into quotes")
            },
            tab,
        ),
    }
}

fn tab(at: usize) -> Finding {
    Finding::new(at..at, "a tab in the indentation").help("YAML is indented with spaces only")
}

/// A tab before the first word of this line or of the one that follows: behind a text, such a line is taken for more of
/// the text, and the text is blamed.
fn tab_near(text: &str, at: usize) -> Option<usize> {
    let mut start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let mut read = 0;
    for line in text.get(start..)?.split_inclusive('\n') {
        if !line.trim().is_empty() {
            let mut indentation = line.chars().take_while(|c| matches!(c, ' ' | '\t'));
            if let Some(tab) = indentation.position(|c| c == '\t') {
                return Some(start + tab);
            }
            read += 1;
            if read == 2 {
                break;
            }
        }
        start += line.len();
    }
    None
}

/// A map or list that is not finished yet.
struct Open {
    span: Span,
    anchor: usize,
    /// What it weighs together with what is in it.
    before: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Item>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, key: Key },
}

/// What a map expects next.
enum Key {
    /// A key.
    Next,
    /// The value of this key.
    Of(String, Span),
    /// A value that has nowhere to go.
    Refused,
}

struct Builder<'t> {
    text: &'t str,
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    findings: Vec<Finding>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, root: None, open: Vec::new(), anchors: HashMap::new(), nodes: 0, findings: Vec::new() }
    }

    fn begin(&mut self) {
        self.root = None;
        self.open.clear();
        self.anchors.clear();
    }

    fn span(&self, span: &EventSpan) -> Range<usize> {
        let range = span.byte_range().unwrap_or(0..0);
        let end = range.end.min(self.text.len());
        let start = range.start.min(end);
        start..end
    }

    fn take(&mut self, event: Event<'_>, span: &EventSpan) -> Result<(), Finding> {
        let at = self.span(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = match tag.as_deref() {
                    None => style == ScalarStyle::Plain,
                    Some(tag) => {
                        self.refuse_tag(tag, "str", &at);
                        false
                    }
                };
                let text = text.into_owned();
                if text.contains('\0') {
                    return Err(Finding::new(at, "a NUL character in a text").help("remove it"));
                }
                self.count(&at, 1)?;
                // Behind a quote mark or a block mark, the text may have more lines than anybody wants to see marked.
                let span =
                    if style == ScalarStyle::Literal || style == ScalarStyle::Folded { at.start..at.start } else { at };
                self.add(Node { span, tree: Tree::Scalar { text, plain } }, anchor, 1)?;
            }
            Event::Alias(id) => {
                let Some((node, weight)) = self.anchors.get(&id).cloned() else {
                    return Err(Finding::new(at, "an alias inside of what it stands for").help("write it out"));
                };
                self.count(&at, weight)?;
                self.add(node, 0, weight)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                if let Some(tag) = tag.as_deref() {
                    self.refuse_tag(tag, "seq", &at);
                }
                self.enter(at, anchor, Kind::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                if let Some(tag) = tag.as_deref() {
                    self.refuse_tag(tag, "map", &at);
                }
                self.enter(at, anchor, Kind::Map { entries: Vec::new(), keys: HashSet::new(), key: Key::Next })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let weight = self.nodes - open.before;
                let node = match open.kind {
                    Kind::List(items) => Node { span: open.span, tree: Tree::List(items) },
                    Kind::Map { entries, .. } => {
                        let span = entries.first().map_or(open.span, |entry| entry.key_span.clone());
                        Node { span, tree: Tree::Map(entries) }
                    }
                };
                self.add(node, open.anchor, weight)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, span: Span, anchor: usize, kind: Kind) -> Result<(), Finding> {
        let before = self.nodes;
        self.count(&span, 1)?;
        self.open.push(Open { span, anchor, before, kind });
        Ok(())
    }

    fn count(&mut self, at: &Span, weight: usize) -> Result<(), Finding> {
        self.nodes = self.nodes.saturating_add(weight);
        if self.nodes > NODES {
            let message = format!("more than {NODES} values in one file, repetitions by aliases included");
            return Err(Finding::new(at.clone(), message).help("split the file, or write out less by aliases"));
        }
        Ok(())
    }

    fn refuse_tag(&mut self, tag: &Tag, core: &str, at: &Span) {
        if !tag.is_yaml_core_schema_tag(core) {
            let message = format!("the tag `{}` means nothing here", tag.original());
            self.findings.push(
                Finding::new(at.clone(), message).help("remove it; a text that begins with `!` has to stand in quotes"),
            );
        }
    }

    fn add(&mut self, node: Node, anchor: usize, weight: usize) -> Result<(), Finding> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let (entries, keys, key) = match &mut open.kind {
            Kind::List(items) => {
                items.push(Item { position: items.len(), value: node });
                return Ok(());
            }
            Kind::Map { entries, keys, key } => (entries, keys, key),
        };
        *key = match std::mem::replace(key, Key::Next) {
            Key::Of(key, key_span) => {
                entries.push(Entry { key, key_span, value: node });
                Key::Next
            }
            Key::Refused => Key::Next,
            Key::Next => match node.tree {
                Tree::Scalar { text, .. } if keys.insert(text.clone()) => Key::Of(text, node.span),
                Tree::Scalar { text, .. } => {
                    let first = entries.iter().find(|entry| entry.key == text).map_or(0, |entry| entry.key_span.start);
                    let line = line_of(self.text, first);
                    self.findings.push(
                        Finding::new(node.span, format!("`{}` stands here a second time", cut(&text)))
                            .help(format!("the first is in line {line}; remove one of them")),
                    );
                    Key::Refused
                }
                Tree::List(_) | Tree::Map(_) => {
                    return Err(Finding::new(node.span, "a key that is a map or a list")
                        .help("keys are texts; a value with braces, such as a template, has to stand in quotes"));
                }
            },
        };
        Ok(())
    }
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
