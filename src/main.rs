//! The `trueup` program.

use std::process::ExitCode;

use trueup::host::spawn;

fn main() -> ExitCode {
    // Before anything starts a thread: the shim changes user and session, which is sound only for a lone thread.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == spawn::VERB) {
        return spawn::main();
    }
    trueup::cli::main()
}
