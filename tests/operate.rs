//! What people do by hand: `rollback`, `retry`, `suspend`, `resume`, on real workers in temporary roots.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::fs;

use assert_cmd::Command;
use serde_json::Value;
use support::place::{Place, words};

/// An App `shop` with three releases of which none was ever in force, and two workers to come.
fn bare() -> Place {
    Place::bare(&["r1", "r2", "r3"], 2)
}

/// The same, with each in force in turn, and proven.
fn place() -> Place {
    let place = bare();
    for release in ["r1", "r2", "r3"] {
        place.wish(release, "");
        place.converges();
    }
    place
}

#[test]
fn a_release_taken_back_stays_out_until_it_is_tried_again() {
    let place = place();
    let (report, ended) = place.pass(&["rollback", "shop", "--reason", "orders are lost"]);
    assert_eq!(ended, ("rolledBack".to_owned(), 0), "{report}");
    place.is_all("r2");
    let quarantine = &report["quarantine"];
    assert_eq!((&quarantine["by"], &quarantine["reason"]), (&"operator".into(), &"orders are lost".into()));

    let workers = place.workers();
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("quarantined".to_owned(), 3), "{report}");
    assert_eq!(report["tried"], Value::Array(Vec::new()));
    assert_eq!(place.workers(), workers, "the next pass leaves it");

    let (report, ended) = place.pass(&["retry", "shop"]);
    assert_eq!(ended, ("converged".to_owned(), 0), "{report}");
    place.is_all("r3");

    let output = place.run(&["retry", "shop", "shop.yaml"]);
    assert_eq!(words(&output), "shop  r3  not kept out, nothing to try again\n");
    assert_eq!(output.status.code(), Some(0));
    let (said, code) = place.ask(&["retry", "shop"]);
    assert_eq!((&said["kind"], &said["items"], code), (&"PassReportList".into(), &Value::Array(Vec::new()), 0));
}

#[test]
fn people_are_told_how_to_lift_it_and_a_changed_manifest_does_too() {
    let place = place();
    let output = place.run(&["rollback", "shop", "shop.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let said = words(&output);
    for part in ["rolled back", "was taken back", "no reason was given by anna", "`trueup retry shop shop.yaml`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    place.is_all("r2");
    // Any real change lets it in: here, another worker.
    place.wish("r3", "  strays: stop\n  onFailure: halt\n");
    assert_eq!(place.pass(&["reconcile"]).1.0, "quarantined", "that is no change of what was tried");
    place.wish("r3", "  health: {command: {run: 'true'}}\n");
    place.converges();
    place.is_all("r3");
}

#[test]
fn the_release_to_go_back_to_can_be_chosen_and_chosen_again() {
    let place = place();
    assert_eq!(place.pass(&["rollback", "shop", "--to", "r1"]).1, ("rolledBack".to_owned(), 0));
    place.is_all("r1");
    assert_eq!(place.pass(&["reconcile"]).1, ("quarantined".to_owned(), 3));
    assert_eq!(place.pass(&["rollback", "shop", "--to", "r2"]).1, ("rolledBack".to_owned(), 0));
    place.is_all("r2");
    assert_eq!(place.pass(&["reconcile"]).1, ("quarantined".to_owned(), 3));
    place.is_all("r2");
}

#[test]
fn a_policy_to_halt_does_not_keep_a_person_from_going_back() {
    let place = place();
    place.wish("r3", "  onFailure: halt\n");
    assert_eq!(place.pass(&["rollback", "shop"]).1, ("rolledBack".to_owned(), 0));
    place.is_all("r2");
}

#[test]
fn an_earlier_release_that_is_not_healthy_is_no_success() {
    let place = place();
    place.wish(
        "r3",
        "  health: {command: {run: 'pwd -P | grep -q r3'}, \
                      attempts: 1, interval: 100ms}\n",
    );
    let (report, ended) = place.pass(&["rollback", "shop"]);
    assert_eq!(ended, ("rolledBack".to_owned(), 3), "{report}");
    place.is_all("r2");
}

#[test]
fn what_cannot_be_taken_back_is_refused_and_nothing_changes() {
    let place = place();
    let records = || fs::read(place.root().join(".trueup/releases/r3.json")).unwrap();
    let before = records();
    let rows: [(&[&str], &str, &str); 3] = [
        (&["--to", "r9"], "cannot go back to `r9`: it is not there", "choose one of `r2`, `r1`"),
        (&["--to", "r3"], "it is the one that is to be taken back", "choose one of"),
        (&["--to", "../x"], "a release's id is not allowed to contain a slash", ""),
    ];
    for (options, message, help) in rows {
        let output = place.run(&[&["rollback", "shop", "shop.yaml"], options].concat());
        let said = words(&output);
        assert!(matches!(output.status.code(), Some(1 | 64)), "{said}");
        assert!(said.contains(message) && said.contains(help), "{said}");
    }
    fs::create_dir(place.root().join("releases/r4")).unwrap();
    fs::write(place.root().join("releases/r4/file"), "x").unwrap();
    let said = place.refused(&["rollback", "shop", "--to", "r4"]);
    assert!(said.contains("`r4`: it was never proven on this host"), "{said}");
    place.wish("r4", "");
    let said = place.refused(&["rollback", "shop"]);
    assert!(said.contains("release `r4` is not in force: current is r3"), "{said}");
    let said = place.refused(&["rollback", "shpo"]);
    assert!(said.contains("there is no App `shpo`") && said.contains("did you mean `shop`?"), "{said}");
    assert_eq!(records(), before);
    place.is_all("r3");
}

#[test]
fn without_an_earlier_release_there_is_no_way_back() {
    let place = bare();
    place.wish("r1", "");
    place.converges();
    let said = place.refused(&["rollback", "shop"]);
    assert!(said.contains("there is no release to go back to from `r1`"), "{said}");
    place.is_all("r1");
}

#[test]
fn a_suspended_app_is_left_alone_until_it_is_resumed() {
    let place = place();
    let (said, code) = place.ask(&["suspend", "shop", "--reason", "moving the database"]);
    assert_eq!((&said["kind"], &said["before"], code), (&"Suspension".into(), &Value::Null, 0));
    let why = said["suspended"].as_str().unwrap();
    assert!(why.starts_with("moving the database (anna, since 2"), "{why}");

    assert_eq!(place.pass(&["reconcile"]).1, ("converged".to_owned(), 0), "nothing differs, so nothing is withheld");
    place.wish("r2", "");
    let (report, ended) = place.pass(&["reconcile"]);
    assert_eq!(ended, ("withheld".to_owned(), 4), "{report}");
    assert_eq!(report["tried"], Value::Array(Vec::new()));
    place.is_all("r3");
    let status = words(&place.run(&["status", "shop.yaml"]));
    assert!(status.contains("suspended moving the database"), "{status}");
    let (status, _) = place.ask(&["status"]);
    let status = &status["items"][0]["status"];
    assert_eq!((&status["suspended"], &status["conditions"][3]["reason"]), (&why.into(), &"Suspended".into()));

    place.wish("r3", "");
    let said = place.refused(&["rollback", "shop"]);
    assert!(
        said.contains("is suspended: moving the database") && said.contains("`trueup resume shop shop.yaml`"),
        "{said}"
    );
    let said = words(&place.run(&["suspend", "shop", "shop.yaml"]));
    assert!(said.contains("suspended as before; because: moving the database"), "{said}");
    let said = words(&place.run(&["suspend", "shop", "shop.yaml", "--reason", " "]));
    assert!(said.contains("suspended as before; because: moving the database"), "{said}");
    let said = words(&place.run(&["suspend", "shop", "shop.yaml", "--reason", "and the queue"]));
    assert!(said.contains("because: and the queue") && said.contains("it was suspended already: moving"), "{said}");

    let (said, code) = place.ask(&["resume", "shop"]);
    assert_eq!((&said["suspended"], code), (&Value::Null, 0));
    assert!(said["before"].as_str().unwrap().starts_with("and the queue (anna, since"), "{said}");
    assert_eq!(words(&place.run(&["resume", "shop", "shop.yaml"])), "shop  not suspended on this host\n");
    place.wish("r2", "");
    place.converges();
    place.is_all("r2");
}

/// That a release may be tried again is written down, and nothing is done before the App is resumed.
#[test]
fn what_is_tried_again_while_suspended_waits_until_it_is_resumed() {
    let place = place();
    assert_eq!(place.pass(&["rollback", "shop"]).1.1, 0);
    assert_eq!(place.run(&["suspend", "shop", "shop.yaml"]).status.code(), Some(0));
    let output = place.run(&["retry", "shop", "shop.yaml"]);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    let said = words(&output);
    for part in [
        "drift withheld: the App is suspended on this host: by hand (anna, since",
        "help: nothing is done until `trueup resume shop shop.yaml`",
        "note: release `r3` is no longer kept out, but it is not tried before the App is resumed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    place.is_all("r2");
    assert_eq!(place.run(&["resume", "shop", "shop.yaml"]).status.code(), Some(0));
    place.converges();
    place.is_all("r3");
}

#[test]
fn one_act_at_a_time() {
    let place = place();
    let lock = fs::File::open(place.root().join(".trueup/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for verb in ["rollback", "retry", "suspend", "resume"] {
        let said = place.refused(&[verb, "shop", "--wait", "0s"]);
        assert!(said.contains("is locked") && said.contains("--wait"), "{verb}: {said}");
    }
}

#[test]
fn who_is_at_work_is_told_by_those_who_only_look() {
    let place = place();
    let at_work = |place: &Place| place.ask(&["status"]).0["items"][0]["status"]["atWork"].clone();
    assert_eq!(at_work(&place), Value::Null, "what the last holder has written outlives it");
    let path = place.root().join(".trueup/lock");
    let mut holder: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let pid = std::process::id();
    holder["pid"] = pid.into();
    fs::write(&path, holder.to_string()).unwrap();
    assert_eq!(at_work(&place), Value::Null, "nobody holds the lock");
    let lock = fs::File::open(&path).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(at_work(&place), holder);
    let words_of_it = format!("pid {pid} (`trueup reconcile`) has been at work here for ");
    let (status, _) = place.ask(&["status"]);
    let reconciling = &status["items"][0]["status"]["conditions"][3];
    assert_eq!((&reconciling["type"], &reconciling["status"]), (&"Reconciling".into(), &"True".into()));
    assert!(reconciling["message"].as_str().unwrap().starts_with(&words_of_it), "{reconciling}");
    for look in [&["diff"][..], &["reconcile", "--dry-run"]] {
        let (report, _) = place.pass(look);
        assert_eq!(report["atWork"], holder, "{look:?}");
        let said = place.run(&[look, &["shop.yaml"]].concat());
        assert!(words(&said).contains(&format!("note: shop: {words_of_it}")), "{look:?}: {}", words(&said));
    }
}

#[test]
fn a_file_that_is_wrong_hides_no_other_app_from_whoever_looks() {
    let place = place();
    fs::write(place.room().join("wrong.yaml"), "apiVersion: trueup/v1\nkind: App\nspce: {}\n").unwrap();
    let seen = place.run(&["status", "shop.yaml", "wrong.yaml"]);
    assert_eq!(seen.status.code(), Some(1));
    assert!(words(&seen).contains("ReconciliationSucceeded"), "{}", words(&seen));
    assert!(words(&seen).contains("error: `wrong.yaml` is left out: "), "{}", words(&seen));
    for verb in ["diff", "reconcile"] {
        let seen = place.run(&[verb, "shop.yaml", "wrong.yaml"]);
        assert!(seen.stdout.is_empty() && words(&seen).contains("spce"), "{verb}: {}", words(&seen));
    }
}

#[test]
fn the_history_tells_what_was_done_by_whom_and_how_it_ended() {
    let place = place();
    assert_eq!(place.pass(&["rollback", "shop", "--reason", "orders are lost"]).1.1, 0);
    assert_eq!(place.pass(&["retry", "shop"]).1.1, 0);
    place.run(&["suspend", "shop", "shop.yaml"]);
    // A pass that is cut short in the middle of a line.
    let journal = place.root().join(".trueup/journal.jsonl");
    let mut text = fs::read_to_string(&journal).unwrap();
    text.push_str(r#"{"at":"2026-05-01T12:0"#);
    // The older half, moved away by rotation.
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    fs::write(place.root().join(".trueup/journal.1.jsonl"), &text[..middle]).unwrap();
    fs::write(&journal, &text[middle..]).unwrap();

    let (said, code) = place.ask(&["history", "shop"]);
    assert_eq!((&said["kind"], &said["apiVersion"], code), (&"HistoryList".into(), &"trueup/v1".into(), 0));
    let passes = said["items"][0]["passes"].as_array().unwrap();
    let told: Vec<(&str, &str, usize)> = passes
        .iter()
        .map(|pass| {
            let word = |key: &str| pass[key].as_str().unwrap_or("-");
            (word("trigger"), word("outcome"), pass["decisions"].as_array().unwrap().len())
        })
        .collect();
    let expected = [
        ("command", "converged", 0),
        ("command", "converged", 0),
        ("command", "converged", 0),
        ("rollback by anna", "rolledBack", 1),
        ("retry by anna", "converged", 1),
        ("-", "-", 1),
    ];
    assert_eq!(told, expected);
    let decision = &passes[3]["decisions"][0];
    assert_eq!((&decision["by"], &decision["reason"]), (&"operator".into(), &"orders are lost".into()));
    let actions = passes[3]["actions"].as_array().unwrap();
    assert!(actions.iter().any(|action| action["action"] == "switchCurrent" && action["to"] == "r2"), "{actions:?}");
    assert!(actions.iter().all(|action| action["tookMs"].is_u64() && action["error"].is_null()), "{actions:?}");

    let (said, _) = place.ask(&["history", "--last", "2"]);
    assert_eq!(said["items"][0]["passes"].as_array().unwrap(), &passes[4..]);
    let said = words(&place.run(&["history", "shop", "shop.yaml"]));
    for part in ["rolled back  r3  rollback by anna", "r3 was taken back  orders are lost", "suspended on this"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn without_a_journal_there_is_no_history() {
    let place = bare();
    place.wish("r1", "");
    let output = place.run(&["history", "shop.yaml"]);
    assert!(words(&output).contains("nothing was done here"), "{}", words(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn releases_are_listed_with_what_is_known_of_them_and_who_uses_them() {
    let place = place();
    assert_eq!(place.pass(&["rollback", "shop", "--reason", "orders are lost"]).1.1, 0);
    fs::create_dir(place.root().join("releases/r4")).unwrap();
    let (said, code) = place.ask(&["releases", "shop"]);
    assert_eq!(
        (&said["kind"], &said["app"], &said["keep"], code),
        (&"ReleaseList".into(), &"shop".into(), &5.into(), 0)
    );
    let items = said["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|one| {
            let word = |key: &str| one[key].as_str().unwrap().to_owned();
            let users = one["usedBy"].as_array().unwrap().len();
            (word("id"), word("state"), one["current"] == true, one["desired"] == true, users)
        })
        .collect();
    let row =
        |id: &str, state: &str, current, desired, users| (id.to_owned(), state.to_owned(), current, desired, users);
    assert_eq!(told.len(), 4, "{told:?}");
    for expected in [
        row("r1", "good", false, false, 0),
        row("r2", "good", true, false, 2),
        row("r3", "quarantined", false, true, 0),
        row("r4", "unknown", false, false, 0),
    ] {
        assert!(told.contains(&expected), "{expected:?}: {told:?}");
    }
    let of = |id: &str| items.iter().find(|one| one["id"] == id).unwrap();
    assert!(of("r1")["sizeBytes"].as_u64().unwrap() >= 10_000, "{said}");
    assert_eq!(of("r3")["quarantine"]["reason"], "orders are lost");
    let mut pids: Vec<u64> =
        of("r2")["usedBy"].as_array().unwrap().iter().map(|user| user["process"]["pid"].as_u64().unwrap()).collect();
    let mut seen: Vec<u64> = place.workers().iter().map(|process| process.pid.0.into()).collect();
    pids.sort_unstable();
    seen.sort_unstable();
    assert_eq!(pids, seen);

    let said = words(&place.run(&["releases", "shop", "shop.yaml"]));
    for part in ["current, good", "desired, quarantined  ", "\n  orders are lost", "unknown", "KiB", "kept"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    println!("{said}");
}

#[test]
fn evidence_names_every_process_of_the_root_and_quotes_no_file() {
    let place = place();
    let (said, code) = place.ask(&["evidence"]);
    assert_eq!((&said["kind"], code), (&"EvidenceList".into(), 0));
    let found = said["items"][0]["processes"].as_array().unwrap();
    let of = |process: &trueup::model::process::ProcessId| {
        found.iter().find(|one| one["process"]["pid"] == process.pid.0).unwrap_or_else(|| panic!("{process}: {said}"))
    };
    for process in place.workers() {
        let one = of(&process);
        assert_eq!(one["evidence"]["runs"], serde_json::json!({"finding": "release", "id": "r3"}));
        assert_eq!(one["evidence"]["rung"], "workingDirectory");
        assert_eq!(one["process"]["startTicks"], process.start_ticks.0);
    }

    fs::write(place.room().join("shop.yaml"), "root:$6$secret:19000\n").unwrap();
    let said = place.refused(&["evidence"]);
    assert!(said.contains("these manifests cannot be used") && !said.contains("secret"), "{said}");
}

#[test]
fn the_printed_rules_pass_visudo() {
    let place = bare();
    let manifest = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: shop}}\nspec:\n  root: {}\n  release: {{id: r1}}\n  \
         workers:\n    - {{name: default, count: 12, manager: {{systemd: {{unit: 'a\\x2db:c@'}}}}}}\n  \
         services:\n    - {{name: web, manager: {{systemd: {{unit: php8.2-fpm}}}}}}\n",
        place.root().display()
    );
    let odd = place.room().join("a: b=c,d #e*.yaml");
    fs::write(&odd, manifest).unwrap();
    let output = place.run(&["sudoers", "--user", "nobody", odd.to_str().unwrap()]);
    let rules = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        rules.contains(r"nobody ALL=(root) NOPASSWD: /usr/bin/systemctl start a\\x2db\:c@[0-9].service"),
        "{rules}"
    );
    assert!(rules.contains(r"kill --signal\=SIGKILL a\\x2db\:c@[0-9][0-9].service"), "{rules}");
    assert!(rules.contains("systemctl reload php8.2-fpm.service\n"), "{rules}");
    assert!(rules.contains(r"trueup evidence /") || words(&output).contains("could replace"), "{}", words(&output));
    let file = place.room().join("rules");
    fs::write(&file, &rules).unwrap();
    match std::process::Command::new("/usr/sbin/visudo").arg("-cf").arg(&file).output() {
        Ok(checked) => assert!(checked.status.success(), "{}{rules}", words(&checked)),
        Err(error) => {
            assert!(std::env::var_os("TRUEUP_TESTS_REQUIRE_HOST").is_none(), "visudo: {error}");
            println!("skipped: visudo: {error}");
        }
    }
}

#[test]
fn rules_that_cannot_be_told_are_an_error_and_root_needs_none() {
    let place = place();
    let output = place.run(&["sudoers", "--user", "root", "shop.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(words(&output).contains("need no rules") && words(&output).contains("--user deploy"), "{}", words(&output));
    let manifest = fs::read_to_string(place.room().join("shop.yaml")).unwrap();
    let socket = place.room().join("no.sock");
    let manager = format!("{{supervisord: {{group: web, socket: {}}}}}", socket.display());
    let manifest = manifest.replace("{builtin: {run: exec sleep 600}}", &manager);
    fs::write(place.room().join("shop.yaml"), manifest).unwrap();
    let output = place.run(&["sudoers", "--user", "nobody", "shop.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("no rules for the workers `default` of `shop`"), "{}", words(&output));
}

/// On a host that an App with `spec.hosts` names, what is asked for by hand is about that host, however many there are.
#[test]
fn an_app_with_hosts_is_this_hosts_own_where_it_names_it() {
    let place = place();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let hosts = format!("  hosts: [{{name: {}}}, {{name: nobody, ssh: 'nobody@127.0.0.1:1'}}]\n", name.trim());
    place.wish("r3", &hosts);
    let (report, ended) = place.pass(&["rollback", "shop"]);
    assert_eq!(ended, ("rolledBack".to_owned(), 0), "{report}");
    place.is_all("r2");
    assert_eq!(place.pass(&["retry", "shop"]).1, ("converged".to_owned(), 0));
    place.is_all("r3");

    // Read once, it can come from the standard input.
    let manifest = fs::read_to_string(place.room().join("shop.yaml")).unwrap();
    for (verb, words) in [("suspend", "suspended"), ("resume", "resumed"), ("retry", "not kept out")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
        command.env_clear().env("PATH", "/usr/bin:/bin").args([verb, "shop", "-"]);
        let output = command.write_stdin(manifest.as_str()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{verb}: {}", support::place::words(&output));
        assert!(support::place::words(&output).contains(words), "{verb}: {}", support::place::words(&output));
    }
}

#[test]
fn what_is_for_other_hosts_is_refused_with_what_does_it_there() {
    let place = bare();
    place.wish("r1", "  hosts: [{name: nowhere-1, ssh: 'deploy@web1:2222'}, {name: nowhere-2}]\n");
    let own = trueup::fleet::ssh::program::Program::read(std::path::Path::new(env!("CARGO_BIN_EXE_trueup"))).unwrap();
    let cache = "c=$XDG_CACHE_HOME; case $c in (/*) ;; (*) c=$HOME/.cache;; esac; c=$c/trueup/bin";
    let program = format!("\"$(command -v trueup || {{ {cache}; echo \"$c/{}\"; }})\"", own.sha256);
    for verb in ["suspend", "releases", "history"] {
        let said = place.refused(&[verb, "shop"]);
        assert!(said.contains("none of these Apps is for this host: `shop`"), "{said}");
        let command = format!("`ssh -p 2222 deploy@web1 '{program} {verb} --as nowhere-1 shop -' <shop.yaml`");
        assert!(said.contains(&command), "{said}");
    }
    assert!(place.refused(&["doctor"]).contains(" doctor --as nowhere-1 -' <shop.yaml`"));
    for verb in ["retry", "rollback"] {
        let said = place.refused(&[verb, "shop", "--hosts", "web9"]);
        assert!(said.contains("there is no host `web9` in these manifests"), "{said}");
    }
}

/// Hosts are seldom called in manifests what their kernels call them.
#[test]
fn a_host_that_is_called_otherwise_in_the_manifests_can_be_told_which_it_is() {
    let place = bare();
    place.wish("r1", "  hosts: [{name: web1, ssh: nobody@127.0.0.1:1}, {name: web2, ssh: nobody@127.0.0.2:1}]\n");
    let verbs: [&[&str]; 10] = [
        &["retry", "shop"],
        &["suspend", "shop"],
        &["resume", "shop"],
        &["history"],
        &["history", "shop"],
        &["releases", "shop"],
        &["doctor"],
        &["sudoers"],
        &["evidence"],
        &["rollback", "shop"],
    ];
    let own = "none of these Apps is for this host";
    for verb in verbs {
        let said = words(&place.run(&[verb, &["shop.yaml", "--as", "web2"]].concat()));
        let known = !said.contains(own) && !said.contains("cannot connect") && !said.contains("unexpected argument");
        assert!(known, "{verb:?}: {said}");
    }
    // By its environment as well, where an empty name is none.
    let by_environment = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trueup"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TRUEUP_HOST", name).current_dir(place.room());
        words(&command.args(["releases", "shop", "shop.yaml"]).output().unwrap())
    };
    assert!(by_environment("web1").contains("r1"), "{}", by_environment("web1"));
    assert!(by_environment("").contains(own));
    // Never those of all hosts for a slip of the pen.
    for verb in ["suspend", "rollback", "retry"] {
        let said = place.refused(&[verb, "shop", "--as", "web9"]);
        assert!(said.contains("this host is called `web9`, which none of their `hosts` is"), "{verb}: {said}");
    }
    // What is asked by sudo is asked by the same name.
    if rustix::process::geteuid().is_root() {
        let said = words(&place.run(&["sudoers", "shop.yaml", "--as", "web1", "--user", "nobody"]));
        assert!(said.contains("over SSH nobody asks `trueup evidence`: `shop`"), "{said}");
        assert!(said.contains("evidence --as web1 ") || said.contains("could replace"), "{said}");
    }
}

/// Over SSH a secret of this session's environment is on no host: that shows before any of them is asked.
#[test]
fn a_secret_of_this_environment_is_refused_before_a_rollout() {
    let place = bare();
    let hosts = "  hosts: [{name: web1, ssh: nobody@127.0.0.1:1}]\n";
    place.wish("r1", hosts);
    let manifest = place.room().join("shop.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replace("{id: r1}", "{id: r1, migrate: [x, {run: y, env: {A: b, TOKEN: {envVar: SHOP_TOKEN}}}]}");
    fs::write(&manifest, text).unwrap();
    assert_eq!(place.run(&["validate", "shop.yaml"]).status.code(), Some(0), "an agent has an environment of its own");
    for verb in [&["reconcile"][..], &["reconcile", "--dry-run"], &["retry", "shop"]] {
        let said = place.refused(verb);
        for told in ["shop.yaml:1", "`spec.release.migrate[1].env.TOKEN`", "`SHOP_TOKEN`", "`{file: "] {
            assert!(said.contains(told), "{verb:?}: {told}: {said}");
        }
        assert!(!said.contains("cannot connect"), "{verb:?}: {said}");
    }
    // What does not run it is not kept from looking.
    assert!(words(&place.run(&["status", "shop.yaml"])).contains("web1"));
}
