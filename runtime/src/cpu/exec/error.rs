//! What the executor can't do, and what can go wrong in a run.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// A kernel that the CPU has no implementation for, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unsupported(pub(crate) String);

/// What went wrong in a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A position that another tensor holds lies outside of the dimension that it picks from.
    IndexOutOfRange,
    /// A thread panicked: a defect of the runtime. The results are not to be used.
    TaskPanicked,
    /// Device code says that something went wrong, by a number that this version does not know.
    Unknown(u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::IndexOutOfRange => f.write_str("an index is out of range"),
            Fault::TaskPanicked => f.write_str("a thread of the kernel panicked"),
            Fault::Unknown(number) => write!(f, "device code reports fault {number}"),
        }
    }
}

/// Remembers whether any thread of a step met a fault.
#[derive(Default, Debug)]
pub(crate) struct FaultFlag(AtomicU8);

impl FaultFlag {
    pub(crate) fn raise(&self, fault: Fault) {
        let number = match fault {
            Fault::IndexOutOfRange => 1,
            Fault::TaskPanicked | Fault::Unknown(_) => 2,
        };
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    /// The gravest fault that was raised since the last call.
    pub(crate) fn take(&self) -> Option<Fault> {
        match self.0.swap(0, Ordering::Relaxed) {
            0 => None,
            1 => Some(Fault::IndexOutOfRange),
            _ => Some(Fault::TaskPanicked),
        }
    }
}
