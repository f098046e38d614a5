//! What the host itself costs: the same questions that a pass asks, with nothing around them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Fallible;

/// Where Debian's supervisord listens.
const SUPERVISORD: &str = "/run/supervisor.sock";

/// One XML-RPC call on a connection of its own; the answer as it came.
pub fn call(method: &str, params: &[&str]) -> Fallible<String> {
    let params = params.iter().map(|text| format!("<param><value>{text}</value></param>")).collect::<Vec<_>>().concat();
    let body = format!(
        "<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    );
    let mut socket = UnixStream::connect(SUPERVISORD)?;
    write!(socket, "POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.contains("<fault>") || !answer.contains("<methodResponse>") {
        return Err(format!("supervisord answered to {method}: {answer}").into());
    }
    Ok(answer)
}

/// All processes, as `getAllProcessInfo` tells them: name, state, pid.
pub fn processes() -> Fallible<Vec<(String, String, u32)>> {
    let answer = call("supervisor.getAllProcessInfo", &[])?;
    let processes = answer.split("<struct>").skip(1).map(|part| {
        let value = |key: &str| -> Option<&str> {
            let after = part.split(&format!("<name>{key}</name>")).nth(1)?;
            let value = after.split("<value>").nth(1)?.split("</value>").next()?;
            Some(value.trim_start_matches(|c| c != '>').trim_start_matches('>').split('<').next().unwrap_or(value))
        };
        let name = format!("{}:{}", value("group").unwrap_or_default(), value("name").unwrap_or_default());
        (
            name,
            value("statename").unwrap_or_default().to_owned(),
            value("pid").and_then(|pid| pid.parse().ok()).unwrap_or(0),
        )
    });
    Ok(processes.collect())
}

/// One GET on a connection of its own.
pub fn get() -> Fallible<String> {
    let mut socket = TcpStream::connect("127.0.0.1:80")?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(format!("not healthy: {answer}").into()) }
}

/// Lists `/proc` and reads of each process what a walk tells of it.
pub fn walk() -> Fallible<usize> {
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        let home = entry.path();
        seen += usize::from(std::fs::read(home.join("stat")).is_ok());
        // Not there for a kernel thread, or no longer.
        let _ = (std::fs::read(home.join("cmdline")), home.join("cwd").read_link(), home.join("exe").read_link());
    }
    Ok(seen)
}

/// Everything that a pass with nothing to do asks of its host, one after the other.
pub fn floor(root: &Path) -> Fallible<()> {
    call("supervisor.getAllProcessInfo", &[])?;
    get()?;
    std::fs::read_link(root.join("current"))?;
    walk()?;
    Ok(())
}
