//! The end of the terminal, or of the connection that it came over.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hang-ups; none where whoever started this wants them ignored, as `nohup` does: to listen would undo that.
///
/// # Errors
/// When they cannot be listened for.
pub fn hang_ups() -> io::Result<Option<Signal>> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if ignores_hang_ups(&status) { Ok(None) } else { signal(SignalKind::hangup()).map(Some) }
}

/// Waits for the next one: for ever where none are listened for.
pub async fn hung_up(hang_ups: &mut Option<Signal>) {
    match hang_ups {
        Some(hang_ups) => {
            hang_ups.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// By the kernel's description of the process: a mask in hexadecimal digits, with the first signal in its lowest bit.
fn ignores_hang_ups(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ignores_hang_ups_is_known() {
        let rows = [
            ("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", false),
            ("SigIgn:\t0000000000001001\n", true),
            ("SigIgn:\t0000000000000001\n", true),
            ("SigIgn:\tno number\n", false),
            ("", false),
        ];
        for (status, expected) in rows {
            assert_eq!(ignores_hang_ups(status), expected, "{status}");
        }
    }
}
