//! What can be asked of the program? One file a command; this one reads the arguments and says how it went.
//!
//! Exit codes: 0 done, 1 the input is wrong, 2 usage, 70 a bug.

mod certs;
mod demo;
mod explain;
mod intercept;
mod policy;
mod run;
mod schema;
mod validate;

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
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Failure::Said)) => ExitCode::FAILURE,
        Ok(Err(Failure::Because(reason))) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::from(BUG),
    }
}

fn execute(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Run(asked) => run::run(asked),
        Command::Validate(asked) => validate::run(asked),
        Command::Explain(asked) => explain::run(asked),
        Command::Intercept(asked) => intercept::run(asked),
        Command::Schema(asked) => schema::run(asked),
        Command::Demo(asked) => demo::run(asked),
        Command::Certs(asked) => certs::run(asked),
    }
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
