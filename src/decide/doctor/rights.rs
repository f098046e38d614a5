//! Which way to the managers is open for who runs trueup.

use crate::model::facts::{AppFacts, ManagerAccess};
use crate::model::finding::{Finding, Severity};

const CHECK: &str = "rights";
/// So many missing rules are shown; `trueup sudoers` prints all.
const SHOWN: usize = 6;
/// Puts the rules in force, if they are right.
const RULES: &str = "new=$(mktemp) && trueup sudoers > \"$new\" && visudo -cf \"$new\" && \
    install -m 440 \"$new\" /etc/sudoers.d/trueup";

pub(super) fn findings(facts: &AppFacts) -> Vec<Finding> {
    facts.rights.iter().map(|right| of_door(&right.what, &right.door)).collect()
}

fn of_door(what: &str, door: &ManagerAccess) -> Finding {
    match door {
        ManagerAccess::Own => Finding::ok(CHECK, format!("{what}: nothing stands in the way")),
        ManagerAccess::Socket(path) => Finding::ok(CHECK, format!("{what}: by the socket `{}`", path.display())),
        ManagerAccess::Shut(why, help) => {
            let finding = Finding::new(CHECK, Severity::Error, format!("{what}: {why}"))
                .why("trueup can neither look at them nor change them");
            match help {
                Some(help) => finding.mend(help.clone()),
                None => finding,
            }
        }
        ManagerAccess::Unknown(why) => Finding::unknown(CHECK, format!("{what}: {why}"), "sudo -l"),
        ManagerAccess::Sudo { needed, refused, password } if refused.is_empty() && !password => {
            Finding::ok(CHECK, format!("{what}: by sudo, which allows all of {needed} commands"))
        }
        ManagerAccess::Sudo { refused, .. } if refused.is_empty() => {
            Finding::new(CHECK, Severity::Error, format!("{what}: sudo allows the commands, and asks for a password"))
                .why("nobody is there to type it")
                .mend(format!("# as root: `NOPASSWD:` in the rules\n{RULES}"))
        }
        ManagerAccess::Sudo { needed, refused, .. } => {
            let found = format!("{what}: sudo does not allow {} of {needed} commands", refused.len());
            let mut lines: Vec<String> =
                refused.iter().take(SHOWN).map(|one| format!("# missing: NOPASSWD: {one}")).collect();
            if refused.len() > SHOWN {
                lines.push(format!("# and {} more", refused.len() - SHOWN));
            }
            lines.push(format!("# as root:\n{RULES}"));
            Finding::new(CHECK, Severity::Error, found)
                .why("a pass looks, and then cannot change what differs (unless polkit lets this user manage units)")
                .mend(lines.join("\n"))
        }
    }
}
