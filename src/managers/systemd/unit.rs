//! systemd's words for a unit, turned into ours.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::app::TemplateUnit;
use crate::model::observed::MemberState;
use crate::model::process::Pid;

/// One line of systemd's list of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Its full name.
    pub(super) name: String,
    /// `loaded`, `not-found`, `masked`, …
    pub(super) load: String,
    /// `active`, `activating`, `failed`, …
    pub(super) active: String,
    /// `running`, `auto-restart`, `dead`, …
    pub(super) sub: String,
    /// Its place on the bus.
    pub(super) path: String,
}

impl Loaded {
    /// Only its name is known, because something refers to it.
    pub(super) fn is_missing(&self) -> bool {
        self.load == "not-found" && self.active == "inactive"
    }

    /// It does nothing, and nothing went wrong.
    pub(super) fn is_idle(&self) -> bool {
        self.active == "inactive"
    }
}

/// What is asked of every listed unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Its main process.
    pub(super) main_process: Option<Pid>,
    /// When that started, and how exact that is.
    pub(super) started: Option<(Timestamp, Duration)>,
    /// `success`, `exit-code`, `start-limit-hit`, …
    pub(super) result: String,
}

/// What is asked of a unit that is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Details {
    /// `loaded`, `not-found`, `masked`, …
    pub(super) load: String,
    /// `active`, `activating`, `failed`, …
    pub(super) active: String,
    /// `running`, `auto-restart`, `dead`, …
    pub(super) sub: String,
    /// `success`, `exit-code`, `start-limit-hit`, …
    pub(super) result: String,
    /// `simple`, `notify`, …
    pub(super) kind: String,
    /// Its main process.
    pub(super) main_process: Option<Pid>,
    /// How the last main process ended: 1 by itself, 2 or 3 by a signal; 0 while it lives.
    pub(super) exit_code: i32,
    /// Its exit status or signal.
    pub(super) exit_status: i32,
}

impl Details {
    /// systemd has no file for it.
    pub(super) fn is_missing(&self) -> bool {
        self.load == "not-found"
    }

    /// Its process does its work.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing") && self.sub != "exited"
    }

    /// Nothing runs, nothing will.
    pub(super) fn is_down(&self) -> bool {
        self.active == "inactive"
    }

    /// systemd has given it up.
    pub(super) fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// Its old process is asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.active == "deactivating"
    }

    /// Its process is gone, and systemd pauses before it starts the next one.
    pub(super) fn is_between_tries(&self) -> bool {
        self.sub.starts_with("auto-restart")
    }

    /// It was started too often in too short a time.
    pub(super) fn hit_start_limit(&self) -> bool {
        self.result == "start-limit-hit"
    }

    /// systemd calls it active as soon as it was forked, whatever becomes of it.
    pub(super) fn is_taken_on_trust(&self) -> bool {
        matches!(self.kind.as_str(), "simple" | "exec" | "idle")
    }

    /// Where it stands and why, for people.
    pub(super) fn words(&self) -> String {
        if self.is_missing() {
            return "not found".to_owned();
        }
        let result = if self.result == "success" { String::new() } else { format!(", {}", self.result) };
        let end = match self.exit_code {
            1 => format!(", exit status {}", self.exit_status),
            2 | 3 => format!(", killed by signal {}", self.exit_status),
            _ => String::new(),
        };
        format!("{} ({}){result}{end}", self.active, self.sub)
    }
}

/// What is asked of a unit that serves the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serving {
    /// What is asked of any unit.
    pub(super) details: Details,
    /// It has an `ExecReload`, or another way.
    pub(super) can_reload: bool,
    /// How its last reload ended: `success`, `exit-code`, …; `success` also before the first one.
    pub(super) reload_result: String,
    /// When its main process started.
    pub(super) started: Option<Timestamp>,
    /// When it became active, by a start or restart.
    pub(super) entered: Option<Timestamp>,
    /// When its state changed last.
    pub(super) changed: Option<Timestamp>,
}

impl Serving {
    /// When systemd last completed a start or reload of it.
    ///
    /// What runs and ran before changes its state only by reloading; a reload that failed renewed nothing, and
    /// one that is under way has nothing to show yet.
    pub(super) fn completed(&self) -> Option<Timestamp> {
        let settled = self.details.active == "active" && self.details.sub == "running";
        let reloaded = self.changed.filter(|_| settled && self.reload_result == "success");
        self.entered.max(reloaded).filter(|_| self.details.is_up())
    }
}

/// Our word for a state, and systemd's own.
pub(super) fn state(active: &str, sub: &str, result: &str) -> (MemberState, String) {
    let state = match (active, sub) {
        ("active", "exited") => MemberState::Exited,
        ("active" | "reloading" | "refreshing", _) => MemberState::Running,
        ("activating", sub) if sub.starts_with("auto-restart") => MemberState::Backoff,
        ("activating", _) => MemberState::Starting,
        ("deactivating", _) => MemberState::Stopping,
        ("inactive", _) if result == "success" => MemberState::Stopped,
        ("inactive", _) => MemberState::Exited,
        ("failed", _) => MemberState::Failed,
        _ => MemberState::Unknown,
    };
    let detail = match (sub == active, result) {
        (true, "success") => active.to_owned(),
        (false, "success") => format!("{active} ({sub})"),
        (true, result) => format!("{active}: {result}"),
        (false, result) => format!("{active} ({sub}): {result}"),
    };
    (state, detail)
}

/// Whether a unit file in this state is started after a reboot; none where it cannot be enabled at all.
pub(super) fn comes_back(file_state: &str) -> Option<bool> {
    match file_state {
        "enabled" => Some(true),
        "enabled-runtime" | "linked" | "linked-runtime" | "disabled" | "indirect" => Some(false),
        _ => None,
    }
}

/// Whether there is something to disable.
pub(super) fn is_enabled(file_state: &str) -> bool {
    matches!(file_state, "enabled" | "enabled-runtime")
}

/// The pattern that matches all instances of a template, and perhaps more.
pub(super) fn pattern(template: &TemplateUnit) -> String {
    // A backslash in a name (`\x2d`) would quote the next character.
    template.template().replace('\\', "\\\\").replace("@.service", "@*.service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_their_meaning() {
        use MemberState as S;
        let rows = [
            ("active", "running", "success", S::Running, "active (running)"),
            ("active", "exited", "success", S::Exited, "active (exited)"),
            ("reloading", "reload", "success", S::Running, "reloading (reload)"),
            ("activating", "start", "success", S::Starting, "activating (start)"),
            ("activating", "start-pre", "success", S::Starting, "activating (start-pre)"),
            ("activating", "auto-restart", "exit-code", S::Backoff, "activating (auto-restart): exit-code"),
            ("deactivating", "stop-sigterm", "success", S::Stopping, "deactivating (stop-sigterm)"),
            ("inactive", "dead", "success", S::Stopped, "inactive (dead)"),
            ("inactive", "dead", "exec-condition", S::Exited, "inactive (dead): exec-condition"),
            ("failed", "failed", "start-limit-hit", S::Failed, "failed: start-limit-hit"),
            ("maintenance", "x", "success", S::Unknown, "maintenance (x)"),
        ];
        for (active, sub, result, expected, detail) in rows {
            assert_eq!(state(active, sub, result), (expected, detail.to_owned()), "{active} {sub}");
        }
    }

    #[test]
    fn only_what_survives_a_reboot_is_enabled() {
        let rows = [
            ("enabled", Some(true)),
            ("enabled-runtime", Some(false)),
            ("disabled", Some(false)),
            ("static", None),
            ("transient", None),
        ];
        for (file_state, expected) in rows {
            assert_eq!(comes_back(file_state), expected, "{file_state}");
        }
    }

    #[test]
    fn patterns_take_names_literally() {
        let rows = [("w@", "w@*.service"), (r"my\x2dapp@", r"my\\x2dapp@*.service")];
        for (template, expected) in rows {
            assert_eq!(pattern(&TemplateUnit::new(template).unwrap()), expected);
        }
    }

    #[test]
    fn only_a_reload_that_was_completed_renews() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let rows = [
            ("active", "running", "success", at(9)),
            ("active", "running", "exit-code", at(5)),
            ("reloading", "reload", "success", at(5)),
            ("active", "exited", "success", None),
            ("failed", "failed", "success", None),
        ];
        for (active, sub, reload_result, expected) in rows {
            let details = Details { active: active.to_owned(), sub: sub.to_owned(), ..details() };
            let (can_reload, reload_result) = (true, reload_result.to_owned());
            let serving =
                Serving { details, can_reload, reload_result, started: at(4), entered: at(5), changed: at(9) };
            assert_eq!(serving.completed(), expected, "{active} {sub}");
        }
    }

    fn details() -> Details {
        Details {
            load: "loaded".to_owned(),
            active: "failed".to_owned(),
            sub: "failed".to_owned(),
            result: "exit-code".to_owned(),
            kind: "simple".to_owned(),
            main_process: None,
            exit_code: 1,
            exit_status: 3,
        }
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        let mut details = details();
        assert_eq!(details.words(), "failed (failed), exit-code, exit status 3");
        details.result = "signal".to_owned();
        (details.exit_code, details.exit_status) = (2, 9);
        assert_eq!(details.words(), "failed (failed), signal, killed by signal 9");
    }
}
