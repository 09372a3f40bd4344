//! What a list of passes is made of.

use super::{PassCx, PassError};
use ir::Program;
use std::fmt;

/// The phases, in the order in which they run; a program never goes back to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// One way of writing each computation: constants folded, patterns recognised.
    Normalise,
    /// Algebra around contractions, decided by equality saturation.
    Algebra,
    /// Element types of intermediate values.
    Precision,
    /// Storage orders.
    Layout,
    /// Regions: which nodes one kernel computes.
    Fuse,
    /// Parts of a model for different devices.
    Partition,
    /// Devices for the parts.
    Place,
    /// Order of the models' steps among each other.
    Interleave,
    /// Offsets of buffers in arenas.
    Memory,
    /// Kernel specs and steps.
    Lower,
}

impl Phase {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Normalise => "normalise",
            Phase::Algebra => "algebra",
            Phase::Precision => "precision",
            Phase::Layout => "layout",
            Phase::Fuse => "fuse",
            Phase::Partition => "partition",
            Phase::Place => "place",
            Phase::Interleave => "interleave",
            Phase::Memory => "memory",
            Phase::Lower => "lower",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of changes that a pass made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Changed(pub usize);

impl Changed {
    /// Whether there were any.
    pub fn any(self) -> bool {
        self.0 > 0
    }
}

impl std::ops::AddAssign for Changed {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// A pass: a function over a program, and its name.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The name: of the file, the function, the timer, the command line and the test folder.
    pub name: &'static str,
    /// The phase that it belongs to.
    pub phase: Phase,
    /// What it does.
    pub run: fn(&mut Program, &mut PassCx<'_>) -> Result<Changed, PassError>,
}

/// One entry of a phase's list.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// A pass, once.
    Once(Pass),
    /// Passes in order, again and again until none of them changes anything.
    Repeat {
        /// Most rounds.
        limit: usize,
        /// The passes.
        passes: &'static [Pass],
    },
}

/// Declares the pipeline: phases in order, each a list of passes and of
/// `repeat LIMIT { passes }`. Makes [`PIPELINE`](crate::PIPELINE).
macro_rules! passes {
    ($($phase:ident { $($stages:tt)* })*) => {
        /// Every phase's list of passes, in order.
        pub const PIPELINE: &[($crate::Phase, &[$crate::Stage])] = &[
            $(($crate::manager::phase_of!($phase), $crate::manager::passes!(@list $phase [] $($stages)*)),)*
        ];
    };
    (@list $phase:ident [$($done:expr,)*]) => { &[$($done,)*] };
    (@list $phase:ident [$($done:expr,)*] repeat $limit:literal { $($pass:ident)* } $($rest:tt)*) => {
        $crate::manager::passes!(@list $phase [$($done,)* $crate::Stage::Repeat {
            limit: $limit,
            passes: &[$($crate::manager::passes!(@pass $phase $pass)),*],
        },] $($rest)*)
    };
    (@list $phase:ident [$($done:expr,)*] $pass:ident $($rest:tt)*) => {
        $crate::manager::passes!(@list $phase [$($done,)*
            $crate::Stage::Once($crate::manager::passes!(@pass $phase $pass)),] $($rest)*)
    };
    (@pass $phase:ident $pass:ident) => {
        $crate::Pass {
            name: stringify!($pass),
            phase: $crate::manager::phase_of!($phase),
            run: $crate::$phase::$pass,
        }
    };
}
pub(crate) use passes;

macro_rules! phase_of {
    (normalise) => {
        $crate::Phase::Normalise
    };
    (algebra) => {
        $crate::Phase::Algebra
    };
    (precision) => {
        $crate::Phase::Precision
    };
    (layout) => {
        $crate::Phase::Layout
    };
    (fuse) => {
        $crate::Phase::Fuse
    };
    (partition) => {
        $crate::Phase::Partition
    };
    (place) => {
        $crate::Phase::Place
    };
    (interleave) => {
        $crate::Phase::Interleave
    };
    (memory) => {
        $crate::Phase::Memory
    };
    (lower) => {
        $crate::Phase::Lower
    };
}
pub(crate) use phase_of;
