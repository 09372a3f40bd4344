//! Plan files taken apart and put together, whatever they say: `plans::file` documents the format.

use std::ops::Range;

const HEADER: usize = 64;
const ENTRY: usize = 32;
const META: usize = 1;

/// The alignment of weights and images; no section has more.
const MAX_ALIGN: usize = 4096;

/// The sections of a file that looks like one, each with the place of its entry in the table.
fn sections(bytes: &[u8]) -> Vec<(usize, Range<usize>)> {
    let Some(n) = number(bytes, 12, 4) else {
        return vec![];
    };
    (0..n.min(64))
        .map_while(|i| {
            let entry = HEADER + i * ENTRY;
            let start = number(bytes, entry + 8, 8)?;
            let len = number(bytes, entry + 16, 8)?;
            bytes.get(entry..entry + ENTRY)?;
            Some((entry, start, start.checked_add(len)?))
        })
        .filter(|&(_, start, end)| start >= HEADER && end <= bytes.len())
        .map(|(entry, start, end)| (entry, start..end))
        .collect()
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

/// The metadata of a file whose first section that is.
pub fn metadata(bytes: &[u8]) -> Option<&[u8]> {
    let (entry, section) = sections(bytes).into_iter().next()?;
    (number(bytes, entry, 4) == Some(META)).then(|| &bytes[section])
}

/// A file like `like`, with `meta` in its first section.
pub fn with_metadata(like: &[u8], meta: &[u8]) -> Option<Vec<u8>> {
    let sections = sections(like);
    // Entries of sections that lie outside are left out, so that the last one may be further on.
    let table_end = sections.last()?.0 + ENTRY;
    let mut file = like.get(..table_end)?.to_vec();
    for (i, (entry, old)) in sections.into_iter().enumerate() {
        let contents = if i == 0 { meta } else { &like[old] };
        let align = number(like, entry + 24, 4)?.clamp(1, MAX_ALIGN);
        file.resize(file.len().next_multiple_of(align), 0);
        let (at, len) = (file.len() as u64, contents.len() as u64);
        file[entry + 8..entry + 16].copy_from_slice(&at.to_le_bytes());
        file[entry + 16..entry + 24].copy_from_slice(&len.to_le_bytes());
        file.extend(contents);
    }
    let len = file.len() as u64;
    file[16..24].copy_from_slice(&len.to_le_bytes());
    fix_checksums(&mut file);
    Some(file)
}

/// Makes every checksum right that can be found.
pub fn fix_checksums(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    for (entry, section) in sections(bytes) {
        let crc = crc32fast::hash(&bytes[section]);
        bytes[entry + 28..entry + ENTRY].copy_from_slice(&crc.to_le_bytes());
    }
    let table_end = number(bytes, 12, 4)
        .and_then(|n| n.checked_mul(ENTRY)?.checked_add(HEADER))
        .unwrap_or(HEADER);
    if let Some(table) = bytes.get(HEADER..table_end) {
        let crc = crc32fast::hash(table);
        bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..HEADER].copy_from_slice(&crc.to_le_bytes());
}
