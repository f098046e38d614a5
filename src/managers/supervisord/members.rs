//! Picks the members of one group out of all that supervisord runs, and numbers them.
//!
//! supervisord tells a process's group but not its program. It does insist that the names of one program's
//! processes differ in their number and in nothing else, so names that differ in more are several programs,
//! and their processes are not interchangeable. That takes no second request. Programs whose names differ
//! only in a number (`w1`, `w2`) cannot be told apart like that; before one of them is stopped for good,
//! their commands are compared too ([`same_work`]).

use std::cmp::Ordering;
use std::time::Duration;

use super::client::Info;
use crate::model::app::Supervisord;
use crate::ports::{HostError, HostErrorKind, Listed};

/// The members of the group, in the natural order of their names, numbered from 0.
///
/// # Errors
/// When supervisord has no such group or program, or the group mixes programs and the manifest names none.
pub(super) fn select(infos: &[Info], manager: &Supervisord) -> Result<Vec<Listed>, HostError> {
    let members = all_of(infos, manager)?;
    let names: Vec<&str> = members.iter().map(|info| info.name.as_str()).collect();
    if manager.program.is_none() && !one_program(&names) {
        return Err(mixed(&names, &manager.group));
    }
    members.into_iter().zip(0..).map(|(info, ordinal)| listed(info, ordinal)).collect()
}

/// All processes of the group, or of the program that is named, in the natural order of their names.
///
/// # Errors
/// When supervisord has no such group or program.
pub(super) fn all_of<'a>(infos: &'a [Info], manager: &Supervisord) -> Result<Vec<&'a Info>, HostError> {
    let mut members: Vec<&Info> = infos.iter().filter(|info| info.group == manager.group).collect();
    if members.is_empty() {
        return Err(unknown_group(infos, &manager.group));
    }
    members.sort_by(|a, b| natural(&a.name, &b.name));
    if let Some(program) = &manager.program {
        let names: Vec<&str> = members.iter().map(|info| info.name.as_str()).collect();
        if !names.iter().any(|name| belongs(name, program)) {
            return Err(unknown_program(&names, &manager.group, program));
        }
        members.retain(|info| belongs(&info.name, program));
    }
    Ok(members)
}

fn listed(info: &Info, ordinal: u32) -> Result<Listed, HostError> {
    Ok(Listed {
        member: info.member()?,
        ordinal,
        state: info.state,
        detail: info.detail.clone(),
        pid: info.pid,
        started: info.moment().map(|at| (at, Duration::from_secs(1))),
        enabled: None,
        outdated: false,
    })
}

/// Whether a process of this name is one of the program's.
pub(super) fn belongs(name: &str, program: &str) -> bool {
    name == program || program_of(name) == program
}

/// Whether commands differ in numbers at most, as those of one program with a `%(process_num)s` in it do.
pub(super) fn same_work<'a>(mut commands: impl Iterator<Item = &'a str>) -> bool {
    let Some(first) = commands.next() else { return true };
    let (shape, _) = shape(first);
    commands.all(|command| self::shape(command).0 == shape)
}

/// What a name has in common with those of the same program: without the number at its end, or at its start.
fn program_of(name: &str) -> &str {
    const JOINTS: [char; 3] = ['-', '_', '.'];
    let digit = |c: char| c.is_ascii_digit();
    let front = name.trim_end_matches(digit);
    let rest = if front.len() < name.len() {
        front.trim_end_matches(JOINTS)
    } else {
        let back = name.trim_start_matches(digit);
        if back.len() < name.len() { back.trim_start_matches(JOINTS) } else { name }
    };
    if rest.is_empty() { name } else { rest }
}

/// Whether names differ in one number only, which may stand in several places.
fn one_program(names: &[&str]) -> bool {
    let Some((first, rest)) = names.split_first() else { return true };
    let (shape, first_numbers) = shape(first);
    let others: Vec<_> = rest.iter().map(|name| self::shape(name)).collect();
    if others.iter().any(|(other, _)| *other != shape) {
        return false;
    }
    let differing: Vec<usize> = (0..first_numbers.len())
        .filter(|at| others.iter().any(|(_, numbers)| numbers.get(*at) != first_numbers.get(*at)))
        .collect();
    std::iter::once(&first_numbers).chain(others.iter().map(|(_, numbers)| numbers)).all(|numbers| {
        let mut varying = differing.iter().filter_map(|at| numbers.get(*at));
        let number = varying.next();
        varying.all(|other| Some(other) == number)
    })
}

/// A text with `#` for each number in it, and the numbers, without leading zeros.
fn shape(text: &str) -> (String, Vec<&str>) {
    let (mut shape, mut numbers, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        shape.push_str(before);
        shape.push('#');
        numbers.push(number.trim_start_matches('0'));
        rest = after;
    }
    shape.push_str(rest);
    (shape, numbers)
}

/// `w_2` before `w_10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (a_shape, a_numbers) = shape(a);
    let (b_shape, b_numbers) = shape(b);
    // Without leading zeros the longer number is the greater one.
    let keys = |numbers: &[&str]| numbers.iter().map(|n| (n.len(), (*n).to_owned())).collect::<Vec<_>>();
    a_shape.cmp(&b_shape).then_with(|| keys(&a_numbers).cmp(&keys(&b_numbers))).then_with(|| a.cmp(b))
}

fn programs(names: &[&str]) -> Vec<String> {
    let mut programs: Vec<String> = names.iter().map(|name| program_of(name).to_owned()).collect();
    programs.sort();
    programs.dedup();
    programs
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn nearest<'a>(wanted: &str, words: &'a [String]) -> Option<&'a String> {
    let distance = |word: &&String| strsim::damerau_levenshtein(wanted, word);
    words.iter().min_by_key(distance).filter(|word| distance(word) <= 1 + wanted.chars().count() / 3)
}

fn mixed(names: &[&str], group: &str) -> HostError {
    let programs = programs(names);
    let message = format!(
        "supervisord's group `{group}` mixes several programs ({}), whose processes are not interchangeable",
        quoted(&programs)
    );
    let example = programs.first().map_or("NAME", String::as_str);
    HostError::new(HostErrorKind::Misconfigured, message).with_help(format!(
        "name one with `program:` beside `group:` (such as `program: {example}`), and write one worker group for each"
    ))
}

fn unknown_program(names: &[&str], group: &str, program: &str) -> HostError {
    let programs = programs(names);
    let message = format!("supervisord's group `{group}` has no program `{program}`, only {}", quoted(&programs));
    let error = HostError::new(HostErrorKind::Misconfigured, message);
    match nearest(program, &programs) {
        Some(near) => error.with_help(format!("did you mean `{near}`?")),
        None => error.with_help("set `program:` to one of these"),
    }
}

fn unknown_group(infos: &[Info], group: &str) -> HostError {
    let mut groups: Vec<String> = infos.iter().map(|info| info.group.clone()).collect();
    groups.sort();
    groups.dedup();
    let known = if groups.is_empty() { "it has none at all".to_owned() } else { format!("only {}", quoted(&groups)) };
    let remedy =
        format!("if it is new in supervisord's configuration: `supervisorctl reread && supervisorctl update {group}`");
    let help = match nearest(group, &groups) {
        Some(near) => format!("did you mean `{near}`? Otherwise, {remedy}"),
        None => remedy,
    };
    HostError::new(HostErrorKind::Misconfigured, format!("supervisord has no group `{group}`, {known}")).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::MemberState;
    use crate::model::process::Pid;

    fn info(group: &str, name: &str) -> Info {
        Info {
            group: group.to_owned(),
            name: name.to_owned(),
            state: MemberState::Running,
            detail: String::new(),
            pid: Some(Pid(7)),
            started: Some(1_700_000_000),
        }
    }

    fn manager(group: &str, program: Option<&str>) -> Supervisord {
        Supervisord {
            group: group.to_owned(),
            program: program.map(str::to_owned),
            socket: None,
            username: None,
            password: None,
        }
    }

    fn names(names: &[&str], program: Option<&str>) -> Result<Vec<String>, HostError> {
        let mut infos: Vec<Info> = names.iter().map(|name| info("g", name)).collect();
        infos.push(info("other", "x_00"));
        let listed = select(&infos, &manager("g", program))?;
        let ordinals: Vec<u32> = listed.iter().map(|one| one.ordinal).collect();
        assert_eq!(ordinals, (0..).take(listed.len()).collect::<Vec<u32>>());
        Ok(listed.into_iter().map(|one| one.member.as_str().trim_start_matches("g:").to_owned()).collect())
    }

    #[test]
    fn members_in_natural_order() {
        let rows: [(&[&str], Option<&str>, &[&str]); 10] = [
            (&["g"], None, &["g"]),
            (&["g_10", "g_9", "g_00"], None, &["g_00", "g_9", "g_10"]),
            (&["g_99", "g_100"], None, &["g_99", "g_100"]),
            (&["01", "00"], None, &["00", "01"]),
            (&["1-w", "0-w"], None, &["0-w", "1-w"]),
            (&["w1-p8001", "w0-p8000"], Some("w"), &[]),
            (&["w1-of-1", "w0-of-0"], None, &["w0-of-0", "w1-of-1"]),
            (&["a_00", "b_00", "a_01"], Some("a"), &["a_00", "a_01"]),
            (&["a", "b"], Some("b"), &["b"]),
            (&["w1", "w2"], Some("w1"), &["w1"]),
        ];
        for (given, program, wanted) in rows {
            match names(given, program) {
                Ok(found) => assert_eq!(found, wanted, "{given:?}"),
                Err(error) => assert!(wanted.is_empty(), "{given:?}: {error}"),
            }
        }
    }

    #[test]
    fn names_that_differ_in_more_than_a_number_are_several_programs() {
        let rows: [(&[&str], bool); 8] = [
            (&["w_00", "w_01"], true),
            (&["high_00", "low_00"], false),
            (&["a", "b"], false),
            (&["laravel2-worker_00", "laravel2-worker_01"], true),
            (&["laravel2_00", "laravel2_01", "laravel3_00", "laravel3_01"], false),
            (&["w", "w_1"], false),
            (&["w_0-0", "w_1-1"], true),
            (&["only"], true),
        ];
        for (names, one) in rows {
            assert_eq!(one_program(names), one, "{names:?}");
        }
    }

    #[test]
    fn a_mixed_group_names_its_programs() {
        let error = names(&["high_00", "high_01", "low_00"], None).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert!(error.message.contains("(`high`, `low`)"), "{error}");
        assert!(error.help.unwrap().contains("program: high"));
        let error = names(&["high_00", "low_00"], Some("hihg")).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `high`?"));
    }

    #[test]
    fn a_service_may_be_a_group_of_several_programs() {
        let infos = [info("web", "fpm"), info("other", "x"), info("web", "caddy")];
        let all = |program| {
            let found = all_of(&infos, &manager("web", program))?;
            Ok::<_, HostError>(found.into_iter().map(Info::full_name).collect::<Vec<_>>())
        };
        assert_eq!(all(None).unwrap(), ["web:caddy", "web:fpm"]);
        assert_eq!(all(Some("fpm")).unwrap(), ["web:fpm"]);
        assert!(all(Some("fmp")).unwrap_err().help.unwrap().contains("`fpm`"));
    }

    #[test]
    fn an_unknown_group_names_the_known_ones_and_the_remedy() {
        let infos = [info("web-worker", "web-worker_00"), info("mail", "mail")];
        let error = select(&infos, &manager("web-wroker", None)).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Misconfigured);
        assert_eq!(error.message, "supervisord has no group `web-wroker`, only `mail`, `web-worker`");
        let help = error.help.unwrap();
        assert!(help.contains("did you mean `web-worker`?"), "{help}");
        assert!(help.contains("`supervisorctl reread && supervisorctl update web-wroker`"), "{help}");
        assert!(select(&[], &manager("x", None)).unwrap_err().message.ends_with("it has none at all"));
    }

    #[test]
    fn commands_of_one_program_differ_in_numbers_at_most() {
        assert!(same_work(["php artisan --port=8000", "php artisan --port=8001"].into_iter()));
        assert!(!same_work(["php artisan --queue=high", "php artisan --queue=low"].into_iter()));
        assert!(same_work(std::iter::empty()));
    }
}
