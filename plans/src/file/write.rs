//! Writing plan files.

use super::meta;
use super::replace::{OutputError, replace_file};
use super::table::{
    ENTRY_LEN, HEADER_LEN, META_ALIGN, Section, SectionKind, WEIGHTS_ALIGN, header,
};
use crate::plan::{BUFFER_ALIGN, Plan, Weight, WeightIndex};
use crate::validate::ValidPlan;
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
    /// The plan is too large for the format.
    TooLarge(String),
    /// The system refused.
    Output(OutputError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Weight { index, message } => write!(f, "weight {}: {message}", index.0),
            WriteError::TooLarge(message) => f.write_str(message),
            WriteError::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Weight { .. } | WriteError::TooLarge(_) => None,
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
    let mut end: u64 = 0;
    for weight in weights {
        weight.offset = end.next_multiple_of(BUFFER_ALIGN);
        end = weight.offset + weight.bytes;
    }
    end
}

/// The length of the weights section that `plan` needs.
pub fn weights_len(plan: &Plan) -> u64 {
    let ends = plan
        .weights
        .iter()
        .map(|w| w.offset.saturating_add(w.bytes));
    ends.max().unwrap_or(0)
}

/// Writes a plan file at `path`. `weights` gives the data of each weight; it is asked once for each,
/// in the order of their places.
///
/// The file appears at `path` whole or not at all, see [`replace_file`].
///
/// # Errors
///
/// If a weight has another length or checksum than the plan says, or the file cannot be written.
pub fn write<B: AsRef<[u8]>>(
    plan: &ValidPlan,
    weights: impl FnMut(WeightIndex) -> B,
    path: &Path,
) -> Result<(), WriteError> {
    let start = Start::new(plan)?;
    replace_file(path, |file| {
        start.write(weights, file).map_err(|error| match error {
            StreamError::Weight { index, message } => WriteError::Weight { index, message },
            StreamError::Io(source) => WriteError::Output(OutputError::new(path, source)),
        })
    })
}

/// The bytes of a plan file. The plan need not be valid, but its weights must follow one another.
///
/// # Errors
///
/// If a weight has another length or checksum than the plan says, or overlaps another one.
pub fn to_bytes<B: AsRef<[u8]>>(
    plan: &Plan,
    weights: impl FnMut(WeightIndex) -> B,
) -> Result<Vec<u8>, WriteError> {
    let mut bytes = vec![];
    Start::new(plan)?
        .write(weights, &mut bytes)
        .map_err(|error| match error {
            StreamError::Weight { index, message } => WriteError::Weight { index, message },
            StreamError::Io(source) => {
                WriteError::Output(OutputError::new(Path::new("memory"), source))
            }
        })?;
    Ok(bytes)
}

enum StreamError {
    Weight { index: WeightIndex, message: String },
    Io(io::Error),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        StreamError::Io(error)
    }
}

/// All of a file up to the weights, and what is to follow.
struct Start<'a> {
    bytes: Vec<u8>,
    /// The weights by place.
    weights: Vec<(WeightIndex, &'a Weight)>,
}

impl<'a> Start<'a> {
    /// Fixes every byte up to the weights. The checksum of their section is put together from those
    /// that the plan holds; [`Start::write`] compares each with the data.
    fn new(plan: &'a Plan) -> Result<Self, WriteError> {
        let meta = meta::encode(plan).map_err(WriteError::TooLarge)?;
        let mut weights: Vec<(WeightIndex, &Weight)> =
            (0..).map(WeightIndex).zip(&plan.weights).collect();
        weights.sort_by_key(|(i, w)| (w.offset, w.bytes, *i));
        let mut crc = crc32fast::Hasher::new();
        let mut end = 0;
        for &(index, weight) in &weights {
            let gap = weight.offset.checked_sub(end);
            let Some(gap) = gap.filter(|&gap| gap < BUFFER_ALIGN) else {
                let message = format!("it starts at {}, the last one ends at {end}", weight.offset);
                return Err(WriteError::Weight { index, message });
            };
            crc.update(&PADDING[..gap as usize]);
            crc.combine(&crc32fast::Hasher::new_with_initial_len(
                weight.crc,
                weight.bytes,
            ));
            end = weight.offset.saturating_add(weight.bytes);
        }
        let section = |kind: SectionKind, align: u32, offset: u64, len: u64, crc: u32| Section {
            kind,
            version: kind.known_version().unwrap_or_default(),
            is_critical: true,
            offset: offset.next_multiple_of(u64::from(align)),
            len,
            align,
            crc,
        };
        let table_end = (HEADER_LEN + 2 * ENTRY_LEN) as u64;
        let meta_section = section(
            SectionKind::Meta,
            META_ALIGN,
            table_end,
            meta.len() as u64,
            crc32fast::hash(&meta),
        );
        let meta_end = meta_section.offset + meta_section.len;
        let weights_section = section(
            SectionKind::Weights,
            WEIGHTS_ALIGN,
            meta_end,
            end,
            crc.finalize(),
        );
        let mut table = vec![];
        meta_section.encode(&mut table);
        weights_section.encode(&mut table);
        let file_len = weights_section.offset.saturating_add(end);
        let mut bytes = header(&table, file_len).to_vec();
        bytes.extend(table);
        bytes.resize(meta_section.offset as usize, 0);
        bytes.extend(meta);
        bytes.resize(weights_section.offset as usize, 0);
        Ok(Self { bytes, weights })
    }

    fn write<B: AsRef<[u8]>>(
        &self,
        mut data_of: impl FnMut(WeightIndex) -> B,
        to: &mut impl Write,
    ) -> Result<(), StreamError> {
        to.write_all(&self.bytes)?;
        let mut end = 0;
        for &(index, weight) in &self.weights {
            to.write_all(&PADDING[..(weight.offset - end) as usize])?;
            let data = data_of(index);
            let data = data.as_ref();
            let message = if data.len() as u64 != weight.bytes {
                format!("{} bytes of data for {}", data.len(), weight.bytes)
            } else if crc32fast::hash(data) != weight.crc {
                "its data is not what the plan's checksum says".to_owned()
            } else {
                to.write_all(data)?;
                end = weight.offset + weight.bytes;
                continue;
            };
            return Err(StreamError::Weight { index, message });
        }
        Ok(())
    }
}

/// What lies between weights.
const PADDING: [u8; BUFFER_ALIGN as usize] = [0; BUFFER_ALIGN as usize];
