//! What can be asked of the program? One file a command; this one reads the arguments and says how it went.
//!
//! Exit codes: 0 done, 1 the input is wrong, 2 usage, 70 a bug. Whoever is started by us speaks with its own code instead,
//! as under a shell: 128 and the signal's number where a signal ended it, 127 where nothing has that name, 126 where what
//! has it does not start (POSIX.1-2024, Shell Command Language §2.8.2).

mod beside;
mod certs;
mod demo;
mod drain;
mod explain;
mod intercept;
mod policy;
mod run;
mod schema;
mod validate;
mod wait;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// `EX_SOFTWARE` of sysexits.h.
const BUG: u8 = 70;

/// A sidecar proxy that keeps failure from spreading.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Wait(wait::Wait),
    Drain(drain::Drain),
    Validate(validate::Validate),
    Explain(explain::Explain),
    Intercept(intercept::Intercept),
    Schema(schema::Schema),
    Demo(demo::Demo),
    Certs(certs::Certs),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// To be told on standard error.
    Because(String),
    /// The same, with an exit code of its own.
    With(u8, String),
    /// The result says it already.
    Said,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::because(error)
    }
}

impl Failure {
    /// In the manner of the policy's diagnostics.
    fn because(reason: impl fmt::Display) -> Self {
        Self::Because(format!("error: {reason}"))
    }
}

/// Does what the process was started for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            let code = usage.exit_code();
            // Nobody reads what is said of usage: nothing more can be done.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(BUG));
        }
    };
    // The panic itself has told where, on standard error.
    match catch_unwind(AssertUnwindSafe(|| execute(&arguments.command))) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(Failure::Said)) => ExitCode::FAILURE,
        Ok(Err(Failure::Because(reason))) => complain(1, &reason),
        Ok(Err(Failure::With(code, reason))) => complain(code, &reason),
        Err(_) => ExitCode::from(BUG),
    }
}

/// The exit code.
fn execute(command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Run(asked) => return run::run(asked),
        Command::Wait(asked) => wait::run(asked),
        Command::Drain(asked) => drain::run(asked),
        Command::Validate(asked) => validate::run(asked),
        Command::Explain(asked) => explain::run(asked),
        Command::Intercept(asked) => intercept::run(asked),
        Command::Schema(asked) => schema::run(asked),
        Command::Demo(asked) => demo::run(asked),
        Command::Certs(asked) => certs::run(asked),
    }
    .map(|()| 0)
}

fn complain(code: u8, reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::from(code)
}

/// The program that could not be started, and why, with a shell's exit code.
fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::With(code, format!("error: cannot start `{}`: {error}", program.display()))
}

/// A result. A reader that has seen enough and closed the pipe is no failure.
fn print(result: impl fmt::Display) -> Result<(), Failure> {
    match write!(io::stdout().lock(), "{result}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_fit_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_nobody_can_mean_is_usage() {
        for wrong in
            [&["outrigger"][..], &["outrigger", "rnu"], &["outrigger", "run"], &["outrigger", "validate"]]
        {
            assert_eq!(Arguments::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
        for asked in ["--help", "--version"] {
            assert_eq!(
                Arguments::try_parse_from(["outrigger", asked]).unwrap_err().exit_code(),
                0,
                "{asked}"
            );
        }
    }
}
