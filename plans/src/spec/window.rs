//! Folds over a sliding window: pooling, depthwise convolution, local normalisation.

use super::{ArgSpec, Epilogue, Operand, Role, SpecError, rules};
use crate::DType;
use crate::tape::{Tape, TapeScope};
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

/// A fold over the taps of a window. If none of them lies inside the input, a maximum is the least
/// number of its type (of floats minus infinity) at position -1, a sum 0, and an average NaN.
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
        let mut args = vec![ArgSpec::new("x", Role::Read, &self.x, &self.x_extents())];
        args.extend(
            self.weight
                .iter()
                .map(|w| ArgSpec::new("weight", Role::Read, w, &self.weight_extents())),
        );
        args.extend(self.epilogue.args(&self.domain()));
        args.extend(
            self.indices
                .iter()
                .map(|i| ArgSpec::new("indices", Role::Write, &i.out, &self.domain())),
        );
        args
    }

    /// The extents that the strides of x run over.
    pub fn x_extents(&self) -> Vec<u64> {
        let outer = [self.batch, self.channels].into_iter();
        outer.chain(self.window.input.iter().copied()).collect()
    }

    /// The extents that the strides of the weight run over.
    pub fn weight_extents(&self) -> Vec<u64> {
        let outer = [self.channels].into_iter();
        outer.chain(self.window.kernel.iter().copied()).collect()
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        self.window.check()?;
        let domain = self.domain();
        rules::operand("x", &self.x, &self.x_extents())?;
        rules::operations(domain.iter().chain(&self.window.kernel).copied())?;
        let results = self.prologue.check(&TapeScope {
            inputs: &[self.x.dtype],
            row_scalars: &[],
            rank: 0,
        })?;
        let &[folded] = results.as_slice() else {
            return rules::fail(format!(
                "the prologue has {} results instead of one",
                results.len()
            ));
        };
        rules::real("what is folded", folded)?;
        match &self.fold {
            WindowFold::Max | WindowFold::Sum => {}
            WindowFold::Average => rules::float("what is averaged", folded)?,
            WindowFold::AveragePadded { pads_end } => {
                rules::float("what is averaged", folded)?;
                rules::require(pads_end.len() == self.window.kernel.len(), || {
                    format!(
                        "{} paddings for {} dimensions",
                        pads_end.len(),
                        self.window.kernel.len()
                    )
                })?;
                pads_end
                    .iter()
                    .try_for_each(|&pad| rules::count("padding", pad))?;
            }
        }
        if let Some(weight) = &self.weight {
            rules::require(self.fold == WindowFold::Sum, || {
                "only a sum has a factor for each tap".to_owned()
            })?;
            rules::operand("the weight", weight, &self.weight_extents())?;
            rules::typed("the weight", weight, folded)?;
        }
        if let Some(indices) = &self.indices {
            rules::require(self.fold == WindowFold::Max, || {
                "only a maximum has a position".to_owned()
            })?;
            rules::output("the indices", &indices.out, &domain)?;
            rules::typed("the indices", &indices.out, DType::I64)?;
        }
        self.epilogue.check(&domain, folded)
    }
}

impl Window {
    /// Checks that every list has an entry a dimension, of which there is at least one, and that
    /// positions stay bounded.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let rank = self.kernel.len();
        rules::require(rank > 0, || "the window has no dimension".to_owned())?;
        let lists = [
            ("input extents", &self.input),
            ("output extents", &self.output),
            ("strides", &self.strides),
            ("dilations", &self.dilations),
            ("paddings", &self.pads_begin),
        ];
        for (what, list) in lists {
            rules::require(list.len() == rank, || {
                format!("the window has {rank} dimensions and {} {what}", list.len())
            })?;
        }
        rules::extents("the window's input", &self.input)?;
        rules::extents("the window's output", &self.output)?;
        rules::extents("the window's taps", &self.kernel)?;
        for d in 0..rank {
            let (kernel, stride, dilation) = (self.kernel[d], self.strides[d], self.dilations[d]);
            rules::require(kernel > 0 && stride > 0 && dilation > 0, || {
                format!("dimension {d} of the window has no taps, no stride or no dilation")
            })?;
            // A transposed window steps along the input, any other along the output.
            let windows = self.input[d].max(self.output[d]).max(1);
            let last = (windows - 1)
                .checked_mul(stride)
                .and_then(|p| p.checked_add((kernel - 1).checked_mul(dilation)?))
                .and_then(|p| p.checked_add(self.pads_begin[d]));
            rules::count(
                &format!("the last position of dimension {d} of the window"),
                last.unwrap_or(u64::MAX),
            )?;
            rules::count("a window's stride", stride)?;
            rules::count("a window's dilation", dilation)?;
        }
        Ok(())
    }
}
