//! Where a model's bytes come from: a mapped file, or memory.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The bytes of a model, and the folder that its external data may lie in.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    folder: Option<PathBuf>,
    bytes: Bytes,
}

impl Source {
    /// Maps the file at `path`; external data may lie in its folder.
    ///
    /// # Errors
    /// When it can't be opened, or isn't a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let bytes = map_file(path)?;
        Ok(Self {
            name: path.display().to_string(),
            folder: Some(folder),
            bytes,
        })
    }

    /// A model in memory, called `name` in messages; it has no external data.
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            folder: None,
            bytes: bytes.into(),
        }
    }

    /// Lets external data lie in `folder`.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The name for messages: the path, for a file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that external data may lie in.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Maps a regular file; clones of the result share the mapping, which lasts as long as they do.
///
/// # Errors
/// When the file can't be opened or mapped, or isn't a regular file.
pub(crate) fn map_file(path: &Path) -> io::Result<Bytes> {
    // Asked before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    #[allow(
        unsafe_code,
        reason = "a mapped file is the one thing that safe code can't have"
    )]
    // SAFETY: the mapping is private and read-only, and leaves this function only inside
    // `Bytes`, which hands out `&[u8]` and no `&mut`; every value of a `u8` is valid. What
    // the type system can't see is another process that writes to the file meanwhile: then
    // bytes may change between two reads. Nothing in this crate relies on a byte staying
    // the same after a check: text and numbers are copied out first and checked in the copy,
    // and weights are only ever read as numbers. If the file is made shorter, reading the
    // lost pages ends the process with SIGBUS; it never reads other memory.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_files_and_refuses_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        std::fs::write(&path, b"abc").unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!(&source.bytes()[..], b"abc");
        assert_eq!(source.folder(), Some(dir.path()));
        std::fs::write(&path, b"").unwrap();
        assert!(Source::open(&path).unwrap().bytes().is_empty());
        assert_eq!(
            Source::open(dir.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(Source::open(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_bare_name_has_the_current_folder() {
        let source = Source::open(Path::new("Cargo.toml")).unwrap();
        assert_eq!(source.folder(), Some(Path::new(".")));
    }
}
