//! From paths on the command line to the Apps to work on.

use std::io;
use std::path::{Path, PathBuf, absolute};

use super::Failure;
use super::elsewhere::Elsewhere;
use super::options::{Paths, Selection};
use super::output::say;
use super::own_name::{names, trouble};
use super::render::problem::Complaint;
use super::render::words::count;
use crate::manifest::{self, LoadErrors, Loaded, distinct_roots, of_this_host};
use crate::model::app::App;
use crate::model::nearest::suggestion;

/// Read when no path is given, the first that is there.
const PLACES: [&str; 2] = ["manifests", "/etc/trueup/manifests"];
/// The verbs whose first word is an App's name, and none of it a path.
pub const NAMED_FIRST: [&str; 5] = ["rollback", "retry", "suspend", "resume", "releases"];

/// Loads all manifests of these paths.
///
/// # Errors
/// All that is wrong with them.
pub fn load(paths: &Paths) -> Result<Vec<Loaded>, Failure> {
    let loaded = manifest::load(&places(paths)?, &mut io::stdin().lock()).map_err(Failure::Manifests)?;
    some(loaded)
}

fn some(loaded: Vec<Loaded>) -> Result<Vec<Loaded>, Failure> {
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

/// The same by their full paths, as they are given to sudo; none where there are none, or one is the standard input.
///
/// # Errors
/// Nobody can tell where we are.
pub fn full_places(paths: &Paths) -> Result<Option<Vec<PathBuf>>, Failure> {
    // What an agent has in force may be nowhere here.
    let Ok(places) = places(paths) else { return Ok(None) };
    if places.iter().any(|path| path == Path::new("-")) {
        return Ok(None);
    }
    places.iter().map(absolute).collect::<Result<Vec<_>, _>>().map(Some).map_err(|error| {
        Failure::Complaint(Complaint::new("cannot tell where the manifests are").cause(error.to_string()))
    })
}

/// Loads all manifests and keeps the Apps that were asked for. Where some were named, what is wrong in other files is
/// only told.
///
/// # Errors
/// All that is wrong with the manifests, or an App that is not there.
pub fn select(selection: &Selection) -> Result<Vec<Loaded>, Failure> {
    let names: Vec<&str> = selection.apps.iter().map(String::as_str).collect();
    chosen(selection, beside(&selection.paths, &names)?)
}

/// The same for whoever only looks: files that are wrong are told and left out, and hide none of the others. Tells
/// whether there are any.
///
/// # Errors
/// As [`select`], where no file is without mistakes.
pub fn select_sound(selection: &Selection) -> Result<(Vec<Loaded>, bool), Failure> {
    if !selection.apps.is_empty() {
        return select(selection).map(|loaded| (loaded, false));
    }
    let (sound, wrong) = manifest::load_sound(&places(&selection.paths)?, &mut io::stdin().lock());
    match wrong {
        Some(errors) if sound.is_empty() => Err(Failure::Manifests(errors)),
        Some(errors) => {
            for complaint in left_out(&errors) {
                say(&complaint.render());
            }
            Ok((chosen(selection, sound)?, true))
        }
        None => Ok((chosen(selection, some(sound)?)?, false)),
    }
}

/// Loads all manifests for the sake of some Apps: what is wrong in files that have nothing to do with them is told, and
/// stops nobody.
fn beside(paths: &Paths, wanted: &[&str]) -> Result<Vec<Loaded>, Failure> {
    let loaded = manifest::load_beside(&places(paths)?, &mut io::stdin().lock(), wanted).map_err(Failure::Manifests);
    let (loaded, wrong) = loaded?;
    for complaint in wrong.iter().flat_map(left_out) {
        say(&complaint.render_as_warning());
    }
    some(loaded)
}

/// What is said of files that are wrong, and have nothing to do with what is done; one for each.
fn left_out(errors: &LoadErrors) -> Vec<Complaint> {
    let mut files: Vec<(&str, usize)> = Vec::new();
    for mistake in &errors.mistakes {
        match files.iter_mut().find(|(file, _)| *file == mistake.file) {
            Some((_, mistakes)) => *mistakes += 1,
            None => files.push((&mistake.file, 1)),
        }
    }
    let said = |(file, mistakes): (&str, usize)| {
        let complaint = Complaint::new(format!("`{file}` is left out: {} in it", count(mistakes, "mistake")));
        complaint.help(format!("`trueup validate {file}` shows what is wrong"))
    };
    files.into_iter().map(said).collect()
}

/// The same of manifests that nobody has approved; they are for this host alone.
///
/// # Errors
/// Also where an App is for other hosts: they are reached at addresses that its manifest names.
pub fn select_unapproved(selection: &Selection) -> Result<Vec<Loaded>, Failure> {
    let loaded = manifest::load_unapproved(&places(&selection.paths)?, &mut io::stdin().lock());
    let chosen = chosen(selection, some(loaded.map_err(Failure::Manifests)?)?)?;
    let Some(other) = chosen.iter().find(|one| one.fleet.is_some()) else { return Ok(chosen) };
    let complaint = Complaint::new(format!("`{}` has `hosts`, and `--no-probe` connects to none", other.app.name));
    Err(Failure::Complaint(complaint.help("leave `--no-probe` out once its manifest is approved")))
}

fn chosen(selection: &Selection, loaded: Vec<Loaded>) -> Result<Vec<Loaded>, Failure> {
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
pub fn here(loaded: &[Loaded]) -> Result<Vec<Loaded>, Failure> {
    let own = of_this_host(loaded.to_vec(), &names()).map_err(Failure::Manifests)?;
    if own.is_empty() { Err(elsewhere(loaded)) } else { Ok(own) }
}

/// Loads all manifests and keeps the one App that was asked for, as it is on this host.
///
/// # Errors
/// All that is wrong with any of them, or the App is not there, or is for other hosts.
pub fn one(name: &str, paths: &Paths) -> Result<Loaded, Failure> {
    let written = named(name, paths)?;
    as_here(&written)?.ok_or_else(|| not_here(&written))
}

/// An App as it is on this host; none: it is for others only.
///
/// # Errors
/// It would be wrong here.
pub fn as_here(written: &Loaded) -> Result<Option<Loaded>, Failure> {
    let own = of_this_host(vec![written.clone()], &names());
    Ok(own.map_err(Failure::Manifests)?.pop())
}

/// An App is for other hosts only, and what was asked for is about this one.
#[must_use]
pub fn not_here(written: &Loaded) -> Failure {
    elsewhere(std::slice::from_ref(written))
}

fn elsewhere(loaded: &[Loaded]) -> Failure {
    Failure::Elsewhere(Box::new(Elsewhere::new(loaded, &names(), trouble())))
}

/// Loads all manifests and keeps the one App that was asked for, as it is written. What is wrong in other files is only
/// told.
///
/// # Errors
/// All that is wrong with the manifests, or the App is not there.
pub fn named(name: &str, paths: &Paths) -> Result<Loaded, Failure> {
    let is_path = || Path::new(name).exists();
    let mut loaded = match beside(paths, &[name]) {
        Err(Failure::NoManifests) if is_path() => return Err(Failure::PathForName(name.to_owned())),
        loaded => loaded?,
    };
    let Some(at) = loaded.iter().position(|one| one.app.name.as_str() == name) else {
        return Err(if is_path() { Failure::PathForName(name.to_owned()) } else { no_such(name, &loaded) });
    };
    Ok(loaded.swap_remove(at))
}

fn no_such(name: &str, loaded: &[Loaded]) -> Failure {
    Failure::NoSuchApp { name: name.to_owned(), known: names_of(loaded).into_iter().map(str::to_owned).collect() }
}

/// There is no App of this name among those.
#[must_use]
pub fn no_such_app(name: &str, known: &[String]) -> Complaint {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Complaint::new(format!("there is no App `{name}` in these manifests")).help(suggestion(name, &known))
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
    let app = if NAMED_FIRST.contains(&verb) { "shop " } else { "" };
    nowhere().help(format!("name a file or a directory, such as `trueup {verb} {app}shop.yaml`"))
}

/// There are none.
pub(super) fn nowhere() -> Complaint {
    let [near, far] = PLACES;
    Complaint::new(format!("there are no manifests in `{near}/` nor in `{far}/`"))
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
