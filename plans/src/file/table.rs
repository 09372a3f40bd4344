//! The header and the section table.

/// The first bytes of a plan file. Like PNG's, they show when a transfer has changed line ends or
/// dropped the eighth bit.
pub const MAGIC: [u8; 8] = *b"\x89dlp\r\n\x1a\n";

/// The major format version that this crate writes, and the only one that it reads.
pub const MAJOR: u16 = 1;

/// The minor format version that this crate writes.
pub const MINOR: u16 = 0;

/// The bytes of the header.
pub(super) const HEADER_LEN: usize = 64;

/// The bytes of an entry of the section table.
pub(super) const ENTRY_LEN: usize = 32;

/// The alignment of the sections of weights and images: a page of memory.
#[cfg(feature = "write")]
pub(super) const DATA_ALIGN: u32 = 4096;

/// The alignment of the metadata.
#[cfg(feature = "write")]
pub(super) const META_ALIGN: u32 = 8;

/// The flag of sections that a reader must understand.
pub(super) const CRITICAL: u16 = 1;

/// The most sections that a file may have.
pub(super) const MAX_SECTIONS: usize = 1024;

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SectionKind {
    /// The plan.
    Meta,
    /// The data of its weights.
    Weights,
    /// The bytes of its images.
    Images,
    /// Something that this version does not know.
    Unknown(u32),
}

impl SectionKind {
    pub(super) fn from_number(number: u32) -> Self {
        match number {
            1 => SectionKind::Meta,
            2 => SectionKind::Weights,
            3 => SectionKind::Images,
            other => SectionKind::Unknown(other),
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            SectionKind::Meta => 1,
            SectionKind::Weights => 2,
            SectionKind::Images => 3,
            SectionKind::Unknown(number) => number,
        }
    }

    /// The version of the contents that this crate knows.
    pub(super) fn known_version(self) -> Option<u16> {
        match self {
            SectionKind::Meta => Some(4),
            SectionKind::Weights | SectionKind::Images => Some(1),
            SectionKind::Unknown(_) => None,
        }
    }
}

/// An entry of the section table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// The version of its contents.
    pub version: u16,
    /// Whether a reader must understand it.
    pub is_critical: bool,
    /// Where it starts.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// What the offset is a multiple of.
    pub align: u32,
    /// CRC-32 of its contents.
    pub crc: u32,
}

impl Section {
    #[cfg(feature = "write")]
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let flags = if self.is_critical { CRITICAL } else { 0 };
        to.extend(self.kind.number().to_le_bytes());
        to.extend(self.version.to_le_bytes());
        to.extend(flags.to_le_bytes());
        to.extend(self.offset.to_le_bytes());
        to.extend(self.len.to_le_bytes());
        to.extend(self.align.to_le_bytes());
        to.extend(self.crc.to_le_bytes());
    }

    pub(super) fn decode(entry: &[u8; ENTRY_LEN]) -> Self {
        Self {
            kind: SectionKind::from_number(u32_at(entry, 0)),
            version: u16_at(entry, 4),
            is_critical: u16_at(entry, 6) & CRITICAL != 0,
            offset: u64_at(entry, 8),
            len: u64_at(entry, 16),
            align: u32_at(entry, 24),
            crc: u32_at(entry, 28),
        }
    }
}

/// The header of a file with the section table `table`.
#[cfg(feature = "write")]
pub(super) fn header(table: &[u8], file_len: u64) -> [u8; HEADER_LEN] {
    let n_sections = (table.len() / ENTRY_LEN) as u32;
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    header[10..12].copy_from_slice(&MINOR.to_le_bytes());
    header[12..16].copy_from_slice(&n_sections.to_le_bytes());
    header[16..24].copy_from_slice(&file_len.to_le_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(table).to_le_bytes());
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}
