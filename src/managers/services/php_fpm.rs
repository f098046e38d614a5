//! What is to be known of php-fpm: how it is recognised, and the setting that makes its reloads drop requests.
//!
//! With `process_control_timeout = 0`, php-fpm's own default, a reload kills processes in the middle of a request.
//! The setting is a global one; included files may set it, too (`[global]` in a file of `pool.d`).

use std::path::{Path, PathBuf};

use crate::host::config::pattern::matches;
use crate::host::config::sections::{self, Dialect};
use crate::host::users::User;
use crate::model::facts::{CONTROL_TIMEOUT, Fpm, drops_requests};
use crate::model::process::{Known, ProcessSummary};

/// Where php-fpm's configuration is when its command line does not say.
const PLACES: [&str; 2] = ["/etc/php-fpm.conf", "/usr/local/etc/php-fpm.conf"];

/// Whether this is the command line of php-fpm's main process.
pub(in crate::managers) fn is_main(command: &[String]) -> bool {
    let Some(program) = command.first() else { return false };
    let word = program.split([' ', ':']).next().unwrap_or_default();
    let name = word.rsplit('/').next().unwrap_or_default();
    name.starts_with("php-fpm") && !program.contains(": pool ")
}

/// Warns if a reload of this process drops requests; nothing where that cannot be read. Blocks.
pub(in crate::managers) fn warning(main: &ProcessSummary) -> Option<String> {
    if !is_main(&main.command) {
        return None;
    }
    let path = place(&main.command)?;
    let read = sections::read(&path, Dialect::Php);
    // A file that cannot be read tells nothing.
    (!read.sections.is_empty() && drops_requests(&read)).then(|| {
        format!(
            "a reload drops the requests in hand: set `{CONTROL_TIMEOUT} = 10s` in the section `[global]` of `{}`",
            path.display()
        )
    })
}

/// The configuration of the php-fpm with this command line: `php.ini` is beside it where Debian puts it. Blocks.
pub(in crate::managers) fn configured(command: &[String]) -> Option<Fpm> {
    let path = place(command)?;
    let configuration = sections::read(&path, Dialect::Php);
    let beside = path.parent().unwrap_or(Path::new("/"));
    let ini = beside.join("php.ini");
    let further = matches(&beside.join("conf.d/*.ini"));
    let files: Vec<&Path> = std::iter::once(ini.as_path()).chain(further.iter().map(PathBuf::as_path)).collect();
    let ini = ini.exists().then(|| sections::read_all(files, Dialect::Php));
    let users = configuration.sections.iter().filter_map(|pool| pool.get("user"));
    let groups = |name: &str| match User::named(name) {
        Ok(user) => Known::Known(user.groups),
        Err(error) => Known::Unknown(error.message),
    };
    let groups = users.map(|user| (user.value.clone(), groups(&user.value))).collect();
    Some(Fpm { configuration, ini, groups })
}

fn place(command: &[String]) -> Option<PathBuf> {
    let named = configuration(command).filter(|path| path.is_absolute());
    named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// The configuration's file, as the command line names it.
fn configuration(command: &[String]) -> Option<PathBuf> {
    let title = command.first()?.trim_end();
    if let Some((_, rest)) = title.split_once("master process (") {
        return Some(PathBuf::from(rest.strip_suffix(')')?));
    }
    // As it is written until php-fpm gives itself a title.
    let mut arguments = command.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--fpm-config" || argument == "-y" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.strip_prefix("--fpm-config=") {
            return Some(PathBuf::from(path));
        }
    }
    // Debian's programs bear their version in their name.
    let version = title.rsplit('/').next()?.strip_prefix("php-fpm")?;
    let numbered = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    numbered.then(|| PathBuf::from(format!("/etc/php/{version}/fpm/php-fpm.conf")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::process::{Pid, ProcessId, StartTicks};

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_main_process_is_known_by_its_title_or_program() {
        let rows: [(&[&str], bool, Option<&str>); 11] = [
            (
                &["php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)                "],
                true,
                Some("/etc/php/8.2/fpm/php-fpm.conf"),
            ),
            (&["/usr/sbin/php-fpm8.2", "--nodaemonize", "--fpm-config", "/srv/fpm.conf"], true, Some("/srv/fpm.conf")),
            (&["php-fpm", "-F", "-y", "/srv/fpm.conf"], true, Some("/srv/fpm.conf")),
            (&["php-fpm", "--fpm-config=/srv/fpm.conf"], true, Some("/srv/fpm.conf")),
            (&["/usr/sbin/php-fpm8.2", "-F"], true, Some("/etc/php/8.2/fpm/php-fpm.conf")),
            (&["/usr/sbin/php-fpm", "--nodaemonize"], true, None),
            (&["php-fpm: master process (/a (b)/c.conf)"], true, Some("/a (b)/c.conf")),
            (&["php-fpm: pool www"], false, None),
            (&["php", "/srv/php-fpm/artisan"], false, None),
            (&["nginx: master process /usr/sbin/nginx"], false, None),
            (&[], false, None),
        ];
        for (command, main, path) in rows {
            let command = words(command);
            assert_eq!(is_main(&command), main, "{command:?}");
            if main {
                assert_eq!(configuration(&command), path.map(PathBuf::from), "{command:?}");
            }
        }
    }

    #[test]
    fn it_warns_only_of_a_timeout_that_is_nought() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("php-fpm.conf");
        let pools = directory.path().join("pool.d");
        std::fs::create_dir(&pools).unwrap();
        let include = format!("include={}/*.conf\n", pools.display());
        let rows = [
            // Debian's own.
            (";process_control_timeout = 0\n".to_owned() + &include, "[www]\npm = dynamic\n", true),
            ("[global]\nprocess_control_timeout = 10s\n".to_owned() + &include, "[www]\n", false),
            ("[global]\nprocess_control_timeout=\"1m\" ; long\n".to_owned(), "", false),
            ("[global]\nprocess_control_timeout = 0s\n".to_owned(), "", true),
            ("[global]\nprocess_control_timeout = 00\n".to_owned(), "", true),
            // A setting of a pool means nothing.
            ("[www]\nprocess_control_timeout = 10\n".to_owned(), "", true),
            ("process_control_timeout = 10\n".to_owned(), "", false),
            (include.clone(), "[global]\nprocess_control_timeout = 5\n", false),
            ("process_control_timeout = 10\n".to_owned() + &include, "[global]\nprocess_control_timeout = 0\n", true),
            // A comment at the end of the setting's line, and one that holds it.
            ("[global]\nprocess_control_timeout = 10s;x\n; process_control_timeout = 0\n".to_owned(), "", false),
        ];
        for (text, pool, warns) in rows {
            std::fs::write(&path, format!("[global]\npid = /run/x\n{text}")).unwrap();
            std::fs::write(pools.join("a.conf"), pool).unwrap();
            let said = warning(&main(&format!("php-fpm: master process ({})", path.display())));
            assert_eq!(said.is_some(), warns, "{text}{pool}: {said:?}");
            if let Some(said) = said {
                assert!(said.contains("`process_control_timeout = 10s`"), "{said}");
                assert!(said.contains(&*path.to_string_lossy()), "{said}");
            }
        }
        let absent = directory.path().join("absent.conf");
        assert_eq!(warning(&main(&format!("php-fpm: master process ({})", absent.display()))), None);
        assert_eq!(warning(&main("nginx: master process")), None);
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("php-fpm.conf");
        std::fs::write(&path, format!("include={}/*.conf\n", directory.path().display())).unwrap();
        assert!(warning(&main(&format!("php-fpm: master process ({})", path.display()))).is_some());
    }

    fn main(title: &str) -> ProcessSummary {
        ProcessSummary {
            id: ProcessId { pid: Pid(7), start_ticks: StartTicks(7) },
            parent: Pid(1),
            session: Pid(7),
            uid: 0,
            terminal: false,
            started: Timestamp::UNIX_EPOCH,
            zombie: false,
            command: words(&[title]),
            cwd: Known::Unknown(String::new()),
            executable: Known::Unknown(String::new()),
        }
    }
}
