//! A YAML document as a tree that knows where everything stands, and every scalar as it was typed.

use std::ops::Range;

/// A place in the source text, in bytes.
pub(super) type Span = Range<usize>;

/// One value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// A scalar's own text; the first key of a map; the start of a list.
    pub span: Span,
    /// What stands there.
    pub tree: Tree,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A text, as typed and with its escapes resolved; `plain` without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Item>),
    /// A map in the order of the text; no key stands twice.
    Map(Vec<Entry>),
}

/// One element of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// Its place in the list as written, from 0, whatever was taken out before it.
    pub position: usize,
    /// Its value.
    pub value: Node,
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The key as typed.
    pub key: String,
    /// Its place.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// How it is called in messages.
    pub(super) fn word(&self) -> String {
        match &self.tree {
            Tree::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Tree::Scalar { text, plain: true } => format!("`{}`", cut(text)),
            Tree::Scalar { text, plain: false } => format!("the text {}", quoted(text)),
            Tree::List(_) => "a list".to_owned(),
            Tree::Map(_) => "a map".to_owned(),
        }
    }

    /// `key:` with nothing behind it, and the other spellings of null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.tree, Tree::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Tree::Scalar { .. } | Tree::List(_) => None,
        }
    }
}

/// Short enough for a message, without anything that would draw on a terminal.
pub(super) fn cut(text: &str) -> String {
    let mut short: String =
        text.chars().take(60).collect::<String>().escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// A walk through a tree that always knows what to point at: where a key is missing, that is the
/// key that should contain it.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    node: Option<&'a Node>,
    /// The value, or where it should be.
    pub span: Span,
    /// The way to it, such as `spec.workers[0].name`.
    pub path: String,
}

impl<'a> Cursor<'a> {
    /// The document itself.
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node: Some(node), span: node.span.clone(), path: String::new() }
    }

    /// A key of the map.
    pub(super) fn key(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        let Some(entry) = self.node.and_then(|node| node.get(key)) else {
            return Self { node: None, span: self.span.clone(), path };
        };
        let span = match entry.value.tree {
            Tree::Scalar { .. } if !entry.value.span.is_empty() => entry.value.span.clone(),
            // A whole map or list is best pointed at by its name.
            _ => entry.key_span.clone(),
        };
        Self { node: Some(&entry.value), span, path }
    }

    /// A key itself, not its value.
    pub(super) fn name_of(&self, key: &str) -> Span {
        self.node.and_then(|node| node.get(key)).map_or_else(|| self.span.clone(), |entry| entry.key_span.clone())
    }

    /// An element of the list.
    pub(super) fn item(&self, at: usize) -> Self {
        let item = match self.node.map(|node| &node.tree) {
            Some(Tree::List(items)) => items.get(at),
            _ => None,
        };
        Self {
            node: item.map(|item| &item.value),
            span: item.map_or_else(|| self.span.clone(), |item| item.value.span.clone()),
            path: format!("{}[{}]", self.path, item.map_or(at, |item| item.position)),
        }
    }

    /// A byte inside the scalar, where the source spells it as it is; else the whole scalar.
    pub(super) fn inside(&self, offset: usize, source: &str) -> Span {
        let Some(Tree::Scalar { text, .. }) = self.node.map(|node| &node.tree) else { return self.span.clone() };
        let spelled = source.get(self.span.clone()).unwrap_or_default();
        let quote = usize::from(spelled.starts_with(['"', '\'']));
        if spelled.get(quote..).is_some_and(|spelled| spelled.starts_with(text.as_str())) {
            let at = self.span.start + quote + offset.min(text.len());
            let width = text.get(offset..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            return at..at + width;
        }
        self.span.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::yaml::parse;

    /// A byte of a rule is pointed at where the source spells the rule as it is, else its beginning.
    #[test]
    fn a_byte_inside_a_scalar_is_found_in_the_source() {
        let rows = [
            ("k: ab == c\n", 3, "="),
            ("k: 'ab == c'\n", 3, "="),
            ("k: \"ab == c\"\n", 3, "="),
            ("k: \"ä == c\"\n", 3, "="),
            ("k: \"a\\x62 == c\"\n", 3, "\"a\\x62 == c\""),
            ("k: ab ==\n  c\n", 3, "ab ==\n  c"),
            ("k: 'ab'\n", 2, ""),
            ("k: 'ab'\n", 99, ""),
        ];
        for (text, offset, marked) in rows {
            let tree = parse(text).documents.remove(0);
            let span = Cursor::root(&tree).key("k").inside(offset, text);
            assert_eq!(text.get(span).map(str::trim_end), Some(marked), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_looked_for_where_it_should_be() {
        let text = "a:\n  b: [x, y]\n";
        let tree = parse(text).documents.remove(0);
        let place = Cursor::root(&tree).key("a");
        assert_eq!(text.get(place.key("missing").key("too").span), Some("a"));
        let item = place.key("b").item(1);
        assert_eq!((text.get(item.span), item.path.as_str()), (Some("y"), "a.b[1]"));
    }
}
