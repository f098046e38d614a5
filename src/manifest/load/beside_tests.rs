//! What is wrong beside the Apps that are wanted, and directories that nothing is left in.

use std::path::Path;

use super::*;
use crate::manifest::load_beside;

const MISTAKE: &str =
    "apiVersion: trueup/v1\nkind: App\nmetadata: {name: other}\nspec: {root: /srv/other, relase: {id: r1}}\n";

fn app(name: &str, root: &str) -> String {
    format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {root}, release: {{id: r1}}}}\n"
    )
}

fn write(room: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        std::fs::write(room.join(name), text).unwrap();
    }
}

/// A case, its files, the Apps that are wanted, and how many mistakes are told beside them; none: it is refused.
type Row<'a> = (&'a str, Vec<(&'a str, String)>, &'a [&'a str], Option<usize>);

#[test]
fn what_is_wrong_in_other_files_stops_nobody_who_names_an_app() {
    let shop = || ("shop.yaml", app("shop", "/srv/shop"));
    let rows: [Row<'_>; 8] = [
        ("nothing is wrong", vec![shop()], &["shop"], Some(0)),
        ("another file is wrong", vec![shop(), ("other.yaml", MISTAKE.to_owned())], &["shop"], Some(1)),
        ("no YAML at all", vec![shop(), ("other.yaml", "a: [".to_owned())], &["shop"], Some(1)),
        ("nobody is named", vec![shop(), ("other.yaml", MISTAKE.to_owned())], &[], None),
        ("the one that is wrong", vec![shop(), ("other.yaml", MISTAKE.to_owned())], &["shop", "other"], None),
        (
            "in the same file",
            vec![("shop.yaml", format!("{}---\n{MISTAKE}", app("shop", "/srv/shop")))],
            &["shop"],
            None,
        ),
        ("its name is another's as well", vec![shop(), ("twin.yaml", app("shop", "/srv/twin"))], &["shop"], None),
        ("its root is another's as well", vec![shop(), ("twin.yaml", app("twin", "/srv/shop"))], &["shop"], None),
    ];
    for (case, files, wanted, expected) in rows {
        let room = tempfile::tempdir().unwrap();
        write(room.path(), &files);
        let found = load_beside(&[room.path().to_owned()], &mut io::empty(), wanted);
        let told = found.as_ref().ok().map(|(_, wrong)| wrong.as_ref().map_or(0, |wrong| wrong.mistakes.len()));
        assert_eq!(told, expected, "{case}: {found:?}");
        if let Ok((loaded, _)) = found {
            assert_eq!(loaded.iter().map(|one| one.app.name.as_str()).collect::<Vec<_>>(), ["shop"], "{case}");
        }
    }
}
