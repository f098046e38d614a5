//! Linking and removing releases where disks are mounted, and as users who do not own everything.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test on the spot")]

mod support;

use serde_json::{Value, json};
use support::door::{self, Door};
use support::require_host;
use trueup::host::spawn::Shim;
use trueup::model::app::App;
use trueup::model::names::{AppName, RelativePath, ReleaseId, Root};
use trueup::model::release::{Release, Source};
use trueup::ports::HostError;
use trueup::releases;

/// Runs inside the host.
#[test]
fn door() {
    door::serve(|request| tokio::runtime::Runtime::new().unwrap().block_on(act(&request)));
}

async fn act(request: &Value) -> Value {
    let id = ReleaseId::new("r1").unwrap();
    let root = Root::new("/srv/app").unwrap();
    match request["act"].as_str().unwrap() {
        "remove" => told(releases::remove(&root, &id).await),
        "settle" => told(releases::settle(&root).await),
        "fetch" => {
            let mut app = App::new(AppName::new("app").unwrap(), root, Release::present(id));
            app.release.source = Some(Source::Dir { path: "/srv/build".into() });
            told(releases::fetch(&Shim::own(), &app, None).await.map(|_| ()))
        }
        _ => {
            let mut app = App::new(AppName::new("app").unwrap(), root, Release::present(id));
            app.release.shared.dirs = vec![RelativePath::new("storage").unwrap()];
            if request["writable"] == json!(true) {
                app.release.shared.writable = app.release.shared.dirs.clone();
            }
            told(releases::link(&app).await)
        }
    }
}

fn told(result: Result<(), HostError>) -> Value {
    match result {
        Ok(()) => json!("ok"),
        Err(error) => json!({ "kind": format!("{:?}", error.kind), "message": error.message, "help": error.help }),
    }
}

const REMOVE: &str = "remove";

#[test]
fn what_is_mounted_in_a_release_is_not_the_releases() {
    let host = require_host!("mounts", []);
    let door = Door::new(&host);
    // A file system of its own, and a part of the same one.
    for mount in ["mount -t tmpfs tmpfs /srv/app/releases/r1/a", "mount --bind /srv/app/shared /srv/app/releases/r1/a"]
    {
        host.sh("mkdir -p /srv/app/releases/r1/a /srv/app/shared; touch /srv/app/shared/precious").ok();
        host.sh(mount).ok();
        host.sh("touch /srv/app/releases/r1/a/precious").ok();
        let answer = door.ask(&json!({ "act": REMOVE }));
        assert!(answer["message"].as_str().unwrap().contains("is mounted there"), "{mount}: {answer}");
        assert!(answer["help"].as_str().unwrap().contains("unmount"), "{mount}: {answer}");
        host.sh("test ! -e /srv/app/releases/r1; test -e /srv/app/releases/.trueup-removed-*/a/precious").ok();
        host.sh("umount /srv/app/releases/.trueup-removed-*/a").ok();
        assert_eq!(door.ask(&json!({ "act": REMOVE })), "ok", "{mount}");
        host.sh("test -z \"$(ls -A /srv/app/releases)\"; test -e /srv/app/shared/precious").ok();
    }
    assert_eq!(door.ask(&json!({ "act": "settle" })), "ok");
}

#[test]
fn what_is_mounted_in_half_a_release_outlives_its_making_anew() {
    let host = require_host!("refetch", []);
    let door = Door::new(&host);
    host.sh("mkdir -p /srv/build /srv/app/releases /srv/uploads; touch /srv/build/index /srv/uploads/precious").ok();
    for mount in ["mount -t tmpfs tmpfs", "mount --bind /srv/uploads"] {
        // Closed to its owner, so that a second way of removing it is not tried.
        host.sh("mkdir -p /srv/app/releases/r1/half/uploads; chmod 0500 /srv/app/releases/r1/half").ok();
        host.sh(&format!(
            "{mount} /srv/app/releases/r1/half/uploads; touch /srv/app/releases/r1/half/uploads/precious"
        ))
        .ok();
        for _ in 0..2 {
            let answer = door.ask(&json!({ "act": "fetch" }));
            let message = answer["message"].as_str().unwrap();
            let place = "`/srv/app/releases/.trueup-removing/half/uploads`: another file system is mounted there";
            assert!(message.contains(place), "{mount}: {answer}");
            assert_eq!(answer["kind"], "Hindered", "the release is not to blame: {answer}");
            host.sh("test -e /srv/app/releases/.trueup-removing/half/uploads/precious; test -e /srv/uploads/precious")
                .ok();
        }
        host.sh("umount /srv/app/releases/.trueup-removing/half/uploads").ok();
        assert_eq!(door.ask(&json!({ "act": "fetch" })), "ok", "{mount}");
        host.sh("test \"$(ls -A /srv/app/releases)\" = r1; test \"$(ls -A /srv/app/releases/r1)\" = index").ok();
        host.sh("test -e /srv/uploads/precious").ok();
    }
}

#[test]
fn what_is_shared_on_another_disk_has_to_be_brought_there_by_hand() {
    let host = require_host!("disk", []);
    let door = Door::new(&host);
    host.sh("mkdir -p /srv/app/releases/r1/storage /srv/app/shared; touch /srv/app/releases/r1/storage/precious").ok();
    host.sh("mount -t tmpfs tmpfs /srv/app/shared").ok();
    let answer = door.ask(&json!({ "act": "link" }));
    assert!(answer["message"].as_str().unwrap().contains("another file system"), "{answer}");
    host.sh("test -e /srv/app/releases/r1/storage/precious").ok();
    host.sh("cp -a /srv/app/releases/r1/storage /srv/app/shared/").ok();
    assert_eq!(door.ask(&json!({ "act": "link" })), "ok");
    host.sh("test -L /srv/app/releases/r1/storage; test -e /srv/app/releases/r1/storage/precious").ok();
    assert_eq!(door.ask(&json!({ "act": "settle" })), "ok");
}

#[test]
fn a_deploy_user_links_and_removes_what_is_his() {
    let host = require_host!("deploy", []);
    let door = Door::new(&host);
    host.add_user("deploy");
    host.sh("mkdir -p /srv/app/releases/r1/cache/go && touch /srv/app/releases/r1/cache/go/mod && chown -R deploy: /srv/app")
        .ok();
    let deploy = door.user("deploy");
    assert_eq!(deploy.ask(&json!({ "act": "link", "writable": true })), "ok");
    host.sh("test \"$(stat -c %A:%U /srv/app/shared/storage)\" = drwxrwsr-x:deploy").ok();
    // What the web user made in there is his, and stays as it is.
    host.sh("mkdir -m 700 /srv/app/shared/storage/web; chown www-data: /srv/app/shared/storage/web").ok();
    host.sh("chmod g-s /srv/app/shared/storage").ok();
    assert_eq!(deploy.ask(&json!({ "act": "link", "writable": true })), "ok");

    host.sh("chmod 0555 /srv/app/releases/r1/cache/go; chmod 0 /srv/app/releases/r1/cache").ok();
    assert_eq!(deploy.ask(&json!({ "act": REMOVE })), "ok", "a cache that was made read-only");
    host.sh("test -d /srv/app/shared/storage/web").ok();

    host.sh("mkdir -p /srv/app/releases/r1/roots; touch /srv/app/releases/r1/roots/file; chown deploy: /srv/app/releases/r1")
        .ok();
    let answer = deploy.ask(&json!({ "act": REMOVE }));
    assert_eq!(answer["kind"], "Denied", "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("roots/file"), "{answer}");
    assert_eq!(door.ask(&json!({ "act": REMOVE })), "ok");
    host.sh("test -z \"$(ls -A /srv/app/releases)\"").ok();
    // Another one's directory cannot be made writable, and that is said.
    host.sh("mkdir -p /srv/app/releases/r1; chown deploy: /srv/app/releases/r1; chown root: /srv/app/shared/storage; chmod 755 /srv/app/shared/storage")
        .ok();
    let answer = deploy.ask(&json!({ "act": "link", "writable": true }));
    assert_eq!(answer["kind"], "Denied", "{answer}");
    assert!(answer["help"].is_string(), "{answer}");
}
