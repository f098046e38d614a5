//! Switch after switch while people use the site: nobody notices, but for the new release.

use serde_json::Value;

use crate::shop::{FPM, SOON, Shop, phases};
use crate::support::fixtures::LOAD;
use crate::support::{Background, Host, Unit, require_host};

/// Switches in a row and requests a second.
fn scale() -> (u32, u32) {
    if std::env::var_os("TRUEUP_TESTS_LONG").is_some() { (20, 200) } else { (5, 80) }
}

/// One request: when it began and ended, in seconds since 1970, how it ended, and who answered.
struct Asked {
    began: f64,
    ended: f64,
    status: String,
    release: String,
}

fn load(host: &Host, rate: u32) -> Background<'_> {
    host.write("/usr/local/bin/load.py", LOAD);
    host.spawn(&["python3", "/usr/local/bin/load.py", &rate.to_string(), "40", "80"])
}

fn end(host: &Host, mut load: Background<'_>) -> Vec<Asked> {
    host.write("/run/enough", "");
    let output = load.wait(SOON * 2);
    let told: Value = serde_json::from_str(output.ok()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let asked = told.as_array().unwrap().iter();
    let moment = |value: &Value| value.as_f64().unwrap();
    let asked = asked.map(|one| Asked {
        began: moment(&one[0]),
        ended: moment(&one[3]),
        status: text(&one[1]),
        release: text(&one[2]),
    });
    asked.collect()
}

fn now(host: &Host) -> f64 {
    host.run(&["date", "+%s.%N"]).ok().parse().unwrap()
}

/// Switches on and on under load, and looks at every single answer.
fn nobody_notices(host: &Host, shop: &Shop<'_>, on_release: &str) {
    let (switches, rate) = scale();
    shop.first();
    let load = load(host, rate);
    // From then on only this release may answer, until the next pass begins; whoever still waits then may have either.
    let mut reigns = vec![("r1".to_owned(), now(host), f64::INFINITY)];
    for number in 2..switches + 2 {
        let id = format!("r{number}");
        let commit = shop.commit(&[("change", &id)]);
        let manifest = shop.served(&id, &commit, on_release);
        let before = phases(&manifest).len();
        reigns.last_mut().unwrap().2 = now(host);
        let pass = manifest.reconcile();
        reigns.push((id.clone(), now(host), f64::INFINITY));
        assert_eq!(pass.output.code, 0, "{pass}");
        shop.is_well_in(&id);
        let done = phases(&manifest).split_off(before);
        let row: Vec<String> = done.iter().map(|(action, took)| format!("{action} {took}")).collect();
        println!("{id}: {} ms; {}", pass.report["tookMs"], row.join(", "));
    }
    let asked = end(host, load);
    let failed: Vec<String> =
        asked.iter().filter(|one| one.status != "200").map(|one| format!("{} {}", one.began, one.status)).collect();
    println!("{} requests, {} failed, {switches} switches", asked.len(), failed.len());
    assert!(asked.len() > 200, "{}", asked.len());
    assert_eq!(failed, [""; 0]);
    let mut judged = 0;
    for (id, from, to) in &reigns {
        for one in asked.iter().filter(|one| one.began > *from && one.ended < *to) {
            assert_eq!(one.release, *id, "asked {:.3} s after trueup was done with {id}", one.began - from);
            judged += 1;
        }
    }
    println!("{judged} of them while one release was in force");
    assert!(judged > 50, "{judged}");
}

#[test]
fn under_load_with_debians_settings_and_auto() {
    let host = require_host!("load", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    nobody_notices(&host, &Shop::new(&host, "$realpath_root"), "auto");
}

#[test]
fn under_load_with_time_for_requests_in_hand_and_reload() {
    let host = require_host!("load-reload", [Unit::Supervisor, Unit::Nginx, Unit::PhpFpm]);
    let script = "sed -i 's/^;*process_control_timeout.*/process_control_timeout = 10s/' /etc/php/8.2/fpm/php-fpm.conf";
    host.sh(script).ok();
    host.run(&["systemctl", "restart", FPM]).ok();
    nobody_notices(&host, &Shop::new(&host, "$realpath_root"), "reload");
}
