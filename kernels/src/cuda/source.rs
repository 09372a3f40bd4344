//! What the generators of all classes share: signatures, offsets, positions.

use super::tape::c_type;
use super::{Generated, prelude};
use plans::Launch;
use plans::spec::{ArgSpec, Role};
use std::fmt::Write;

/// The parameters that a kernel's functions have beside its arguments.
#[derive(Clone, Copy, Default)]
pub(super) struct Extras {
    /// Bytes of `workspace`, an `unsigned char*`.
    pub(super) workspace: u64,
    /// Bytes of `counters`, an `unsigned*`.
    pub(super) counters: u64,
    /// Whether there is `fault`, an `unsigned*`.
    pub(super) may_fault: bool,
}

/// The parameters of a kernel's functions: its arguments, `a0` and so on, and the extras that there
/// are.
pub(super) fn parameters(args: &[ArgSpec], extras: Extras) -> String {
    let mut parameters: Vec<String> = args
        .iter()
        .enumerate()
        .map(|(n, arg)| {
            let ctype = c_type(arg.dtype);
            // Inputs are not said to be apart: they would then be read through a cache that does not
            // see what launches before this one still write.
            match arg.role {
                Role::Read => format!("const {ctype}* a{n}"),
                Role::Write => format!("{ctype}* __restrict__ a{n}"),
                Role::Update => format!("{ctype}* a{n}"),
            }
        })
        .collect();
    if extras.workspace > 0 {
        parameters.push("unsigned char* workspace".to_owned());
    }
    if extras.counters > 0 {
        parameters.push("unsigned* counters".to_owned());
    }
    if extras.may_fault {
        parameters.push("unsigned* fault".to_owned());
    }
    parameters.join(", ")
}

/// A function whose parameters are the kernel's arguments, `a0` and so on, and the extras that there
/// are. `threads` is what a launch gives a block, `min_blocks` how many blocks a multiprocessor
/// should be able to hold (0: as it comes).
pub(super) fn function(
    name: &str,
    args: &[ArgSpec],
    extras: Extras,
    threads: u32,
    min_blocks: u32,
    body: &str,
) -> String {
    let bounds = match min_blocks {
        0 => threads.to_string(),
        n => format!("{threads}, {n}"),
    };
    format!(
        "extern \"C\" __global__ void __launch_bounds__({bounds}) {name}({}) {{\n{body}}}\n",
        parameters(args, extras)
    )
}

/// The source that consists of the functions that `code` defines, and its launches.
pub(super) fn generated(
    code: &str,
    launches: Vec<Launch>,
    extras: Extras,
    schedule: String,
) -> Generated {
    Generated {
        source: prelude::before(code),
        launches,
        workspace: extras.workspace,
        counters: extras.counters,
        may_fault: extras.may_fault,
        schedule,
    }
}

/// A launch of a function that waits for the ones before it itself.
pub(super) fn launch(function: &str, grid: [u32; 3], threads: u32) -> Launch {
    Launch {
        function: function.to_owned(),
        grid,
        block: [threads, 1, 1],
        cluster: [1; 3],
        shared_bytes: 0,
        cooperative: false,
        starts_early: true,
    }
}

/// A launch of a function that starts when the ones before it have ended. Blocks that hold many registers
/// or much shared memory crowd on the multiprocessors that have room first if they start while others still
/// run, and stay there.
pub(super) fn launch_after(function: &str, grid: [u32; 3], threads: u32) -> Launch {
    Launch {
        starts_early: false,
        ..launch(function, grid, threads)
    }
}

/// The first statements of a function that starts early: lets the next launch start and waits for the last.
pub(super) const START: &str = "allow_next();\nwait_for_previous();\n";

/// The first statement of a function that starts when those before it have ended.
pub(super) const START_AFTER: &str = "allow_next();\n";

/// The integer type of offsets and positions in a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    Bits32,
    Bits64,
}

impl Width {
    /// 32 bits where positions below `n` and all offsets of the arguments, in elements, fit with
    /// room for a block's worth of overshoot; 64 bits elsewhere.
    pub(super) fn of(args: &[ArgSpec], n: u64) -> Self {
        let fits = |x: i64| x.unsigned_abs() < (1 << 31) - (1 << 20);
        let narrow = n < (1 << 31) - (1 << 20)
            && args
                .iter()
                .filter_map(|arg| arg.reach)
                .all(|(low, high)| fits(low) && fits(high))
            && args.iter().flat_map(|arg| &arg.walk).all(|&(_, s)| fits(s));
        if narrow { Self::Bits32 } else { Self::Bits64 }
    }

    /// The signed type.
    pub(super) fn signed(self) -> &'static str {
        match self {
            Self::Bits32 => "int",
            Self::Bits64 => "long long",
        }
    }

    /// The unsigned type.
    pub(super) fn unsigned(self) -> &'static str {
        match self {
            Self::Bits32 => "unsigned",
            Self::Bits64 => "unsigned long long",
        }
    }

    /// A literal of the signed type.
    pub(super) fn literal(self, x: i64) -> String {
        match self {
            Self::Bits32 => format!("{x}"),
            Self::Bits64 => format!("{x}ll"),
        }
    }
}

/// The sum of positions times strides; positions are expressions of the width's signed type.
pub(super) fn offset<'a>(terms: impl IntoIterator<Item = (&'a str, i64)>, width: Width) -> String {
    let mut sum = String::new();
    for (position, stride) in terms {
        if stride == 0 || position == "0" {
            continue;
        }
        if !sum.is_empty() {
            sum.push_str(" + ");
        }
        // Writing to a string does not fail.
        let _ = match stride {
            1 => write!(sum, "{position}"),
            _ => write!(sum, "{position} * {}", width.literal(stride)),
        };
    }
    if sum.is_empty() { "0".to_owned() } else { sum }
}

/// Statements that split the flat row-major position `flat`, of the width's unsigned type, into one
/// position for each dimension, `{prefix}{d}` of the signed type. Gives the names; a dimension of
/// one position has the name `0`. The first dimension is what remains: it is out of range if `flat`
/// is.
pub(super) fn split(
    flat: &str,
    domain: &[u64],
    prefix: &str,
    width: Width,
    out: &mut String,
) -> Vec<String> {
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let long = match width {
        Width::Bits32 => "",
        Width::Bits64 => "ll",
    };
    let mut names = vec!["0".to_owned(); domain.len()];
    let mut rest = flat.to_owned();
    let outermost = domain.iter().position(|&n| n != 1);
    for (d, &n) in domain.iter().enumerate().rev().filter(|&(_, &n)| n != 1) {
        let name = format!("{prefix}{d}");
        // Writing to a string does not fail.
        let _ = if Some(d) == outermost {
            writeln!(out, "const {signed} {name} = ({signed}){rest};")
        } else {
            writeln!(
                out,
                "const {unsigned} {name}_rest = {rest} / {n}u{long};\n\
                 const {signed} {name} = ({signed})({rest} - {name}_rest * {n}u{long});"
            )
        };
        rest = format!("{name}_rest");
        names[d] = name;
    }
    names
}
