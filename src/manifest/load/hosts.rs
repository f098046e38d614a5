//! Files of hosts: found beside the manifest that names them, and read once.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Loader;
use crate::manifest::check::check_hosts;
use crate::manifest::conform::conform;
use crate::manifest::report::{Mistake, Text};
use crate::manifest::schema::HOSTS;
use crate::manifest::shape::HostList;
use crate::manifest::text::{Unreadable, text};
use crate::manifest::yaml::{FINDINGS, Finding, parse};
use crate::model::fleet::FleetHost;

impl Loader {
    /// Where a file of hosts is; else what is wrong with saying so, and what to do.
    pub(super) fn place_of_hosts(&self, written: &str, path: Option<&Path>) -> Result<PathBuf, (String, String)> {
        let wrong = |message: &str, help: &str| Err((message.to_owned(), help.to_owned()));
        let file = Path::new(written);
        match path {
            _ if written.is_empty() => wrong("is empty", "write the path of a file with a list of hosts"),
            _ if self.unapproved => {
                wrong("is not read for a manifest that nobody has approved", "leave `--no-probe` out once somebody has")
            }
            Some(_) if file.is_absolute() && self.top.is_some() => {
                wrong("is absolute, and a commit has only its own files", "write it relative to the manifest")
            }
            _ if file.is_absolute() => Ok(file.to_owned()),
            // Without the `.` in it that makes it relative: so people call it.
            Some(path) => Ok(path.parent().unwrap_or(Path::new("")).join(file).components().collect()),
            None => wrong("is relative, and the standard input has no directory", "write an absolute path"),
        }
    }

    /// The hosts of a file; none where they are wrong, of which the file itself is told.
    pub(super) fn hosts(&mut self, path: &Path) -> Result<Option<Vec<FleetHost>>, (String, String)> {
        let unreadable = |error: &io::Error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for this user, or run as another one",
                _ => "write the path of a file with a list of hosts, relative to the manifest's own directory",
            };
            (format!("cannot be read: {}: {error}", path.display()), help.to_owned())
        };
        let real = self.real(path).map_err(|error| unreadable(&error))?;
        if let Some(known) = self.hosts.get(&real) {
            return Ok(known.clone());
        }
        let name = self.name(path).to_string_lossy().into_owned();
        let read = File::open(&real).map_err(Unreadable::File).and_then(|mut file| text(&name, &mut file));
        let found = match read {
            Ok(text) => self.listed_hosts(&text),
            Err(Unreadable::File(error)) => return Err(unreadable(&error)),
            Err(Unreadable::Content(mistake)) => {
                self.host_mistakes.push(*mistake);
                None
            }
        };
        self.hosts.insert(real, found.clone());
        Ok(found)
    }

    fn listed_hosts(&mut self, text: &Text) -> Option<Vec<FleetHost>> {
        let parsed = parse(text.text());
        let mut findings = parsed.findings;
        let mut documents = parsed.documents.into_iter();
        let first = documents.next();
        if first.is_none() && findings.is_empty() {
            let message = "there is no list of hosts in it";
            self.host_mistakes.push(Mistake::unreadable(&text.name, message, "write one: `- name: web1`"));
        }
        if let Some(second) = documents.next() {
            let finding = Finding::new(second.span, "a second document: a file of hosts is one list");
            findings.push(finding.help("join the two"));
        }
        let found = first.and_then(|mut tree| {
            let value = conform(&mut tree, &HOSTS, &mut findings)?;
            match serde_json::from_value::<HostList>(value) {
                Ok(HostList(hosts)) => check_hosts(&hosts, &tree, text.text(), &mut findings),
                Err(error) => {
                    findings.push(Finding::new(tree.span, format!("this is no list of hosts: {error}")));
                    None
                }
            }
        });
        findings.sort_by_key(|finding| finding.span.start);
        let found = found.filter(|_| findings.is_empty());
        self.host_mistakes.extend(findings.into_iter().take(FINDINGS).map(|finding| text.mistake(finding)));
        found
    }
}
