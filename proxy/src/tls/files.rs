//! What stands in the directory of the identity at this moment? Octets only; [`super::Identity`] says what they mean.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Octets of one file. A bundle of the web's roots is 200 KiB; a list of a hundred thousand revoked ones 4 MiB.
const LARGEST: u64 = 16 << 20;

/// `rwx` of the group and of others.
const STRANGERS: u32 = 0o077;
/// The same of others. A mounted Secret belongs to root, and it is by its group (`fsGroup`) that anybody else may read it.
const OTHERS: u32 = 0o007;

/// The content of the files that cert-manager, Kubernetes' TLS Secrets and SPIFFE helpers write.
pub struct Files {
    /// `tls.crt`: our chain, the leaf first.
    pub(super) chain: Vec<u8>,
    /// `tls.key`.
    pub(super) key: Zeroizing<Vec<u8>>,
    /// `ca.crt`: the roots that we trust; several while one replaces another.
    pub(super) roots: Vec<u8>,
    /// `ca.crl`: what those took back; none unless it is there.
    pub(super) revoked: Option<Vec<u8>>,
    /// The directory, for people.
    pub(super) dir: PathBuf,
    pub(super) exposed: bool,
}

/// Why files cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

impl Files {
    /// The chain's file.
    pub const CHAIN: &str = "tls.crt";
    /// The private key's file.
    pub const KEY: &str = "tls.key";
    /// The file of the roots.
    pub const ROOTS: &str = "ca.crt";
    /// The file of what was taken back.
    pub const REVOKED: &str = "ca.crl";

    /// Reads them all, from one side of the kubelet's swap of `..data`. Blocks.
    pub fn read(dir: &Path) -> Result<Self, Unreadable> {
        // `pkg/volume/util/atomic_writer.go`: the link names one snapshot of all files.
        let mounted = dir.join("..data").canonicalize().ok();
        let root = mounted.as_deref().unwrap_or(dir);
        let read =
            |name: &str| open(&root.join(name)).map_err(|error| Unreadable { path: dir.join(name), error });
        let (key, mode) = read(Self::KEY)?;
        let revoked = match read(Self::REVOKED) {
            Err(missing) if missing.error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?.0.to_vec()),
        };
        Ok(Self {
            chain: read(Self::CHAIN)?.0.to_vec(),
            key,
            roots: read(Self::ROOTS)?.0.to_vec(),
            revoked,
            dir: dir.to_owned(),
            exposed: mode & if mounted.is_some() { OTHERS } else { STRANGERS } != 0,
        })
    }

    /// Equal if and only if the contents are (but for a chance of 2⁻⁶⁴), within this process.
    pub fn fingerprint(&self) -> u64 {
        hash(&(&self.chain, &*self.key, self.trust_fingerprint()))
    }

    /// The same of what says whom we trust.
    pub(super) fn trust_fingerprint(&self) -> u64 {
        hash(&(&self.roots, &self.revoked))
    }

    /// The private key may be read by more than its owner. Kubernetes mounts Secrets so unless `defaultMode` says
    /// otherwise, so this is a warning.
    pub fn key_is_exposed(&self) -> bool {
        self.exposed
    }
}

/// The content, and the permissions.
fn open(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {LARGEST} bytes"));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    // With room for one octet more the buffer need not grow, which would leave a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        Err(too_large())
    } else {
        Ok((content, metadata.permissions().mode()))
    }
}

/// `SipHash` with its fixed keys: nobody gains by a collision with files that they may write anyway.
fn hash(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
