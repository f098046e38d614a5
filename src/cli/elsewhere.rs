//! Apps that are for other hosts only, and a verb that is about the host it runs on: what to do instead, word for word.

use super::load::NAMED_FIRST;
use super::render::problem::Complaint;
use crate::fleet::ssh::program::Program;
use crate::fleet::ssh::scripts::CACHE;
use crate::manifest::Loaded;
use crate::model::names::HostName;
use crate::model::ssh::SshTarget;

/// The far side's own program, else a copy of this one where it is kept, by its sha256. It is read by the host's shell.
fn program(sha256: Option<&str>) -> String {
    match sha256 {
        Some(sha256) => {
            format!(r#""$(command -v trueup || {{ {CACHE}; echo "$c/{sha256}"; }})""#)
        }
        None => "trueup".to_owned(),
    }
}

/// Apps, none of which is for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    apps: Vec<String>,
    /// The first host of the first of them: its name, and where it is reached.
    host: Option<(HostName, SshTarget)>,
    /// Where that one stands; none: on the standard input.
    manifest: Option<String>,
    /// The file that its hosts stand in; none: they stand in the manifest.
    hosts: Option<String>,
    /// What this host is called.
    names: Vec<String>,
    /// Why it may have another name, which could not be had.
    trouble: Option<String>,
}

impl Elsewhere {
    /// These, on a host of these names; `trouble` is why another name of it could not be had.
    #[must_use]
    pub fn new(loaded: &[Loaded], names: &[String], trouble: Option<String>) -> Self {
        let first = loaded.first();
        Self {
            apps: loaded.iter().map(|one| one.app.name.to_string()).collect(),
            host: first.and_then(|one| {
                let host = one.fleet.as_ref()?.hosts.first()?;
                Some((host.name.clone(), host.ssh.clone()))
            }),
            manifest: first.and_then(|one| Some(one.source.path.as_ref()?.display().to_string())),
            hosts: first.and_then(|one| Some(one.hosts_file.as_ref()?.display().to_string())),
            names: names.to_vec(),
            trouble,
        }
    }

    /// What is said of it, by that verb. Reads this program, for its digest.
    #[must_use]
    pub fn complaint(&self, verb: &str) -> Complaint {
        let own = Program::read(&Program::own()).ok();
        self.said(verb, own.as_ref().map(|program| program.sha256.as_str()))
    }

    /// The same by a program of this digest.
    fn said(&self, verb: &str, sha256: Option<&str>) -> Complaint {
        let quoted = |names: &[String], between: &str| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(between)
        };
        let complaint = Complaint::new(format!("none of these Apps is for this host: {}", quoted(&self.apps, ", ")));
        let mut called = format!("this host is called {}, which none of their `hosts` is", quoted(&self.names, " or "));
        if let Some(trouble) = &self.trouble {
            called = format!("{called} ({trouble})");
        }
        let (Some((name, host)), Some(app)) = (&self.host, self.apps.first()) else { return complaint.help(called) };
        let app = if NAMED_FIRST.contains(&verb) || verb == "history" { format!("{app} ") } else { String::new() };
        let manifest = self.manifest.as_deref().map_or_else(|| "MANIFEST".to_owned(), word);
        let so = format!(
            "{called}; `trueup status` shows how these are; `trueup {verb}` is about the host that it runs on, so run it \
             there"
        );
        let (to, program) = (ssh(host), program(sha256));
        // Its hostname may be another one.
        let verb = format!("{verb} --as {name}");
        complaint.help(match &self.hosts {
            None => format!("{so}: `{to} '{program} {verb} {app}-' <{manifest}`"),
            // What comes through the standard input has no file beside it.
            Some(hosts) => format!(
                "{so}, with `{manifest}` and `{}` copied to where they lie to each other as here: \
                 `{to} '{program} {verb} {app}MANIFEST'`",
                word(hosts)
            ),
        })
    }
}

/// The command that leads there.
fn ssh(target: &SshTarget) -> String {
    let port = target.port().map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = target.user().map(|user| format!("{user}@")).unwrap_or_default();
    format!("ssh {port}{user}{}", target.host())
}

/// One word to a shell.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "0123";

    fn help(verb: &str, host: Option<&str>, manifest: Option<&str>) -> String {
        let host = host.map(|text| (HostName::new("web1").unwrap(), SshTarget::new(text).unwrap()));
        let manifest = manifest.map(str::to_owned);
        let names = vec!["laptop.example.org".to_owned(), "laptop".to_owned()];
        let one = Elsewhere {
            apps: vec!["shop".to_owned(), "mails".to_owned()],
            host,
            manifest,
            hosts: None,
            names,
            trouble: None,
        };
        let complaint = one.said(verb, Some(SHA256));
        assert_eq!(complaint.message, "none of these Apps is for this host: `shop`, `mails`");
        complaint.help.unwrap()
    }

    #[test]
    fn the_command_can_be_copied() {
        let rows = [
            ("suspend", "web1", Some("shop.yaml"), "`ssh web1 'PROGRAM suspend --as web1 shop -' <shop.yaml`"),
            (
                "history",
                "deploy@web1:2222",
                Some("a b.yaml"),
                "`ssh -p 2222 deploy@web1 'PROGRAM history --as web1 shop -' <'a b.yaml'`",
            ),
            (
                "doctor",
                "root@[2001:db8::1]:22",
                None,
                "`ssh -p 22 root@2001:db8::1 'PROGRAM doctor --as web1 -' <MANIFEST`",
            ),
            ("releases", "web1", Some("it's.yaml"), r"`ssh web1 'PROGRAM releases --as web1 shop -' <'it'\''s.yaml'`"),
        ];
        for (verb, host, manifest, expected) in rows {
            let told = help(verb, Some(host), manifest);
            assert!(told.ends_with(&expected.replace("PROGRAM", &program(Some(SHA256)))), "{told}");
            assert!(told.starts_with("this host is called `laptop.example.org` or `laptop`, which none"), "{told}");
            assert!(told.contains("`trueup status`"), "{told}");
        }
        assert!(help("doctor", None, None).ends_with("which none of their `hosts` is"));
    }

    /// The host's own shell says it: where the copy is that SSH has brought there.
    #[test]
    fn the_program_is_looked_for_where_it_is_kept() {
        let room = tempfile::tempdir().unwrap();
        let rows = [
            (None, "/home/deploy/.cache/trueup/bin/0123"),
            (Some(""), "/home/deploy/.cache/trueup/bin/0123"),
            (Some("relative"), "/home/deploy/.cache/trueup/bin/0123"),
            (Some("/var/two words"), "/var/two words/trueup/bin/0123"),
        ];
        for (cache, expected) in rows {
            let mut sh = std::process::Command::new("/bin/sh");
            sh.args(["-c", &format!("printf %s {}", program(Some(SHA256)))]).current_dir(&room);
            sh.env_clear().env("HOME", "/home/deploy").env("PATH", room.path());
            cache.map(|cache| sh.env("XDG_CACHE_HOME", cache));
            assert_eq!(String::from_utf8(sh.output().unwrap().stdout).unwrap(), expected, "{cache:?}");
        }
    }

    #[test]
    fn hosts_in_a_file_of_their_own_have_to_be_there_as_well() {
        let one = Elsewhere {
            apps: vec!["shop".to_owned()],
            host: Some((HostName::new("web1").unwrap(), SshTarget::new("web1").unwrap())),
            manifest: Some("ops/shop.yaml".to_owned()),
            hosts: Some("ops/hosts.list".to_owned()),
            names: vec!["laptop".to_owned()],
            trouble: Some("`/etc/trueup/agent.yaml` could not be used: cannot read it".to_owned()),
        };
        let told = one.said("suspend", Some(SHA256)).help.unwrap();
        let expected = "with `ops/shop.yaml` and `ops/hosts.list` copied to where they lie to each other as here: \
                        `ssh web1 'PROGRAM suspend --as web1 shop MANIFEST'`";
        assert!(told.ends_with(&expected.replace("PROGRAM", &program(Some(SHA256)))) && !told.contains('<'), "{told}");
        let called = "this host is called `laptop`, which none of their `hosts` is (`/etc/trueup/agent.yaml` could not be \
                       used: cannot read it); ";
        assert!(told.starts_with(called), "{told}");
    }

    #[test]
    fn what_is_told_stands_in_the_manifests() {
        let room = tempfile::tempdir().unwrap();
        let path = |name: &str| room.path().join(name);
        let (told, listed) = (path("shop.yaml").display().to_string(), path("hosts.list").display().to_string());
        std::fs::write(&listed, "- {name: web1, ssh: deploy@10.0.0.1}\n- name: web2\n").unwrap();
        for (hosts, file) in [("[{name: web1, ssh: deploy@10.0.0.1}]", None), ("{file: hosts.list}", Some(&listed))] {
            let text = format!(
                "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec: {{root: /srv/shop, release: {{id: r1}}, hosts: {hosts}}}\n"
            );
            std::fs::write(path("shop.yaml"), text).unwrap();
            let loaded = crate::manifest::load(&[path("shop.yaml")], &mut std::io::empty()).unwrap();
            let expected = Elsewhere {
                apps: vec!["shop".to_owned()],
                host: Some((HostName::new("web1").unwrap(), SshTarget::new("deploy@10.0.0.1").unwrap())),
                manifest: Some(told.clone()),
                hosts: file.cloned(),
                names: vec!["laptop".to_owned()],
                trouble: None,
            };
            assert_eq!(Elsewhere::new(&loaded, &["laptop".to_owned()], None), expected);
        }
    }
}
