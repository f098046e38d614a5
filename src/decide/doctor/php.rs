//! php-fpm: what a reload of it costs, whom its pools run as, and how its caches take a switch.

use super::nginx::{self, Serving};
use crate::model::app::App;
use crate::model::facts::{
    AppFacts, CONTROL_TIMEOUT, Configuration, Fpm, HostFacts, HostUser, Section, Setting, control_timeout,
    drops_requests,
};
use crate::model::finding::{Finding, Severity, Spot};
use crate::model::process::Known;
use crate::model::service::{OnRelease, Service, ServiceManager};

/// PHP's own `realpath_cache_ttl`, in seconds.
const REALPATH_TTL: &str = "120";

pub(super) fn findings(app: &App, host: &HostFacts, facts: &AppFacts) -> Vec<Finding> {
    let fpms = match &host.fpm {
        Known::Known(fpms) => fpms,
        Known::Unknown(why) => {
            let found = format!("php-fpm: {why}");
            return vec![Finding::unknown("php.controlTimeout", found, "sudo trueup doctor")];
        }
    };
    let serving = serving(app, host);
    let mut found = Vec::new();
    for (fpm, pools) in serving_pools(app, fpms, &serving.passes) {
        found.extend(reloads(app, fpm));
        found.extend(pools.iter().filter_map(|pool| user(app, fpm, pool, facts)));
        found.extend(pools.iter().filter_map(|pool| chdir(app, pool)));
        found.extend(pools.first().map(|pool| opcache(app, fpm, pool, &serving)).unwrap_or_default());
        if !fpm.configuration.unread.is_empty() {
            let text =
                format!("not all of php-fpm's configuration could be read: {}", fpm.configuration.unread.join("; "));
            found.push(Finding::unknown("php.files", text, "sudo trueup doctor"));
        }
    }
    found
}

fn serving(app: &App, host: &HostFacts) -> Serving {
    match &host.nginx {
        Known::Known(Some(nginx)) => nginx::serving(&app.root, nginx),
        Known::Known(None) | Known::Unknown(_) => Serving::default(),
    }
}

/// The pools that answer for the App: those that nginx passes its scripts to; where that cannot be told, all of the
/// php-fpm that the App names as a service.
fn serving_pools<'a>(app: &App, fpms: &'a [Fpm], passes: &[String]) -> Vec<(&'a Fpm, Vec<&'a Section>)> {
    let named = |fpm: &Fpm| app.services.iter().any(|service| is_service(service, &fpm.configuration));
    let of = |fpm: &'a Fpm| {
        let pools = fpm.configuration.sections.iter().filter(|section| section.get("listen").is_some());
        let pools = pools.filter(|pool| if passes.is_empty() { named(fpm) } else { is_passed(pool, passes) });
        (fpm, pools.collect::<Vec<_>>())
    };
    fpms.iter().map(of).filter(|(_, pools)| !pools.is_empty()).collect()
}

fn is_passed(pool: &Section, passes: &[String]) -> bool {
    let listen = pool.get("listen").map_or("", |listen| listen.value.as_str());
    let listen = listen.replace("$pool", &pool.name);
    let is_same = |pass: &String| {
        *pass == listen || pass.strip_prefix("/var") == Some(&listen) || {
            // A bare port is one of every address.
            listen.chars().all(|c| c.is_ascii_digit()) && pass.rsplit(':').next() == Some(&listen)
        }
    };
    passes.iter().any(is_same)
}

/// Whether a service is the php-fpm with this configuration: Debian's has its version in both names.
fn is_service(service: &Service, configuration: &Configuration) -> bool {
    let ServiceManager::Systemd { unit } = &service.manager else { return false };
    let Some(version) = unit.strip_prefix("php").and_then(|rest| rest.split("-fpm").next()) else { return false };
    let path = configuration.file.to_string_lossy();
    unit.contains("-fpm") && (version.is_empty() || path.contains(&format!("/php/{version}/")))
}

fn reloads(app: &App, fpm: &Fpm) -> Option<Finding> {
    const CHECK: &str = "php.controlTimeout";
    let file = &fpm.configuration.file;
    let is_reloaded = |service: &&Service| {
        is_service(service, &fpm.configuration)
            && (service.on_release != OnRelease::None || !service.restart_on.is_empty())
    };
    let service = app.services.iter().find(is_reloaded)?;
    let unit = match &service.manager {
        ServiceManager::Systemd { unit } => unit.as_str(),
        ServiceManager::Supervisord(_) | ServiceManager::Command { .. } => "php-fpm",
    };
    if !drops_requests(&fpm.configuration) {
        return Some(Finding::ok(CHECK, format!("a reload of `{}` waits for requests", service.name)));
    }
    let at = control_timeout(&fpm.configuration).map_or_else(
        || {
            let global = fpm.configuration.sections.iter().find(|one| one.name.eq_ignore_ascii_case("global"));
            global.map_or_else(|| Spot { file: file.clone(), line: 1 }, |section| section.at.clone())
        },
        |set| set.at.clone(),
    );
    let found = format!("php-fpm has `{CONTROL_TIMEOUT} = 0`, its default: a reload drops the requests in hand");
    Some(
        Finding::new(CHECK, Severity::Warning, found)
            .at(&at)
            .why(format!("whenever trueup reloads `{}`, some requests are answered with 502", service.name))
            .mend(format!(
                "# in the section [global]\n{CONTROL_TIMEOUT} = 10s\n# then, once: systemctl restart {unit}"
            )),
    )
}

/// Whether the site may write where workers and steps do. That the App's user is not known is said already.
fn user(app: &App, fpm: &Fpm, pool: &Section, facts: &AppFacts) -> Option<Finding> {
    const CHECK: &str = "php.user";
    let person = facts.user.known()?;
    let Some(user) = pool.get("user") else {
        return Some(Finding::ok(CHECK, format!("php-fpm's pool `{}` runs as who started it", pool.name)));
    };
    let (pool_name, web, owner) = (&pool.name, &user.value, &person.name);
    if web == owner {
        return Some(Finding::ok(CHECK, format!("php-fpm's pool `{pool_name}` runs as {web}")));
    }
    if may_write(app, fpm, web, person, facts) {
        let found = format!("php-fpm's pool `{pool_name}` runs as {web}, who may write to what is shared");
        return Some(Finding::ok(CHECK, found));
    }
    let found = format!("php-fpm's pool `{pool_name}` runs as {web}, the files belong to {owner}");
    Some(
        Finding::new(CHECK, Severity::Warning, found)
            .at(&user.at)
            .why(
                "the site may not write what workers and steps wrote (logs, caches, sessions), nor they what the \
                 site did",
            )
            .mend(format!(
                "user = {owner}\ngroup = {owner}\n# or let {web} write to what is shared:\n\
                 # usermod -aG {owner} {web}, and in the manifest: shared: {{writable: [storage]}}"
            )),
    )
}

/// Whether what the manifest calls writable has a group of this user.
fn may_write(app: &App, fpm: &Fpm, web: &str, owner: &HostUser, facts: &AppFacts) -> bool {
    let Some(Known::Known(own)) = fpm.groups.get(web) else { return false };
    let writable = app.release.shared.writable.iter().map(|path| facts.inside.get(&format!("shared/{path}")));
    let groups: Vec<u32> = writable.filter_map(|one| Some(one?.known()?.as_ref()?.gid)).collect();
    match groups.as_slice() {
        // It is made with the owner's group when the first release comes.
        [] => !app.release.shared.writable.is_empty() && owner.groups.first().is_some_and(|group| own.contains(group)),
        groups => groups.iter().all(|group| own.contains(group)),
    }
}

fn chdir(app: &App, pool: &Section) -> Option<Finding> {
    let set = pool.get("chdir").filter(|set| std::path::Path::new(&set.value).starts_with(app.root.path()))?;
    Some(
        Finding::new(
            "php.chdir",
            Severity::Warning,
            format!("php-fpm's pool `{}` works in `{}`", pool.name, set.value),
        )
        .at(&set.at)
        .why("its processes hold the release in which they started: relative paths lead there, and it is not removed")
        .mend("chdir = /"),
    )
}

fn opcache(app: &App, fpm: &Fpm, pool: &Section, serving: &Serving) -> Vec<Finding> {
    let setting = |key: &str| ini(fpm, pool, key);
    let is_off = |set: &&Setting| matches!(set.value.to_lowercase().as_str(), "0" | "off" | "no" | "false" | "");
    if setting("opcache.enable").as_ref().is_some_and(is_off) {
        return vec![Finding::ok("php.opcache", "OPcache is off")];
    }
    let mut found = Vec::new();
    if let Some(set) = setting("opcache.use_cwd").filter(is_off) {
        found.push(
            Finding::new(
                "php.opcacheUseCwd",
                Severity::Warning,
                "OPcache does not tell directories apart (`opcache.use_cwd=0`)",
            )
            .at(&set.at)
            .why("files that two releases include by the same relative path are taken for the same file")
            .mend("opcache.use_cwd=1"),
        );
    }
    if let Some(set) = setting("opcache.validate_timestamps").filter(is_off)
        && !serving.by_link.is_empty()
    {
        let reloaded = app.services.iter().any(|service| service.on_release != OnRelease::None);
        let severity = if reloaded { Severity::Warning } else { Severity::Error };
        let found_it = "OPcache never looks at files again (`opcache.validate_timestamps=0`), and nginx names them \
            through `current`";
        found.push(
            Finding::new("php.opcacheTimestamps", severity, found_it)
                .at(&set.at)
                .why("the old release answers until php-fpm is reloaded, however long that is")
                .mend(
                    "# in nginx, so that each release has paths of its own:\nfastcgi_param SCRIPT_FILENAME \
                    $realpath_root$fastcgi_script_name;",
                ),
        );
    }
    if let Some(set) =
        setting("opcache.preload").filter(|set| set.value.contains(&app.root.path().display().to_string()))
    {
        found.push(
            Finding::new("php.opcachePreload", Severity::Warning, format!("OPcache preloads `{}`", set.value))
                .at(&set.at)
                .why(
                    "what is preloaded stays that of the release in force when php-fpm started, until it is \
                    reloaded after each switch",
                )
                .mend("# in the manifest, for this service:\nonRelease: reload"),
        );
    }
    if found.is_empty() {
        found.push(Finding::ok("php.opcache", "OPcache takes a switch well"));
    }
    found
}

/// How long PHP keeps where a path led to, in seconds.
pub(super) fn realpath_ttl(app: &App, host: &HostFacts, passes: &[String]) -> String {
    let fpms = host.fpm.known().map(Vec::as_slice).unwrap_or_default();
    let pools = serving_pools(app, fpms, passes);
    let set = pools.first().and_then(|(fpm, pools)| ini(fpm, pools.first()?, "realpath_cache_ttl"));
    set.map_or_else(|| REALPATH_TTL.to_owned(), |set| set.value.clone())
}

/// A setting of PHP in a pool: its own word, then `php.ini` and what is beside it.
fn ini<'a>(fpm: &'a Fpm, pool: &'a Section, key: &str) -> Option<&'a Setting> {
    let keys = ["php_admin_value", "php_admin_flag", "php_value", "php_flag"].map(|kind| format!("{kind}[{key}]"));
    let own = keys.iter().find_map(|key| pool.get(key));
    own.or_else(|| fpm.ini.as_ref()?.sections.iter().rev().find_map(|section| section.get(key)))
}
