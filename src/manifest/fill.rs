//! What differs from host to host: `${vars.NAME}` and `${host.name}`, in the few fields that may name them.
//!
//! In: a document with hosts, and one of them. Out: the document for that host alone, which is one like any other. No
//! template of YAML: what is filled in is the text of one value, and is checked as if it had been written there.

use super::node::{Cursor, Node, Span, Tree, cut};
use super::shape::{Count, Document, EnvValue, Hosts, Spec, Step, StepMap, Text};
use super::yaml::Finding;
use crate::model::fleet::FleetHost;
use crate::model::nearest::nearest;

/// What every step of a manifest with hosts finds the host's name in.
pub(super) const HOST_VARIABLE: &str = "TRUEUP_HOST";

/// Most workers of one group, as in the schema.
const MOST: u32 = 10_000;

/// What names a var, and what could be meant to.
const MARKS: [&str; 2] = ["${vars.", "${host."];

/// Where vars may be named, without the positions in lists; `*` is any key.
const FIELDS: [&[&str]; 8] = [
    &["spec", "workers", "count"],
    &["spec", "health", "http", "url"],
    &["spec", "health", "http", "connectTo"],
    &["spec", "health", "http", "headers", "*"],
    &["spec", "release", "build", "env", "*"],
    &["spec", "release", "verify", "env", "*"],
    &["spec", "release", "migrate", "env", "*"],
    &["spec", "release", "hooks", "*", "env", "*"],
];

/// One document for one host.
pub(super) struct Filled {
    /// Without hosts and rollout.
    pub document: Document,
    /// Where the texts stand that could not be filled in; what is said of them says nothing.
    pub unfilled: Vec<Span>,
}

/// Fills in what differs on a host. Without one, nothing is known of what the names stand for.
pub(super) fn fill(
    document: &Document,
    host: Option<&FleetHost>,
    at: &Cursor<'_>,
    source: &str,
    findings: &mut Vec<Finding>,
) -> Filled {
    let mut filled = document.clone();
    let vars = match document.spec.as_ref().and_then(|spec| spec.hosts.as_ref()) {
        Some(Hosts::File(file)) => format!("the `vars` of the host in `{}`", cut(file)),
        Some(Hosts::List(_)) | None => "the `vars` of the host".to_owned(),
    };
    let mut filler = Filler { host, source, findings, unfilled: Vec::new(), vars };
    if let Some(spec) = &mut filled.spec {
        spec.hosts = None;
        spec.rollout = None;
        filler.spec(spec, &at.key("spec"));
    }
    Filled { unfilled: filler.unfilled, document: filled }
}

struct Filler<'a> {
    host: Option<&'a FleetHost>,
    source: &'a str,
    findings: &'a mut Vec<Finding>,
    unfilled: Vec<Span>,
    /// What to mend where a var is wrong, in words: it may stand in another file.
    vars: String,
}

impl Filler<'_> {
    fn spec(&mut self, spec: &mut Spec, at: &Cursor<'_>) {
        if let Some(release) = &mut spec.release {
            let at = at.key("release");
            self.steps(&mut release.build, &at.key("build"));
            self.steps(&mut release.verify, &at.key("verify"));
            self.steps(&mut release.migrate, &at.key("migrate"));
            if let Some(hooks) = &mut release.hooks {
                let at = at.key("hooks");
                self.steps(&mut hooks.before_switch, &at.key("beforeSwitch"));
                self.steps(&mut hooks.after_switch, &at.key("afterSwitch"));
                self.steps(&mut hooks.after_rollback, &at.key("afterRollback"));
            }
        }
        for (position, group) in spec.workers.iter_mut().enumerate() {
            if let Some(count) = &mut group.count {
                self.count(count, &at.key("workers").item(position).key("count"));
            }
        }
        if let Some(http) = spec.health.as_mut().and_then(|health| health.http.as_mut()) {
            let at = at.key("health").key("http");
            for (text, key) in [(&mut http.url, "url"), (&mut http.connect_to, "connectTo")] {
                if let Some(text) = text {
                    self.text(text, &at.key(key));
                }
            }
            for (name, Text(value)) in &mut http.headers {
                self.text(value, &at.key("headers").key(name));
            }
        }
    }

    fn steps(&mut self, steps: &mut [Step], list: &Cursor<'_>) {
        for (position, step) in steps.iter_mut().enumerate() {
            let at = list.item(position).key("env");
            let mut map = match step {
                Step::Map(map) => map.clone(),
                Step::Command(run) => StepMap {
                    run: Some(run.clone()),
                    timeout: None,
                    env: std::collections::BTreeMap::new(),
                    working_directory: None,
                    user: None,
                },
            };
            for (name, value) in &mut map.env {
                if let EnvValue::Text(text) = value {
                    self.text(text, &at.key(name));
                }
            }
            let name = self.host.map(|host| EnvValue::Text(host.name.as_str().to_owned()));
            if let Some(name) = name
                && map.env.insert(HOST_VARIABLE.to_owned(), name).is_some()
            {
                let message = format!("`{HOST_VARIABLE}` is set by trueup for every step of a manifest with `hosts`");
                let finding = Finding::new(at.name_of(HOST_VARIABLE), message);
                self.findings.push(finding.help("take another name, or leave it out"));
            }
            *step = Step::Map(map);
        }
    }

    fn count(&mut self, count: &mut Count, at: &Cursor<'_>) {
        let Count::Named(named) = count else { return };
        let mut text = named.clone();
        let number = self.text(&mut text, at).then(|| text.parse().ok().filter(|number| *number <= MOST));
        if number == Some(None) {
            // The value may be a secret, and is shown nowhere else. On which hosts it is so is added by whoever asks.
            let vars = named.split("${").skip(1).filter_map(|rest| Some(format!("`{}`", rest.split_once('}')?.0)));
            let vars = vars.collect::<Vec<_>>().join(", ");
            let message = format!("`{}` must be a whole number up to {MOST}, and {vars} makes none of it", at.path);
            let help = format!("correct it in {}", self.vars);
            self.findings.push(Finding::new(at.span.clone(), message).help(help));
        }
        // One that is not known is as good as any.
        *count = Count::Number(number.flatten().unwrap_or(1));
    }

    /// Fills in one text; whether all of its names stand for something.
    fn text(&mut self, text: &mut String, at: &Cursor<'_>) -> bool {
        let mut made = String::with_capacity(text.len());
        let mut rest = text.as_str();
        let mut whole = true;
        while let Some((before, behind)) = rest.split_once("${") {
            rest = behind;
            if let Some(before) = before.strip_suffix('$') {
                made.push_str(before);
                made.push_str("${");
                continue;
            }
            made.push_str(before);
            let Some(host) = self.host else {
                whole = false;
                continue;
            };
            let offset = text.len() - behind.len() - "${".len();
            let found = match behind.split_once('}') {
                Some((name, behind)) => {
                    rest = behind;
                    value(name, host, &at.path, &self.vars)
                }
                None => Err((format!("`{}` has `${{` without `}}`", at.path), KNOWN.to_owned())),
            };
            match found {
                Ok(value) => made.push_str(value),
                Err((message, help)) => {
                    whole = false;
                    self.findings.push(Finding::new(at.inside(offset, self.source), message).help(help));
                }
            }
        }
        if whole {
            made.push_str(rest);
            *text = made;
        } else {
            self.unfilled.push(at.span.clone());
        }
        whole
    }
}

/// Help for names that nothing stands for.
const KNOWN: &str =
    "known are `${vars.NAME}`, from the host's `vars`, and `${host.name}`; `$${` stands for `${` itself";

/// What a name stands for on a host; else what is wrong, and what to do.
fn value<'h>(name: &str, host: &'h FleetHost, path: &str, vars: &str) -> Result<&'h str, (String, String)> {
    if name == "host.name" {
        return Ok(host.name.as_str());
    }
    let Some(var) = name.strip_prefix("vars.") else {
        return Err((format!("`{path}` names `{}`, which nothing stands for", cut(name)), KNOWN.to_owned()));
    };
    if let Some(value) = host.vars.get(var) {
        return Ok(value);
    }
    let help = match nearest(var, host.vars.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("add it to {vars}"),
    };
    Err((format!("`{path}` names the var `{}`, which is not there", cut(var)), help))
}

/// What is meant to be filled in where nothing is.
pub(super) fn misplaced(tree: &Node, source: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    walk(&Cursor::root(tree), tree, &mut Vec::new(), &mut |place, path, text| {
        let first = MARKS.iter().filter_map(|mark| text.find(mark)).min();
        let fits = |field: &&[&str]| {
            field.len() == path.len() && field.iter().zip(path).all(|(known, key)| *known == "*" || known == key)
        };
        if let Some(offset) = first.filter(|_| !FIELDS.iter().any(fits)) {
            let name = text.get(offset..).unwrap_or_default();
            let name = name.split_inclusive('}').next().unwrap_or(name);
            let message = format!("`{}` is not filled in here", cut(name));
            let help = "vars are for `workers[].count`, for `url`, `connectTo` and `headers` of `health.http`, and for the values of `env` of steps";
            found.push(Finding::new(place.inside(offset, source), message).help(help));
        }
    });
    found
}

fn walk<'n>(
    place: &Cursor<'_>,
    node: &'n Node,
    path: &mut Vec<&'n str>,
    look: &mut impl FnMut(&Cursor<'_>, &[&'n str], &str),
) {
    match &node.tree {
        Tree::Scalar { text, .. } => look(place, path, text),
        Tree::List(items) => {
            for (position, item) in items.iter().enumerate() {
                walk(&place.item(position), &item.value, path, look);
            }
        }
        Tree::Map(entries) => {
            for entry in entries {
                path.push(&entry.key);
                walk(&place.key(&entry.key), &entry.value, path, look);
                path.pop();
            }
        }
    }
}
