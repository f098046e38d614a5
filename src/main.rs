//! The `trueup` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    trueup::cli::main()
}
