//! A dry run says what the pass then does, and does nothing itself.

use std::collections::BTreeMap;

use crate::support::fixtures::{Program, Site};
use crate::support::passes::{Listing, Manifest};
use crate::support::{Host, SOON, Unit, require_host};

/// Where a write of ours could go.
const WATCHED: [&str; 4] = ["/srv/app", "/etc/trueup", "/run/supervisor.sock", "/tmp"];

/// System calls of a traced command that signal somebody or change a file system, without reads and pipes.
fn deeds(host: &Host, command: &str) -> Vec<String> {
    let calls = "kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo,rename,renameat,renameat2,link,linkat,symlink,\
                 symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,chmod,fchmod,fchmodat,chown,fchown,\
                 lchown,fchownat,truncate,ftruncate,utimensat,open,openat,openat2,creat";
    let traced = host.sh(&format!("strace -f -qq -o /run/trace -e trace={calls} {command} >/dev/null; true"));
    traced.ok();
    let trace = host.read("/run/trace");
    assert!(trace.contains("/srv/app/current") || trace.contains("/proc"), "strace saw it work: {trace}");
    let reads = |line: &&str| {
        let opens = line.contains(" open");
        // A call that goes on after another thread's line is written twice; the first half has the flags.
        (opens && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag)))
            || line.contains("/dev/null")
            || line.contains("resumed>")
            || line.contains("+++")
            || line.contains("---")
    };
    trace.lines().filter(|line| !reads(line)).map(str::to_owned).collect()
}

/// Every process of the host but those of this look itself, with its start.
fn processes(host: &Host) -> BTreeMap<String, String> {
    let listed = host.sh("ps -e -o pid=,lstart=,args= --ppid 2 -p 2 -N").stdout;
    let lines = listed.lines().filter(|line| ["php ", "supervisord"].iter().any(|mark| line.contains(mark)));
    lines.filter_map(|line| line.trim().split_once(' ')).map(|(pid, rest)| (pid.to_owned(), rest.to_owned())).collect()
}

#[test]
fn a_dry_run_names_what_the_journal_tells_afterwards_and_touches_nothing() {
    let host = require_host!("dry", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").owner("deploy").release("r1").release("r2").current("r1");
    let workers = Program::php("app-worker", &site).numprocs(4).user("deploy").start();
    host.run(&["supervisorctl", "stop", "app-worker:app-worker_02"]).ok();
    let stray = host.spawn_as("deploy", &["php", "/srv/app/releases/r1/artisan", "queue:work"]);
    let pid = stray.pid();
    host.wait_until("the stray at work", SOON, || site.events().iter().any(|line| line.pid == pid));
    let keys = "manager: {supervisord: {group: app-worker}}, restartOn: [{path: shared/.env, run: 'true'}]";
    let manifest = Manifest::new(&host, "app", &site, "r2").workers("default", 4, keys).with("strays: stop");
    manifest.write();

    let (files, before) = (Listing::of(&host, &WATCHED), processes(&host));
    let dry = manifest.dry_run();
    assert_eq!((dry.output.code, &dry.report["outcome"]), (2, &"drift".into()), "{dry}");
    for verb in [&["reconcile", "--dry-run"][..], &["diff"], &["status"]] {
        manifest.run(verb);
    }
    let deeds = deeds(&host, &format!("trueup reconcile --dry-run {}", manifest.path()));
    assert_eq!(deeds, [""; 0], "nothing is written, nobody is signalled");
    // The test itself writes the manifest again each time.
    let mut changes = files.changes(&Listing::of(&host, &WATCHED));
    changes.retain(|line| !line.starts_with("/etc/trueup/manifests"));
    assert_eq!(changes, [""; 0]);
    assert_eq!(processes(&host), before);
    assert!(!host.exists("/srv/app/.trueup"), "not even the folder is made");

    let pass = manifest.reconcile();
    let planned = dry.planned();
    assert_eq!(pass.output.code, 0, "{pass}");
    let sorted = |mut actions: Vec<String>| {
        actions.sort_unstable();
        actions
    };
    assert_eq!(planned.first().map(String::as_str), Some("switch r2"));
    for action in ["restart app-worker:app-worker_00", "start app-worker:app-worker_02"] {
        assert!(planned.contains(&action.to_owned()), "{planned:?}");
    }
    assert!(planned.contains(&format!("stop stray {pid}")), "{planned:?}");
    assert_eq!(sorted(manifest.journaled()), sorted(planned.clone()));
    assert_eq!(sorted(pass.tried()), sorted(planned));
    let journal = manifest.journal();
    let events: Vec<&str> = journal.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!((events.first(), events.last()), (Some(&"passStarted"), Some(&"passEnded")));
    let count = |event: &str| events.iter().filter(|one| **one == event).count();
    assert_eq!((count("begin"), count("failed")), (count("done"), 0), "{events:?}");
    workers.wait_until_running();

    let dry = manifest.dry_run();
    assert_eq!((dry.output.code, dry.planned().len()), (0, 0), "{dry}");
    // A pass that may act takes the lock, so this way of looking does see deeds.
    let seen = self::deeds(&host, &format!("trueup reconcile {}", manifest.path()));
    assert!(seen.iter().any(|line| line.contains("/.trueup") || line.contains("lock")), "{seen:?}");
}

#[test]
fn the_exit_codes_of_previews() {
    let host = require_host!("previews", [Unit::Supervisor]);
    let site = Site::new(&host, "/srv/app").release("r1").release("r2").current("r1");
    Program::php("app-worker", &site).start();
    let manifest = |release| Manifest::new(&host, "app", &site, release).supervisord("app-worker", 1);
    let rows: [(&[&str], i32, i32); 4] = [
        (&["reconcile", "--dry-run"], 0, 0),
        (&["reconcile", "--dry-run", "--detailed-exitcode"], 0, 2),
        (&["diff"], 0, 1),
        (&["status"], 0, 2),
    ];
    for (verb, settled, drift) in rows {
        assert_eq!(manifest("r1").run(verb).code, settled, "{verb:?}");
        assert_eq!(manifest("r2").run(verb).code, drift, "{verb:?}");
    }
    let preview = manifest("r2").run(&["reconcile", "--dry-run"]).stdout;
    for said in ["r1", "r2", "app-worker:app-worker", "artisan", "entry script"] {
        assert!(preview.contains(said), "{said}: {preview}");
    }
}
