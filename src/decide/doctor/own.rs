//! The units that run trueup itself.

use crate::model::app::{App, Manager};
use crate::model::facts::{HostFacts, Setting, Unit};
use crate::model::finding::{Finding, Severity, Spot};
use crate::model::process::Known;
use crate::model::service::ServiceManager;

const SERVICE: &str = "Service";
/// With a `User=`, each of these sets `NoNewPrivileges`, and sudo is dead.
const NO_NEW_PRIVILEGES: [&str; 17] = [
    "NoNewPrivileges",
    "SystemCallFilter",
    "SystemCallArchitectures",
    "SystemCallLog",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "PrivateDevices",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectClock",
    "ProtectHostname",
    "MemoryDenyWriteExecute",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "DynamicUser",
    "LockPersonality",
];
const MEND: &str = "# then: systemctl daemon-reload";

pub(super) fn findings(facts: &HostFacts, apps: &[&App]) -> Vec<Finding> {
    let units = match &facts.trueup_units {
        Known::Known(units) => units,
        Known::Unknown(why) => {
            return vec![Finding::unknown(
                "trueup.unit",
                format!("the unit that runs trueup: {why}"),
                "systemctl cat trueup",
            )];
        }
    };
    if units.is_empty() {
        return vec![
            Finding::new("trueup.unit", Severity::Note, "no unit of systemd runs `trueup agent` or `trueup reconcile`")
                .why("the host is as the manifests say only as long as somebody calls it by hand")
                .mend("systemctl enable --now trueup-agent  # or trueup-reconcile.timer; README: Installing has the units"),
        ];
    }
    units.iter().flat_map(|unit| of_unit(unit, apps)).collect()
}

fn of_unit(unit: &Unit, apps: &[&App]) -> Vec<Finding> {
    let mut found: Vec<Finding> = [kill_mode(unit, apps), privileges(unit, apps), sight(unit), writing(unit, apps)]
        .into_iter()
        .flatten()
        .collect();
    if found.is_empty() {
        found.push(Finding::ok("trueup.unit", format!("`{}` lets trueup do its work", unit.name)));
    }
    found
}

fn get<'a>(unit: &'a Unit, key: &str) -> Option<&'a Setting> {
    unit.configuration.get(SERVICE, key).filter(|set| !set.value.is_empty())
}

fn is_on(set: &Setting) -> bool {
    !matches!(set.value.to_lowercase().as_str(), "no" | "false" | "off" | "0")
}

fn kill_mode(unit: &Unit, apps: &[&App]) -> Option<Finding> {
    let builtin = |app: &&&App| app.workers.iter().any(|group| matches!(group.manager, Manager::Builtin(_)));
    let app = apps.iter().find(builtin)?;
    let set = get(unit, "KillMode");
    if set.is_some_and(|set| matches!(set.value.as_str(), "process" | "none")) {
        return None;
    }
    let section = unit.configuration.sections.iter().find(|section| section.name == SERVICE);
    let at = set.map(|set| &set.at).or(section.map(|section| &section.at));
    let at = at.cloned().unwrap_or_else(|| Spot { file: unit.configuration.file.clone(), line: 1 });
    let found = format!("`{}` has `KillMode={}`", unit.name, set.map_or("control-group", |set| set.value.as_str()));
    Some(
        Finding::new("trueup.killMode", Severity::Error, found)
            .at(&at)
            .why(format!("when a pass ends, systemd kills what it started: the workers of `{}`", app.name))
            .mend(format!("KillMode=process\n{MEND}")),
    )
}

fn privileges(unit: &Unit, apps: &[&App]) -> Option<Finding> {
    get(unit, "User").filter(|user| !matches!(user.value.as_str(), "root" | "0"))?;
    let by_workers = |app: &App| app.workers.iter().any(|group| !matches!(group.manager, Manager::Builtin(_)));
    let by_services = |app: &App| app.services.iter().any(|one| !matches!(one.manager, ServiceManager::Command { .. }));
    apps.iter().find(|app| by_workers(app) || by_services(app))?;
    let set = NO_NEW_PRIVILEGES.iter().find_map(|key| get(unit, key).filter(|set| is_on(set)))?;
    Some(
        Finding::new(
            "trueup.noNewPrivileges",
            Severity::Error,
            format!("`{}` has `{}={}`", unit.name, set.key, set.value),
        )
        .at(&set.at)
        .why(
            "with `User=` that sets NoNewPrivileges, and sudo, by which workers and services are reached, does \
             not work",
        )
        .mend(format!("# remove {}=\n{MEND}", set.key)),
    )
}

fn sight(unit: &Unit) -> Option<Finding> {
    let hides = |set: &&Setting| match set.key.as_str() {
        "ProtectProc" => set.value != "default",
        "ProcSubset" => set.value != "all",
        _ => is_on(set),
    };
    let set = ["ProtectProc", "ProcSubset", "PrivatePIDs"].iter().find_map(|key| get(unit, key).filter(hides))?;
    Some(
        Finding::new("trueup.sight", Severity::Error, format!("`{}` has `{}={}`", unit.name, set.key, set.value))
            .at(&set.at)
            .why("trueup does not see which release the workers run")
            .mend(format!("# remove {}=\n{MEND}", set.key)),
    )
}

fn writing(unit: &Unit, apps: &[&App]) -> Option<Finding> {
    let root = apps.iter().find_map(|app| {
        let home = ["/home", "/root", "/run/user"].iter().any(|place| app.root.path().starts_with(place));
        let temporary = ["/tmp", "/var/tmp"].iter().any(|place| app.root.path().starts_with(place));
        let usr = ["/usr", "/boot", "/efi", "/etc"].iter().any(|place| app.root.path().starts_with(place));
        let bars = |key: &str, set: &Setting| match key {
            "ProtectSystem" => set.value == "strict" || (is_on(set) && usr),
            "ProtectHome" => is_on(set) && home,
            _ => is_on(set) && temporary,
        };
        let keys = ["ProtectSystem", "ProtectHome", "PrivateTmp"];
        let set = keys.iter().find_map(|key| get(unit, key).filter(|set| bars(key, set)))?;
        let lifted = unit.configuration.all(SERVICE, "ReadWritePaths").flat_map(|set| set.value.split_whitespace());
        let lifted =
            lifted.map(|path| path.trim_start_matches(['-', '+'])).any(|path| app.root.path().starts_with(path));
        (!lifted || set.key != "ProtectSystem").then_some((app, set))
    });
    let (app, set) = root?;
    Some(
        Finding::new("trueup.writing", Severity::Error, format!("`{}` has `{}={}`", unit.name, set.key, set.value))
            .at(&set.at)
            .why(format!("trueup may not write to `{}`, or sees another directory in its place", app.root))
            .mend(format!("ReadWritePaths={}\n{MEND}", app.root)),
    )
}
