//! Who is who in the demo? A development authority vouches for both services; what it signs is gone when the demo ends.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_config::model::{PeerIdentity, SpiffeId};
use outrigger_config::scalars::Scalar;

use super::DemoError;
use crate::tls::Files;
use crate::tls::authority::{Authority, Issued};

/// Longer than anybody watches.
const LIFE: Duration = Duration::from_hours(24);

/// Who claims to be `holdings`, by another authority.
pub const FORGER: &str = "forger";
/// A service of the same authority that has no business with `market-data`.
pub const STRANGER: &str = "statements";

/// A directory for each identity, as `identity.certDir` wants it. Removed when this is dropped.
#[derive(Debug)]
pub struct Certs(PathBuf);

impl Certs {
    /// Makes them below `folder`. The key of the authority is kept nowhere.
    pub fn issue(folder: &Path) -> Result<Self, DemoError> {
        let certs = Self(folder.join("certs"));
        let [root, other] = [authority("Outrigger demo root")?, authority("Another root")?];
        for service in ["holdings", "market-data", STRANGER] {
            certs.write(service, &issue(&root, service)?, root.root())?;
        }
        // Whoever forges believes the right root as well: it is the others who don't believe it.
        let roots = [other.root(), root.root()].concat();
        certs.write(FORGER, &issue(&other, "holdings")?, &roots)?;
        Ok(certs)
    }

    /// Where the files of this one are.
    pub fn of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, issued: &Issued, roots: &str) -> Result<(), DemoError> {
        let dir = self.of(name);
        let files = [
            (Files::KEY, issued.key.as_str(), 0o600),
            (Files::CHAIN, &issued.certificate, 0o644),
            (Files::ROOTS, roots, 0o644),
        ];
        let write = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            files.iter().try_for_each(|(file, text, mode)| {
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(*mode).open(dir.join(file))?;
                file.write_all(text.as_bytes())
            })
        };
        write().map_err(DemoError::Folder)
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        // Nobody could be told; what they vouch for ends with this process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The identity of a service of the demo.
pub fn identity(service: &str) -> Result<PeerIdentity, DemoError> {
    spiffe(service).map(PeerIdentity::Spiffe)
}

fn spiffe(service: &str) -> Result<SpiffeId, DemoError> {
    SpiffeId::parse(&format!("spiffe://simplebank/{service}")).map_err(|error| failed(&error))
}

fn authority(name: &str) -> Result<Authority, DemoError> {
    Authority::create(name, LIFE).map(|(root, _)| root).map_err(|error| failed(&error))
}

fn issue(by: &Authority, service: &str) -> Result<Issued, DemoError> {
    by.issue(&spiffe(service)?, &[], LIFE).map_err(|error| failed(&error))
}

/// For people.
pub fn failed(error: &impl ToString) -> DemoError {
    DemoError::Certs(error.to_string())
}
