//! A manifest with hosts, as it is on one of them.

use serde_json::Value;

use super::fill::fill;
use super::load::{Loaded, for_yaml, load};
use super::node::{Cursor, Node, Tree};
use super::report::{LoadErrors, Mistake};
use super::roots::distinct_roots;
use crate::model::fleet::FleetHost;

impl Loaded {
    /// The document as one line of text that [`load`] takes from the standard input, wherever it is read: how a manifest
    /// travels to a host. It is JSON, which is YAML as well.
    ///
    /// Only a document without hosts, or one of [`Self::on_host`], means the same elsewhere as here.
    #[must_use]
    pub fn wire(&self) -> String {
        // A shape is made of texts, numbers, lists and maps of texts: it always has a JSON form.
        for_yaml(serde_json::to_string(&self.document).unwrap_or_default())
    }

    /// What is desired of one of its hosts: its vars filled in, without hosts and rollout. Every step finds the host's
    /// name in `TRUEUP_HOST`.
    ///
    /// # Errors
    /// What would be wrong with it there. The loader has checked it for all of its own hosts; then only its size can be.
    pub fn on_host(&self, host: &FleetHost) -> Result<Self, LoadErrors> {
        let nowhere = Node { span: 0..0, tree: Tree::Map(Vec::new()) };
        let filled = fill(&self.document, Some(host), &Cursor::root(&nowhere), "", &mut Vec::new());
        let written = Self { document: filled.document, ..self.clone() }.wire();
        // The same way as on the host itself, so that both mean the same.
        let mut loaded = load(&["-".into()], &mut written.as_bytes())?;
        match loaded.pop() {
            Some(one) => Ok(Self { source: self.source.clone(), ..one }),
            None => Err(LoadErrors { mistakes: Vec::new() }),
        }
    }
}

impl Loaded {
    /// Refuses what of it is read from the environment of whoever makes the pass, for passes over SSH: there that is the
    /// session's on each host, in which nothing of ours is set. A host's own agent has the environment of its unit.
    ///
    /// # Errors
    /// Each place of such a secret, with what to write instead.
    pub fn leaves_home(&self) -> Result<(), LoadErrors> {
        // A shape always has a JSON form.
        let spec = serde_json::to_value(&self.document.spec).unwrap_or_default();
        let mut found = Vec::new();
        variables("spec", &spec, &mut found);
        let mistake = |(place, name): (String, String)| {
            let message = format!(
                "`{place}` is read from the variable `{name}` of trueup's own environment, and over SSH that is the \
                 session's on each host, not yours"
            );
            let help = "put the value into a file on each host, and write `{file: /etc/shop/secret}`";
            Mistake::unreadable(self.source.to_string(), message, help)
        };
        let mistakes: Vec<Mistake> = found.into_iter().map(mistake).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(LoadErrors { mistakes }) }
    }
}

/// Every `{envVar: NAME}` below a place, by its own place.
fn variables(place: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let place = format!("{place}.{key}");
                // The names in it are a person's own.
                let is_source = !matches!(key.as_str(), "hosts" | "headers" | "env");
                match value.get("envVar").and_then(Value::as_str).filter(|_| is_source) {
                    Some(name) => found.push((place, name.to_owned())),
                    None if key == "hosts" => {}
                    None => variables(&place, value, found),
                }
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                variables(&format!("{place}[{position}]"), item, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What these manifests desire of the host of one of these names: those without hosts, and those that name it, as they
/// are there. The others are not its business.
///
/// # Errors
/// As [`Loaded::on_host`], and Apps whose roots are one directory here, by whatever names.
pub fn of_this_host(loaded: Vec<Loaded>, names: &[String]) -> Result<Vec<Loaded>, LoadErrors> {
    let mut own = Vec::with_capacity(loaded.len());
    for one in loaded {
        match &one.fleet {
            None => own.push(one),
            Some(fleet) => {
                if let Some(host) = names.iter().find_map(|name| fleet.host(name)) {
                    own.push(one.on_host(host)?);
                }
            }
        }
    }
    distinct_roots(&own)?;
    Ok(own)
}
