//! From paths on the command line to the Apps to work on.

use std::io;
use std::path::{Path, PathBuf, absolute};

use super::Failure;
use super::options::{Paths, Selection};
use super::render::problem::Complaint;
use crate::agent::own;
use crate::manifest::{self, Loaded, distinct_roots, of_this_host};
use crate::model::agent::AgentConfig;
use crate::model::app::App;
use crate::model::nearest::suggestion;

/// Read when no path is given, the first that is there.
const PLACES: [&str; 2] = ["manifests", "/etc/trueup/manifests"];
/// The verbs whose first word is an App's name, and none of it a path.
const NAMED_FIRST: [&str; 5] = ["rollback", "retry", "suspend", "resume", "releases"];

/// Loads all manifests of these paths.
///
/// # Errors
/// All that is wrong with them.
pub fn load(paths: &Paths) -> Result<Vec<Loaded>, Failure> {
    let loaded = manifest::load(&places(paths)?, &mut io::stdin().lock()).map_err(Failure::Manifests)?;
    if loaded.is_empty() {
        let complaint =
            Complaint::new("there is no App in these manifests").help("write one: `trueup schema` knows how");
        return Err(Failure::Complaint(complaint));
    }
    Ok(loaded)
}

/// The paths that were given, or the usual place.
///
/// # Errors
/// None was given, and there is no usual place.
pub fn places(paths: &Paths) -> Result<Vec<PathBuf>, Failure> {
    if paths.paths.is_empty() {
        usual_place().map(|place| vec![place]).ok_or(Failure::NoManifests)
    } else {
        Ok(paths.paths.clone())
    }
}

/// The same by their full paths, as they are given to sudo; none where one is the standard input.
///
/// # Errors
/// As [`places`], or nobody can tell where we are.
pub fn full_places(paths: &Paths) -> Result<Option<Vec<PathBuf>>, Failure> {
    let places = places(paths)?;
    if places.iter().any(|path| path == Path::new("-")) {
        return Ok(None);
    }
    places.iter().map(absolute).collect::<Result<Vec<_>, _>>().map(Some).map_err(|error| {
        Failure::Complaint(Complaint::new("cannot tell where the manifests are").cause(error.to_string()))
    })
}

/// Loads all manifests and keeps the Apps that were asked for.
///
/// # Errors
/// All that is wrong with any of them, or an App that is not there.
pub fn select(selection: &Selection) -> Result<Vec<Loaded>, Failure> {
    let loaded = load(&selection.paths)?;
    distinct_roots(&loaded).map_err(Failure::Manifests)?;
    if let Some(unknown) = selection.apps.iter().find(|name| !names_of(&loaded).contains(&name.as_str())) {
        return Err(no_such(unknown, &loaded));
    }
    let wanted =
        |one: &Loaded| selection.apps.is_empty() || selection.apps.iter().any(|name| name == one.app.name.as_str());
    Ok(loaded.into_iter().filter(wanted).collect())
}

/// What of these is for this host: Apps without hosts, and those that name it, as they are here.
///
/// # Errors
/// None is.
pub fn here(loaded: Vec<Loaded>) -> Result<Vec<Loaded>, Failure> {
    let names = own::names(&AgentConfig::default());
    let others: Vec<String> = names_of(&loaded).into_iter().map(str::to_owned).collect();
    let own = of_this_host(loaded, &names).map_err(Failure::Manifests)?;
    if own.is_empty() {
        let who = others.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let complaint = Complaint::new(format!("none of these Apps is for this host: {who}"));
        let called = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        return Err(Failure::Complaint(
            complaint.help(format!("this host is called {called}, which none of their `hosts` is; do it there")),
        ));
    }
    Ok(own)
}

/// Loads all manifests and keeps the one App that was asked for, as it is on this host.
///
/// # Errors
/// All that is wrong with any of them, or the App is not there, or is for other hosts.
pub fn one(name: &str, paths: &Paths) -> Result<Loaded, Failure> {
    let is_path = || Path::new(name).exists();
    let mut loaded = match load(paths) {
        Err(Failure::NoManifests) if is_path() => return Err(Failure::PathForName(name.to_owned())),
        loaded => loaded?,
    };
    let Some(at) = loaded.iter().position(|one| one.app.name.as_str() == name) else {
        return Err(if is_path() { Failure::PathForName(name.to_owned()) } else { no_such(name, &loaded) });
    };
    let mut own = here(vec![loaded.swap_remove(at)])?;
    own.pop().ok_or_else(|| no_such(name, &loaded))
}

fn no_such(name: &str, loaded: &[Loaded]) -> Failure {
    let complaint = Complaint::new(format!("there is no App `{name}` in these manifests"));
    Failure::Complaint(complaint.help(suggestion(name, &names_of(loaded))))
}

fn names_of(loaded: &[Loaded]) -> Vec<&str> {
    loaded.iter().map(|one| one.app.name.as_str()).collect()
}

/// The Apps alone.
pub fn apps(loaded: &[Loaded]) -> Vec<&App> {
    loaded.iter().map(|one| &one.app).collect()
}

/// Where manifests are when no path is given; none where there are none.
#[must_use]
pub fn usual_place() -> Option<PathBuf> {
    PLACES.iter().map(Path::new).find(|place| place.is_dir()).map(Path::to_owned)
}

/// Where the manifests of a host belong.
#[must_use]
pub fn common_place() -> PathBuf {
    PathBuf::from(PLACES[1])
}

/// No path was given to this verb, and there is no usual place.
#[must_use]
pub fn no_manifests(verb: &str) -> Complaint {
    let [near, far] = PLACES;
    let app = if NAMED_FIRST.contains(&verb) { "shop " } else { "" };
    Complaint::new(format!("there are no manifests in `{near}/` nor in `{far}/`"))
        .help(format!("name a file or a directory, such as `trueup {verb} {app}shop.yaml`"))
}

/// A path was given to this verb where an App's name belongs.
#[must_use]
pub fn path_for_name(verb: &str, name: &str) -> Complaint {
    let path = if name.contains('/') { name.to_owned() } else { format!("./{name}") };
    let way = if NAMED_FIRST.contains(&verb) {
        format!(", which comes before a path; write `trueup {verb} APP {path}`")
    } else {
        format!("; write `{path}`")
    };
    Complaint::new(format!("there is no App `{name}`")).help(format!("`{name}` was taken for an App's name{way}"))
}
