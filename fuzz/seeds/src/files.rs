//! Files in, files out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Why there are no seeds.
pub struct Failed(pub String);

impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Failed {
    move |e| Failed(format!("{}: {e}", path.display()))
}

pub fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(failed(path))
}

/// All files below `folder` with this extension, in order.
pub fn with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Failed> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A folder of seeds.
pub struct Folder {
    path: PathBuf,
    known: BTreeSet<Vec<u8>>,
}

impl Folder {
    pub fn new(path: PathBuf) -> Result<Self, Failed> {
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        let known = BTreeSet::new();
        Ok(Self { path, known })
    }

    /// Adds a file, unless there is one of the same contents.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        if self.known.insert(bytes.to_vec()) {
            let path = self.path.join(format!("seed{:04}", self.known.len()));
            std::fs::write(&path, bytes).map_err(failed(&path))?;
        }
        Ok(())
    }

    pub fn n_files(&self) -> usize {
        self.known.len()
    }
}
