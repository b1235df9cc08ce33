//! What may be asked of the demo? How long it runs, and how its result is printed.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use outrigger_config::scalars::{NonZeroDuration, Scalar};

use crate::demo;

/// Show on this machine alone what sidecars change: a caller's view without and with them.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long it runs; Ctrl-C ends it early, with what was measured so far.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = NonZeroDuration::parse)]
    duration: NonZeroDuration,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
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

/// Runs the demo and prints its result on standard output.
pub fn run(asked: &Demo) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(demo::run(asked.duration.into()))?;
    let mut out = io::stdout().lock();
    match asked.output {
        Output::Text => write!(out, "{report}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
    }
    Ok(())
}
