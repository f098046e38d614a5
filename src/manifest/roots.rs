//! Roots that are one directory by two names, which only the host itself can tell.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use super::load::Loaded;
use super::report::{LoadErrors, Mistake};

/// A root on a dead mount keeps nobody waiting for longer; its own App tells of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses Apps of this host that share a root, by links or mounts: each would take `current` from the other, pass after
/// pass. Roots that are not there yet, or cannot be looked at, are left out, and Apps of other hosts. Blocks for as long as
/// the file system does, 2 s where it does not answer.
///
/// # Errors
/// Each App whose root is an earlier one's, with the files of both.
pub fn distinct_roots(apps: &[Loaded]) -> Result<(), LoadErrors> {
    let apps: Vec<&Loaded> = apps.iter().filter(|one| one.fleet.is_none()).collect();
    if apps.len() < 2 {
        return Ok(());
    }
    let mut first: BTreeMap<(u64, u64), &Loaded> = BTreeMap::new();
    let mut mistakes = Vec::new();
    let roots = apps.iter().map(|one| one.app.root.path().to_owned()).collect();
    for (one, found) in apps.into_iter().zip(identities(roots)) {
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

/// Device and inode of each directory, as far as that can be told in time.
fn identities(roots: Vec<PathBuf>) -> Vec<Option<(u64, u64)>> {
    let mut found = vec![None; roots.len()];
    let (tell, told) = mpsc::channel();
    let looker = std::thread::Builder::new().spawn(move || {
        for (at, root) in roots.iter().enumerate() {
            let identity = std::fs::metadata(root).ok().map(|found| (found.dev(), found.ino()));
            if tell.send((at, identity)).is_err() {
                break;
            }
        }
    });
    if looker.is_ok() {
        while let Ok((at, identity)) = told.recv_timeout(PATIENCE) {
            if let Some(place) = found.get_mut(at) {
                *place = identity;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manifest::{load, of_this_host};

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
        fs::remove_file(place.path().join("link")).unwrap();
        assert!(of_this_host(loaded(&[shop, twin]), &[]).is_ok());
    }
}
