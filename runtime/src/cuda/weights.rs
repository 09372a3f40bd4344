//! Weights from the mapped file to the device.

use super::context::{Context, Event, Stream};
use super::driver::DriverError;
use super::memory::{DeviceMemory, PinnedMemory};
use crate::load::Loaded;
use plans::{BUFFER_ALIGN, Place, ValidPlan, WeightIndex};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are copied at once: ten microseconds on the bus. Larger ones gain nothing, and pinning memory
/// takes half a millisecond a megabyte.
const CHUNK: usize = 512 << 10;

/// Chunks of pinned memory that a thread fills in turns: one is filled while another is copied.
const CHUNKS_PER_THREAD: usize = 2;

/// The most threads that fill chunks; one reads about 10 GB/s, the bus takes about 55.
const MAX_THREADS: usize = 6;

/// Where the weights that device code reads lie in its memory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct WeightPlaces {
    /// Of each weight of the plan: where it starts; none if only the host reads it.
    pub(crate) offsets: Vec<Option<u64>>,
    /// All bytes.
    pub(crate) bytes: u64,
    /// What lies where: bytes of the memory, and where they start in the weights section. In order.
    pieces: Vec<(Range<u64>, u64)>,
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
            let bytes = plan.weights[w as usize].bytes;
            let start = places.bytes.next_multiple_of(BUFFER_ALIGN);
            places.offsets[w as usize] = Some(start);
            places.bytes = start + bytes;
            match places.pieces.last_mut() {
                // The gap in between is the same in the file.
                Some((range, at)) if from - *at == start - range.start => range.end = start + bytes,
                _ => places.pieces.push((start..start + bytes, from)),
            }
        }
        places
    }

    /// Fills `to` with the bytes of the memory that start at `start`; gaps keep what was there.
    fn fill(&self, section: &[u8], start: u64, to: &mut [u8]) {
        let end = start + to.len() as u64;
        let first = self.pieces.partition_point(|(range, _)| range.end <= start);
        for (range, from) in &self.pieces[first..] {
            if range.start >= end {
                break;
            }
            let (low, high) = (range.start.max(start), range.end.min(end));
            let source = (from + (low - range.start)) as usize;
            to[(low - start) as usize..(high - start) as usize]
                .copy_from_slice(&section[source..][..(high - low) as usize]);
        }
    }
}

/// What was allocated when there was no room, and the error.
pub(crate) struct UploadError {
    pub(crate) bytes: u64,
    pub(crate) what: &'static str,
    pub(crate) error: DriverError,
}

/// Copies the weights that device code reads to its memory; `None` if there are none. Done when it
/// returns.
///
/// # Errors
///
/// If there is no room, or a copy fails.
pub(crate) fn upload(
    context: &Arc<Context>,
    loaded: &Loaded,
    places: &WeightPlaces,
    n_threads: usize,
) -> Result<Option<DeviceMemory>, UploadError> {
    if places.bytes == 0 {
        return Ok(None);
    }
    let failed = |bytes, what, error| UploadError { bytes, what, error };
    let memory = DeviceMemory::new(context, places.bytes)
        .map_err(|e| failed(places.bytes, "the weights", e))?;
    // A valid plan's weights are no more than the mapped file.
    let total = places.bytes as usize;
    let n_chunks = total.div_ceil(CHUNK);
    let n_threads = n_threads.clamp(1, MAX_THREADS).min(n_chunks);
    let chunk_bytes = CHUNK.min(total.next_multiple_of(BUFFER_ALIGN as usize));
    let per_thread = CHUNKS_PER_THREAD.min(n_chunks);
    let pinned_bytes = (n_threads * per_thread * chunk_bytes) as u64;
    let what = "pinned memory to copy the weights through";
    let mut pinned =
        PinnedMemory::unzeroed(context, pinned_bytes).map_err(|e| failed(pinned_bytes, what, e))?;
    let next = AtomicUsize::new(0);
    let result = std::thread::scope(|scope| {
        let mut threads = vec![];
        for part in pinned
            .as_mut_slice()
            .chunks_mut(per_thread * chunk_bytes)
            .take(n_threads)
        {
            let (memory, next) = (&memory, &next);
            threads.push(scope.spawn(move || {
                copy_chunks(context, loaded, places, memory, part, chunk_bytes, next)
            }));
        }
        let mut result = Ok(());
        for thread in threads {
            // Nothing in the thread panics: slices are cut to their lengths.
            let done = thread.join().unwrap_or(Ok(()));
            result = result.and(done);
        }
        result
    });
    result.map_err(|e| failed(0, "the weights", e))?;
    Ok(Some(memory))
}

/// Copies chunks that no other thread has taken through `pinned`, until there are no more.
fn copy_chunks(
    context: &Arc<Context>,
    loaded: &Loaded,
    places: &WeightPlaces,
    memory: &DeviceMemory,
    pinned: &mut [u8],
    chunk_bytes: usize,
    next: &AtomicUsize,
) -> Result<(), DriverError> {
    let stream = Stream::new(context)?;
    let current = context.enter()?;
    let section = loaded.weights_section();
    let mut buffers = vec![];
    for buffer in pinned.chunks_mut(chunk_bytes) {
        buffers.push((buffer, Event::new(context)?, false));
    }
    let mut result = Ok(());
    for turn in (0..buffers.len()).cycle() {
        let start = next.fetch_add(1, Ordering::Relaxed) as u64 * chunk_bytes as u64;
        if start >= memory.bytes() {
            break;
        }
        let (buffer, copied, in_use) = &mut buffers[turn];
        if *in_use {
            result = copied.synchronize(&current);
        }
        let len = (memory.bytes() - start).min(chunk_bytes as u64) as usize;
        let buffer = &mut buffer[..len];
        if result.is_ok() {
            places.fill(section, start, buffer);
            // SAFETY: the range lies in `memory`. The buffer is not written again, nor let go,
            // before its event or the stream was waited for.
            result =
                unsafe { stream.upload(&current, memory.address() + start, buffer.as_ptr(), len) };
        }
        if result.is_ok() {
            result = copied.record(&current, &stream);
            *in_use = true;
        }
        if result.is_err() {
            break;
        }
    }
    let done = stream.synchronize(&current);
    result.and(done)
}
