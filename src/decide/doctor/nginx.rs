//! What nginx serves of a root, and by which path it names the scripts to php-fpm.
//!
//! With `$document_root` a script is named by a path through `current`. PHP remembers where such a path leads, so the
//! old release answers until its realpath cache has run out; with `$realpath_root` each release has paths of its own.

use std::path::{Component, Path, PathBuf};

use super::command::{fixed_release, is_through_current};
use super::php;
use crate::model::app::App;
use crate::model::facts::{Directive, HostFacts, Nginx};
use crate::model::finding::{Finding, Severity, Spot};
use crate::model::names::Root;
use crate::model::process::Known;
use crate::model::service::OnRelease;

const CHECK: &str = "nginx.realpathRoot";
const RELOAD: &str = "# then: nginx -t && systemctl reload nginx";

pub(super) fn findings(app: &App, host: &HostFacts) -> Vec<Finding> {
    let nginx = match &host.nginx {
        Known::Known(Some(nginx)) => nginx,
        Known::Known(None) => return Vec::new(),
        Known::Unknown(why) => return vec![Finding::unknown(CHECK, format!("nginx: {why}"), "sudo trueup doctor")],
    };
    let serving = serving(&app.root, nginx);
    let mut found: Vec<Finding> = serving.fixed.iter().map(fixed).collect();
    found.extend(serving.by_link.iter().map(|named| by_link(named, app, host, &serving)));
    found.extend(serving.unclear.iter().map(unclear));
    found.extend(serving.cached.iter().map(cached));
    if !nginx.unread.is_empty() {
        let text = format!("not all of nginx's configuration could be read: {}", nginx.unread.join("; "));
        found.push(Finding::unknown("nginx.files", text, "sudo trueup doctor"));
    }
    if found.is_empty() && serving.is_there {
        let how = if serving.passes.is_empty() { "serves this root" } else { "names scripts by their real path" };
        found.push(Finding::ok(CHECK, format!("nginx {how}")));
    }
    found
}

fn fixed((id, named): &(String, Named)) -> Finding {
    Finding::new("nginx.root", Severity::Error, format!("nginx serves the release {id} itself: `{}`", named.value))
        .at(&named.at)
        .why("whatever `current` leads to, that release goes on to be served")
        .mend(format!("{};\n{RELOAD}", named.value.replace(&format!("releases/{id}"), "current")))
}

fn by_link(named: &Named, app: &App, host: &HostFacts, serving: &Serving) -> Finding {
    let renewed = app.services.iter().any(|service| service.on_release != OnRelease::None);
    let ttl = php::realpath_ttl(app, host, &serving.passes);
    let why = if renewed {
        "PHP keeps where `current` led to: between the switch and the reload that this then takes, the old release \
         answers"
            .to_owned()
    } else {
        format!(
            "PHP keeps where `current` led to for {ttl} s: so long the old release answers, for no service is reloaded"
        )
    };
    let severity = if renewed { Severity::Warning } else { Severity::Error };
    let value = ["$document_root", "$request_filename"].iter().find(|variable| named.value.contains(**variable));
    let found =
        format!("nginx names scripts by a path through `current`: `{}`", value.unwrap_or(&named.value.as_str()));
    let better = match value {
        Some(&"$document_root") => named.value.replace("$document_root", "$realpath_root"),
        _ => "$realpath_root$fastcgi_script_name".to_owned(),
    };
    let mend =
        format!("fastcgi_param SCRIPT_FILENAME {better};\nfastcgi_param DOCUMENT_ROOT $realpath_root;\n{RELOAD}");
    Finding::new(CHECK, severity, found).at(&named.at).why(why).mend(mend)
}

fn unclear(named: &Named) -> Finding {
    let found = format!("nginx names scripts by `{}`, and nobody can tell whether through `current`", named.value);
    let mend = format!("fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;\n{RELOAD}");
    Finding::unknown(CHECK, found, mend).at(&named.at)
}

fn cached(at: &Spot) -> Finding {
    Finding::new("nginx.openFileCache", Severity::Warning, "nginx keeps files of this root open (`open_file_cache`)")
        .at(at)
        .why("after a switch it goes on to send files of the old release until `open_file_cache_valid` is over")
        .mend(format!("open_file_cache off;\n{RELOAD}"))
}

/// What nginx does with one root.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Serving {
    /// Something below the root is served.
    pub(super) is_there: bool,
    /// Where scripts are passed to: `/run/php/php8.2-fpm.sock`, `127.0.0.1:9000`.
    pub(super) passes: Vec<String>,
    /// What names scripts by a path through `current`.
    pub(super) by_link: Vec<Named>,
    /// What names scripts in a way that cannot be followed.
    pub(super) unclear: Vec<Named>,
    /// What names one release itself, and which.
    fixed: Vec<(String, Named)>,
    /// Where open files of the root are kept.
    cached: Vec<Spot>,
}

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    value: String,
    at: Spot,
}

/// What of this root nginx serves, and how.
pub(super) fn serving(root: &Root, nginx: &Nginx) -> Serving {
    let mut walk = Walk { root, upstreams: Vec::new(), found: Serving::default() };
    for http in nginx.directives.iter().filter(|one| one.name() == "http") {
        walk.upstreams = http.block.iter().filter(|one| one.name() == "upstream").collect();
        walk.block(&http.block, &Level::default());
    }
    walk.found
}

/// What is in force in one block.
#[derive(Debug, Clone, Default)]
struct Level<'a> {
    root: Option<&'a Directive>,
    parameters: Vec<&'a Directive>,
    cache: Option<&'a Directive>,
}

struct Walk<'a> {
    root: &'a Root,
    upstreams: Vec<&'a Directive>,
    found: Serving,
}

impl<'a> Walk<'a> {
    fn block(&mut self, block: &'a [Directive], above: &Level<'a>) {
        let last = |names: &[&str]| block.iter().rev().find(|one| names.contains(&one.name()));
        let own: Vec<&Directive> = block.iter().filter(|one| one.name() == "fastcgi_param").collect();
        let level = Level {
            root: last(&["root", "alias"]).or(above.root),
            // One of its own, and none of those above counts any more.
            parameters: if own.is_empty() { above.parameters.clone() } else { own },
            cache: last(&["open_file_cache"]).or(above.cache),
        };
        self.files(&level);
        if let Some(pass) = last(&["fastcgi_pass"]) {
            self.scripts(pass, &level);
        }
        for inner in block.iter().filter(|one| !one.block.is_empty()) {
            if matches!(inner.name(), "server" | "location" | "if" | "limit_except") {
                self.block(&inner.block, &level);
            }
        }
    }

    /// Whether a path is the root or below it, as it is written.
    fn is_ours(&self, path: &str) -> bool {
        clean(path).starts_with(self.root.path())
    }

    fn files(&mut self, level: &Level<'a>) {
        let Some(directive) = level.root else { return };
        let Some(path) = directive.argument(1).filter(|path| self.is_ours(path)) else { return };
        self.found.is_there = true;
        if let Some(id) = fixed_release(self.root, path) {
            let named = Named { value: directive.words.join(" "), at: directive.at.clone() };
            push(&mut self.found.fixed, (id.to_owned(), named));
        }
        if let Some(cache) = level.cache.filter(|cache| cache.argument(1) != Some("off")) {
            push(&mut self.found.cached, cache.at.clone());
        }
    }

    fn scripts(&mut self, pass: &Directive, level: &Level<'a>) {
        // PHP takes the last one of that name.
        let script = level.parameters.iter().rev().find(|one| one.argument(1) == Some("SCRIPT_FILENAME"));
        let Some(script) = script else { return };
        let value = script.argument(2).unwrap_or_default();
        let of_root = level.root.and_then(|root| root.argument(1)).is_some_and(|path| self.is_ours(path));
        if !of_root && !self.is_ours(value) {
            return;
        }
        self.found.is_there = true;
        for target in self.targets(pass.argument(1).unwrap_or_default()) {
            push(&mut self.found.passes, target);
        }
        let named = || Named { value: value.to_owned(), at: script.at.clone() };
        let fixed_root = level.root.and_then(|root| fixed_release(self.root, root.argument(1)?)).is_some();
        if let Some(id) = fixed_release(self.root, value) {
            let named = Named { value: script.words.join(" "), at: script.at.clone() };
            push(&mut self.found.fixed, (id.to_owned(), named));
        } else if is_through_current(self.root, value)
            || (!fixed_root && ["$document_root", "$request_filename"].iter().any(|variable| value.contains(variable)))
        {
            push(&mut self.found.by_link, named());
        } else if !fixed_root && !value.contains("$realpath_root") {
            push(&mut self.found.unclear, named());
        }
    }

    /// Where a `fastcgi_pass` goes, through an upstream if it names one.
    fn targets(&self, pass: &str) -> Vec<String> {
        let address = |text: &str| text.strip_prefix("unix:").unwrap_or(text).to_owned();
        let upstream = self.upstreams.iter().find(|one| one.argument(1) == Some(pass));
        match upstream {
            Some(upstream) => {
                let servers = upstream.block.iter().filter(|one| one.name() == "server");
                servers.filter_map(|server| server.argument(1)).map(address).collect()
            }
            None => vec![address(pass)],
        }
    }
}

/// A path without doubled slashes and dots.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

fn push<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}
