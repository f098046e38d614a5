//! Roots that are one directory by two names, which only the host itself can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use super::load::Loaded;
use super::report::{LoadErrors, Mistake};

/// A root on a dead mount keeps nobody waiting for longer; its own App tells of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Roots that hold whoever looks at them: left out until they answer, for each look would leave a thread there.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Device and inode of a directory.
type Identity = (u64, u64);

/// Refuses Apps of this host that share a root, by links or mounts: each would take `current` from the other, pass after
/// pass. Roots that are not there yet, or cannot be looked at, are left out, and Apps of other hosts. Blocks for as long as
/// the file system does, 2 s where it does not answer, and not again until it does.
///
/// # Errors
/// Each App whose root is an earlier one's, with the files of both.
pub fn distinct_roots(apps: &[Loaded]) -> Result<(), LoadErrors> {
    let apps: Vec<&Loaded> = apps.iter().filter(|one| one.fleet.is_none()).collect();
    if apps.len() < 2 {
        return Ok(());
    }
    let mut first: BTreeMap<Identity, &Loaded> = BTreeMap::new();
    let mut mistakes = Vec::new();
    let roots = apps.iter().map(|one| one.app.root.path().to_owned()).collect();
    for (one, found) in apps.into_iter().zip(identities(roots, PATIENCE, identity)) {
        let Some(found) = found else { continue };
        let Some(earlier) = first.get(&found) else {
            first.insert(found, one);
            continue;
        };
        let message = format!(
            "the root `{}` of the App `{}` is the same directory as `{}`, the root of the App `{}`",
            one.app.root, one.app.name, earlier.app.root, earlier.app.name
        );
        let help = format!("that one stands at {}; every App needs a root of its own", earlier.source);
        mistakes.push(Mistake::unreadable(one.source.to_string(), message, &help));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(LoadErrors { mistakes }) }
}

/// Which of the `former` directories is one of the `named` ones, by links or mounts, though it is written differently: each
/// with that one. What is not there, or cannot be looked at, is none. Blocks as [`distinct_roots`] does.
#[must_use]
pub fn same_roots(former: &[PathBuf], named: &[PathBuf]) -> BTreeMap<PathBuf, PathBuf> {
    let former: Vec<&PathBuf> = former.iter().filter(|root| !named.contains(root)).collect();
    if former.is_empty() || named.is_empty() {
        return BTreeMap::new();
    }
    let roots: Vec<PathBuf> = named.iter().chain(former.iter().copied()).cloned().collect();
    let mut found = identities(roots, PATIENCE, identity);
    let of_former = found.split_off(named.len());
    let known: BTreeMap<Identity, &PathBuf> =
        named.iter().zip(found).filter_map(|(root, identity)| Some((identity?, root))).collect();
    let same = former.into_iter().zip(of_former);
    same.filter_map(|(root, identity)| Some((root.clone(), (*known.get(&identity?)?).clone()))).collect()
}

fn identity(root: &Path) -> Option<Identity> {
    std::fs::metadata(root).ok().map(|found| (found.dev(), found.ino()))
}

/// What `look` finds of each root, as far as that can be told in time.
fn identities(
    roots: Vec<PathBuf>,
    patience: Duration,
    look: impl Fn(&Path) -> Option<Identity> + Send + 'static,
) -> Vec<Option<Identity>> {
    let mut found = vec![None; roots.len()];
    let (tell, told) = mpsc::channel();
    let asked: Vec<(usize, PathBuf)> =
        roots.into_iter().enumerate().filter(|(_, root)| !held().contains(root)).collect();
    let looks = asked.clone();
    let looker = std::thread::Builder::new().spawn(move || {
        for (at, root) in looks {
            let identity = look(&root);
            // Whoever gives it up holds this lock, too: it is marked and has not answered, or neither.
            let mut held = held();
            held.remove(&root);
            if tell.send((at, identity)).is_err() {
                break;
            }
        }
    });
    for (_, root) in asked.into_iter().take_while(|_| looker.is_ok()) {
        let answer = told.recv_timeout(patience).ok().or_else(|| {
            let mut held = held();
            let late = told.try_recv().ok();
            if late.is_none() {
                held.insert(root);
            }
            late
        });
        let Some((at, identity)) = answer else { break };
        if let Some(place) = found.get_mut(at) {
            *place = identity;
        }
    }
    found
}

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manifest::{load, of_this_host};

    #[test]
    fn a_root_that_does_not_answer_is_left_out_until_it_does() {
        let roots = || ["/srv/first", "/srv/silent", "/srv/last"].map(PathBuf::from).to_vec();
        let (answer, answers) = mpsc::channel::<()>();
        let found = identities(roots(), Duration::from_secs(2), move |root| {
            if root.ends_with("silent") {
                answers.recv().ok()?;
            }
            Some((1, 1))
        });
        assert_eq!(found, [Some((1, 1)), None, None]);
        let long = Duration::from_mins(1);
        let found = identities(roots(), long, |root| {
            assert!(!root.ends_with("silent"), "another thread would be held there");
            Some((2, 2))
        });
        assert_eq!(found, [Some((2, 2)), None, Some((2, 2))]);

        answer.send(()).unwrap();
        while identities(roots(), long, |_| Some((3, 3))).contains(&None) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn two_names_of_one_directory_are_no_two_roots() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("app")).unwrap();
        fs::create_dir(place.path().join("other")).unwrap();
        symlink("app", place.path().join("link")).unwrap();
        let manifest = |name: &str, root: &str| {
            let root = place.path().join(root);
            let text = format!(
                "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {}, release: {{id: r1}}}}\n",
                root.display()
            );
            let path = place.path().join(format!("{name}.yaml"));
            fs::write(&path, text).unwrap();
            path
        };
        let loaded = |paths: &[PathBuf]| load(paths, &mut std::io::empty()).unwrap();
        let (shop, twin) = (manifest("shop", "app"), manifest("twin", "link"));
        let fine = [shop.clone(), manifest("other", "other"), manifest("soon", "absent"), manifest("later", "gone")];
        assert_eq!(of_this_host(loaded(&fine), &[]).unwrap().len(), 4);
        let errors = of_this_host(loaded(&[shop.clone(), twin.clone()]), &[]).unwrap_err();
        let [mistake] = errors.mistakes.as_slice() else { panic!("{errors:?}") };
        let told = format!("{mistake:?}");
        for words in ["twin.yaml:1", "shop.yaml:1", "`shop`", "`twin`", "the same directory as", "link`", "app`"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let at = |name: &str| place.path().join(name);
        let former = [at("link"), at("other"), at("absent"), at("app")];
        let same = same_roots(&former, &[at("app"), at("absent"), at("gone")]);
        assert_eq!(same, BTreeMap::from([(at("link"), at("app"))]));
        fs::remove_file(place.path().join("link")).unwrap();
        assert!(of_this_host(loaded(&[shop, twin]), &[]).is_ok());
    }
}
