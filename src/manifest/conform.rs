//! Holds a tree against the JSON schema, takes out what does not fit, and says what that was.
//!
//! Guided by the schema, every scalar becomes what its key wants and nothing else, so `1e3` stays a
//! text where a text is wanted. Only what the schema of [`super::shape`] uses is understood.

use serde_json::{Map, Value};

use super::node::{Entry, Item, Node, Span, Tree, cut};
use super::yaml::{FINDINGS, Finding};
use crate::model::nearest::nearest;

/// What fits, as a value of the schema's types; `node` keeps just the same. None when nothing fits.
pub(super) fn conform(node: &mut Node, schema: &Value, findings: &mut Vec<Finding>) -> Option<Value> {
    let owner = node.span.clone();
    Walk { root: schema, findings }.value(node, schema, &At { path: String::new(), owner })
}

/// How a value is called in messages, and what to point at when something is missing in it.
struct At {
    path: String,
    owner: Span,
}

impl At {
    fn name(&self) -> String {
        if self.path.is_empty() { "the document".to_owned() } else { format!("`{}`", self.path) }
    }

    fn key(&self, entry: &Entry) -> Self {
        let key = cut(&entry.key);
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Self { path, owner: entry.key_span.clone() }
    }

    fn item(&self, item: &Item) -> Self {
        Self { path: format!("{}[{}]", self.path, item.position), owner: item.value.span.clone() }
    }
}

struct Walk<'s, 'f> {
    root: &'s Value,
    findings: &'f mut Vec<Finding>,
}

impl<'s> Walk<'s, '_> {
    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Follows `$ref`.
    fn resolve(&self, mut schema: &'s Value) -> &'s Value {
        while let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#')) {
            match self.root.pointer(pointer) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn value(&mut self, node: &mut Node, schema: &'s Value, at: &At) -> Option<Value> {
        let schema = self.resolve(schema);
        if node.is_null() {
            let finding = Finding::new(at.owner.clone(), format!("{} has no value", at.name()));
            self.find(finding.help("write one behind it, or remove the key; the word null has to stand in quotes"));
            return None;
        }
        let span = if node.span.is_empty() { at.owner.clone() } else { node.span.clone() };
        let word = node.word();
        match &mut node.tree {
            Tree::Scalar { text, plain } => {
                let found = scalar(text, *plain, schema);
                if let Err((message, help)) = &found {
                    let message = format!("{} {message}, not {word}", at.name());
                    self.find(Finding { span, message, help: help.clone() });
                }
                found.ok()
            }
            Tree::List(items) if has_type(schema, "array") => self.list(items, schema, at, &span),
            Tree::Map(entries) if has_type(schema, "object") || schema.get("oneOf").is_some_and(is_choice) => {
                self.map(entries, schema, at)
            }
            tree @ (Tree::List(_) | Tree::Map(_)) => {
                let message = format!("{} must be {}, not {word}", at.name(), wanted(schema));
                let help = self.dashes(tree, schema);
                self.find(Finding::new(span, message).help(help));
                None
            }
        }
    }

    /// What to do about a list or a map that is not the one that is wanted.
    fn dashes(&self, tree: &Tree, schema: &'s Value) -> String {
        match (tree, wanted(schema)) {
            (Tree::Map(entries), "a list") => {
                let element = self.resolve(schema.get("items").unwrap_or(&Value::Null));
                let known = properties(element, element.get("oneOf").filter(|choices| is_choice(choices)));
                let key = entries.iter().find(|entry| known.iter().any(|(name, _)| *name == entry.key));
                let example = key.map(|entry| format!(", as in `- {}: …`", entry.key)).unwrap_or_default();
                format!("write each element behind `- `{example}, even if it is the only one")
            }
            (Tree::List(_), "a map") => "write its keys below it, indented, without `- ` before them".to_owned(),
            _ => "a text with brackets or `: ` in it has to stand in quotes".to_owned(),
        }
    }

    fn list(&mut self, items: &mut Vec<Item>, schema: &'s Value, at: &At, span: &Span) -> Option<Value> {
        let element = schema.get("items").unwrap_or(&Value::Null);
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.find(
                Finding::new(span.clone(), format!("{} is empty", at.name()))
                    .help("write at least one element, or remove it"),
            );
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        items.retain_mut(|item| {
            let inner = at.item(item);
            let value = self.value(&mut item.value, element, &inner);
            let fits = value.is_some();
            values.extend(value);
            fits
        });
        Some(Value::Array(values))
    }

    fn map(&mut self, entries: &mut Vec<Entry>, schema: &'s Value, at: &At) -> Option<Value> {
        let choices = schema.get("oneOf").filter(|choices| is_choice(choices));
        let known = properties(schema, choices);
        let free = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let before: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        let mut values = Map::new();
        entries.retain_mut(|entry| {
            let property = known.iter().find(|(name, _)| *name == entry.key).map(|(_, schema)| *schema);
            let Some(property) = property.or(free) else {
                self.unknown(entry, &known, &before, at);
                return false;
            };
            if choices.is_some() && !values.is_empty() {
                let message = format!("{} must have one of {}, not several", at.name(), names(&known));
                self.find(Finding::new(entry.key_span.clone(), message).help("remove all but one"));
                return false;
            }
            let inner = at.key(entry);
            let value = self.value(&mut entry.value, property, &inner);
            let fits = value.is_some();
            if let Some(value) = value {
                values.insert(entry.key.clone(), value);
            }
            fits
        });
        if choices.is_some() && values.is_empty() {
            // With a key that could have been meant, the mistake has been told already.
            if before.is_empty() {
                let message = format!("{} must have one of {}", at.name(), names(&known));
                self.find(Finding::new(at.owner.clone(), message));
            }
            return None;
        }
        self.missing(schema, &known, &before, at);
        Some(Value::Object(values))
    }

    /// Keys that must be there, all in one finding; a key that was mistyped has been told already.
    fn missing(&mut self, schema: &'s Value, known: &[(&'s str, &'s Value)], present: &[String], at: &At) {
        let meant =
            |key: &str| present.iter().any(|name| name == key || nearest(name, known_names(known)) == Some(key));
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing: Vec<&str> = required.filter_map(Value::as_str).filter(|key| !meant(key)).collect();
        let Some(first) = missing.first() else { return };
        let listed = missing.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let (noun, help) = match missing.as_slice() {
            [_] => {
                let says = known.iter().find(|(name, _)| name == first).map(|(_, schema)| self.description(schema));
                ("key", format!("add `{first}`: {}", says.unwrap_or_default()))
            }
            _ => ("keys", "add them".to_owned()),
        };
        self.find(Finding::new(at.owner.clone(), format!("{} lacks the {noun} {listed}", at.name())).help(help));
    }

    fn unknown(&mut self, entry: &Entry, known: &[(&'s str, &'s Value)], present: &[String], at: &At) {
        let near = nearest(&entry.key, known_names(known)).filter(|name| !present.iter().any(|key| key == name));
        let inside = known.iter().find(|(name, schema)| {
            let inner = self.resolve(schema).get("properties").and_then(Value::as_object);
            present.iter().any(|key| key == name) && inner.is_some_and(|inner| inner.contains_key(&entry.key))
        });
        let help = match (near, inside) {
            (Some(name), _) => format!("did you mean `{name}`?"),
            (None, Some((name, _))) => format!("it belongs into `{name}`"),
            (None, None) if entry.key == "<<" => "merge keys are not part of YAML 1.2; write the keys out".to_owned(),
            (None, None) => format!("known are {}", names(known)),
        };
        let message = format!("unknown key `{}` in {}", cut(&entry.key), at.name());
        self.find(Finding::new(entry.key_span.clone(), message).help(help));
    }

    /// The first sentence of what the schema says of a key.
    fn description(&self, schema: &'s Value) -> &'s str {
        let says = schema.get("description").or_else(|| self.resolve(schema).get("description"));
        let says = says.and_then(Value::as_str).unwrap_or_default();
        says.split(['\n', ';', ':']).next().unwrap_or(says).split(". ").next().unwrap_or(says).trim_end_matches('.')
    }
}

/// `oneOf` of maps with one key each: how an externally tagged enum looks. A text may be among them.
fn is_choice(choices: &Value) -> bool {
    choices.as_array().is_some_and(|choices| choices.iter().any(|choice| choice.get("properties").is_some()))
}

fn properties<'s>(schema: &'s Value, choices: Option<&'s Value>) -> Vec<(&'s str, &'s Value)> {
    let of = |schema: &'s Value| schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let own = of(schema).chain(choices.and_then(Value::as_array).into_iter().flatten().flat_map(of));
    own.map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn known_names<'s>(known: &[(&'s str, &'s Value)]) -> impl Iterator<Item = &'s str> {
    known.iter().map(|(name, _)| *name).collect::<Vec<_>>().into_iter()
}

fn names(known: &[(&str, &Value)]) -> String {
    known.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => false,
    }
}

/// A bounded number, or the name of a var that has it; a share, which is any number or a percentage, stays a text.
fn is_count(schema: &Value) -> bool {
    has_type(schema, "integer") && has_type(schema, "string") && schema.get("maximum").is_some()
}

fn wanted(schema: &Value) -> &'static str {
    match schema {
        schema if is_count(schema) => "a whole number",
        schema if has_type(schema, "string") && has_type(schema, "array") && has_type(schema, "object") => {
            "a text, a list of texts or a map"
        }
        schema if has_type(schema, "string") && has_type(schema, "array") => "a text or a list of texts",
        schema if has_type(schema, "string") && has_type(schema, "object") => "a text or a map",
        schema if has_type(schema, "string") || !texts(schema).is_empty() => "a text",
        schema if has_type(schema, "integer") => "a whole number",
        schema if has_type(schema, "boolean") => "true or false",
        schema if has_type(schema, "array") && has_type(schema, "object") => "a list or a map",
        schema if has_type(schema, "array") => "a list",
        _ => "a map",
    }
}

/// The texts that an enum of words allows.
fn texts(schema: &Value) -> Vec<&str> {
    let list = |key| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let listed = list("enum").chain(list("oneOf").filter_map(|choice| choice.get("const")));
    listed.chain(schema.get("const")).filter_map(Value::as_str).collect()
}

/// A scalar as its key wants it; else what it must be, and what to do.
fn scalar(text: &str, plain: bool, schema: &Value) -> Result<Value, (String, Option<String>)> {
    let allowed = texts(schema);
    if !allowed.is_empty() {
        if allowed.contains(&text) {
            return Ok(Value::from(text));
        }
        let help = nearest(text, allowed.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let allowed = allowed.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        return Err((format!("must be {allowed}"), help));
    }
    if has_type(schema, "string") && (!is_count(schema) || text.starts_with("${")) {
        return Ok(Value::from(text));
    }
    if has_type(schema, "integer") {
        return whole(text, plain, schema);
    }
    if has_type(schema, "boolean") {
        return match text {
            "true" if plain => Ok(Value::Bool(true)),
            "false" if plain => Ok(Value::Bool(false)),
            _ => Err(("must be true or false".to_owned(), Some("write true or false, without quotes".to_owned()))),
        };
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let choices = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let first = properties.into_iter().chain(choices.filter_map(|choice| choice.get("properties")?.as_object()));
    let keys: Vec<String> = first.flat_map(|keys| keys.keys()).map(|key| format!("`{key}`")).collect();
    let help = match wanted(schema) {
        "a list" => "write one element a line, each behind `- `".to_owned(),
        _ if keys.is_empty() => "write `key: value` below it, indented".to_owned(),
        _ => format!("write its keys below it, indented: {}", keys.join(", ")),
    };
    Err((format!("must be {}", wanted(schema)), Some(help)))
}

fn whole(text: &str, plain: bool, schema: &Value) -> Result<Value, (String, Option<String>)> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal || !plain {
        let help = if decimal { "remove the quotes" } else { "write it in decimal digits" };
        return Err(("must be a whole number".to_owned(), Some(help.to_owned())));
    }
    let bound = |key| schema.get(key).and_then(Value::as_i64);
    // Too long for the type is too large or too small as well.
    let number = text.parse::<i64>().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX });
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        return Err((format!("must be {least} or more"), Some(format!("write {least} or a larger number"))));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        return Err((format!("must be {most} or less"), Some(format!("write {most} or a smaller number"))));
    }
    Ok(Value::from(number))
}
