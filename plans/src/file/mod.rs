//! The plan file.
//!
//! All numbers are little-endian. The file starts with a header of 64 bytes:
//!
//! | bytes | holds |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..10, 10..12 | format version, major and minor |
//! | 12..16 | the number of sections |
//! | 16..24 | the length of the file |
//! | 24..28 | CRC-32 of the section table |
//! | 28..60 | zeros |
//! | 60..64 | CRC-32 of bytes 0..60 |
//!
//! The section table follows, one entry of 32 bytes a section, in the order of their offsets:
//!
//! | bytes | holds |
//! |---|---|
//! | 0..4 | kind |
//! | 4..6 | version of the section's contents |
//! | 6..8 | flags: bit 0 says that a reader must understand the section |
//! | 8..16, 16..24 | offset in the file, length |
//! | 24..28 | alignment of the offset, a power of two |
//! | 28..32 | CRC-32 of the contents |
//!
//! Sections lie one after the other with zeros, fewer than the next one's alignment, in between;
//! the last ends with the file. Section 1 is the [`Plan`](crate::Plan) in the
//! [postcard encoding](https://postcard.jamesmunns.com/wire-format), its fields in the order in
//! which they are declared. Section 2 is the data of the weights, at the offsets that the plan
//! says, and zeros in between; it starts at a multiple of 4,096. Section 3 is the bytes of the images
//! in the same way; it is there only if the plan has images.
//!
//! The header, the table's layout and the meaning of flag 0 stay as they are in all major versions,
//! so that every reader can tell a newer file from a damaged one. A new minor version may add
//! sections that readers can do without. Every change of [`Plan`](crate::Plan) or of a type in it
//! is a new version of section 1.
//!
//! The same plan, weights and images always give the same bytes.

mod checksum;
mod meta;
mod read;
#[cfg(feature = "write")]
mod replace;
mod table;
#[cfg(feature = "write")]
mod write;

pub use checksum::{crc32, crc32_of_part};
pub use read::{Contents, FileError, read, read_without_weights_check, sections};
#[cfg(feature = "write")]
pub use replace::{OutputError, replace_file};
pub use table::{MAGIC, MAJOR, MINOR, Section, SectionKind};
#[cfg(feature = "write")]
pub use write::{WriteError, no_images, place_images, place_weights, to_bytes, weights_len, write};
