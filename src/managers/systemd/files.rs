//! Unit files as they are written, with their drop-ins: where each setting stands, systemd itself does not tell.

use std::path::{Path, PathBuf};

use crate::host::config::pattern::matches;
use crate::host::config::sections::{Dialect, read, read_all};
use crate::model::facts::{Setting, Unit};

/// Where units are, the first place that has one counts.
const PLACES: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// systemd's own settings.
const OWN: &str = "/etc/systemd/system.conf";

/// The unit of that name, a template too; none where there is no file of it. Blocks.
pub(in crate::managers) fn unit(name: &str) -> Option<Unit> {
    among(&PLACES.map(PathBuf::from), name)
}

fn among(places: &[PathBuf], name: &str) -> Option<Unit> {
    let file = places.iter().map(|place| place.join(name)).find(|path| path.exists())?;
    let mut drop_ins: Vec<PathBuf> = Vec::new();
    for place in places {
        for found in matches(&place.join(format!("{name}.d/*.conf"))) {
            // One of the same name in an earlier place hides it.
            if !drop_ins.iter().any(|known| known.file_name() == found.file_name()) {
                drop_ins.push(found);
            }
        }
    }
    drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    let files = std::iter::once(file.as_path()).chain(drop_ins.iter().map(PathBuf::as_path));
    Some(Unit { name: name.to_owned(), configuration: read_all(files, Dialect::Systemd) })
}

/// Every service of this host's own making that runs a command in which one of these lines stands. Blocks.
pub(in crate::managers) fn that_run(lines: &[&str]) -> Vec<Unit> {
    let mut names: Vec<String> = Vec::new();
    // What a distribution ships runs no program of ours.
    for place in PLACES.iter().take(4) {
        let found = matches(&Path::new(place).join("*.service"));
        names.extend(found.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
    }
    names.sort();
    names.dedup();
    let runs = |unit: &Unit| {
        unit.configuration.all("Service", "ExecStart").any(|start| lines.iter().any(|line| start.value.contains(line)))
    };
    names.iter().filter_map(|name| unit(name)).filter(runs).collect()
}

/// How long systemd waits before it kills, where a unit says nothing. Blocks.
pub(in crate::managers) fn default_stop_timeout() -> Option<Setting> {
    let drop_ins = matches(Path::new("/etc/systemd/system.conf.d/*.conf"));
    let all = std::iter::once(PathBuf::from(OWN)).chain(drop_ins);
    let mut found =
        all.filter_map(|path| read(&path, Dialect::Systemd).get("Manager", "DefaultTimeoutStopSec").cloned());
    found.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_change_a_unit_in_the_order_of_their_names() {
        let place = tempfile::tempdir().unwrap();
        let (etc, lib) = (place.path().join("etc"), place.path().join("lib"));
        for (path, text) in [
            ("lib/w@.service", "[Service]\nRestart=no\nUser=a\n"),
            ("lib/w@.service.d/20-b.conf", "[Service]\nUser=b\n"),
            ("etc/w@.service.d/10-a.conf", "[Service]\nUser=c\nRestart=always\n"),
            ("etc/w@.service.d/30-c.conf", "[Service]\nNice=1\n"),
            ("lib/w@.service.d/30-c.conf", "[Service]\nNice=2\n"),
        ] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let unit = among(&[etc.clone(), lib], "w@.service").unwrap();
        let value = |key: &str| unit.configuration.get("Service", key).map(|one| one.value.as_str());
        assert_eq!((value("Restart"), value("User"), value("Nice")), (Some("always"), Some("b"), Some("1")));
        assert_eq!(unit.configuration.get("Service", "Restart").unwrap().at.file, etc.join("w@.service.d/10-a.conf"));
        assert!(among(&[etc], "x@.service").is_none());
    }
}
