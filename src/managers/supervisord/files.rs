//! supervisord's configuration files: those of each supervisord that is believed, else those in the usual place.

use std::path::{Path, PathBuf};

use super::socket::CONFIGURATION;
use crate::host::config::sections::{Dialect, read};
use crate::model::facts::Configuration;
use crate::model::process::ProcessSummary;

/// The configuration of every supervisord among these processes. Blocks.
pub(in crate::managers) fn configurations<'a>(
    processes: impl Iterator<Item = &'a ProcessSummary>,
) -> Vec<Configuration> {
    let mut paths: Vec<PathBuf> = processes.filter_map(|process| named(&process.command)).collect();
    paths.sort();
    paths.dedup();
    if paths.is_empty() {
        let usual = ["/etc/supervisord.conf", CONFIGURATION, "/etc/supervisord/supervisord.conf"];
        paths.extend(usual.iter().map(PathBuf::from).find(|path| path.exists()));
    }
    paths.iter().map(|path| read(path, Dialect::Supervisord)).collect()
}

/// The file that the command line of a supervisord names; where it names none, where Debian's looks.
fn named(command: &[String]) -> Option<PathBuf> {
    let is_it = |word: &String| Path::new(word).file_name().is_some_and(|name| name == "supervisord");
    // A script: the interpreter may stand before it.
    let program = command.iter().take(2).position(is_it)?;
    let mut words = command.iter().skip(program + 1);
    let mut path = None;
    while let Some(word) = words.next() {
        if word == "-c" || word == "--configuration" {
            path = words.next().map(PathBuf::from);
        } else if let Some(rest) = word.strip_prefix("--configuration=") {
            path = Some(PathBuf::from(rest));
        }
    }
    Some(path.filter(|path| path.is_absolute()).unwrap_or_else(|| PathBuf::from(CONFIGURATION)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_the_file() {
        let rows: [(&[&str], Option<&str>); 6] = [
            (&["/usr/bin/python3", "/usr/bin/supervisord", "-n", "-c", "/etc/s.conf"], Some("/etc/s.conf")),
            (&["/usr/bin/supervisord", "--configuration=/srv/s.conf"], Some("/srv/s.conf")),
            (&["/usr/bin/supervisord", "-c", "relative.conf"], Some(CONFIGURATION)),
            (&["supervisord"], Some(CONFIGURATION)),
            (&["vi", "-c", "/etc/s.conf"], None),
            (&["less", "/etc/s.conf", "supervisord"], None),
        ];
        for (words, path) in rows {
            let command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(named(&command), path.map(PathBuf::from), "{words:?}");
        }
    }
}
