//! Elements moved to computed positions.

use super::{ArgSpec, GatherAxis, Operand, Role};
use serde::{Deserialize, Serialize};

/// Movement that is not an affine copy or a gather (those are [`MapSpec`](super::MapSpec)s).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each kind is documented at its type")]
pub enum MovementSpec {
    Scatter(ScatterSpec),
    Pad(PadSpec),
    Resize(ResizeSpec),
}

/// Updates written to, or combined with, picked positions of an output, in row-major order of the updates.
///
/// The output already holds the data to be updated. Arguments: the updates, the index inputs, the output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScatterSpec {
    /// The extents of the updates.
    pub domain: Vec<u64>,
    /// Strides over the domain.
    pub updates: Operand,
    /// Positions, of type i32 or i64; strides over the domain.
    pub indices: Vec<Operand>,
    /// The dimensions of the output that indices pick positions of; `index` counts in `indices`.
    pub axes: Vec<GatherAxis>,
    /// Strides over the domain; 0 for the dimensions that only indices move along.
    pub out: Operand,
    /// How an update meets what is there.
    pub reduction: Reduction,
}

/// How an update meets what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Reduction {
    Replace,
    Add,
    Mul,
    Min,
    Max,
}

/// A tensor with a border. Arguments: x, the value if the mode takes one, out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PadSpec {
    /// The extents of x.
    pub input: Vec<u64>,
    /// The extents of the output.
    pub output: Vec<u64>,
    /// Where the first element of x lies in the output; negative cuts off.
    pub begin: Vec<i64>,
    /// What the border holds.
    pub mode: PadMode,
    /// Strides over the input's extents.
    pub x: Operand,
    /// Strides over the output's extents.
    pub out: Operand,
}

/// What the border of a padded tensor holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PadMode {
    /// One value, an argument of rank 0.
    Constant,
    /// The mirror image about the edge, which is not repeated.
    Reflect,
    /// The nearest element of x.
    Edge,
    /// The opposite side.
    Wrap,
}

/// Interpolation along each dimension. Arguments: x, out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ResizeSpec {
    /// The extents of x.
    pub input: Vec<u64>,
    /// One entry a dimension.
    pub axes: Vec<Interpolation>,
    /// What a tap outside of x counts as.
    pub outside: f32,
    /// Strides over the input's extents.
    pub x: Operand,
    /// Strides over the output's extents.
    pub out: Operand,
}

/// How output positions along one dimension are mixed from input positions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Interpolation {
    /// Output positions.
    pub output: u64,
    /// Input positions that each output position is mixed from (1 or more).
    pub taps: u32,
    /// `output * taps` input positions; -1 lies outside.
    pub positions: Vec<i32>,
    /// The factor of each.
    pub factors: Vec<f32>,
}

impl MovementSpec {
    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        let arg = |name, role, o: &Operand, domain: &[u64]| ArgSpec {
            name,
            role,
            dtype: o.dtype,
            reach: o.reach(domain),
        };
        match self {
            MovementSpec::Scatter(s) => {
                let mut args = vec![arg("updates", Role::Read, &s.updates, &s.domain)];
                args.extend(
                    s.indices
                        .iter()
                        .map(|i| arg("index", Role::Read, i, &s.domain)),
                );
                let reach = s
                    .axes
                    .iter()
                    .try_fold(s.out.reach(&s.domain), |reach, axis| {
                        let last = i64::try_from(axis.len)
                            .ok()?
                            .checked_sub(1)?
                            .checked_mul(axis.stride)?;
                        let Some((low, high)) = reach else {
                            return Some(None);
                        };
                        Some(Some((
                            low.checked_add(last.min(0))?,
                            high.checked_add(last.max(0))?,
                        )))
                    });
                args.push(ArgSpec {
                    name: "out",
                    role: Role::Update,
                    dtype: s.out.dtype,
                    reach: reach.flatten(),
                });
                args
            }
            MovementSpec::Pad(s) => {
                let mut args = vec![arg("x", Role::Read, &s.x, &s.input)];
                if s.mode == PadMode::Constant {
                    args.push(ArgSpec {
                        name: "value",
                        role: Role::Read,
                        dtype: s.x.dtype,
                        reach: Some((0, 0)),
                    });
                }
                args.push(arg("out", Role::Write, &s.out, &s.output));
                args
            }
            MovementSpec::Resize(s) => {
                let output: Vec<u64> = s.axes.iter().map(|a| a.output).collect();
                vec![
                    arg("x", Role::Read, &s.x, &s.input),
                    arg("out", Role::Write, &s.out, &output),
                ]
            }
        }
    }
}
