//! Which rules bring connections to the sidecar? Printed, applied, tried out and taken away, for one network namespace.
//!
//! To change rules takes `CAP_NET_ADMIN` once, in an init container for instance; the sidecar itself needs no capability.

mod check;
mod live;
mod nft;
mod ruleset;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use outrigger_config::model::Config;

use self::ruleset::{IDLE, NONE, Ruleset};
use super::policy::Policy;
use super::{Failure, print};

/// Print, apply, check or remove the nftables rules that redirect connections to the sidecar
#[derive(Debug, Args)]
pub(super) struct Intercept {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the rules, as `nft -f -` reads them; needs no privilege
    Print(Asked),
    /// Make them the rules of this network namespace, all at once; a second time changes nothing
    Apply(Asked),
    /// Connect to an address that nobody has, and see that the connection arrives at the sidecar
    Check(Asked),
    /// Take them away; connections that are redirected now live on
    Remove(Remove),
}

/// Of which policy, and for which sidecar.
#[derive(Debug, Args)]
struct Asked {
    /// A policy file, or a directory of `*.yaml`
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
    /// The user that the sidecar runs as, and nobody else: its connections are not redirected
    #[arg(long, value_name = "UID", default_value_t = 2102)]
    uid: u32,
    /// A mark of packets that are not redirected either
    #[arg(long, value_name = "N")]
    mark: Option<u32>,
}

#[derive(Debug, Args)]
struct Remove {
    #[command(flatten)]
    asked: Asked,
    /// Leave nothing behind, and so reset the connections that are redirected now
    #[arg(long)]
    force: bool,
}

/// Does what is asked.
pub(super) fn run(asked: &Intercept) -> Result<(), Failure> {
    match &asked.what {
        What::Print(asked) => print(ruleset(asked)?.1),
        What::Apply(asked) => {
            nft::load(&ruleset(asked)?.1.to_string()).map_err(Failure::because)?;
            print(format_args!("connections are redirected, but not those of user {}\n", asked.uid))
        }
        What::Check(asked) => {
            let (config, ruleset) = ruleset(asked)?;
            check::run(&config, &ruleset).map_err(Failure::because)
        }
        What::Remove(asked) => remove(asked),
    }
}

fn ruleset(asked: &Asked) -> Result<(Config, Ruleset), Failure> {
    let policy = Policy::load(&asked.config).map_err(|error| Failure::Because(error.to_string()))?;
    let ruleset = Ruleset::of(&policy.config, asked.uid, asked.mark)
        .ok_or_else(|| Failure::because("the policy captures nothing: no port says `capture: redirect`"))?;
    Ok((policy.config, ruleset))
}

/// Translation ends with the last chain that hooks into it, and with it each connection that is translated. So chains
/// without effect stay until there is none.
fn remove(Remove { asked, force }: &Remove) -> Result<(), Failure> {
    let (_, ruleset) = ruleset(asked)?;
    nft::load(IDLE).map_err(Failure::because)?;
    let live = if *force { 0 } else { live::count(&ruleset.ports()).map_err(Failure::because)? };
    if live == 0 {
        nft::load(NONE).map_err(Failure::because)?;
        return print("nothing is redirected, and no rule is left\n");
    }
    print(format_args!(
        "nothing is redirected any more; chains without effect stay for the {live} that are still open: \
         remove again when they have ended\n"
    ))
}
