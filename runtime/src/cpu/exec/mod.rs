//! Kernels of a plan on the CPU: one file a class of spec.
//!
//! A kernel is prepared once, when a plan is bound: loops are ordered and joined, tapes compiled,
//! weights packed, memory sized. Running it allocates nothing. What it may touch rests on two
//! proofs that come with a valid plan: every argument of a step holds all elements of its
//! `ArgSpec::reach`, and no two positions of an output share an element, so that threads which take
//! different positions never write the same place.

mod access;
mod attention;
mod bind;
mod block;
mod contract;
mod error;
mod fold;
mod functions;
mod geometry;
mod library;
mod map;
mod movement;
mod ops;
mod per_level;
mod program;
mod real;
mod recurrent;
mod row;
mod taps;
mod window;

use super::level::Level;
use super::pool::Pool;
use std::ops::Range;

pub(crate) use bind::{Binder, BoundWeight, packed_args};
pub use error::Fault;
pub(crate) use error::{FaultFlag, Unsupported};

/// Memory that a kernel uses while it runs, in bytes; both parts are aligned to 64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Needs {
    /// One region that all workers share.
    pub(crate) shared: usize,
    /// A region for each worker.
    pub(crate) worker: usize,
}

impl Needs {
    /// Enough for either.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            shared: self.shared.max(other.shared),
            worker: self.worker.max(other.worker),
        }
    }
}

/// What a kernel runs with.
pub(crate) struct Cx<'a> {
    /// Where the step's arguments start, in the order of `KernelSpec::args`.
    pub(crate) args: &'a [*mut u8],
    /// The shared region.
    pub(crate) shared: *mut u8,
    /// The region of the pool's first worker; the others follow at `worker_stride`.
    pub(crate) workers: *mut u8,
    /// Bytes from the region of a worker to that of the next; at least what the kernel needs.
    pub(crate) worker_stride: usize,
    pub(crate) fault: &'a FaultFlag,
    /// Instructions that the processor has.
    pub(crate) level: Level,
    pub(crate) pool: &'a Pool,
}

// SAFETY: the pointers are to memory that belongs to the run; kernels give disjoint parts of it to
// workers, as their own arguments for safety say.
unsafe impl Sync for Cx<'_> {}

/// Tasks that a thread should get, so that one that is held up does not hold up all.
const TASKS_PER_THREAD: usize = 4;

impl Cx<'_> {
    /// Where argument `n` starts.
    pub(crate) fn arg(&self, n: usize) -> *mut u8 {
        self.args[n]
    }

    /// Divides `0..n` into ranges and does `body` on each, with the memory of the worker that does
    /// it. Ranges have at least `grain` positions, as long as there are that many.
    pub(crate) fn parallel(
        &self,
        n: usize,
        grain: usize,
        body: &(dyn Fn(Range<usize>, *mut u8) + Sync),
    ) {
        let most = self.pool.n_threads() * TASKS_PER_THREAD;
        let n_tasks = if self.pool.n_threads() == 1 {
            n.min(1)
        } else {
            n.min((n / grain.max(1)).clamp(1, most))
        };
        let result = self.pool.run(n_tasks, &|task, worker| {
            let part = |i: usize| (i as u128 * n as u128 / n_tasks as u128) as usize;
            // SAFETY: there is a region for every worker of the pool.
            let memory = unsafe { self.workers.add(worker * self.worker_stride) };
            body(part(task)..part(task + 1), memory);
        });
        if result.is_err() {
            self.fault.raise(Fault::TaskPanicked);
        }
    }
}

/// A kernel made ready to run.
pub(crate) trait Execute: Send + Sync {
    /// What computes it, for people.
    fn implementation(&self) -> &'static str;

    /// The memory that it needs.
    fn needs(&self) -> Needs;

    /// Runs it.
    ///
    /// # Safety
    /// `cx.args` has a pointer for each argument of the spec that the kernel was prepared from;
    /// what lies within the argument's reach there can be read and, for results, written, and
    /// nobody else touches it during the call. Memory is what [`Execute::needs`] asks for.
    unsafe fn run(&self, cx: &Cx<'_>);
}
