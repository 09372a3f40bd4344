//! Convolution over any number of spatial dimensions.

use super::contract::n_groups;
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
        if let Some(b) = cx.optional(2)
            && (b.dtype != x.dtype || b.shape.0[..] != [w.shape.dim(0).clone()])
        {
            return Err(OpError::Shape(format!(
                "bias of type {b} for weight {}",
                w.shape
            )));
        }
        let mut dims = vec![x.shape.dim(0).clone(), w.shape.dim(0).clone()];
        dims.extend(geometry.output.iter().map(|&d| Dim::Known(d)));
        Ok(vec![TensorType::new(x.dtype, dims.into_iter().collect())])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, w) = (
            inputs[0].ok_or(OpError::MissingInput(0))?,
            inputs[1].ok_or(OpError::MissingInput(1))?,
        );
        let geometry = self.geometry(&x.ty(), &w.ty())?;
        let dims = types[0]
            .shape
            .dims()
            .ok_or_else(|| OpError::Shape("unknown shape".into()))?;
        let (n, m, c_group) = (dims[0], dims[1], w.dims()[1]);
        let (groups, c) = (self.groups()?, x.dims()[1]);
        let positions = |d: &[usize]| -> usize { d.iter().product() };
        let (n_in, n_out, n_kernel) = (
            positions(&geometry.input),
            positions(&geometry.output),
            positions(&geometry.kernel),
        );
        let float = |t: &Tensor| {
            t.to_f64()
                .ok_or_else(|| OpError::Type("complex operand".into()))
        };
        let (xs, ws) = (float(x)?, float(w)?);
        let mut y = vec![0.0; n * m * n_out];
        if let Some(b) = inputs.get(2).copied().flatten() {
            let b = float(b)?;
            for (i, v) in y.iter_mut().enumerate() {
                *v = b[i / n_out % m];
            }
        }
        geometry.visit(|o, k, i| {
            for (batch, out) in (0..n).flat_map(|b| (0..m).map(move |out| (b, out))) {
                let first = out / (m / groups) * c_group;
                let sum: f64 = (0..c_group)
                    .map(|j| {
                        xs[(batch * c + first + j) * n_in + i]
                            * ws[(out * c_group + j) * n_kernel + k]
                    })
                    .sum();
                y[(batch * m + out) * n_out + o] += sum;
            }
        });
        Ok(vec![Tensor::from_f64(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let per_output = inputs[1]
            .and_then(|w| Some(w.shape.n_elements()? / w.shape.dim(0).known()?.max(1)))
            .unwrap_or(0);
        2 * per_output as u64 * outputs[0].shape.n_elements().unwrap_or(0) as u64
    }
}
