//! The programs that the manifest's commands begin with, and whether those who run them have them.

use crate::model::app::{App, CommandLine, Manager};
use crate::model::facts::{AppFacts, Program};
use crate::model::finding::{Finding, Severity};
use crate::model::health::Probe;
use crate::model::process::Known;
use crate::model::release::{Source, Stage};

const CHECK: &str = "programs";
/// What a shell does by itself.
const OF_THE_SHELL: [&str; 48] = [
    ".", ":", "[", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif",
    "else", "esac", "eval", "exec", "exit", "export", "false", "fg", "fi", "for", "function", "getopts", "hash", "if",
    "in", "jobs", "kill", "local", "printf", "pwd", "read", "return", "set", "shift", "test", "then", "trap", "true",
    "ulimit", "umask", "unset", "wait", "while",
];

/// What has to be looked for.
#[must_use]
pub fn needed(app: &App) -> Vec<Program> {
    let mut found: Vec<Program> = Vec::new();
    let mut add = |name: &str, user: Option<String>, by: String| match found
        .iter_mut()
        .find(|one| one.name == name && one.user == user)
    {
        Some(known) if known.needed_by.contains(&by) => {}
        Some(known) => known.needed_by.push(by),
        None => {
            let there = Known::Unknown("it was not looked for".to_owned());
            found.push(Program { name: name.to_owned(), user, needed_by: vec![by], there });
        }
    };
    if let Some(Source::Git { .. }) = app.release.source {
        add("git", None, "release.source".to_owned());
    }
    for stage in
        [Stage::Build, Stage::Verify, Stage::Migrate, Stage::BeforeSwitch, Stage::AfterSwitch, Stage::AfterRollback]
    {
        for step in stage.steps(&app.release) {
            let user = step.user.as_ref().map(ToString::to_string);
            // A step that sets its own search path knows better than we do.
            if !step.env.contains_key("PATH") {
                for name in programs(&step.run) {
                    add(&name, user.clone(), stage.word().to_owned());
                }
            }
        }
    }
    for group in &app.workers {
        let builtin = match &group.manager {
            Manager::Builtin(builtin) if !builtin.env.contains_key("PATH") => Some(&builtin.run),
            Manager::Builtin(_) | Manager::Supervisord(_) | Manager::Systemd(_) => None,
        };
        let drain = group.drain.as_ref().map(|drain| &drain.run);
        for name in builtin.into_iter().chain(drain).flat_map(programs) {
            add(&name, None, format!("workers `{}`", group.name));
        }
    }
    for (whose, file) in app.restart_ons() {
        let who = if app.group(whose).is_some() { "workers" } else { "service" };
        for name in file.run.iter().flat_map(programs) {
            add(&name, None, format!("{who} `{whose}`"));
        }
    }
    if let Some(Probe::Command { run }) = app.health.as_ref().map(|health| &health.probe) {
        for name in programs(run) {
            add(&name, None, "health".to_owned());
        }
    }
    found
}

pub(super) fn findings(facts: &AppFacts) -> Vec<Finding> {
    let judge = |program: &Program| {
        // That there is no such user is said already.
        let user = program.user.as_deref().or_else(|| facts.user.known().map(|person| person.name.as_str()))?;
        let (name, by) = (&program.name, program.needed_by.join(", "));
        Some(match &program.there {
            Known::Known(true) => Finding::ok(CHECK, format!("{user} has `{name}`")),
            Known::Known(false) => {
                Finding::new(CHECK, Severity::Error, format!("{user} has no `{name}`, which {by} runs"))
                    .why("the step fails, and keeps every release out")
                    .mend(mend(name, user))
            }
            Known::Unknown(why) => {
                let found = format!("whether {user} has `{name}`, which {by} runs, cannot be told: {why}");
                Finding::unknown(CHECK, found, format!("sudo -u {user} sh -c 'command -v {name}'"))
            }
        })
    };
    facts.programs.iter().filter_map(judge).collect()
}

fn mend(name: &str, user: &str) -> String {
    let package = match name {
        "php" => Some("php-cli"),
        "npm" | "npx" => Some("npm"),
        "node" => Some("nodejs"),
        "git" | "composer" | "make" | "rsync" | "curl" | "python3" | "ruby" | "yarn" => Some(name),
        _ => None,
    };
    match package {
        Some(package) => format!("apt-get install {package}"),
        None => format!(
            "sudo -u {user} sh -c 'command -v {name}'  # install it where the PATH of trueup has it, or name its \
             full path"
        ),
    }
}

/// The programs that a command begins, as far as that can be told without being a shell: none of its own, none that
/// are named by a variable, and none of the release.
fn programs(command: &CommandLine) -> Vec<String> {
    match command {
        CommandLine::Arguments(words) => words.first().filter(|word| is_plain(word)).cloned().into_iter().collect(),
        CommandLine::Shell(line) => {
            let is_complex = line.contains(['`', '(', ')', '{', '}', '\\']) || line.contains("<<");
            let end = if is_complex { line.find(['`', '(', '{', '\\', '<']).unwrap_or(0) } else { line.len() };
            let parts = separated(line.get(..end).unwrap_or_default());
            // What stands before something that is not understood may go on there.
            let sure = if is_complex { parts.len().saturating_sub(1) } else { parts.len() };
            parts.iter().take(sure).filter_map(|part| first_program(part)).collect()
        }
    }
}

/// The commands of a line, parted where no quotes are open.
fn separated(line: &str) -> Vec<String> {
    let (mut parts, mut part, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            ('#', None) if part.ends_with([' ', '\t']) || part.is_empty() => break,
            (';' | '|' | '&' | '\n', None) => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts
}

fn first_program(part: &str) -> Option<String> {
    let is_assignment = |word: &str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    let mut words = part
        .split_whitespace()
        .skip_while(|word| is_assignment(word) || matches!(*word, "exec" | "command" | "!" | "then" | "do" | "else"));
    let word = words.next()?;
    // What a redirection cuts off is none.
    (is_plain(word) && !OF_THE_SHELL.contains(&word)).then(|| word.to_owned())
}

/// A name to be looked for, or an absolute path.
fn is_plain(word: &str) -> bool {
    let is_name = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/'));
    is_name
        && !word.is_empty()
        && (word.starts_with('/') || !word.contains('/'))
        && !word.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_a_line() {
        let rows: [(&str, &[&str]); 14] = [
            ("composer install --no-dev", &["composer"]),
            ("npm ci && npm run build", &["npm", "npm"]),
            ("cd web; APP_ENV=production exec php artisan optimize | tee log", &["php", "tee"]),
            ("echo \"<?php\" >vendor/autoload.php", &[]),
            ("cat .env >/dev/null && echo $RELEASE_ID >built", &["cat"]),
            ("./vendor/bin/phpunit", &[]),
            ("vendor/bin/phpunit", &[]),
            ("/opt/tool/bin/tool x", &["/opt/tool/bin/tool"]),
            ("$TOOL x", &[]),
            ("php -r 'a; b && c'", &["php"]),
            ("if test -f x; then make; fi", &["make"]),
            ("git log; x=$(composer y) z", &["git"]),
            ("# nothing", &[]),
            ("", &[]),
        ];
        for (line, expected) in rows {
            assert_eq!(programs(&CommandLine::Shell(line.to_owned())), expected, "{line}");
        }
        let list = |words: &[&str]| CommandLine::Arguments(words.iter().map(|&word| word.to_owned()).collect());
        assert_eq!(programs(&list(&["php", "artisan"])), ["php"]);
        assert_eq!(programs(&list(&["bin/x"])), Vec::<String>::new());
    }
}
