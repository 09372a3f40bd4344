//! Plan files taken apart and put together, whatever they say: `plans::file` documents the format.

use plans::file::{MAGIC, MAJOR, MINOR};
use std::ops::Range;

const HEADER: usize = 64;
const ENTRY: usize = 32;
const META: u32 = 1;
const WEIGHTS_ALIGN: usize = 4096;

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

/// The metadata and the weights of a file with one section of each.
pub fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [(meta, plan), (_, weights)] = &sections(bytes)[..] else {
        return None;
    };
    let is_meta = number(bytes, *meta, 4) == Some(META as usize);
    is_meta.then(|| (&bytes[plan.clone()], &bytes[weights.clone()]))
}

/// A file like `like` with other metadata.
pub fn build(like: &[u8], meta: &[u8], weights: &[u8]) -> Option<Vec<u8>> {
    let mut file = like.get(..HEADER + 2 * ENTRY)?.to_vec();
    let meta_at = file.len();
    file.extend(meta);
    file.resize(file.len().next_multiple_of(WEIGHTS_ALIGN), 0);
    let weights_at = file.len();
    file.extend(weights);
    file[..8].copy_from_slice(&MAGIC);
    file[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    file[10..12].copy_from_slice(&MINOR.to_le_bytes());
    let places = [(meta_at, meta.len()), (weights_at, weights.len())];
    for (i, (at, len)) in places.into_iter().enumerate() {
        let entry = HEADER + i * ENTRY;
        file[entry + 8..entry + 16].copy_from_slice(&(at as u64).to_le_bytes());
        file[entry + 16..entry + 24].copy_from_slice(&(len as u64).to_le_bytes());
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
