//! Reading plan files.

use super::checksum::crc32;
use super::meta;
use super::table::{
    ENTRY_LEN, HEADER_LEN, MAGIC, MAJOR, MAX_SECTIONS, MINOR, Section, SectionKind, u16_at, u32_at,
    u64_at,
};
use crate::plan::Plan;
use crate::validate::Lengths;
use std::fmt;
use std::ops::Range;

/// Why bytes are not a plan file that can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileError {
    /// They start with something else.
    NotAPlan,
    /// They end too early, or go on after the end.
    Length {
        /// The length that the header says.
        expected: u64,
        /// The length that there is.
        found: u64,
    },
    /// A checksum does not match.
    Damaged {
        /// What it is of.
        what: String,
    },
    /// The file's format is another one.
    Version {
        /// The file's format, major and minor.
        found: (u16, u16),
    },
    /// The file needs what this version does not know.
    UnknownSection {
        /// What the section holds.
        kind: SectionKind,
        /// The version of its contents.
        version: u16,
    },
    /// The checksums match, but the contents make no sense.
    Malformed {
        /// What makes no sense.
        what: String,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotAPlan => write!(f, "not a plan file"),
            FileError::Length { expected, found } if found < expected => {
                write!(f, "the file is cut off: {found} of {expected} bytes")
            }
            FileError::Length { expected, found } => {
                write!(
                    f,
                    "the file goes on after its end: {found} bytes for {expected}"
                )
            }
            FileError::Damaged { what } => {
                write!(
                    f,
                    "the file is damaged: the checksum of {what} does not match"
                )
            }
            FileError::Version { found } => write!(
                f,
                "the file has format {}.{}; this version reads format {MAJOR}",
                found.0, found.1
            ),
            FileError::UnknownSection { kind, version } => match kind {
                SectionKind::Unknown(number) => write!(
                    f,
                    "the file needs section {number}, which this version does not know"
                ),
                SectionKind::Meta | SectionKind::Weights | SectionKind::Images => {
                    let name = match kind {
                        SectionKind::Meta => "plan",
                        SectionKind::Weights => "weights",
                        _ => "images",
                    };
                    write!(
                        f,
                        "the file's {name} section has version {version}, which this version does not know"
                    )
                }
            },
            FileError::Malformed { what } => write!(f, "the file makes no sense: {what}"),
        }
    }
}

impl std::error::Error for FileError {}

impl FileError {
    /// What the user can do.
    pub fn help(&self) -> &'static str {
        match self {
            FileError::NotAPlan => "plan files are made by `dlirc compile`",
            FileError::Length { .. } | FileError::Damaged { .. } => {
                "copy the file again, or compile the models again"
            }
            FileError::Version { found } if found.0 < MAJOR => "compile the models again",
            FileError::Version { .. } | FileError::UnknownSection { .. } => {
                "use the version of dlirc that made the file, or a later one, or compile the models again"
            }
            FileError::Malformed { .. } => "compile the models again",
        }
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T, FileError> {
    Err(FileError::Malformed { what: what.into() })
}

/// What a plan file holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Contents {
    /// The plan, not yet validated.
    pub plan: Plan,
    /// Where the weights section lies in the file.
    pub weights: Range<usize>,
    /// The CRC-32 of the weights section, as the file says.
    pub weights_crc: u32,
    /// Where the images section lies in the file; empty if there is none.
    pub images: Range<usize>,
}

impl Contents {
    /// How long the sections are.
    pub fn lengths(&self) -> Lengths {
        Lengths {
            weights: self.weights.len() as u64,
            images: self.images.len() as u64,
        }
    }
}

/// Reads a plan file. All checksums are compared.
///
/// # Errors
///
/// If `bytes` are not exactly one undamaged plan file of a known format.
pub fn read(bytes: &[u8]) -> Result<Contents, FileError> {
    read_checking(bytes, |_| true)
}

/// As [`read`], but the checksum of the weights is not compared: the plan is whole, and its weights
/// may hold other numbers than were written, unless the reader compares [`Contents::weights_crc`].
///
/// # Errors
///
/// As [`read`].
pub fn read_without_weights_check(bytes: &[u8]) -> Result<Contents, FileError> {
    read_checking(bytes, |kind| kind != SectionKind::Weights)
}

fn read_checking(
    bytes: &[u8],
    is_checked: impl Fn(SectionKind) -> bool,
) -> Result<Contents, FileError> {
    let sections = sections(bytes)?;
    for section in &sections {
        let contents = &bytes[range(section)];
        if is_checked(section.kind) && crc32(contents) != section.crc {
            let what = match section.kind {
                SectionKind::Meta => "the plan".to_owned(),
                SectionKind::Weights => "the weights".to_owned(),
                SectionKind::Images => "the images".to_owned(),
                SectionKind::Unknown(number) => format!("section {number}"),
            };
            return Err(FileError::Damaged { what });
        }
    }
    for section in &sections {
        let is_known = section.kind.known_version() == Some(section.version);
        if section.is_critical && !is_known {
            return Err(FileError::UnknownSection {
                kind: section.kind,
                version: section.version,
            });
        }
    }
    let meta = only(&sections, SectionKind::Meta)?;
    let weights = only(&sections, SectionKind::Weights)?;
    let images = if sections.iter().any(|s| s.kind == SectionKind::Images) {
        range(only(&sections, SectionKind::Images)?)
    } else {
        0..0
    };
    let plan = meta::decode(&bytes[range(meta)]).map_err(|what| FileError::Malformed { what })?;
    Ok(Contents {
        plan,
        weights: range(weights),
        weights_crc: weights.crc,
        images,
    })
}

/// The bytes of a section that [`sections`] has checked.
fn range(section: &Section) -> Range<usize> {
    section.offset as usize..(section.offset + section.len) as usize
}

fn only(sections: &[Section], kind: SectionKind) -> Result<&Section, FileError> {
    let mut found = sections.iter().filter(|s| s.kind == kind);
    let (Some(section), None) = (found.next(), found.next()) else {
        return malformed(format!("section {} is not there once", kind.number()));
    };
    if kind.known_version() != Some(section.version) {
        return Err(FileError::UnknownSection {
            kind,
            version: section.version,
        });
    }
    Ok(section)
}

/// The section table of a plan file, unknown sections included. Sections lie in `bytes`, in order,
/// with nothing but zeros in between; their contents are not looked at.
///
/// # Errors
///
/// If header or table are not those of a whole plan file of a known format.
pub fn sections(bytes: &[u8]) -> Result<Vec<Section>, FileError> {
    let start = &bytes[..bytes.len().min(MAGIC.len())];
    if start.is_empty() || !MAGIC.starts_with(start) {
        return Err(FileError::NotAPlan);
    }
    let found = bytes.len() as u64;
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(FileError::Length {
            expected: HEADER_LEN as u64,
            found,
        });
    };
    if crc32fast::hash(&header[..60]) != u32_at(header, 60) {
        return Err(FileError::Damaged {
            what: "the header".to_owned(),
        });
    }
    let version = (u16_at(header, 8), u16_at(header, 10));
    if version.0 != MAJOR {
        return Err(FileError::Version { found: version });
    }
    if header[28..60] != [0; 32] && version.1 == MINOR {
        return malformed("the header holds what this format does not have");
    }
    let expected = u64_at(header, 16);
    if expected != found {
        return Err(FileError::Length { expected, found });
    }
    let n = u32_at(header, 12) as usize;
    if n > MAX_SECTIONS {
        return malformed(format!("{n} sections; the most is {MAX_SECTIONS}"));
    }
    let table_end = HEADER_LEN + n * ENTRY_LEN;
    let Some(table) = bytes.get(HEADER_LEN..table_end) else {
        return malformed(format!("no room for a table of {n} sections"));
    };
    if crc32fast::hash(table) != u32_at(header, 24) {
        return Err(FileError::Damaged {
            what: "the section table".to_owned(),
        });
    }
    let (entries, _) = table.as_chunks::<ENTRY_LEN>();
    let sections: Vec<Section> = entries.iter().map(Section::decode).collect();
    let mut reached = table_end as u64;
    for (i, section) in sections.iter().enumerate() {
        let align = u64::from(section.align);
        if !align.is_power_of_two() || !section.offset.is_multiple_of(align) {
            return malformed(format!("section {i} is not aligned"));
        }
        let end = section.offset.checked_add(section.len);
        let Some(end) = end.filter(|&end| section.offset >= reached && end <= found) else {
            return malformed(format!("section {i} lies outside or in another one"));
        };
        let gap = &bytes[reached as usize..section.offset as usize];
        if gap.len() as u64 >= align || gap.iter().any(|&b| b != 0) {
            return malformed(format!("there is something in front of section {i}"));
        }
        reached = end;
    }
    if reached != found {
        return malformed("there is something after the last section");
    }
    Ok(sections)
}
