//! Checksums of large sections, by several threads.

use crc32fast::Hasher;
use std::num::NonZero;
use std::thread;

/// Bytes that are worth a thread: about a millisecond's.
const BYTES_PER_THREAD: usize = 8 << 20;

/// The most threads: together they read about as fast as memory lets them.
const MAX_THREADS: usize = 12;

/// The CRC-32 of `bytes`, by several threads if they are many.
pub fn crc32(bytes: &[u8]) -> u32 {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let n_threads = (bytes.len() / BYTES_PER_THREAD).clamp(1, processors.min(MAX_THREADS));
    in_parts(bytes, bytes.len().div_ceil(n_threads).max(1))
}

/// What `bytes` add to the CRC-32 of a whole in which `n_after` bytes follow them: that of the whole is the
/// exclusive or of what its parts add, in any order.
pub fn crc32_of_part(bytes: &[u8], n_after: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.combine(&Hasher::new_with_initial_len(0, n_after));
    hasher.finalize()
}

/// The same as [`crc32`], each `part` bytes by a thread of their own but for the first.
fn in_parts(bytes: &[u8], part: usize) -> u32 {
    let hashed = |bytes: &[u8]| {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher
    };
    let (own, rest) = bytes.split_at(part.min(bytes.len()));
    thread::scope(|scope| {
        let others: Vec<_> = rest
            .chunks(part)
            .map(|bytes| {
                let spawned = thread::Builder::new().spawn_scoped(scope, move || hashed(bytes));
                (bytes, spawned)
            })
            .collect();
        let mut whole = hashed(own);
        for (bytes, spawned) in others {
            let joined = spawned.ok().and_then(|thread| thread.join().ok());
            // Without a thread, this one does its part.
            whole.combine(&joined.unwrap_or_else(|| hashed(bytes)));
        }
        whole.finalize()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let bytes: Vec<u8> = (0..5000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for len in [0, 1, 2, 999, 1000, 1001, 5000] {
            let bytes = &bytes[..len];
            for part in [1 + len / 3, 1000, 5000] {
                assert_eq!(
                    in_parts(bytes, part),
                    crc32fast::hash(bytes),
                    "{len} {part}"
                );
            }
            assert_eq!(crc32(bytes), crc32fast::hash(bytes));
            let (mut n_after, mut added) = (len as u64, 0);
            for part in bytes.chunks(300) {
                n_after -= part.len() as u64;
                added ^= crc32_of_part(part, n_after);
            }
            assert_eq!(added, crc32fast::hash(bytes));
        }
    }
}
