//! The program where one App's root lies on a mount whose server is gone, as NFS and FUSE leave it: whoever touches that
//! is held in the kernel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail on the spot")]

mod support;

use std::time::Duration;

use support::{Background, Host, require_host};

/// The longest that anything may take.
const LONG: Duration = Duration::from_mins(5);

/// A file system whose server takes no question.
fn dead_mount<'h>(host: &'h Host, at: &str) -> Background<'h> {
    let script = format!(
        "mkdir -p {at}; [ -e /dev/fuse ] || mknod /dev/fuse c 10 229; exec 3<>/dev/fuse
         mount -i -t fuse dead {at} -o fd=3,rootmode=40000,user_id=0,group_id=0,allow_other
         exec sleep infinity"
    );
    let mut server = host.spawn(&["bash", "-euc", &script]);
    host.wait_until("the mount", LONG, || {
        assert!(server.is_running(), "it cannot be mounted: {}", server.stderr());
        host.read("/proc/mounts").contains(&format!(" {at} fuse "))
    });
    server
}

fn app(host: &Host, name: &str, root: &str) {
    let text = format!(
        "apiVersion: trueup/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{root: {root}, release: {{id: r1}}}}\n"
    );
    host.write(&format!("/srv/m/{name}.yaml"), &text);
}

#[test]
fn a_root_on_a_dead_mount_is_told_and_holds_up_no_other_app() {
    if !std::fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("fuse")) {
        eprintln!("skipped: this kernel has no FUSE");
        return;
    }
    let host = require_host!("dead-mount", []);
    host.sh("mkdir -p /srv/shop/releases/r1 && touch /srv/shop/releases/r1/index").ok();
    app(&host, "shop", "/srv/shop");
    app(&host, "dead", "/srv/dead/app");
    let _server = dead_mount(&host, "/srv/dead");

    // A verb, its exit code, and whether it tells of the App that is well.
    let rows = [
        (["reconcile", "/srv/m"].as_slice(), 1, true),
        (&["status", "/srv/m"], 1, true),
        (&["diff", "/srv/m"], 2, true),
        (&["history", "dead", "/srv/m"], 1, false),
        (&["history", "shop", "/srv/m"], 0, false),
    ];
    // Side by side: each of them waits for the mount.
    let begun = rows.map(|row| (row, host.spawn(&[&["trueup"], row.0].concat())));
    for ((verb, code, tells), mut running) in begun {
        let output = running.wait(LONG);
        let said = format!("{}{}", output.stdout, output.stderr);
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.code, code, "{output}");
        assert_eq!(flat.contains("does not answer"), code > 0, "{verb:?}: {said}");
        assert!(!tells || flat.contains("shop"), "{verb:?}: {said}");
    }
    assert_eq!(host.read_link("/srv/shop/current").as_deref(), Some("releases/r1"), "the other one is as it should be");
}
