//! What the command of a worker tells: which release it would run, and how long its jobs may take.

use std::time::Duration;

use crate::model::names::Root;

/// Laravel's own limit for a job, where the command line names none.
const LARAVEL_JOB: u64 = 60;

/// How long one job may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    /// The limit.
    pub(super) length: Duration,
    /// The command line names it; else it is Laravel's own.
    pub(super) said: bool,
}

impl Job {
    /// In whole seconds.
    pub(super) fn seconds(self) -> u64 {
        seconds(self.length)
    }

    /// How long, and who says so.
    pub(super) fn words(self) -> String {
        let by = if self.said { "its `--timeout`" } else { "Laravel's default: it has no `--timeout`" };
        format!("a job may take {} s ({by})", self.seconds())
    }
}

/// How long one job may take by the worker's own limit (`artisan queue:work --timeout=`); none where nothing says so.
pub(super) fn job_timeout(command: &str) -> Option<Job> {
    let words: Vec<&str> = command.split_whitespace().collect();
    if !words.iter().any(|word| matches!(*word, "queue:work" | "queue:listen")) {
        return None;
    }
    let named = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--timeout") {
        Some("") => words.get(at + 1).copied(),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    // 0 is for ever.
    let seconds = named.map_or(Some(LARAVEL_JOB), |text| text.trim_matches(['"', '\'']).parse().ok());
    let length = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)?;
    Some(Job { length, said: named.is_some() })
}

/// The release that a text names by its directory, and so never leaves.
pub(super) fn fixed_release<'a>(root: &Root, text: &'a str) -> Option<&'a str> {
    let releases = format!("{}/", root.releases().display());
    let (_, rest) = text.split_once(releases.as_str())?;
    let end = rest.find(['/', ' ', '"', '\'', ';']).unwrap_or(rest.len());
    rest.get(..end).filter(|id| !id.is_empty() && !id.contains(['$', '%']))
}

/// Whether a text names something behind `ROOT/current`.
pub(super) fn is_through_current(root: &Root, text: &str) -> bool {
    let current = root.current().display().to_string();
    let ends = |rest: &str| rest.chars().next().is_none_or(|c| matches!(c, '/' | ' ' | '"' | '\'' | ';'));
    text.match_indices(&current).any(|(at, _)| text.get(at + current.len()..).is_some_and(ends))
}

/// Whether it is a shell that stays between the manager and the worker.
pub(super) fn is_wrapper(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
    matches!(program, "sh" | "bash" | "dash" | "ash" | "ksh" | "zsh") && !command.contains("exec ")
}

/// A length of time as manifests and configuration files write it: whole seconds.
pub(super) fn seconds(length: Duration) -> u64 {
    length.as_secs() + u64::from(length.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_take_as_long_as_the_command_line_says() {
        let rows = [
            ("php artisan queue:work", Some(60)),
            ("php artisan queue:work redis --timeout=90 --tries=3", Some(90)),
            ("php artisan queue:work --timeout 120", Some(120)),
            ("php artisan queue:work --timeout=0", None),
            ("php artisan horizon --timeout=90", None),
            ("python3 worker.py --timeout=90", None),
        ];
        for (command, expected) in rows {
            let job = job_timeout(command);
            assert_eq!(job.map(Job::seconds), expected, "{command}");
            assert!(job.is_none_or(|job| job.said == command.contains("--timeout")), "{command}");
        }
    }

    #[test]
    fn what_a_text_names_of_a_root() {
        let root = Root::new("/srv/app").unwrap();
        let rows = [
            ("php /srv/app/current/artisan", None, true),
            ("/srv/app/current", None, true),
            ("/srv/app/current2/x", None, false),
            ("php /srv/app/releases/r1/artisan x", Some("r1"), false),
            ("/srv/app/releases/$id/x", None, false),
            ("/srv/other/current", None, false),
        ];
        for (text, fixed, through) in rows {
            assert_eq!((fixed_release(&root, text), is_through_current(&root, text)), (fixed, through), "{text}");
        }
    }

    #[test]
    fn a_shell_is_a_wrapper_unless_it_gives_way() {
        let rows =
            [("sh -c 'php a'", true), ("/bin/bash run.sh", true), ("sh -c 'exec php a'", false), ("php a", false)];
        for (command, expected) in rows {
            assert_eq!(is_wrapper(command), expected, "{command}");
        }
    }
}
