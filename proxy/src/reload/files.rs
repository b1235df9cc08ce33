//! What does the policy say at this moment? One consistent read of a file or a directory.

use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of all files together. Policy is written by hand or by a template: what is larger is a mistake in
/// the path.
pub const MAX_TOTAL: u64 = 16 << 20;

/// The link through which a mounted `ConfigMap` or Secret shows one snapshot of all its files; the kubelet
/// replaces it by rename (`pkg/volume/util/atomic_writer.go`).
const SNAPSHOT_LINK: &str = "..data";

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileText {
    /// The path as the user would write it, for diagnostics.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Why the policy could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// This file or directory could not be read.
    Io(PathBuf, io::Error),
    /// The directory has no `*.yaml` or `*.yml`. Never what anyone wants of a running proxy: more likely a
    /// volume that is not mounted yet, or a deployment halfway.
    NoFiles(PathBuf),
    /// The files hold more than [`MAX_TOTAL`] bytes; this one crossed the line.
    TooLarge(PathBuf),
    /// The reading thread ended without an answer: a panic in it, or the end of the process.
    Stopped(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoFiles(path) => write!(f, "{}: no *.yaml or *.yml file in this directory", path.display()),
            Self::TooLarge(path) => {
                write!(f, "{}: the policy files hold more than {MAX_TOTAL} bytes together", path.display())
            }
            Self::Stopped(reason) => write!(f, "reading the policy ended early: {reason}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::NoFiles(_) | Self::TooLarge(_) | Self::Stopped(_) => None,
        }
    }
}

/// Reads `path`: a file, or every `*.yaml` and `*.yml` of a directory, sorted by name, links followed,
/// dotfiles and sub-directories left out. All or nothing; the error names the file. Blocks.
pub fn read(path: &Path) -> Result<Vec<FileText>, ReadError> {
    match read_once(path) {
        // The snapshot was swapped, or a file replaced, under our hands. If it is still missing, it is gone.
        Err(ReadError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => read_once(path),
        settled => settled,
    }
}

/// Equal if and only if names, texts and order are equal (but for a chance of 2⁻⁶⁴); the same in every
/// process.
pub fn fingerprint(files: &[FileText]) -> u64 {
    // SipHash with its fixed keys: nobody gains by forging a collision with a policy that they may edit
    // anyway.
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

/// The same of files that the policy names, whatever is in them; what cannot be read is content too. Blocks.
pub fn digest(paths: &[PathBuf]) -> u64 {
    let content = |path: &PathBuf| {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_TOTAL).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|error| error.kind())
    };
    let mut hasher = DefaultHasher::new();
    for path in paths {
        (path, content(path)).hash(&mut hasher);
    }
    hasher.finish()
}

fn read_once(path: &Path) -> Result<Vec<FileText>, ReadError> {
    let mut left = MAX_TOTAL;
    if !fs::metadata(path).map_err(|error| at(path, error))?.is_dir() {
        return Ok(vec![read_file(path, path, &mut left)?]);
    }
    let root = snapshot_root(path)?;
    let mut files = Vec::new();
    for name in policy_names(&root)? {
        files.push(read_file(&path.join(&name), &root.join(&name), &mut left)?);
    }
    if files.is_empty() { Err(ReadError::NoFiles(path.to_owned())) } else { Ok(files) }
}

/// Resolves `..data` once, so that all files come from the same side of a swap.
fn snapshot_root(dir: &Path) -> Result<PathBuf, ReadError> {
    let link = dir.join(SNAPSHOT_LINK);
    if link.is_symlink() { link.canonicalize().map_err(|error| at(&link, error)) } else { Ok(dir.to_owned()) }
}

fn policy_names(dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| at(dir, error))? {
        let name = PathBuf::from(entry.map_err(|error| at(dir, error))?.file_name());
        let is_policy = name.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        let is_hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
        if is_policy && !is_hidden && !dir.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the file at `real` under the name `shown`, and takes its size from what is `left`.
fn read_file(shown: &Path, real: &Path, left: &mut u64) -> Result<FileText, ReadError> {
    let mut bytes = Vec::new();
    let outcome = File::open(real).and_then(|file| file.take(*left + 1).read_to_end(&mut bytes));
    let size = outcome.map_err(|error| at(shown, error))? as u64;
    *left = left.checked_sub(size).ok_or_else(|| ReadError::TooLarge(shown.to_owned()))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| at(shown, io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
    Ok(FileText { name: shown.display().to_string(), text })
}

fn at(path: &Path, error: io::Error) -> ReadError {
    ReadError::Io(path.to_owned(), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn texts(path: &Path) -> Vec<String> {
        read(path).unwrap().into_iter().map(|file| file.text).collect()
    }

    #[test]
    fn a_directory_is_its_yaml_files_sorted_by_name() {
        let dir = dir_with(&[("b.yml", "b"), ("a.yaml", "a"), ("notes.txt", "x"), (".hidden.yaml", "x")]);
        fs::create_dir(dir.path().join("sub.yaml")).unwrap();
        let files = read(dir.path()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].name, dir.path().join("a.yaml").display().to_string());
        assert_eq!(texts(dir.path()), ["a", "b"]);
    }

    #[test]
    fn a_file_is_itself_and_links_are_followed() {
        let dir = dir_with(&[("real.txt", "a")]);
        symlink("real.txt", dir.path().join("a.yaml")).unwrap();
        assert_eq!(texts(&dir.path().join("real.txt")), ["a"]);
        assert_eq!(texts(dir.path()), ["a"]);
    }

    #[test]
    fn u8_all_files_come_from_the_snapshot_behind_the_data_link() {
        let dir = dir_with(&[("stray.yaml", "not of the snapshot")]);
        fs::create_dir(dir.path().join("..r1")).unwrap();
        fs::write(dir.path().join("..r1/a.yaml"), "one").unwrap();
        symlink("..r1", dir.path().join("..data")).unwrap();
        symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
        let files = read(dir.path()).unwrap();
        assert_eq!(texts(dir.path()), ["one"]);
        assert_eq!(
            files[0].name,
            dir.path().join("a.yaml").display().to_string(),
            "the user's path, not the link's"
        );
    }

    #[test]
    fn cf_7_errors_name_the_file() {
        let dir = dir_with(&[("good.yaml", "")]);
        fs::write(dir.path().join("bad.yaml"), b"\xff").unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("bad.yaml"));
        fs::remove_file(dir.path().join("bad.yaml")).unwrap();
        symlink("nowhere", dir.path().join("dangling.yaml")).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("dangling.yaml"));
        let missing = dir.path().join("missing");
        assert!(read(&missing).unwrap_err().to_string().contains("missing"));
    }

    #[test]
    fn cf_7_an_empty_directory_is_no_policy() {
        let dir = dir_with(&[("readme.md", "x")]);
        assert!(matches!(read(dir.path()), Err(ReadError::NoFiles(_))));
    }

    #[test]
    fn the_size_of_all_files_together_is_bounded() {
        let half = "x".repeat(usize::try_from(MAX_TOTAL / 2).unwrap());
        let dir = dir_with(&[("a.yaml", &half), ("b.yaml", &half)]);
        assert_eq!(read(dir.path()).unwrap().len(), 2);
        fs::write(dir.path().join("c.yaml"), "x").unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(matches!(&error, ReadError::TooLarge(path) if path.ends_with("c.yaml")), "{error}");
    }

    #[test]
    fn the_fingerprint_sees_names_texts_and_where_one_ends() {
        let file = |name: &str, text: &str| FileText { name: name.into(), text: text.into() };
        let base = fingerprint(&[file("a", "bc")]);
        assert_eq!(base, fingerprint(&[file("a", "bc")]));
        assert_ne!(base, fingerprint(&[file("ab", "c")]));
        assert_ne!(base, fingerprint(&[file("a", "bd")]));
        assert_ne!(base, fingerprint(&[file("a", "bc"), file("b", "")]));
    }
}
