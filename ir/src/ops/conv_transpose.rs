//! Transposed convolution over any number of spatial dimensions.

use super::contract::{biased_planes, multiply, n_groups, transposed};
use super::operands::{
    Number, expect_type, flops, known_dims, n_elements, one_type, operand, read,
};
use super::window::{AutoPad, WindowGeometry, kernel, numbers, split_spatial};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// What a convolution's gradient by its input is: each element of x adds a multiple of the window to y.
    ///
    /// `y[n, m, i * stride + k * dilation - pad] = b[m] + sum of x[n, c, i] * w[c, m, k]`.
    /// Operands: x `[N, C, D1 … Dn]`, w `[C, M / group, K1 … Kn]`, optional b `[M]`.
    ConvTranspose {
        /// Who chooses the padding.
        auto_pad: AutoPad = AutoPad::NotSet,
        /// Distance between neighbouring taps.
        dilations: Vec<i64> = vec![],
        /// Number of groups that channels are split into.
        group: i64 = 1,
        /// Window size; the weight's if it is left out.
        kernel_shape: Vec<i64> = vec![],
        /// Positions added at the end of the result.
        output_padding: Vec<i64> = vec![],
        /// Spatial dimensions of the result; padding follows from them.
        output_shape: Vec<i64> = vec![],
        /// Positions cut off the result: begins, then ends.
        pads: Vec<i64> = vec![],
        /// Distance between the windows of neighbouring elements.
        strides: Vec<i64> = vec![],
    }
}

impl ConvTranspose {
    /// The geometry of the convolution that this one transposes: its input is this one's result.
    pub fn geometry(&self, x: &TensorType, w: &TensorType) -> Result<WindowGeometry, OpError> {
        let (_, _, output) = split_spatial(&x.shape)?;
        let (_, _, window) = split_spatial(&w.shape)?;
        if !self.kernel_shape.is_empty() && kernel(&self.kernel_shape)? != window {
            return Err(OpError::Shape(format!(
                "`kernel_shape` is {:?}, the weight is {}",
                self.kernel_shape, w.shape
            )));
        }
        let n = output.len();
        if window.len() != n {
            return Err(OpError::Shape(format!(
                "a window of {} dimensions over an input of {n} spatial dimensions",
                window.len()
            )));
        }
        let pads = numbers("pads", &self.pads, 0, 0, 2 * n)?;
        let extra = numbers("output_padding", &self.output_padding, 0, 0, n)?;
        let given = numbers("output_shape", &self.output_shape, 0, 0, n)?;
        let mut geometry = WindowGeometry {
            input: vec![0; n],
            output,
            kernel: window,
            strides: numbers("strides", &self.strides, 1, 1, n)?,
            dilations: numbers("dilations", &self.dilations, 1, 1, n)?,
            pads_begin: pads[..n].to_vec(),
            pads_end: pads[n..].to_vec(),
        };
        for (d, &extra) in extra.iter().enumerate() {
            let target = (!self.output_shape.is_empty()).then_some(given[d]);
            self.fit(&mut geometry, d, extra, target)?;
        }
        Ok(geometry)
    }

    /// The number of groups; an error if it is not positive.
    pub fn groups(&self) -> Result<usize, OpError> {
        n_groups(self.group)
    }

    /// Finds size and padding along spatial dimension `d`.
    fn fit(
        &self,
        g: &mut WindowGeometry,
        d: usize,
        extra: usize,
        target: Option<usize>,
    ) -> Result<(), OpError> {
        let (x, stride) = (g.output[d], g.strides[d]);
        if x == 0 || g.kernel[d] == 0 {
            return Err(OpError::Shape(
                "an operand or a window without spatial positions".into(),
            ));
        }
        let full = (x - 1) * stride + (g.kernel[d] - 1) * g.dilations[d] + 1 + extra;
        let target = match (target, self.auto_pad) {
            (Some(target), _) => target,
            (None, AutoPad::SameUpper | AutoPad::SameLower) => x * stride,
            (None, auto_pad) => {
                if auto_pad == AutoPad::Valid {
                    (g.pads_begin[d], g.pads_end[d]) = (0, 0);
                }
                let pads = g.pads_begin[d] + g.pads_end[d];
                g.input[d] = full.checked_sub(pads).ok_or_else(|| {
                    OpError::Shape(format!("padding of {pads} positions of a result of {full}"))
                })?;
                return Ok(());
            }
        };
        let cut = full.saturating_sub(target);
        let half = cut / 2;
        (g.pads_begin[d], g.pads_end[d]) = match self.auto_pad {
            AutoPad::SameUpper => (half, cut - half),
            _ => (cut - half, half),
        };
        g.input[d] = target;
        Ok(())
    }
}

impl Operator for ConvTranspose {
    const NAME: &'static str = "ConvTranspose";
    const VERSIONS: &'static [u32] = &[1, 11, 22];
    const INPUTS: RangeInclusive<usize> = 2..=3;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = one_type(cx, 3, DType::is_float, "a floating-point number")?;
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let geometry = self.geometry(x, w)?;
        let groups = self.groups()?;
        let (c, weight_c) = (x.shape.dim(1), w.shape.dim(0));
        if !super::operands::may_equal(c, weight_c) || c.known().is_some_and(|c| c % groups != 0) {
            return Err(OpError::Shape(format!(
                "{c} input channels and weight {} in {groups} groups",
                w.shape
            )));
        }
        let m = match w.shape.dim(1).known() {
            Some(m) => Dim::Known(m.saturating_mul(groups)),
            None if groups == 1 => w.shape.dim(1).clone(),
            None => cx.fresh_dim(),
        };
        expect_type(cx, 2, "B", dtype, std::slice::from_ref(&m))?;
        let spatial = geometry.input.iter().map(|&d| Dim::Known(d));
        let dims = [x.shape.dim(0).clone(), m]
            .into_iter()
            .chain(spatial)
            .collect();
        Ok(vec![TensorType::new(dtype, dims)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let geometry = self.geometry(&x.ty(), &w.ty())?;
        let dims = known_dims(&types[0])?;
        let (n, m) = (dims[0], dims[1]);
        let (groups, m_group) = (self.groups()?, w.dims()[1]);
        let c_group = x.dims()[1] / groups;
        let positions = |d: &[usize]| -> usize { d.iter().product() };
        let (n_x, n_y) = (positions(&geometry.output), positions(&geometry.input));
        let n_kernel = positions(&geometry.kernel);
        let (xs, ws): (Vec<f64>, Vec<f64>) = (read(inputs, 0)?, read(inputs, 1)?);
        let mut y = biased_planes(inputs, n * m, n_y)?;
        // One tap of the window is a product of matrices, whose elements it adds to the result.
        for (tap, pairs) in geometry.pairs_by_tap().iter().enumerate() {
            let weights: Vec<f64> = ws.iter().skip(tap).step_by(n_kernel).copied().collect();
            for part in 0..n * groups {
                let rows = c_group * m_group;
                let weights = transposed(&weights[part % groups * rows..][..rows], m_group);
                let from = &xs[part * c_group * n_x..][..c_group * n_x];
                let mut added = vec![0.0; m_group * n_x];
                multiply(&weights, from, &mut added, c_group, n_x);
                for (channel, row) in added.chunks_exact(n_x).enumerate() {
                    let plane = (part * m_group + channel) * n_y;
                    pairs
                        .iter()
                        .for_each(|&(at_x, at_y)| y[plane + at_y] += row[at_x]);
                }
            }
        }
        Ok(vec![f64::write(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        let channels = inputs[1]
            .and_then(|w| w.shape.dim(0).known())
            .unwrap_or(0)
            .max(1);
        let per_element = n_elements(inputs, 1) / channels as u64;
        flops(per_element.saturating_mul(2), inputs, 0)
    }
}
