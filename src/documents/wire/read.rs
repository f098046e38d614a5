//! Reading what the other side says: its version first, everything else only when that is ours.

use serde::Deserialize;

use super::{Failed, Fault, Line, PROGRAM, Request, WIRE, What};

/// What every version of a request has.
#[derive(Deserialize)]
struct Envelope {
    wire: u32,
    program: String,
}

/// Reads a request.
///
/// # Errors
/// It is none, or one of another version.
pub fn request(text: &[u8]) -> Result<Request, Failed> {
    let garbage = |error: serde_json::Error| {
        Failed::new(Fault::Request, "what came on the standard input is no request")
            .cause(error.to_string())
            .help("`trueup far` is for trueup's own use: `trueup reconcile` with `spec.hosts` calls it over SSH")
    };
    // Garbage is never quoted: it may have been anybody's password.
    let envelope: Envelope = serde_json::from_slice(text).map_err(garbage)?;
    same(envelope.wire, &envelope.program, "the control side", "this host")?;
    serde_json::from_slice(text).map_err(garbage)
}

/// Reads a line.
///
/// # Errors
/// It is none, or a hello of another version.
pub fn line(text: &str) -> Result<Line, Failed> {
    let line: Line = serde_json::from_str(text).map_err(|error| {
        Failed::new(Fault::Other, "the host says something that trueup does not say")
            .cause(error.to_string())
            .help("does its shell print something when it is not used by a person? See its `.bashrc`")
    })?;
    if let What::Hello(hello) = &line.what {
        same(hello.wire, &hello.program, "the host", "this side")?;
    }
    Ok(line)
}

fn same(wire: u32, program: &str, they: &str, we: &str) -> Result<(), Failed> {
    if (wire, program) == (WIRE, PROGRAM) {
        return Ok(());
    }
    let message = format!(
        "{they} speaks as trueup {program} (wire {wire}), {we} as trueup {PROGRAM} (wire {WIRE}): they do not talk"
    );
    Err(Failed::new(Fault::Version, message).help("use the same version of trueup on both"))
}
