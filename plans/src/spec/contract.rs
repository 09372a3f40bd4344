//! Sums of products: matrix products and convolutions, with an epilogue.

use super::{ArgSpec, Operand, Role, Window};
use crate::tape::Tape;
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
        let arg = |name, role, o: &Operand| ArgSpec {
            name,
            role,
            dtype: o.dtype,
            reach: o.reach(domain),
        };
        let inputs = self.inputs.iter().map(|o| arg("in", Role::Read, o));
        inputs
            .chain(self.outputs.iter().map(|o| arg("out", Role::Write, o)))
            .collect()
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
        let names = ["x", "weight"];
        let operands = self.problem.operands();
        let mut args: Vec<_> = operands
            .iter()
            .zip(names)
            .map(|((o, domain), name)| ArgSpec {
                name,
                role: Role::Read,
                dtype: o.dtype,
                reach: o.reach(domain),
            })
            .collect();
        args.extend(self.epilogue.args(&self.problem.domain()));
        args
    }
}
