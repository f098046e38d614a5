//! What supervisord answers over XML-RPC, turned into our own words.

use std::time::Duration;

use dxr::{Fault, FaultResponse, MethodResponse, TryFromValue, Value};

use super::client::{Info, Settings, StopSignal, since};
use crate::model::observed::MemberState;
use crate::model::process::Pid;

/// How many lines of a worker's log are shown.
const LOG_LINES: usize = 10;

/// What one program of the configuration says.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Its group.
    pub(super) group: String,
    /// The name of the process in the group.
    pub(super) name: String,
    /// Its command, expanded.
    pub(super) command: String,
    /// How it is to be treated.
    pub(super) settings: Settings,
}

/// The fault or the value in an answer. Text in it is escaped, so a bare `<fault>` is one.
pub(super) fn parse(body: &str) -> Result<Result<Value, Fault>, dxr::Error> {
    if body.contains("<fault>") {
        return FaultResponse::from_xml(body).map(|response| Err(response.fault));
    }
    MethodResponse::from_xml(body).map(|response| Ok(response.value))
}

/// The last few lines of a log, without what a terminal would act on.
pub(super) fn last_lines(text: &str) -> String {
    let clean: String = text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
    let lines: Vec<&str> = clean.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

/// What `getProcessInfo` says of one process, as far as we use it.
#[derive(Debug, TryFromValue)]
pub(super) struct ProcessInfo {
    group: String,
    name: String,
    state: i32,
    description: String,
    spawnerr: String,
    exitstatus: i32,
    pid: i32,
    start: i32,
}

impl From<ProcessInfo> for Info {
    fn from(info: ProcessInfo) -> Self {
        let state = match info.state {
            0 => MemberState::Stopped,
            10 => MemberState::Starting,
            20 => MemberState::Running,
            30 => MemberState::Backoff,
            40 => MemberState::Stopping,
            100 => MemberState::Exited,
            200 => MemberState::Failed,
            _ => MemberState::Unknown,
        };
        let detail = match state {
            // An uptime would differ at every look.
            MemberState::Running | MemberState::Starting | MemberState::Stopping => String::new(),
            MemberState::Exited if info.spawnerr.is_empty() => format!("exit status {}", info.exitstatus),
            MemberState::Exited => info.spawnerr,
            MemberState::Stopped => since(&info.description),
            _ => info.description,
        };
        let pid = u32::try_from(info.pid).ok().filter(|pid| *pid != 0).map(Pid);
        let started = pid.map(|_| i64::from(info.start));
        Self { group: info.group, name: info.name, state, detail, pid, started }
    }
}

/// What `getAllConfigInfo` says of one process, as far as we use it.
#[derive(Debug, TryFromValue)]
pub(super) struct ConfigInfo {
    group: String,
    name: String,
    command: String,
    stopsignal: i32,
    stopwaitsecs: i32,
    startsecs: i32,
}

impl From<ConfigInfo> for Program {
    fn from(config: ConfigInfo) -> Self {
        let seconds = |number: i32| Duration::from_secs(u64::try_from(number).unwrap_or_default());
        let settings = Settings {
            stop_signal: StopSignal(config.stopsignal),
            stop_wait: seconds(config.stopwaitsecs),
            start_time: seconds(config.startsecs),
        };
        Self { group: config.group, name: config.name, command: config.command, settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As supervisord 4.2.5 writes it.
    fn process(state: i32, pid: i32, description: &str, spawnerr: &str, exitstatus: i32) -> String {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><struct>\n\
             <member>\n<name>name</name>\n<value><string>w_00</string></value>\n</member>\n\
             <member>\n<name>group</name>\n<value><string>w</string></value>\n</member>\n\
             <member>\n<name>start</name>\n<value><int>1700000000</int></value>\n</member>\n\
             <member>\n<name>state</name>\n<value><int>{state}</int></value>\n</member>\n\
             <member>\n<name>spawnerr</name>\n<value><string>{spawnerr}</string></value>\n</member>\n\
             <member>\n<name>exitstatus</name>\n<value><int>{exitstatus}</int></value>\n</member>\n\
             <member>\n<name>pid</name>\n<value><int>{pid}</int></value>\n</member>\n\
             <member>\n<name>description</name>\n<value><string>{description}</string></value>\n</member>\n\
             </struct></value>\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    #[test]
    fn states_and_words_of_a_process() {
        let rows = [
            // state, pid, description, spawnerr, exit -> state, words, pid
            (20, 7, "pid 7, uptime 0:00:05", "", 0, MemberState::Running, "", Some(Pid(7))),
            (10, 7, "", "", 0, MemberState::Starting, "", Some(Pid(7))),
            (40, 7, "", "", 0, MemberState::Stopping, "", Some(Pid(7))),
            (0, 0, "Not started", "", 0, MemberState::Stopped, "Not started", None),
            (30, 0, "Exited too quickly", "Exited too quickly", 0, MemberState::Backoff, "Exited too quickly", None),
            (200, 0, "can't find command", "x", 0, MemberState::Failed, "can't find command", None),
            (100, 0, "Jan 01 10:00 AM", "", 0, MemberState::Exited, "exit status 0", None),
            (100, 0, "Jan 01 10:00 AM", "Bad exit code 3", 3, MemberState::Exited, "Bad exit code 3", None),
            (1000, 0, "", "", 0, MemberState::Unknown, "", None),
            (555, 0, "", "", 0, MemberState::Unknown, "", None),
        ];
        for (state, pid, description, spawnerr, exit, wanted, words, wanted_pid) in rows {
            let value = parse(&process(state, pid, description, spawnerr, exit)).unwrap().unwrap();
            let info = Info::from(ProcessInfo::try_from_value(&value).unwrap());
            assert_eq!((info.state, info.detail.as_str(), info.pid), (wanted, words, wanted_pid), "{state}");
            assert_eq!(info.started, wanted_pid.map(|_| 1_700_000_000));
            assert_eq!(info.full_name(), "w:w_00");
        }
    }

    #[test]
    fn a_fault_is_found_before_a_value() {
        let body = "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value><struct>\n<member>\n<name>faultCode</name>\n\
                    <value><int>60</int></value>\n</member>\n<member>\n<name>faultString</name>\n\
                    <value><string>ALREADY_STARTED: w:w_00</string></value>\n</member>\n</struct></value>\n</fault>\n\
                    </methodResponse>\n";
        let fault = parse(body).unwrap().unwrap_err();
        assert_eq!((fault.code(), fault.string()), (60, "ALREADY_STARTED: w:w_00"));
        let text = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n\
                    <value><string>&lt;fault&gt;</string></value>\n</param>\n</params>\n</methodResponse>\n";
        assert_eq!(parse(text).unwrap().unwrap(), Value::String("<fault>".to_owned()));
        assert!(parse("<html>no</html>").is_err());
    }

    #[test]
    fn last_lines_are_few_and_printable() {
        let long = (0..40).map(|n| format!("line {n}\n")).collect::<Vec<_>>().join("\n");
        assert_eq!(last_lines(&long).lines().count(), LOG_LINES);
        assert_eq!(last_lines("a\u{1b}[31mb\n"), "a[31mb");
        assert!(last_lines(&long).ends_with("line 39"));
    }
}
