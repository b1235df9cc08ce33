//! What may a policy file hold? Its JSON Schema, for editors.

use clap::Args;

use super::{Failure, print};

/// Print the JSON Schema of the policy files, for editors
#[derive(Debug, Args)]
pub(super) struct Schema {}

/// Prints it.
pub(super) fn run(_: &Schema) -> Result<(), Failure> {
    print(format_args!("{:#}\n", outrigger_config::schema()))
}
