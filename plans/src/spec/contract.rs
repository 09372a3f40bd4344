//! Sums of products: matrix products and convolutions, with an epilogue.

use super::{ArgSpec, Operand, Role, SpecError, Window, rules};
use crate::DType;
use crate::tape::{Tape, TapeOp, TapeScope};
use serde::{Deserialize, Serialize};

/// A contraction and the elementwise work on its results.
///
/// Arguments: the two operands of the contraction (data, then weight), the epilogue's inputs, then
/// its outputs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ContractSpec {
    /// What is contracted.
    pub problem: Problem,
    /// What happens to each sum.
    pub epilogue: Epilogue,
}

/// A contraction. Sums of f16, bf16 and f32 are kept in f32, in an order that is fixed for the device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Problem {
    /// `sum over k of a[batch, m, k] * b[batch, k, n]`; the epilogue's domain is batch, m, n.
    MatMul {
        /// Dimensions that both operands share; a stride of 0 broadcasts.
        batch: Vec<u64>,
        /// Rows of the result.
        m: u64,
        /// Columns of the result.
        n: u64,
        /// Products in each sum.
        k: u64,
        /// Strides over batch, m, k.
        a: Operand,
        /// Strides over batch, k, n.
        b: Operand,
    },
    /// `sum over c, t of x[batch, g * C + c, o * stride + t * dilation - pad] * w[g * M + m, c, t]`;
    /// the epilogue's domain is batch, output channel, output positions.
    Conv {
        /// Images.
        batch: u64,
        /// Groups.
        groups: u64,
        /// Input channels of one group (C).
        in_channels: u64,
        /// Output channels of one group (M).
        out_channels: u64,
        /// The spatial geometry.
        window: Window,
        /// Strides over batch, input channel (of all groups), input positions.
        x: Operand,
        /// Strides over output channel (of all groups), input channel of the group, taps.
        w: Operand,
    },
    /// The transpose of a convolution: `x[batch, g * C + c, i] * w[g * C + c, m, t]` is added at
    /// output channel `g * M + m` and position `i * stride + t * dilation - pad`.
    /// `window.input` are the positions of x, `window.output` those of the result.
    ConvTranspose {
        /// Images.
        batch: u64,
        /// Groups.
        groups: u64,
        /// Input channels of one group (C).
        in_channels: u64,
        /// Output channels of one group (M).
        out_channels: u64,
        /// The spatial geometry.
        window: Window,
        /// Strides over batch, input channel (of all groups), input positions.
        x: Operand,
        /// Strides over input channel (of all groups), output channel of the group, taps.
        w: Operand,
    },
}

/// Elementwise work on each result of a kernel before it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Epilogue {
    /// Further operands; strides over the epilogue's domain.
    pub inputs: Vec<Operand>,
    /// `Input(0)` is the kernel's own result, `Input(i + 1)` is input `i`.
    pub tape: Tape,
    /// Where the tape's results go; strides over the epilogue's domain.
    pub outputs: Vec<Operand>,
}

impl Epilogue {
    /// The arguments: inputs, then outputs.
    pub fn args(&self, domain: &[u64]) -> Vec<ArgSpec> {
        let inputs = self
            .inputs
            .iter()
            .map(|o| ArgSpec::new("in", Role::Read, o, domain));
        let outputs = self
            .outputs
            .iter()
            .map(|o| ArgSpec::new("out", Role::Write, o, domain));
        inputs.chain(outputs).collect()
    }

    /// Checks that it makes sense over `domain`, for a kernel whose own result is of type `result`.
    ///
    /// The tape may take an f16 or bf16 result as f32: both name the same unrounded number.
    pub(super) fn check(&self, domain: &[u64], result: DType) -> Result<(), SpecError> {
        rules::extents("the domain", domain)?;
        for (n, o) in self.inputs.iter().enumerate() {
            rules::operand(&format!("epilogue input {n}"), o, domain)?;
        }
        let as_f32 = matches!(result, DType::F16 | DType::BF16)
            && self
                .tape
                .steps
                .iter()
                .any(|s| s.op == TapeOp::Input(0) && s.dtype == DType::F32);
        let inputs: Vec<DType> = [if as_f32 { DType::F32 } else { result }]
            .into_iter()
            .chain(self.inputs.iter().map(|o| o.dtype))
            .collect();
        let results = self.tape.check(&TapeScope {
            inputs: &inputs,
            row_scalars: &[],
            rank: domain.len(),
        })?;
        super::map::tape_outputs(&results, &self.outputs, domain)
    }
}

impl Problem {
    /// The extents of the epilogue's domain.
    pub fn domain(&self) -> Vec<u64> {
        match self {
            Problem::MatMul { batch, m, n, .. } => batch.iter().chain([m, n]).copied().collect(),
            Problem::Conv {
                batch,
                groups,
                out_channels,
                window,
                ..
            }
            | Problem::ConvTranspose {
                batch,
                groups,
                out_channels,
                window,
                ..
            } => {
                let channels = groups.saturating_mul(*out_channels);
                [*batch, channels]
                    .into_iter()
                    .chain(window.output.iter().copied())
                    .collect()
            }
        }
    }

    /// The type of the sums: that of the operands, but i32 for sums of 8-bit integers, whose two
    /// operands may differ in sign.
    ///
    /// # Errors
    ///
    /// If there is no product of the operands' types.
    pub fn sum_dtype(&self) -> Result<DType, SpecError> {
        let [(x, _), (w, _)] = self.operands();
        let is_byte = |d| matches!(d, DType::I8 | DType::U8);
        if is_byte(x.dtype) && is_byte(w.dtype) {
            return Ok(DType::I32);
        }
        rules::real("the data operand", x.dtype)?;
        rules::typed("the weight operand", w, x.dtype)?;
        Ok(x.dtype)
    }

    /// The data operand and the weight operand, each with the extents that its strides run over.
    pub fn operands(&self) -> [(&Operand, Vec<u64>); 2] {
        match self {
            Problem::MatMul {
                batch,
                m,
                n,
                k,
                a,
                b,
            } => {
                let over = |x: &u64, y: &u64| batch.iter().chain([x, y]).copied().collect();
                [(a, over(m, k)), (b, over(k, n))]
            }
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            }
            | Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            } => {
                let transposed = matches!(self, Problem::ConvTranspose { .. });
                let (outer, inner) = if transposed {
                    (in_channels, out_channels)
                } else {
                    (out_channels, in_channels)
                };
                let all = |c: &u64| groups.saturating_mul(*c);
                let data = [*batch, all(in_channels)]
                    .into_iter()
                    .chain(window.input.iter().copied());
                let weight = [all(outer), *inner]
                    .into_iter()
                    .chain(window.kernel.iter().copied());
                [(x, data.collect()), (w, weight.collect())]
            }
        }
    }
}

impl ContractSpec {
    /// The arguments: data, weight, epilogue inputs, outputs.
    pub fn args(&self) -> Vec<ArgSpec> {
        let [(x, x_extents), (w, w_extents)] = self.problem.operands();
        let mut args = vec![
            ArgSpec::new("x", Role::Read, x, &x_extents),
            ArgSpec::new("weight", Role::Read, w, &w_extents),
        ];
        args.extend(self.epilogue.args(&self.problem.domain()));
        args
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        match &self.problem {
            Problem::MatMul {
                batch,
                m,
                n,
                k,
                a: _,
                b: _,
            } => rules::operations(batch.iter().chain([m, n, k]).copied())?,
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x: _,
                w: _,
            } => {
                window.check()?;
                let channels = [*batch, *groups, *in_channels, *out_channels];
                let positions = window.output.iter().chain(&window.kernel).copied();
                rules::operations(channels.into_iter().chain(positions))?;
                rules::extents("the channels", &channels[1..])?;
            }
            Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x: _,
                w: _,
            } => {
                window.check()?;
                let channels = [*batch, *groups, *in_channels, *out_channels];
                let positions = window.input.iter().chain(&window.kernel).copied();
                rules::operations(channels.into_iter().chain(positions))?;
                rules::extents("the channels", &channels[1..])?;
            }
        }
        let [(x, x_extents), (w, w_extents)] = self.problem.operands();
        rules::operand("the data operand", x, &x_extents)?;
        rules::operand("the weight operand", w, &w_extents)?;
        self.epilogue
            .check(&self.problem.domain(), self.problem.sum_dtype()?)
    }
}
