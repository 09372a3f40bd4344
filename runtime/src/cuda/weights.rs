//! Weights from the mapped file to the device.

use super::bound::failed_to_allocate;
use super::context::{Context, Event, Stream};
use super::driver::DriverError;
use super::memory::{DeviceMemory, PinnedMemory};
use crate::error::BindError;
use crate::load::Loaded;
use plans::file::{crc32, crc32_of_part};
use plans::{BUFFER_ALIGN, Place, ValidPlan, WeightIndex};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

/// Bytes that are copied at once. A quarter of that reaches half the speed of the bus only
/// (`benches/NOTES.md`).
const CHUNK: usize = 2 << 20;

/// Chunks of pinned memory that a thread fills in turns: one is filled while another is copied.
const CHUNKS_PER_THREAD: usize = 2;

/// The most threads that fill chunks; one copies and checks 5 to 9 GB/s, the bus takes about 55.
const MAX_THREADS: usize = 12;

/// Where the weights that device code reads lie in its memory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct WeightPlaces {
    /// Of each weight of the plan: where it starts; none if only the host reads it.
    pub(crate) offsets: Vec<Option<u64>>,
    /// All bytes.
    pub(crate) bytes: u64,
    /// What of the weights section lies there.
    pieces: Vec<Piece>,
}

/// Bytes of the weights section, and where they start in the memory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    from: Range<u64>,
    to: u64,
}

impl WeightPlaces {
    /// Weights in the order of the weights section, so that neighbours there are neighbours here.
    pub(crate) fn new(plan: &ValidPlan) -> Self {
        let mut needed = BTreeSet::new();
        for step in plan.steps.iter().filter(|s| super::is_on_device(s)) {
            for arg in &step.args {
                if let Place::Weight(w) = arg.place {
                    needed.insert((plan.weights[w.index()].offset, w));
                }
            }
        }
        let mut places = Self {
            offsets: vec![None; plan.weights.len()],
            ..Self::default()
        };
        for (from, WeightIndex(w)) in needed {
            let end = from + plan.weights[w as usize].bytes;
            let to = places.bytes.next_multiple_of(BUFFER_ALIGN);
            places.offsets[w as usize] = Some(to);
            places.bytes = to + (end - from);
            match places.pieces.last_mut() {
                // The gap in between is the same in the file.
                Some(last) if from - last.from.start == to - last.to => last.from.end = end,
                _ => places.pieces.push(Piece {
                    from: from..end,
                    to,
                }),
            }
        }
        places
    }

    /// The pieces of a part of the section.
    fn within(&self, part: Range<u64>) -> impl Iterator<Item = Piece> {
        self.pieces.iter().filter_map(move |piece| {
            let from = piece.from.start.max(part.start)..piece.from.end.min(part.end);
            let to = piece.to + (from.start - piece.from.start);
            (!from.is_empty()).then_some(Piece { from, to })
        })
    }
}

/// Copies the weights that device code reads to its memory; `None` if there are none. Done when it
/// returns. The checksum of all weights is compared on the way, if that is still to be done.
///
/// # Errors
///
/// If there is no room, a copy fails, or the weights are damaged.
pub(crate) fn upload(
    context: &Arc<Context>,
    loaded: &Loaded,
    places: &WeightPlaces,
    n_threads: usize,
) -> Result<Option<DeviceMemory>, BindError> {
    if places.bytes == 0 {
        loaded.check_weights(crc32)?;
        return Ok(None);
    }
    let failed = |bytes, what| move |e| failed_to_allocate(context, bytes, what, e);
    let memory =
        DeviceMemory::new(context, places.bytes).map_err(failed(places.bytes, "the weights"))?;
    let n_bytes = loaded.weights_section().len();
    let n_chunks = n_bytes.div_ceil(CHUNK);
    let n_threads = n_threads.clamp(1, MAX_THREADS).min(n_chunks);
    let chunk_bytes = CHUNK.min(n_bytes.next_multiple_of(BUFFER_ALIGN as usize));
    let bytes_per_thread = CHUNKS_PER_THREAD.min(n_chunks) * chunk_bytes;
    let pinned_bytes = (n_threads * bytes_per_thread) as u64;
    let what = "pinned memory to copy the weights through";
    let mut pinned =
        PinnedMemory::unzeroed(context, pinned_bytes).map_err(failed(pinned_bytes, what))?;
    let upload = Upload {
        context,
        loaded,
        places,
        memory: &memory,
        stream: Stream::new(context).map_err(failed(0, "the weights"))?,
        chunk_bytes,
        next: AtomicUsize::new(0),
        crc: AtomicU32::new(0),
    };
    let of_threads = pinned.as_mut_slice().chunks_mut(bytes_per_thread);
    let copied = upload.by_threads(of_threads.collect());
    copied.map_err(failed(0, "the weights"))?;
    let crc = upload.crc.into_inner();
    loaded.check_weights(|_| crc)?;
    Ok(Some(memory))
}

/// What threads share that copy weights chunk by chunk.
struct Upload<'a> {
    context: &'a Arc<Context>,
    loaded: &'a Loaded,
    places: &'a WeightPlaces,
    memory: &'a DeviceMemory,
    stream: Stream,
    chunk_bytes: usize,
    /// The next chunk that nobody has taken.
    next: AtomicUsize,
    /// What all chunks so far add to the checksum.
    crc: AtomicU32,
}

impl Upload<'_> {
    /// Copies all chunks through as many threads as there are parts of pinned memory, this one being one.
    fn by_threads(&self, pinned: Vec<&mut [u8]>) -> Result<(), DriverError> {
        let current = self.context.enter()?;
        let copied = thread::scope(|scope| {
            let mut parts = pinned.into_iter();
            let own = parts.next();
            // Without a thread, the others take its chunks.
            let others: Vec<_> = parts
                .filter_map(|part| {
                    let copy = || self.copy_chunks(part);
                    thread::Builder::new().spawn_scoped(scope, copy).ok()
                })
                .collect();
            let copied = own.map_or(Ok(()), |part| self.copy_chunks(part));
            others.into_iter().fold(copied, |copied, thread| {
                // Nothing in the thread panics: slices are cut to their lengths.
                copied.and(thread.join().unwrap_or(Ok(())))
            })
        });
        let done = self.stream.synchronize(&current);
        copied.and(done)
    }

    /// Copies chunks that no other thread has taken through `pinned`, until there are no more. What the
    /// device still copies is not waited for.
    fn copy_chunks(&self, pinned: &mut [u8]) -> Result<(), DriverError> {
        let current = self.context.enter()?;
        let section = self.loaded.weights_section();
        let mut buffers = vec![];
        for buffer in pinned.chunks_mut(self.chunk_bytes) {
            buffers.push((buffer, Event::new(self.context)?, false));
        }
        for turn in (0..buffers.len()).cycle() {
            let start = self.next.fetch_add(1, Ordering::Relaxed) * self.chunk_bytes;
            if start >= section.len() {
                break;
            }
            let end = section.len().min(start + self.chunk_bytes);
            let (buffer, copied, in_use) = &mut buffers[turn];
            if std::mem::take(in_use) {
                copied.synchronize(&current)?;
            }
            let buffer = &mut buffer[..end - start];
            buffer.copy_from_slice(&section[start..end]);
            for Piece { from, to } in self.places.within(start as u64..end as u64) {
                let bytes = &buffer[from.start as usize - start..from.end as usize - start];
                let to = self.memory.address() + to;
                // SAFETY: pieces lie in `memory`. The buffer is not written again before its event was
                // waited for, nor let go before the stream was.
                unsafe {
                    self.stream
                        .upload(&current, to, bytes.as_ptr(), bytes.len())
                }?;
                *in_use = true;
            }
            if *in_use {
                copied.record(&current, &self.stream)?;
            }
            if self.loaded.is_unchecked() {
                let added = crc32_of_part(buffer, (section.len() - end) as u64);
                self.crc.fetch_xor(added, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
