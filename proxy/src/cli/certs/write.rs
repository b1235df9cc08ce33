//! How do files get where they belong? Whole or not at all, and secrets readable by their owner only.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file to write.
pub(super) struct Sheet<'s> {
    name: &'static str,
    text: &'s str,
    mode: u32,
}

/// Why a file was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// It is there already, and nobody said that it may go.
    Exists(PathBuf),
    /// The system refuses.
    Io(PathBuf, io::Error),
}

impl<'s> Sheet<'s> {
    pub(super) fn secret(name: &'static str, text: &'s str) -> Self {
        Self { name, text, mode: 0o600 }
    }

    pub(super) fn public(name: &'static str, text: &'s str) -> Self {
        Self { name, text, mode: 0o644 }
    }
}

/// Writes them all into `dir`, or nothing if one is there and must stay. Each appears at once, under its name, with all
/// that is in it.
pub(super) fn write(dir: &Path, sheets: &[Sheet<'_>], force: bool) -> Result<(), WriteError> {
    let there = sheets.iter().map(|sheet| dir.join(sheet.name)).find(|path| path.exists());
    if let Some(path) = there.filter(|_| !force) {
        return Err(WriteError::Exists(path));
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| WriteError::Io(path, error)
    };
    fs::create_dir_all(dir).map_err(at(dir))?;
    let mut drafts = Vec::new();
    for sheet in sheets {
        let draft = Draft(dir.join(format!(".{}.{}", sheet.name, std::process::id())));
        draft.fill(sheet).map_err(at(&draft.0))?;
        drafts.push((draft, dir.join(sheet.name)));
    }
    for (draft, path) in &drafts {
        fs::rename(&draft.0, path).map_err(at(path))?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// A file on its way; gone with this unless it was renamed.
struct Draft(PathBuf);

impl Draft {
    fn fill(&self, sheet: &Sheet<'_>) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(sheet.mode).open(&self.0)?;
        file.write_all(sheet.text.as_bytes())?;
        file.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed, as a rule; otherwise nobody needs it, and nobody could be told.
        let _ = fs::remove_file(&self.0);
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "{} is there already; `--force` overwrites it", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}
