//! What may be asked of the demo? How long it runs, and how its result is printed.

use clap::Args;
use outrigger_config::scalars::{NonZeroDuration, Scalar};

use super::{Failure, Output, print};
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

/// Runs the demo and prints its result on standard output.
pub(super) fn run(asked: &Demo) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(demo::run(asked.duration.into()))?;
    match asked.output {
        Output::Text => print(&report),
        Output::Json => print(format_args!("{}\n", serde_json::to_string_pretty(&report)?)),
    }
}
