//! Tensors read at computed positions between elements.

use super::operands::{expect_type, known_dims, operand, read};
use super::sampling::{cubic, triangle};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::{row_major_strides, unravel};
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attr_enum, attributes};
use std::ops::RangeInclusive;

attr_enum! {
    /// How [`GridSample`] reads between elements.
    SampleMode {
        /// Straight lines along each axis.
        Linear = "linear",
        /// The nearest element; of two equally near the one at the even position.
        Nearest = "nearest",
        /// Cubic convolution along each axis with the parameter -0.75 (Keys 1981).
        Cubic = "cubic",
    }
}

attr_enum! {
    /// What [`GridSample`] reads outside its operand.
    SamplePadding {
        /// 0.
        Zeros = "zeros",
        /// The element at the edge.
        Border = "border",
        /// The operand mirrored at its borders.
        Reflection = "reflection",
    }
}

attributes! {
    /// Operand 0 `[N, C, D1 … Dr]` read at the positions in operand 1 `[N, E1 … Er, r]`, for
    /// `[N, C, E1 … Er]`. Positions run from -1 to 1 along each axis, the last axis' first.
    GridSample {
        /// Whether -1 and 1 are the middles of the outermost elements rather than their outer edges.
        align_corners: bool = false,
        /// How elements are read between.
        mode: SampleMode = SampleMode::Linear,
        /// What is read outside.
        padding_mode: SamplePadding = SamplePadding::Zeros,
    }
}

impl GridSample {
    /// Where along an axis of `n` elements the position `at`, from -1 to 1, lies.
    fn coordinate(&self, at: f64, n: usize) -> f64 {
        let n = n as f64;
        let x = if self.align_corners {
            (at + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((at + 1.0) * n - 1.0) / 2.0
        };
        // The precision in which devices compute positions, so that halves are the same ones.
        let x = match self.mode {
            SampleMode::Nearest => f64::from(x as f32).round_ties_even(),
            _ => x,
        };
        let (low, high) = self.borders(n);
        match self.padding_mode {
            _ if (low..=high).contains(&x) => x,
            SamplePadding::Zeros => x,
            SamplePadding::Border => x.clamp(0.0, n - 1.0),
            SamplePadding::Reflection => reflect(x, low, high),
        }
    }

    /// Where an axis of `n` elements begins and ends.
    fn borders(&self, n: f64) -> (f64, f64) {
        match self.align_corners {
            true => (0.0, n - 1.0),
            false => (-0.5, n - 0.5),
        }
    }

    /// The elements around coordinate `x` on an axis of `n`, with their weights.
    fn taps(&self, x: f64, n: usize) -> Vec<(usize, f64)> {
        let floor = x.floor();
        let around = match self.mode {
            SampleMode::Nearest => 0..1,
            SampleMode::Linear => 0..2,
            SampleMode::Cubic => -1..3,
        };
        let (low, high) = self.borders(n as f64);
        let tap = |offset: i32| {
            let p = floor + f64::from(offset);
            let weight = match self.mode {
                SampleMode::Nearest => 1.0,
                SampleMode::Linear => triangle(p - x),
                SampleMode::Cubic => cubic(p - x, -0.75),
            };
            let last = n as f64 - 1.0;
            let p = match self.padding_mode {
                _ if (0.0..=last).contains(&p) => p,
                SamplePadding::Zeros => return None,
                SamplePadding::Border => p.clamp(0.0, last),
                SamplePadding::Reflection => reflect(p, low, high).clamp(0.0, last),
            };
            // A position that is not a number reads the first element, and its weight is NaN.
            Some((p as usize, weight))
        };
        around.filter_map(tap).collect()
    }

    /// The number of elements that one element of the result is read from, of `r` axes.
    fn n_taps(&self, r: usize) -> u64 {
        let per_axis: u64 = match self.mode {
            SampleMode::Nearest => 1,
            SampleMode::Linear => 2,
            SampleMode::Cubic => 4,
        };
        per_axis.saturating_pow(r as u32)
    }
}

/// `x` mirrored at `low` and `high` until it lies between.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let along = (x - low).rem_euclid(2.0 * span);
    low + along.min(2.0 * span - along)
}

impl Operator for GridSample {
    const NAME: &'static str = "GridSample";
    const VERSIONS: &'static [u32] = &[16, 20, 22];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, grid) = (cx.input(0)?, cx.input(1)?);
        for ty in [x, grid] {
            if !ty.dtype.is_float() {
                return Err(OpError::Type(format!(
                    "operand of type {ty}, expected floating-point numbers"
                )));
            }
        }
        let rank = x.shape.rank();
        if rank < 3 || grid.shape.rank() != rank {
            return Err(OpError::Shape(format!("a grid {grid} over {x}")));
        }
        let mut positions = vec![x.shape.dim(0).clone()];
        positions.extend_from_slice(&grid.shape.0[1..rank - 1]);
        positions.push(Dim::Known(rank - 2));
        expect_type(cx, 1, "grid", grid.dtype, &positions)?;
        let mut dims = x.shape.0[..2].to_vec();
        dims.extend_from_slice(&grid.shape.0[1..rank - 1]);
        Ok(vec![TensorType::new(x.dtype, Shape(dims))])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, grid): (Vec<f64>, Vec<f64>) = (read(inputs, 0)?, read(inputs, 1)?);
        let dims = known_dims(&types[0])?;
        let space = &operand(inputs, 0)?.dims()[2..];
        let (r, strides) = (space.len(), row_major_strides(space));
        let n_in: usize = space.iter().product();
        let n_out: usize = dims[2..].iter().product();
        let channels = dims[1];
        if n_in == 0 && dims.iter().all(|&d| d > 0) {
            return Err(OpError::Shape("an operand without elements to read".into()));
        }
        let mut y = vec![0.0; dims.iter().product()];
        for point in 0..dims[0] * n_out {
            let (batch, o) = (point / n_out, point % n_out);
            let position = &grid[point * r..][..r];
            let axes: Vec<Vec<(usize, f64)>> = (0..r)
                .map(|d| {
                    let at = position[r - 1 - d];
                    self.taps(self.coordinate(at, space[d]), space[d])
                })
                .collect();
            let counts: Vec<usize> = axes.iter().map(Vec::len).collect();
            for tap in 0..counts.iter().product() {
                let (mut at, mut weight) = (0, 1.0);
                for (d, i) in unravel(tap, &counts).into_iter().enumerate() {
                    at += axes[d][i].0 * strides[d];
                    weight *= axes[d][i].1;
                }
                for c in 0..channels {
                    let plane = batch * channels + c;
                    y[plane * n_out + o] += weight * x[plane * n_in + at];
                }
            }
        }
        Ok(vec![Tensor::from_f64(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let r = inputs[1].map_or(0, |grid| grid.shape.rank().saturating_sub(2));
        let n = outputs[0].shape.n_elements().unwrap_or(0) as u64;
        match self.mode {
            SampleMode::Nearest => 0,
            _ => n.saturating_mul(2).saturating_mul(self.n_taps(r)),
        }
    }
}
