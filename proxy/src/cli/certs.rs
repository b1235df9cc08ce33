//! How does somebody try mutual TLS without an authority? A root and leaves for development, as files that `run` reads.

mod write;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use outrigger_config::model::SpiffeId;
use outrigger_config::scalars::{Host, NonZeroDuration, Scalar};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::write::{Sheet, write};
use super::{Failure, Output, print};
use crate::telemetry::access_log::rfc3339;
use crate::tls::Files;
use crate::tls::authority::Authority;
use crate::tls::shown::{self, Shown};

/// The root's key, beside its certificate.
const ROOT_KEY: &str = "ca.key";

/// Make certificates for development: a root, and what it signs
#[derive(Debug, Args)]
pub(super) struct Certs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Init(Init),
    Issue(Issue),
    Show(Show),
}

/// Make a root: `ca.crt` and `ca.key`
#[derive(Debug, Args)]
struct Init {
    /// Where everything lies
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = NonZeroDuration::parse)]
    valid_for: NonZeroDuration,
    /// Overwrite a root: what it signed is then worth nothing
    #[arg(long)]
    force: bool,
}

/// Make an identity: `NAME/tls.crt`, `NAME/tls.key` and `NAME/ca.crt`, a directory for `identity.certDir`
#[derive(Debug, Args)]
struct Issue {
    /// The workload; its SPIFFE ID is `spiffe://TRUST-DOMAIN/NAME`
    name: String,
    /// Who vouches for it
    #[arg(long, value_name = "NAME")]
    trust_domain: String,
    /// A DNS name that it has as well; may be repeated
    #[arg(long, value_name = "NAME", value_parser = Host::parse)]
    dns: Vec<Host>,
    /// Where everything lies
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = NonZeroDuration::parse)]
    valid_for: NonZeroDuration,
    /// Overwrite what is there: a running sidecar takes the new one
    #[arg(long)]
    force: bool,
}

/// Print who certificates are for, who signed them, and until when they are valid
#[derive(Debug, Args)]
struct Show {
    /// Certificate files, or directories of `tls.crt` and `ca.crt`, with theirs below
    #[arg(value_name = "PATH", default_value = "certs")]
    paths: Vec<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    output: Output,
}

/// Makes or shows them.
pub(super) fn run(asked: &Certs) -> Result<(), Failure> {
    match &asked.what {
        What::Init(asked) => init(asked),
        What::Issue(asked) => issue(asked),
        What::Show(asked) => show(asked),
    }
}

fn init(Init { dir, valid_for, force }: &Init) -> Result<(), Failure> {
    let (root, key) = Authority::create("Outrigger development root", (*valid_for).into())?;
    let sheets = [Sheet::secret(ROOT_KEY, &key), Sheet::public(Files::ROOTS, root.root())];
    write(dir, &sheets, *force).map_err(Failure::because)?;
    print(format_args!("a root for development in {}\n", dir.display()))
}

fn issue(Issue { name, trust_domain, dns, dir, valid_for, force }: &Issue) -> Result<(), Failure> {
    let id = SpiffeId::parse(&format!("spiffe://{trust_domain}/{name}")).map_err(Failure::because)?;
    let read = |file: &str| {
        let path = dir.join(file);
        let missing = |error| format!("{}: {error}; `outrigger certs init` makes a root", path.display());
        fs::read_to_string(&path).map_err(|error| Failure::because(missing(error)))
    };
    let root = Authority::load(read(Files::ROOTS)?, &Zeroizing::new(read(ROOT_KEY)?))?;
    let issued = root.issue(&id, dns, (*valid_for).into())?;
    let sheets = [
        Sheet::secret(Files::KEY, &issued.key),
        Sheet::public(Files::CHAIN, &issued.certificate),
        Sheet::public(Files::ROOTS, root.root()),
    ];
    let dir = dir.join(name);
    write(&dir, &sheets, *force).map_err(Failure::because)?;
    print(format_args!("{id} in {}\n", dir.display()))
}

fn show(asked: &Show) -> Result<(), Failure> {
    let mut found = Vec::new();
    for path in &asked.paths {
        let files = files(path).map_err(|error| Failure::because(format!("{}: {error}", path.display())))?;
        for file in files {
            let text =
                fs::read(&file).map_err(|error| Failure::because(format!("{}: {error}", file.display())))?;
            let certificates = shown::certificates(&text)
                .ok_or_else(|| Failure::because(format!("{}: no certificates in PEM", file.display())))?;
            found.extend(certificates.into_iter().map(|shown| Found { file: file.clone(), shown }));
        }
    }
    let now = SystemTime::now();
    match asked.output {
        Output::Json => {
            print(format_args!("{:#}\n", found.iter().map(|found| found.describe(now)).collect::<Value>()))
        }
        Output::Text => found.iter().try_for_each(|found| print(Told { found, now })),
    }
}

/// The certificate files at a path.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let below = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let mut dirs: Vec<_> = below.into_iter().filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs.insert(0, path.to_owned());
    let names = [Files::CHAIN, Files::ROOTS];
    Ok(dirs.iter().flat_map(|dir| names.map(|name| dir.join(name))).filter(|file| file.is_file()).collect())
}

/// A certificate and where it is.
struct Found {
    file: PathBuf,
    shown: Shown,
}

impl Found {
    fn describe(&self, now: SystemTime) -> Value {
        let Shown { identities, subject, issuer, is_authority, standing } = &self.shown;
        json!({
            "file": self.file.display().to_string(),
            "identities": identities,
            "subject": subject,
            "issuer": issuer,
            "authority": is_authority,
            "not_before": rfc3339(standing.not_before),
            "not_after": rfc3339(standing.not_after),
            "seconds_left": standing.left(now).as_secs(),
        })
    }
}

/// What is worth saying of a time.
fn to_minutes(left: Duration) -> Duration {
    if left < Duration::from_hours(1) { left } else { Duration::from_mins(left.as_secs() / 60) }
}

/// A certificate on three lines.
struct Told<'f> {
    found: &'f Found,
    now: SystemTime,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { identities, subject, issuer, is_authority, standing } = &self.found.shown;
        let called = if identities.is_empty() { subject.clone() } else { identities.join(", ") };
        let root = if *is_authority { " (authority)" } else { "" };
        writeln!(f, "{}: {called}{root}", self.found.file.display())?;
        writeln!(f, "  signed by {issuer}")?;
        let state = match standing.left(self.now) {
            Duration::ZERO => "expired".to_owned(),
            left => format!("{} left", NonZeroDuration::format(to_minutes(left))),
        };
        writeln!(f, "  valid {} to {}, {state}", rfc3339(standing.not_before), rfc3339(standing.not_after))
    }
}

#[cfg(test)]
mod tests;
