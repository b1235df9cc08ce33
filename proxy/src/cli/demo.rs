//! What may be asked of the demo? How long it runs, and how its result is printed.

use clap::Args;
use outrigger_config::scalars::{NonZeroDuration, Scalar};
use tokio::runtime::Builder;

use super::{Failure, Output, print};
use crate::demo;

/// Show what sidecars change: what callers see without and with them, measured on this machine alone
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// How long it runs; Ctrl-C ends it early
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = NonZeroDuration::parse)]
    duration: NonZeroDuration,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    output: Output,
}

/// Runs it and prints what was measured.
pub(super) fn run(asked: &Demo) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(demo::run(asked.duration.into()))?;
    match asked.output {
        Output::Text => print(report),
        Output::Json => print(format_args!("{}\n", serde_json::to_string_pretty(&report)?)),
    }
}
