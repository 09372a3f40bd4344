//! External data: tensors whose bytes lie in other files of the model's folder.

use crate::proto::TensorProto;
use crate::source::map_file;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a tensor's external data can't be had.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum ExternalError {
    /// There is no `location` entry, or it is empty.
    #[error("its external data has no location")]
    NoLocation,
    /// The model was read from memory.
    #[error("its data is in file {location:?}, but the model was not read from a folder")]
    NoFolder { location: String },
    /// The location is absolute, has `..` in it, or is no path.
    #[error("its data is in file {location:?}, which is not a path inside the model's folder")]
    OutsideFolder { location: String },
    /// The location is a link, or lies behind one, that leads out of the folder.
    #[error("its data is in file {location:?}, a link that leads out of the model's folder")]
    LinkOutside { location: String },
    /// The file can't be opened.
    #[error("its data is in file {location:?}, which can't be opened")]
    Open { location: String, source: io::Error },
    /// `offset` or `length` is not a whole number of bytes.
    #[error("its external data has {key} {value:?}, which is not a number of bytes")]
    BadNumber { key: &'static str, value: String },
    /// The range ends past the end of the file.
    #[error(
        "its data is bytes {offset} to {} of file {location:?}, which has {file_len} bytes",
        u128::from(*offset) + u128::from(*length)
    )]
    OutOfRange {
        location: String,
        offset: u64,
        length: u64,
        file_len: u64,
    },
}

/// The external files of one model; each is mapped once.
#[derive(Debug, Default)]
pub struct ExternalFiles {
    folder: Option<PathBuf>,
    /// By the path that the model gives, resolved.
    mapped: BTreeMap<PathBuf, Bytes>,
}

impl ExternalFiles {
    /// Files in `folder`; `None` refuses all.
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(Path::to_owned),
            mapped: BTreeMap::new(),
        }
    }

    /// The number of files mapped so far.
    pub fn n_mapped(&self) -> usize {
        self.mapped.len()
    }

    /// The bytes of `tensor`, a window of the mapped file: `n_bytes` of them if the tensor
    /// doesn't give a length, else as many as it says.
    ///
    /// # Errors
    /// When the location leaves the folder, the file can't be opened, or the range isn't in it.
    pub fn data(&mut self, tensor: &TensorProto, n_bytes: u64) -> Result<Bytes, ExternalError> {
        let entry = |key: &str| {
            let found = tensor
                .external_data
                .iter()
                .rev()
                .find(|e| e.key.as_deref() == Some(key));
            found.and_then(|e| e.value.as_deref())
        };
        let number = |key: &'static str| match entry(key) {
            None => Ok(None),
            Some(value) => match value.parse::<u64>() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(ExternalError::BadNumber {
                    key,
                    value: value.to_owned(),
                }),
            },
        };
        let location = entry("location").filter(|l| !l.is_empty());
        let location = location.ok_or(ExternalError::NoLocation)?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(n_bytes);
        let file = self.map(location)?;
        let range = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(length).ok())
            .and_then(|(start, len)| Some(start..start.checked_add(len)?))
            .filter(|range| range.end <= file.len());
        match range {
            Some(range) => Ok(file.slice(range)),
            None => Err(ExternalError::OutOfRange {
                location: location.to_owned(),
                offset,
                length,
                file_len: file.len() as u64,
            }),
        }
    }

    fn map(&mut self, location: &str) -> Result<Bytes, ExternalError> {
        let Some(folder) = &self.folder else {
            return Err(ExternalError::NoFolder {
                location: location.to_owned(),
            });
        };
        let inside = Path::new(location)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        // A backslash is a folder separator where the file may have been written, and a
        // different file here: such a name is never what was meant.
        if !inside || location.contains(['\0', '\\']) {
            return Err(ExternalError::OutsideFolder {
                location: location.to_owned(),
            });
        }
        let open_error = |source| ExternalError::Open {
            location: location.to_owned(),
            source,
        };
        let folder = folder.canonicalize().map_err(open_error)?;
        let path = folder.join(location).canonicalize().map_err(open_error)?;
        if !path.starts_with(&folder) {
            return Err(ExternalError::LinkOutside {
                location: location.to_owned(),
            });
        }
        if let Some(bytes) = self.mapped.get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = map_file(&path).map_err(open_error)?;
        self.mapped.insert(path, bytes.clone());
        Ok(bytes)
    }
}
