//! Convolution over any number of spatial dimensions.

use super::contract::{biased_planes, multiply, n_groups};
use super::operands::{Number, expect_type, flops, known_dims, n_elements, operand, read};
use super::window::{AutoPad, WindowAttrs, WindowGeometry, split_spatial};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `y[n, m, o] = b[m] + sum over c, k of x[n, c, o * stride + k * dilation - pad] * w[m, c, k]`.
    ///
    /// Operands: x `[N, C, D1 … Dn]`, w `[M, C / group, K1 … Kn]`, optional b `[M]`.
    Conv {
        /// Who chooses the padding.
        auto_pad: AutoPad = AutoPad::NotSet,
        /// Distance between neighbouring taps.
        dilations: Vec<i64> = vec![],
        /// Number of groups that channels are split into.
        group: i64 = 1,
        /// Window size; the weight's if it is left out.
        kernel_shape: Vec<i64> = vec![],
        /// Padding: begins, then ends.
        pads: Vec<i64> = vec![],
        /// Distance between neighbouring windows.
        strides: Vec<i64> = vec![],
    }
}

impl Conv {
    /// The geometry for operand types `x` and `w`.
    pub fn geometry(&self, x: &TensorType, w: &TensorType) -> Result<WindowGeometry, OpError> {
        let (_, _, input) = split_spatial(&x.shape)?;
        let (_, _, kernel) = split_spatial(&w.shape)?;
        if !self.kernel_shape.is_empty()
            && !self
                .kernel_shape
                .iter()
                .map(|&k| k as usize)
                .eq(kernel.iter().copied())
        {
            return Err(OpError::Shape(format!(
                "`kernel_shape` is {:?}, the weight is {}",
                self.kernel_shape, w.shape
            )));
        }
        WindowAttrs {
            kernel: &kernel,
            strides: &self.strides,
            dilations: &self.dilations,
            pads: &self.pads,
            auto_pad: self.auto_pad,
            ceil: false,
        }
        .geometry(&input)
    }

    /// The number of groups; an error if it is not positive.
    pub fn groups(&self) -> Result<usize, OpError> {
        n_groups(self.group)
    }
}

impl Operator for Conv {
    const NAME: &'static str = "Conv";
    const VERSIONS: &'static [u32] = &[1, 11, 22];
    const INPUTS: RangeInclusive<usize> = 2..=3;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        if x.dtype != w.dtype || !x.dtype.is_float() {
            return Err(OpError::Type(format!(
                "operands of types {} and {}, expected one floating-point type",
                x.dtype, w.dtype
            )));
        }
        let geometry = self.geometry(x, w)?;
        let groups = self.groups()?;
        if let (Some(c), Some(m), Some(cg)) = (
            x.shape.dim(1).known(),
            w.shape.dim(0).known(),
            w.shape.dim(1).known(),
        ) && (cg.checked_mul(groups) != Some(c) || m % groups != 0)
        {
            return Err(OpError::Shape(format!(
                "{c} input channels and weight {} in {groups} groups",
                w.shape
            )));
        }
        expect_type(cx, 2, "B", x.dtype, &w.shape.0[..1])?;
        let mut dims = vec![x.shape.dim(0).clone(), w.shape.dim(0).clone()];
        dims.extend(geometry.output.iter().map(|&d| Dim::Known(d)));
        Ok(vec![TensorType::new(x.dtype, dims.into_iter().collect())])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let geometry = self.geometry(&x.ty(), &w.ty())?;
        let dims = known_dims(&types[0])?;
        let (n, m, c_group, groups) = (dims[0], dims[1], w.dims()[1], self.groups()?);
        let positions = |d: &[usize]| -> usize { d.iter().product() };
        let (n_in, n_out) = (positions(&geometry.input), positions(&geometry.output));
        let n_kernel = positions(&geometry.kernel);
        let (xs, ws): (Vec<f64>, Vec<f64>) = (read(inputs, 0)?, read(inputs, 1)?);
        let mut y = biased_planes(inputs, n * m, n_out)?;
        // One tap of the window is a product of matrices: its weights, and the elements that it meets.
        let mut met = vec![0.0; c_group * n_out];
        for (tap, pairs) in geometry.pairs_by_tap().iter().enumerate() {
            let weights: Vec<f64> = ws.iter().skip(tap).step_by(n_kernel).copied().collect();
            for part in 0..n * groups {
                met.fill(0.0);
                for (channel, row) in met.chunks_exact_mut(n_out).enumerate() {
                    let plane = (part * c_group + channel) * n_in;
                    pairs.iter().for_each(|&(o, i)| row[o] = xs[plane + i]);
                }
                let size = m / groups * n_out;
                let rows = m / groups * c_group;
                let weights = &weights[part % groups * rows..][..rows];
                multiply(weights, &met, &mut y[part * size..][..size], c_group, n_out);
            }
        }
        Ok(vec![f64::write(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let channels = inputs[1].and_then(|w| w.shape.dim(0).known()).unwrap_or(0);
        let per_output = n_elements(inputs, 1) / channels.max(1) as u64;
        flops(per_output.saturating_mul(2), &[outputs.first()], 0)
    }
}
