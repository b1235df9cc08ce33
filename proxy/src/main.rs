//! How does the process start and end? As [`outrigger::cli`] says.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger::cli::main()
}
