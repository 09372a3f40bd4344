//! Plans from files and from memory.

use crate::error::{BindError, LoadError};
use crate::memory::AlignedBytes;
use memmap2::Mmap;
use plans::file::{Contents, FileError, crc32};
use plans::{Image, ValidPlan, Weight};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A valid plan, the data of its weights and the bytes of its images.
pub struct Loaded {
    plan: ValidPlan,
    bytes: Bytes,
    /// Where the weights section lies in `bytes`.
    weights: Range<usize>,
    /// What the weights are still to be compared with.
    unchecked: Option<Unchecked>,
    /// Where the images section lies in `bytes`.
    images: Range<usize>,
}

/// The checksum of weights that nobody has compared yet.
struct Unchecked {
    file: PathBuf,
    crc: u32,
}

enum Bytes {
    Mapped(Mmap),
    Owned(AlignedBytes),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(memory) => memory.as_slice(),
        }
    }
}

impl Loaded {
    /// Maps the plan file at `path`, compares its checksums and validates it. Weights stay in the
    /// file until they are used.
    ///
    /// The file must not be changed in place while the plan is loaded (files that `dlirc compile`
    /// writes are replaced, never changed). If it is cut off all the same, reading the weights
    /// that are gone ends the process, as with every mapped file.
    ///
    /// # Errors
    ///
    /// If the file can't be read, is no undamaged plan file of a known format, or the plan is not
    /// valid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let map = map(path.as_ref())?;
        let contents = plans::file::read(&map).map_err(LoadError::File)?;
        Self::validated(contents, Bytes::Mapped(map), None)
    }

    /// As [`Loaded::open`], but the checksum of the weights is compared when the plan is bound:
    /// [`Engine::bind`](crate::Engine::bind) reads them anyway.
    ///
    /// # Errors
    ///
    /// As [`Loaded::open`].
    pub fn open_to_bind(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let file = path.as_ref();
        let map = map(file)?;
        let contents = plans::file::read_without_weights_check(&map).map_err(LoadError::File)?;
        let unchecked = Unchecked {
            file: file.to_owned(),
            crc: contents.weights_crc,
        };
        Self::validated(contents, Bytes::Mapped(map), Some(unchecked))
    }

    /// The plan in the file at `path`, for those who need nothing else: its weights are not read, nor
    /// their checksum compared.
    ///
    /// # Errors
    ///
    /// As [`Loaded::open`].
    pub fn open_plan(path: impl AsRef<Path>) -> Result<ValidPlan, LoadError> {
        let map = map(path.as_ref())?;
        let contents = plans::file::read_without_weights_check(&map).map_err(LoadError::File)?;
        let lengths = contents.lengths();
        plans::validate(contents.plan, lengths).map_err(LoadError::Plan)
    }

    /// A plan file in memory; the bytes are copied.
    ///
    /// # Errors
    ///
    /// As [`Loaded::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        // Sections are aligned within the file, and so the file must be.
        let copy = AlignedBytes::copy_of(bytes).ok_or(LoadError::OutOfMemory {
            bytes: bytes.len() as u64,
        })?;
        let contents = plans::file::read(bytes).map_err(LoadError::File)?;
        Self::validated(contents, Bytes::Owned(copy), None)
    }

    /// A plan without images and its weights section, without a file around them; the weights are
    /// copied.
    ///
    /// # Errors
    ///
    /// If the plan is not valid.
    pub fn from_parts(plan: plans::Plan, weights: &[u8]) -> Result<Self, LoadError> {
        Self::from_parts_with_images(plan, weights, &[])
    }

    /// A plan and its sections of weights and images, without a file around them; both are copied.
    ///
    /// # Errors
    ///
    /// If the plan is not valid.
    pub fn from_parts_with_images(
        plan: plans::Plan,
        weights: &[u8],
        images: &[u8],
    ) -> Result<Self, LoadError> {
        let both = [weights, images].concat();
        let copy = AlignedBytes::copy_of(&both).ok_or(LoadError::OutOfMemory {
            bytes: both.len() as u64,
        })?;
        let contents = Contents {
            plan,
            weights: 0..weights.len(),
            weights_crc: crc32(weights),
            images: weights.len()..both.len(),
        };
        Self::validated(contents, Bytes::Owned(copy), None)
    }

    fn validated(
        contents: Contents,
        bytes: Bytes,
        unchecked: Option<Unchecked>,
    ) -> Result<Self, LoadError> {
        let lengths = contents.lengths();
        let plan = plans::validate(contents.plan, lengths).map_err(LoadError::Plan)?;
        Ok(Self {
            plan,
            bytes,
            weights: contents.weights,
            unchecked,
            images: contents.images,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &ValidPlan {
        &self.plan
    }

    /// The data of a weight of this plan.
    pub fn weight(&self, weight: &Weight) -> &[u8] {
        let start = weight.offset as usize;
        self.weights_section()
            .get(start..start + weight.bytes as usize)
            .unwrap_or_default()
    }

    /// The bytes of an image of this plan.
    pub fn image(&self, image: &Image) -> &[u8] {
        let start = self.images.start + image.offset as usize;
        self.bytes
            .as_slice()
            .get(start..start + image.bytes as usize)
            .unwrap_or_default()
    }

    /// Whether the weights are still to be compared with their checksum.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.unchecked.is_some()
    }

    /// Compares the weights' checksum, if that is still to be done, with what `crc` says that it is.
    ///
    /// # Errors
    ///
    /// If they differ.
    pub(crate) fn check_weights(&self, crc: impl FnOnce(&[u8]) -> u32) -> Result<(), BindError> {
        match &self.unchecked {
            Some(unchecked) if crc(self.weights_section()) != unchecked.crc => {
                Err(BindError::File {
                    path: unchecked.file.clone(),
                    error: FileError::Damaged {
                        what: "the weights".to_owned(),
                    },
                })
            }
            _ => Ok(()),
        }
    }

    /// The weights section.
    pub(crate) fn weights_section(&self) -> &[u8] {
        &self.bytes.as_slice()[self.weights.clone()]
    }
}

/// The file at `path` as memory.
fn map(path: &Path) -> Result<Mmap, LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        // An empty file can't be mapped.
        return Err(LoadError::File(FileError::NotAPlan));
    }
    // SAFETY: the map is only read. Plan metadata is decoded to values of its own, and weights
    // are read through raw pointers as numbers for which all bit patterns are valid, so that
    // even a file changed by someone else gives wrong numbers and nothing worse; a file that is
    // cut off is the caller's to prevent, as [`Loaded::open`] says.
    unsafe { Mmap::map(&file) }.map_err(io)
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("models", &self.plan.models.len())
            .field("steps", &self.plan.steps.len())
            .field("weights", &self.weights.len())
            .finish_non_exhaustive()
    }
}
