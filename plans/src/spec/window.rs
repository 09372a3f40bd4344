//! Folds over a sliding window: pooling, depthwise convolution, local normalisation.

use super::{ArgSpec, Epilogue, Operand, Role};
use crate::tape::Tape;
use serde::{Deserialize, Serialize};

/// Windows over some dimensions; every list has one entry a dimension.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Window {
    /// Input positions.
    pub input: Vec<u64>,
    /// Output positions.
    pub output: Vec<u64>,
    /// Taps.
    pub kernel: Vec<u64>,
    /// Input positions between neighbouring windows (1 or more).
    pub strides: Vec<u64>,
    /// Input positions between neighbouring taps (1 or more).
    pub dilations: Vec<u64>,
    /// Padding before the first input position.
    pub pads_begin: Vec<u64>,
}

/// A fold over the taps of each window, channel by channel.
///
/// The domain is batch, channel, output positions. Taps outside the input do not count.
/// Arguments: x, the weight if there is one, the epilogue's inputs, its outputs, and the indices
/// if they are asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WindowSpec {
    /// Images.
    pub batch: u64,
    /// Channels.
    pub channels: u64,
    /// The geometry.
    pub window: Window,
    /// Strides over batch, channel, input positions.
    pub x: Operand,
    /// What happens to each element first: one input, one result.
    pub prologue: Tape,
    /// A factor for each tap; strides over channel, taps.
    pub weight: Option<Operand>,
    /// How the taps are folded.
    pub fold: WindowFold,
    /// What happens to each result.
    pub epilogue: Epilogue,
    /// For [`WindowFold::Max`]: where the position of the maximum goes, as i64, counted in the
    /// whole of x taken as row-major (or column-major in the positions) N, C, positions.
    pub indices: Option<MaxIndices>,
}

/// The positions of maxima.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MaxIndices {
    /// Strides over batch, channel, output positions; of type i64.
    pub out: Operand,
    /// Whether positions are counted with the first spatial dimension innermost.
    pub column_major: bool,
}

/// A fold over the taps of a window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WindowFold {
    /// The maximum; NaN if any is NaN.
    Max,
    /// The sum.
    Sum,
    /// The sum over the number of taps inside the input.
    Average,
    /// The sum over the number of taps inside the input padded by `pads_begin` and this padding after it.
    AveragePadded {
        /// Padding after the last input position, one a dimension.
        pads_end: Vec<u64>,
    },
}

impl WindowSpec {
    /// The extents of the epilogue's domain.
    pub fn domain(&self) -> Vec<u64> {
        [self.batch, self.channels]
            .into_iter()
            .chain(self.window.output.iter().copied())
            .collect()
    }

    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        let input: Vec<u64> = [self.batch, self.channels]
            .into_iter()
            .chain(self.window.input.iter().copied())
            .collect();
        let taps: Vec<u64> = [self.channels]
            .into_iter()
            .chain(self.window.kernel.iter().copied())
            .collect();
        let read = |name, o: &Operand, domain: &[u64]| ArgSpec {
            name,
            role: Role::Read,
            dtype: o.dtype,
            reach: o.reach(domain),
        };
        let mut args = vec![read("x", &self.x, &input)];
        args.extend(self.weight.iter().map(|w| read("weight", w, &taps)));
        args.extend(self.epilogue.args(&self.domain()));
        args.extend(self.indices.iter().map(|i| ArgSpec {
            name: "indices",
            role: Role::Write,
            dtype: i.out.dtype,
            reach: i.out.reach(&self.domain()),
        }));
        args
    }
}
