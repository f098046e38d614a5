//! Where secrets stand in the text of a manifest, so that no message shows them.
//!
//! Found by a plain walk over the text, because what has mistakes in it may be no YAML at all. In doubt something is
//! a secret: values of keys with telling names, everything under `headers`, `env` and `vars`, and `//user:password@`.

use std::ops::Range;

use serde_json::Value;

/// Parts of a key's name, in lower case without `-` and `_`, that make its value a secret.
const TELLING: [&str; 9] =
    ["authorization", "password", "passwd", "passphrase", "token", "secret", "apikey", "cookie", "credential"];

/// Keys under which every value is a secret.
const CONTAINERS: [&str; 3] = ["headers", "env", "vars"];

/// What stands in a secret's place.
pub(super) const MASK: &str = "***";

/// The places of all secrets, in bytes and in order.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut walk = Walk { text, at: 0, indent: 0, flow: Vec::new(), block: Vec::new(), found: Vec::new() };
    walk.run();
    let mut found = walk.found;
    found.extend(credentials(text));
    found.sort_by_key(|range| range.start);
    found
}

/// Puts stars in place of what may be secret in a document that was read: plain values under `headers`, `env` and
/// `vars`, and `user:password@` in any text. Where a secret is read from is none.
pub fn mask(document: &mut Value) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Object(values) if CONTAINERS.contains(&key.as_str()) => {
                        for plain in values.values_mut().filter(|value| !value.is_object()) {
                            *plain = MASK.into();
                        }
                    }
                    other => mask(other),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::String(text) => {
            let places: Vec<Range<usize>> = credentials(text).collect();
            for place in places.into_iter().rev() {
                text.replace_range(place, MASK);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `user:password` of every `//user:password@host`.
fn credentials(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices("//").filter_map(|(slashes, _)| {
        let start = slashes + 2;
        let rest = text.get(start..)?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#'));
        let host = rest.get(..end.unwrap_or(rest.len()))?.rfind('@')?;
        Some(start..start + host)
    })
}

/// Something with keys in it.
struct Inside {
    /// Of a block: how far the key is indented that it belongs to.
    indent: usize,
    /// All that stands in it is secret.
    all: bool,
    /// What is in it without a key of its own is.
    bare: bool,
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// Of the present line.
    indent: usize,
    /// Open braces and brackets.
    flow: Vec<Inside>,
    block: Vec<Inside>,
    found: Vec<Range<usize>>,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn inside(&self) -> (bool, bool) {
        let around = self.flow.last().or(self.block.last());
        around.map_or((false, false), |around| (around.all, around.bare))
    }

    fn run(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line();
                }
                b' ' | b'\t' | b'\r' | b',' => self.at += 1,
                b'#' => self.at = self.line_end(),
                b'{' | b'[' => {
                    let (all, bare) = self.inside();
                    self.open(all, bare);
                }
                b'}' | b']' => {
                    self.flow.pop();
                    self.at += 1;
                }
                b'-' if self.flow.is_empty() && self.followed_by_space(self.at + 1) => {
                    self.at += 1;
                    while self.peek() == Some(b' ') {
                        self.at += 1;
                    }
                    self.indent = self.at - self.line_start();
                }
                _ => self.token(),
            }
        }
    }

    fn open(&mut self, all: bool, bare: bool) {
        self.flow.push(Inside { indent: 0, all, bare });
        self.at += 1;
    }

    fn line(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        if self.flow.is_empty() && !line.trim().is_empty() {
            self.indent = line.len() - line.trim_start_matches(' ').len();
            let indent = self.indent;
            // A list may stand as far left as its key.
            let item = line.trim_start().starts_with("- ");
            self.block.retain(|around| around.indent < indent || (item && around.indent == indent));
        }
    }

    fn line_start(&self) -> usize {
        self.text.get(..self.at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text.get(self.at..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |length| self.at + length)
    }

    fn followed_by_space(&self, at: usize) -> bool {
        self.text.as_bytes().get(at).is_none_or(u8::is_ascii_whitespace)
    }

    /// A key with its colon, or a value without a key.
    fn token(&mut self) {
        let range = self.scalar();
        let quoted = range.start > 0 && matches!(self.text.as_bytes().get(range.start - 1), Some(b'"' | b'\''));
        let mut colon = self.at;
        while matches!(self.text.as_bytes().get(colon), Some(b' ' | b'\t')) {
            colon += 1;
        }
        let is_key = self.text.as_bytes().get(colon) == Some(&b':') && (quoted || self.ends_key(colon + 1));
        if !is_key {
            let (all, bare) = self.inside();
            if all || bare {
                self.found.push(range);
            } else {
                self.spoken(range);
            }
            return;
        }
        let key = self.text.get(range).unwrap_or_default().to_lowercase();
        self.at = colon + 1;
        self.value(&key);
    }

    fn value(&mut self, key: &str) {
        let plain = key.replace(['-', '_'], "");
        let all = self.inside().0 || CONTAINERS.contains(&key);
        let telling = TELLING.iter().any(|word| plain.contains(word));
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        match self.peek() {
            None | Some(b',' | b'}' | b']') => {}
            Some(b'{' | b'[') => self.open(all, all || telling),
            Some(b'\n' | b'#') => {
                if all || telling {
                    self.block.push(Inside { indent: self.indent, all, bare: true });
                }
            }
            Some(b'|' | b'>') if self.flow.is_empty() => {
                let start = self.line_end();
                self.at = start;
                let mut end = start;
                for line in self.text.get(start..).unwrap_or_default().split_inclusive('\n').skip(1) {
                    let indent = line.len() - line.trim_start_matches(' ').len();
                    if !line.trim().is_empty() && indent <= self.indent {
                        break;
                    }
                    end += line.len();
                }
                if all || telling {
                    self.found.push(start..(end + 1).min(self.text.len()));
                    self.at = end;
                }
            }
            Some(_) => {
                let range = self.scalar();
                if all || telling {
                    self.found.push(range);
                    if self.flow.is_empty() {
                        // What goes on in the next lines.
                        self.block.push(Inside { indent: self.indent, all, bare: true });
                    }
                } else {
                    self.spoken(range);
                }
            }
        }
    }

    /// Goes behind a scalar; its place without quotes.
    fn scalar(&mut self) -> Range<usize> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            while let Some(byte) = self.peek() {
                match byte {
                    b'\\' if quote == b'"' => self.at += 1,
                    b'\'' if quote == b'\'' && bytes.get(self.at + 1) == Some(&b'\'') => self.at += 1,
                    _ if byte == quote => break,
                    _ => {}
                }
                self.at += 1;
            }
            let end = self.at.min(bytes.len());
            self.at = (end + 1).min(bytes.len());
            return start + 1..end;
        }
        while let Some(byte) = self.peek() {
            let ends = match byte {
                b'\n' => true,
                b':' => self.ends_key(self.at + 1),
                b'#' => self.at > start && bytes.get(self.at - 1).is_some_and(u8::is_ascii_whitespace),
                b',' | b'{' | b'}' | b'[' | b']' => !self.flow.is_empty(),
                _ => false,
            };
            if ends && self.at > start {
                break;
            }
            self.at += 1;
            if ends {
                break;
            }
        }
        let length = self.text.get(start..self.at).map_or(0, |scalar| scalar.trim_end().len());
        start..start + length
    }

    /// Whether a colon before `at` ends a key.
    fn ends_key(&self, at: usize) -> bool {
        self.followed_by_space(at)
            || (!self.flow.is_empty() && matches!(self.text.as_bytes().get(at), Some(b',' | b'{' | b'}' | b'[' | b']')))
    }

    /// A value that says `Authorization: …` or `--password=…` itself, as arguments of commands do.
    fn spoken(&mut self, range: Range<usize>) {
        let lower = self.text.get(range.clone()).unwrap_or_default().to_ascii_lowercase();
        let first = TELLING.iter().filter_map(|word| {
            let behind = lower.find(word)? + word.len();
            let sign = behind + lower.get(behind..)?.find([':', '='])?;
            Some(sign + 1)
        });
        if let Some(behind) = first.min() {
            self.found.push(range.start + behind..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let secrets = secrets(text);
        let hidden = |at: usize| secrets.iter().any(|range| range.contains(&at));
        text.char_indices().map(|(at, c)| if hidden(at) && c != '\n' { '*' } else { c }).collect()
    }

    #[test]
    fn a_document_is_masked_and_where_secrets_are_read_from_is_not() {
        let mut document = serde_json::json!({
            "health": {"http": {"url": "https://u:p@shop/health", "headers": {"X-Key": "k", "Cookie": "c"}}},
            "release": {"source": {"git": {"url": "ssh://git@host/shop.git"}}},
            "steps": [{"run": ["a", "b"], "env": {"PLAIN": "x", "FROM": {"file": "/etc/key"}}}],
            "count": 2,
        });
        mask(&mut document);
        let expected = serde_json::json!({
            "health": {"http": {"url": "https://***@shop/health", "headers": {"X-Key": "***", "Cookie": "***"}}},
            "release": {"source": {"git": {"url": "ssh://***@host/shop.git"}}},
            "steps": [{"run": ["a", "b"], "env": {"PLAIN": "***", "FROM": {"file": "/etc/key"}}}],
            "count": 2,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn secrets_are_found_in_any_style() {
        let rows = [
            ("a: {Authorization: \"Bearer x\", b: c}", "a: {Authorization: \"********\", b: c}"),
            ("headers: {X-Mine: y, 'Z': 'q r'}, b: c", "headers: {X-Mine: *, 'Z': '***'}, b: c"),
            ("headers:\n  X: y z # no\n  W: v\nother: plain\n", "headers:\n  X: *** # no\n  W: *\nother: plain\n"),
            ("env:\n  A: |\n    one\n    two\nb: c\n", "env:\n  A: |\n*******\n*******\nb: c\n"),
            ("{\"password\":\"p\",\"b\":\"c\"}", "{\"password\":\"*\",\"b\":\"c\"}"),
            ("password:\n  file: /etc/x\n", "password:\n  file: /etc/x\n"),
            ("password: {file: /etc/x}\n", "password: {file: /etc/x}\n"),
            ("api_key: a\n  b\nc: d\n", "api_key: *\n  *\nc: d\n"),
            ("my-token: ä\nc: d\n", "my-token: *\nc: d\n"),
            ("url: http://user:pw@host/a@b\n", "url: http://*******@host/a@b\n"),
            ("run: [curl, -H, 'Authorization: Bearer x']\n", "run: [curl, -H, 'Authorization:*********']\n"),
            ("run: x --password=y z\nb: c\n", "run: x --password=***\nb: c\n"),
            ("group: secret-worker\nname: token\n", "group: secret-worker\nname: token\n"),
            ("- env: {A: b}\n  c: d\n", "- env: {A: *}\n  c: d\n"),
            ("- env:\n    A: b\n  c: d\n", "- env:\n    A: *\n  c: d\n"),
            ("secret: \"never closed\nb: c\n", "secret: \"************\n****\n"),
        ];
        for (text, expected) in rows {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_walked_to_its_end(text in "[ -~\\n\\täö]{0,80}") {
            for range in secrets(&text) {
                proptest::prop_assert!(range.start <= range.end && range.end <= text.len());
            }
        }
    }
}
