//! Elements moved to computed positions.

use super::{ArgSpec, GatherAxis, Operand, Role, SpecError, rules};
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
    /// The mirror image about the edge, which is not repeated; as often as it takes. A single
    /// element is its own image.
    Reflect,
    /// The nearest element of x.
    Edge,
    /// The opposite side, as often as it takes.
    Wrap,
}

/// Interpolation along each dimension; sums of integers are rounded, halves to the even one, and
/// saturate. Arguments: x, out.
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
        match self {
            MovementSpec::Scatter(s) => {
                let mut args = vec![ArgSpec::new("updates", Role::Read, &s.updates, &s.domain)];
                args.extend(
                    s.indices
                        .iter()
                        .map(|i| ArgSpec::new("index", Role::Read, i, &s.domain)),
                );
                args.push(ArgSpec::new("out", Role::Update, &s.out, &s.domain).gathered(&s.axes));
                args
            }
            MovementSpec::Pad(s) => {
                let mut args = vec![ArgSpec::new("x", Role::Read, &s.x, &s.input)];
                if s.mode == PadMode::Constant {
                    args.push(ArgSpec::scalar("value", Role::Read, s.x.dtype));
                }
                args.push(ArgSpec::new("out", Role::Write, &s.out, &s.output));
                args
            }
            MovementSpec::Resize(s) => vec![
                ArgSpec::new("x", Role::Read, &s.x, &s.input),
                ArgSpec::new("out", Role::Write, &s.out, &s.output()),
            ],
        }
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            MovementSpec::Scatter(s) => s.check(),
            MovementSpec::Pad(s) => s.check(),
            MovementSpec::Resize(s) => s.check(),
        }
    }
}

impl ScatterSpec {
    fn check(&self) -> Result<(), SpecError> {
        rules::operand("the updates", &self.updates, &self.domain)?;
        for (n, index) in self.indices.iter().enumerate() {
            let what = format!("index {n}");
            rules::operand(&what, index, &self.domain)?;
            rules::positions(&what, index)?;
        }
        for axis in &self.axes {
            rules::require(usize::from(axis.index) < self.indices.len(), || {
                format!("index {} does not exist", axis.index)
            })?;
        }
        super::map::gather_axes("out", &self.axes)?;
        rules::operand("out", &self.out, &self.domain)?;
        rules::typed("out", &self.out, self.updates.dtype)?;
        if self.reduction != Reduction::Replace {
            rules::real("what is combined", self.out.dtype)?;
        }
        if !self.domain.contains(&0) && self.axes.iter().all(|a| a.len > 0) {
            let out = ArgSpec::new("out", Role::Update, &self.out, &self.domain);
            rules::offsets("out", out.gathered(&self.axes).reach)?;
        }
        Ok(())
    }
}

impl PadSpec {
    fn check(&self) -> Result<(), SpecError> {
        let rank = self.input.len();
        rules::require(
            self.output.len() == rank && self.begin.len() == rank,
            || {
                format!(
                    "x has {rank} dimensions, out {}, the border {}",
                    self.output.len(),
                    self.begin.len()
                )
            },
        )?;
        rules::operand("x", &self.x, &self.input)?;
        rules::output("out", &self.out, &self.output)?;
        rules::typed("out", &self.out, self.x.dtype)?;
        self.begin
            .iter()
            .try_for_each(|begin| rules::count("the border", begin.unsigned_abs()))?;
        let repeats = self.mode != PadMode::Constant;
        let from_nothing = self.input.contains(&0) && !self.output.contains(&0);
        rules::require(!(repeats && from_nothing), || {
            "the border repeats elements of an empty tensor".to_owned()
        })
    }
}

impl ResizeSpec {
    /// The extents of the output.
    pub fn output(&self) -> Vec<u64> {
        self.axes.iter().map(|a| a.output).collect()
    }

    fn check(&self) -> Result<(), SpecError> {
        rules::require(self.input.len() == self.axes.len(), || {
            format!(
                "x has {} dimensions, the interpolation {}",
                self.input.len(),
                self.axes.len()
            )
        })?;
        rules::operand("x", &self.x, &self.input)?;
        rules::output("out", &self.out, &self.output())?;
        rules::real("x", self.x.dtype)?;
        rules::typed("out", &self.out, self.x.dtype)?;
        for (d, (axis, &input)) in self.axes.iter().zip(&self.input).enumerate() {
            let taps = u64::from(axis.taps);
            rules::require(taps > 0, || format!("dimension {d} has no taps"))?;
            let n = axis.output.checked_mul(taps);
            let both = [axis.positions.len(), axis.factors.len()];
            rules::require(both.iter().all(|&len| Some(len as u64) == n), || {
                format!(
                    "dimension {d} has {} positions and {} factors for {} outputs of {taps} taps",
                    both[0], both[1], axis.output
                )
            })?;
            let outside = axis
                .positions
                .iter()
                .find(|&&p| p < -1 || i64::from(p) >= input as i64);
            if let Some(p) = outside {
                return rules::fail(format!("dimension {d} reads position {p} of {input}"));
            }
        }
        rules::operations(self.axes.iter().flat_map(|a| [a.output, u64::from(a.taps)]))
    }
}
