//! The health contract through the whole program: rules, attempts, every kind of probe.

use crate::support::fixtures::Site;
use crate::support::passes::Manifest;
use crate::support::{Background, Host, SOON, require_host};

/// Answers every request with the contents of `/run/answer`, and writes down when it was asked and for which host.
const SERVER: &str = r#"
import http.server, json, os, socket, socketserver, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/run/asked", "a") as log:
            log.write(f"{time.monotonic()} {self.headers['Host']} {self.path} {self.headers.get('X-Probe')}\n")
        answer = json.load(open("/run/answer"))
        body = json.dumps(answer["body"]).encode()
        self.send_response(answer["code"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
    def address_string(self): return "peer"
class Unix(socketserver.ThreadingUnixStreamServer): pass
where = sys.argv[1]
if where.startswith("/"):
    server = Unix(where, Handler)
else:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(where)), Handler)
open("/run/serving", "w").close()
server.serve_forever()
"#;

/// An HTTP server on a port or a unix socket.
fn serve<'host>(host: &'host Host, at: &str) -> Background<'host> {
    host.write("/usr/local/bin/serve.py", SERVER);
    answer(host, 200, r#"{"status": "healthy"}"#);
    host.run(&["rm", "-f", "/run/serving", "/run/asked"]).ok();
    let server = host.spawn(&["python3", "/usr/local/bin/serve.py", at]);
    host.wait_until("the server", SOON, || host.exists("/run/serving"));
    server
}

fn answer(host: &Host, code: u16, body: &str) {
    host.write("/run/answer", &format!(r#"{{"code": {code}, "body": {body}}}"#));
}

/// When and how the server was asked: seconds, host, path, header.
fn asked(host: &Host) -> Vec<(f64, String)> {
    let log = host.run(&["cat", "/run/asked"]).stdout;
    let lines = log.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(at, how)| (at.parse().expect("is a number"), how.to_owned())).collect()
}

fn settled(host: &Host) -> Site<'_> {
    Site::new(host, "/srv/app").release("r1").release("r2").current("r1")
}

fn manifest<'host>(host: &'host Host, site: &Site<'_>, probe: &str, expect: &str) -> Manifest<'host> {
    let health = format!("health: {{{probe}, attempts: 3, interval: 300ms, expect: [{expect}]}}");
    Manifest::new(host, "app", site, "r1").with(&health)
}

#[test]
fn an_answer_that_breaks_a_rule_is_told_with_the_value_seen() {
    let host = require_host!("degraded", []);
    let site = settled(&host);
    let _server = serve(&host, "8080");
    let rules = r#"status == 200, 'body.status == "healthy"', 'body.jobs < 1000'"#;
    let manifest = manifest(&host, &site, r#"http: {url: "http://127.0.0.1:8080/health"}"#, rules);
    answer(&host, 200, r#"{"status": "healthy", "jobs": 3}"#);
    manifest.reconcile().converged_by(&[]);
    assert_eq!(asked(&host).len(), 1, "one good answer is enough");

    answer(&host, 200, r#"{"status": "degraded", "jobs": 3}"#);
    let text = manifest.reconcile_for_people();
    assert_eq!(text.code, 3, "{text}");
    for said in [r#"body.status == "healthy""#, "degraded", "not healthy", "attempt 1 of 3"] {
        assert!(text.stdout.contains(said) || text.stderr.contains(said), "{said}: {text}");
    }
    assert!(text.stdout.contains("degraded"), "the report itself says it: {text}");
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["outcome"]), (3, &"unhealthy".into()), "{pass}");
    let verdict = &pass.report["health"];
    assert_eq!(verdict["healthy"], false);
    let rules = verdict["rules"].as_array().expect("is a list");
    let passed: Vec<bool> = rules.iter().map(|rule| rule["passed"] == true).collect();
    assert_eq!(passed, [true, false, true]);
    assert!(rules[1]["seen"].as_str().is_some_and(|seen| seen.contains("degraded")), "{verdict:#}");
    assert_eq!(pass.report["healthAttempts"], 3);

    // A key that is not there is a broken rule with a reason, not a crash.
    answer(&host, 200, r#"{"status": "healthy"}"#);
    let text = manifest.reconcile_for_people();
    assert_eq!(text.code, 3, "{text}");
    assert!(text.stdout.contains("jobs"), "{text}");
}

#[test]
fn a_sick_application_is_asked_as_often_and_as_slowly_as_the_contract_says() {
    let host = require_host!("attempts", []);
    let site = settled(&host);
    let _server = serve(&host, "8080");
    answer(&host, 503, "{}");
    let manifest = manifest(&host, &site, r#"http: {url: "http://127.0.0.1:8080/"}"#, "");
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["healthAttempts"]), (3, &3.into()), "{pass}");
    let times: Vec<f64> = asked(&host).iter().map(|(at, _)| *at).collect();
    let [first, second, third] = times[..] else { panic!("asked {times:?}") };
    for pause in [second - first, third - second] {
        assert!((0.3..30.0).contains(&pause), "{pause} s");
    }
}

#[test]
fn a_server_that_is_down_is_unhealthy_after_all_attempts() {
    let host = require_host!("down", []);
    let site = settled(&host);
    let manifest = manifest(&host, &site, r#"http: {url: "http://127.0.0.1:8080/"}"#, "");
    let pass = manifest.reconcile();
    assert_eq!((pass.output.code, &pass.report["healthAttempts"]), (3, &3.into()), "{pass}");
    assert!(pass.report["tookMs"].as_u64().is_some_and(|took| (600..30_000).contains(&took)), "{pass}");
    assert!(pass.report["health"]["failure"].as_str().is_some_and(|why| why.contains("refused")), "{pass}");
}

#[test]
fn recovery_between_two_attempts_is_health() {
    let host = require_host!("recovers", []);
    let site = settled(&host);
    // Healthy from the third question on.
    let probe = "command: {run: 'echo >>/srv/app/shared/asked; test $(wc -l </srv/app/shared/asked) -ge 3'}";
    let pass = manifest(&host, &site, probe, "").reconcile();
    pass.converged_by(&[]);
    assert_eq!(pass.report["healthAttempts"], 3);
}

#[test]
fn a_unix_socket_answers_in_place_of_a_port() {
    let host = require_host!("unix", []);
    let site = settled(&host);
    let _server = serve(&host, "/run/app.sock");
    let probe = r#"http: {url: "http://shop.example/up", connectTo: "unix:/run/app.sock", headers: {X-Probe: me}}"#;
    manifest(&host, &site, probe, r#"'body.status == "healthy"'"#).reconcile().converged_by(&[]);
    assert_eq!(asked(&host)[0].1, "shop.example /up me");
}

#[test]
fn connect_to_asks_this_host_by_the_public_name() {
    let host = require_host!("connect-to", []);
    let site = settled(&host);
    let _server = serve(&host, "8080");
    let probe = r#"http: {url: "http://shop.example/up", connectTo: "127.0.0.1:8080"}"#;
    manifest(&host, &site, probe, "status == 200").reconcile().converged_by(&[]);
    assert_eq!(asked(&host)[0].1, "shop.example /up None");
}

#[test]
fn a_command_is_run_in_current_and_its_output_judged() {
    let host = require_host!("command", []);
    let site = settled(&host).owner("deploy");
    let says = "command: {run: 'printf \"{\\\"dir\\\":\\\"%s\\\",\\\"who\\\":\\\"%s\\\"}\" $(pwd -P) $(id -un)'}";
    let rules = r#"'status == 0', 'body.dir.endsWith("/releases/r1")', 'body.who == "deploy"'"#;
    manifest(&host, &site, says, rules).reconcile().converged_by(&[]);
    let fails = manifest(&host, &site, "command: {run: [sh, -c, exit 7]}", "").reconcile();
    assert_eq!(fails.output.code, 3, "{fails}");
    assert!(fails.report["health"].to_string().contains('7'), "{fails}");
}

#[test]
fn a_file_is_read_and_must_not_be_old() {
    let host = require_host!("file", []);
    let site = settled(&host);
    host.write("/srv/app/shared/health.json", r#"{"status": "healthy", "release": "r1"}"#);
    let probe = "file: {path: shared/health.json, maxAge: 1h}";
    let rules = r#"'body.status == "healthy"', body.release == release.id"#;
    manifest(&host, &site, probe, rules).reconcile().converged_by(&[]);
    host.run(&["touch", "-d", "2 hours ago", "/srv/app/shared/health.json"]).ok();
    let old = manifest(&host, &site, probe, rules).reconcile();
    assert_eq!(old.output.code, 3, "{old}");
    assert!(old.report["health"]["failure"].as_str().is_some_and(|why| why.contains("old")), "{old}");
}
