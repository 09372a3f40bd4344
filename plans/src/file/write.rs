//! Writing plan files.

use super::meta;
use super::replace::{OutputError, replace_file};
use super::table::{DATA_ALIGN, ENTRY_LEN, HEADER_LEN, META_ALIGN, Section, SectionKind, header};
use crate::code::{Image, ImageIndex};
use crate::plan::{BUFFER_ALIGN, Plan, Weight, WeightIndex};
use crate::validate::{Lengths, ValidPlan};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// Why a plan was not written.
#[derive(Debug)]
pub enum WriteError {
    /// A weight's data is not what the plan says.
    Weight {
        /// Which one.
        index: WeightIndex,
        /// What differs.
        message: String,
    },
    /// An image's bytes are not what the plan says.
    Image {
        /// Which one.
        index: ImageIndex,
        /// What differs.
        message: String,
    },
    /// The plan is too large for the format.
    TooLarge(String),
    /// The system refused.
    Output(OutputError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Weight { index, message } => write!(f, "weight {}: {message}", index.0),
            WriteError::Image { index, message } => write!(f, "image {}: {message}", index.0),
            WriteError::TooLarge(message) => f.write_str(message),
            WriteError::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Weight { .. } | WriteError::Image { .. } | WriteError::TooLarge(_) => None,
            WriteError::Output(error) => error.source(),
        }
    }
}

impl From<OutputError> for WriteError {
    fn from(error: OutputError) -> Self {
        WriteError::Output(error)
    }
}

/// Gives the weights their places in the weights section, in order, and returns its length.
pub fn place_weights(weights: &mut [Weight]) -> u64 {
    place(weights.iter_mut().map(|w| (&mut w.offset, w.bytes)))
}

/// Gives the images their places in the images section, in order, and returns its length.
pub fn place_images(images: &mut [Image]) -> u64 {
    place(images.iter_mut().map(|i| (&mut i.offset, i.bytes)))
}

fn place<'a>(items: impl Iterator<Item = (&'a mut u64, u64)>) -> u64 {
    let mut end: u64 = 0;
    for (offset, bytes) in items {
        *offset = end.next_multiple_of(BUFFER_ALIGN);
        end = *offset + bytes;
    }
    end
}

/// The length of the weights section that `plan` needs.
pub fn weights_len(plan: &Plan) -> u64 {
    Lengths::needed(plan).weights
}

/// The bytes of images for plans that have none.
pub fn no_images(_: ImageIndex) -> &'static [u8] {
    &[]
}

/// Writes a plan file at `path`. `weights` gives the data of each weight, `images` the bytes of each
/// image; they are asked once for each, in the order of their places.
///
/// The file appears at `path` whole or not at all, see [`replace_file`].
///
/// # Errors
///
/// If a weight or an image has another length or checksum than the plan says, or the file cannot be
/// written.
pub fn write<W: AsRef<[u8]>, I: AsRef<[u8]>>(
    plan: &ValidPlan,
    weights: impl FnMut(WeightIndex) -> W,
    images: impl FnMut(ImageIndex) -> I,
    path: &Path,
) -> Result<(), WriteError> {
    let start = Start::new(plan)?;
    replace_file(path, |file| {
        start
            .write(weights, images, file)
            .map_err(|error| error.at(path))
    })
}

/// The bytes of a plan file. The plan need not be valid, but its weights must follow one another, and
/// so must its images.
///
/// # Errors
///
/// If a weight or an image has another length or checksum than the plan says, or overlaps another one.
pub fn to_bytes<W: AsRef<[u8]>, I: AsRef<[u8]>>(
    plan: &Plan,
    weights: impl FnMut(WeightIndex) -> W,
    images: impl FnMut(ImageIndex) -> I,
) -> Result<Vec<u8>, WriteError> {
    let mut bytes = vec![];
    Start::new(plan)?
        .write(weights, images, &mut bytes)
        .map_err(|error| error.at(Path::new("memory")))?;
    Ok(bytes)
}

enum StreamError {
    Plan(WriteError),
    Io(io::Error),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        StreamError::Io(error)
    }
}

impl StreamError {
    fn at(self, path: &Path) -> WriteError {
        match self {
            StreamError::Plan(error) => error,
            StreamError::Io(source) => WriteError::Output(OutputError::new(path, source)),
        }
    }
}

/// Something with a place in a section of data.
#[derive(Clone, Copy)]
struct Item {
    /// Its position in the plan's list.
    index: u32,
    offset: u64,
    bytes: u64,
    crc: u32,
}

impl Item {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// A section of data: what it holds, by place, and its length and checksum.
struct Data {
    items: Vec<Item>,
    len: u64,
    crc: u32,
    fail: fn(u32, String) -> WriteError,
}

impl Data {
    /// The checksum is put together from those that the plan holds; [`Data::write`] compares each
    /// with the bytes.
    fn new(mut items: Vec<Item>, fail: fn(u32, String) -> WriteError) -> Result<Self, WriteError> {
        items.sort_by_key(|i| (i.offset, i.bytes, i.index));
        let mut crc = crc32fast::Hasher::new();
        let mut end = 0;
        for item in &items {
            let gap = item.offset.checked_sub(end);
            let Some(gap) = gap.filter(|&gap| gap < BUFFER_ALIGN) else {
                let message = format!("it starts at {}, the last one ends at {end}", item.offset);
                return Err(fail(item.index, message));
            };
            crc.update(&PADDING[..gap as usize]);
            crc.combine(&crc32fast::Hasher::new_with_initial_len(
                item.crc, item.bytes,
            ));
            end = item.end();
        }
        Ok(Self {
            items,
            len: end,
            crc: crc.finalize(),
            fail,
        })
    }

    fn write<B: AsRef<[u8]>>(
        &self,
        mut bytes_of: impl FnMut(u32) -> B,
        to: &mut impl Write,
    ) -> Result<(), StreamError> {
        let mut end = 0;
        for item in &self.items {
            to.write_all(&PADDING[..(item.offset - end) as usize])?;
            let bytes = bytes_of(item.index);
            let bytes = bytes.as_ref();
            let message = if bytes.len() as u64 != item.bytes {
                format!("{} bytes of data for {}", bytes.len(), item.bytes)
            } else if crc32fast::hash(bytes) != item.crc {
                "its data is not what the plan's checksum says".to_owned()
            } else {
                to.write_all(bytes)?;
                end = item.end();
                continue;
            };
            return Err(StreamError::Plan((self.fail)(item.index, message)));
        }
        Ok(())
    }
}

/// All of a file up to its data, and what is to follow.
struct Start {
    bytes: Vec<u8>,
    images: Data,
    /// Where the weights section starts.
    weights_at: u64,
    weights: Data,
}

impl Start {
    fn new(plan: &Plan) -> Result<Self, WriteError> {
        let meta = meta::encode(plan).map_err(WriteError::TooLarge)?;
        let images = (0..).zip(&plan.images).map(|(index, i)| Item {
            index,
            offset: i.offset,
            bytes: i.bytes,
            crc: i.crc,
        });
        let images = Data::new(images.collect(), |index, message| WriteError::Image {
            index: ImageIndex(index),
            message,
        })?;
        let weights = (0..).zip(&plan.weights).map(|(index, w)| Item {
            index,
            offset: w.offset,
            bytes: w.bytes,
            crc: w.crc,
        });
        let weights = Data::new(weights.collect(), |index, message| WriteError::Weight {
            index: WeightIndex(index),
            message,
        })?;
        let mut contents = vec![(
            SectionKind::Meta,
            META_ALIGN,
            meta.len() as u64,
            crc32fast::hash(&meta),
        )];
        if !plan.images.is_empty() {
            contents.push((SectionKind::Images, DATA_ALIGN, images.len, images.crc));
        }
        contents.push((SectionKind::Weights, DATA_ALIGN, weights.len, weights.crc));
        let mut end = (HEADER_LEN + contents.len() * ENTRY_LEN) as u64;
        let (mut table, mut starts) = (vec![], vec![]);
        for (kind, align, len, crc) in contents {
            let section = Section {
                kind,
                version: kind.known_version().unwrap_or_default(),
                is_critical: true,
                offset: end.next_multiple_of(u64::from(align)),
                len,
                align,
                crc,
            };
            section.encode(&mut table);
            starts.push(section.offset);
            end = section.offset.saturating_add(len);
        }
        let mut bytes = header(&table, end).to_vec();
        bytes.extend(table);
        bytes.resize(starts[0] as usize, 0);
        bytes.extend(meta);
        bytes.resize(starts[1] as usize, 0);
        Ok(Self {
            bytes,
            images,
            weights_at: starts[starts.len() - 1],
            weights,
        })
    }

    fn write<W: AsRef<[u8]>, I: AsRef<[u8]>>(
        &self,
        mut weights: impl FnMut(WeightIndex) -> W,
        mut images: impl FnMut(ImageIndex) -> I,
        to: &mut impl Write,
    ) -> Result<(), StreamError> {
        to.write_all(&self.bytes)?;
        self.images.write(|i| images(ImageIndex(i)), to)?;
        let gap = self.weights_at - self.bytes.len() as u64 - self.images.len;
        to.write_all(&vec![0; gap as usize])?;
        self.weights.write(|i| weights(WeightIndex(i)), to)
    }
}

/// What lies between weights, and between images.
const PADDING: [u8; BUFFER_ALIGN as usize] = [0; BUFFER_ALIGN as usize];
