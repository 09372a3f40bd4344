//! What a step is expected to take of a GPU, well enough to tell which steps to run at once.

use super::steps::StepDraft;
use kernels::cuda::contract::{self, Schedule};
use kernels::cuda::{Generated, Target};
use plans::KernelSpec;

/// What a step takes when it runs alone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Estimate {
    /// Nanoseconds from its start to its end, in a chain.
    pub ns: f64,
    /// The share of the GPU that it keeps busy meanwhile: of its arithmetic, of its memory's rate or
    /// of the room for blocks, whichever is greatest. More than 0, at most 1.
    pub share: f64,
}

/// Clock cycles of a multiprocessor in a nanosecond, as an H200's.
const CLOCK: f64 = 1.75;
/// Operations of a multiprocessor in a cycle: 128 multiply-adds.
const OPERATIONS: f64 = 256.0;
/// Bytes in a nanosecond, of an H200's memory and between it and the host.
const MEMORY: f64 = 4280.0;
const LINK: f64 = 55.0;
/// Nanoseconds of a launch that does next to nothing, and of a copy from or to the host.
const LAUNCH: f64 = 2000.0;
const COPY: f64 = 5000.0;
/// Nanoseconds of a step of a recurrence: all its blocks wait for each other.
const RECURRENCE: f64 = 3000.0;
/// What a multiprocessor holds: threads, registers, bytes of shared memory.
const THREADS: f64 = 2048.0;
const REGISTERS: f64 = 65536.0;
const SHARED: f64 = 228.0 * 1024.0;
/// Registers of a thread where nothing is known of it.
const USUAL_REGISTERS: f64 = 40.0;

/// The estimate of a step, with its code if it has any.
pub(super) fn estimate(step: &StepDraft, code: Option<&Generated>, target: &Target) -> Estimate {
    let bytes = (step.bytes_read + step.bytes_written) as f64;
    let Some(code) = code else {
        return Estimate {
            ns: COPY + bytes / LINK,
            share: (bytes / MEMORY / (COPY + bytes / LINK)).clamp(0.02, 1.0),
        };
    };
    let n_sms = f64::from(target.n_sms);
    let arithmetic = step.flop as f64 / (n_sms * OPERATIONS * CLOCK);
    let memory = bytes / MEMORY;
    let schedule = match &step.spec {
        KernelSpec::Contract(spec) => contract::parse(&code.schedule).map(|s| (spec, s)),
        _ => None,
    };
    let registers = match schedule {
        Some((_, Schedule::Tiled(tiled))) => tiled.registers as f64,
        _ => USUAL_REGISTERS,
    };
    // The fullest launch.
    let (mut room, mut at_work): (f64, f64) = (0.0, 0.0);
    for launch in &code.launches {
        let product = |of: &[u32; 3]| of.iter().map(|&n| f64::from(n)).product::<f64>();
        let (blocks, threads) = (product(&launch.grid), product(&launch.block));
        let each = (threads / THREADS)
            .max(threads * registers / REGISTERS)
            .max(f64::from(launch.shared_bytes) / SHARED);
        room = room.max(blocks * each / n_sms);
        at_work = at_work.max(blocks * threads / (n_sms * THREADS));
        if launch.cooperative {
            room = 1.0;
        }
    }
    let predicted = schedule.and_then(|(spec, s)| contract::predict(spec, target, &s).ok());
    let ns = match (predicted, &step.spec) {
        (Some(seconds), _) if seconds.is_finite() => seconds * 1e9,
        (_, KernelSpec::Recurrent(spec)) => LAUNCH + spec.time as f64 * RECURRENCE,
        _ => {
            // A quarter of all threads keeps the whole busy.
            let part = (4.0 * at_work).clamp(0.01, 1.0);
            LAUNCH * code.launches.len() as f64 + arithmetic.max(memory) / part
        }
    };
    Estimate {
        ns,
        share: (arithmetic.max(memory) / ns).max(room).clamp(0.02, 1.0),
    }
}
