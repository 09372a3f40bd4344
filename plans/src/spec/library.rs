//! Kernels with a program of their own.

use super::{ArgSpec, Operand, Role, SpecError, rules};
use crate::DType;
use serde::{Deserialize, Serialize};

/// What no other class covers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each kind is documented at its type")]
pub enum LibrarySpec {
    TopK(TopKSpec),
    CumSum(CumSumSpec),
    GridSample(GridSampleSpec),
    NonMaxSuppression(NonMaxSuppressionSpec),
}

/// The k greatest or least elements along the last dimension of the domain; equal elements by
/// position. Arguments: x, values, indices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TopKSpec {
    /// The extents of x, the sorted dimension last.
    pub domain: Vec<u64>,
    /// How many are taken.
    pub k: u64,
    /// The greatest rather than the least.
    pub largest: bool,
    /// Strides over the domain.
    pub x: Operand,
    /// Strides over the domain with k as its last extent.
    pub values: Operand,
    /// Strides over the domain with k as its last extent; of type i64.
    pub indices: Operand,
}

/// Running sums along the last dimension of the domain. Arguments: x, out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CumSumSpec {
    /// The extents, the summed dimension last.
    pub domain: Vec<u64>,
    /// Whether an element is left out of its own sum.
    pub exclusive: bool,
    /// Whether sums run from the end.
    pub reverse: bool,
    /// Strides over the domain.
    pub x: Operand,
    /// Strides over the domain.
    pub out: Operand,
}

/// Interpolation of x at the positions in a grid (ONNX `GridSample`). Arguments: x, grid, out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GridSampleSpec {
    /// Images.
    pub batch: u64,
    /// Channels.
    pub channels: u64,
    /// Input positions.
    pub input: Vec<u64>,
    /// Output positions.
    pub output: Vec<u64>,
    /// How values between positions are made.
    pub mode: SampleMode,
    /// What lies outside.
    pub padding: SamplePadding,
    /// Whether -1 and 1 are the centres of the corner elements rather than their outer edges.
    pub align_corners: bool,
    /// Strides over batch, channel, input positions.
    pub x: Operand,
    /// Strides over batch, output positions, coordinate (innermost dimension first).
    pub grid: Operand,
    /// Strides over batch, channel, output positions.
    pub out: Operand,
}

/// How values between positions are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum SampleMode {
    Nearest,
    Linear,
    Cubic,
}

/// What a sampled tensor holds outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum SamplePadding {
    Zeros,
    Border,
    Reflection,
}

/// Boxes picked greedily by score (ONNX `NonMaxSuppression`). Arguments: boxes, scores, out, count.
///
/// The result has room for the most boxes that there can be; `count` says how many rows are valid,
/// the others hold zeros, which are positions of a class, an image and a box.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NonMaxSuppressionSpec {
    /// Images.
    pub batch: u64,
    /// Classes.
    pub classes: u64,
    /// Boxes an image.
    pub boxes: u64,
    /// The most boxes that are picked for a class of an image.
    pub max_output: u64,
    /// Boxes that overlap a picked one by more than this are dropped.
    pub iou_threshold: f32,
    /// Boxes of no greater score are dropped, if given.
    pub score_threshold: Option<f32>,
    /// Whether boxes are given by centre and size rather than by two corners.
    pub center_point: bool,
    /// Strides over batch, box, 4.
    pub boxes_in: Operand,
    /// Strides over batch, class, box.
    pub scores: Operand,
    /// Strides over picked box, 3 (batch, class, box); of type i64.
    pub out: Operand,
}

impl TopKSpec {
    /// The extents of the results.
    pub fn taken(&self) -> Vec<u64> {
        let mut taken = self.domain.clone();
        if let Some(last) = taken.last_mut() {
            *last = self.k;
        }
        taken
    }

    fn check(&self) -> Result<(), SpecError> {
        let most = self.domain.last().copied();
        rules::require(most.is_some_and(|n| self.k <= n), || {
            format!("{} elements are taken of extents {:?}", self.k, self.domain)
        })?;
        rules::operand("x", &self.x, &self.domain)?;
        rules::real("x", self.x.dtype)?;
        rules::output("values", &self.values, &self.taken())?;
        rules::typed("values", &self.values, self.x.dtype)?;
        rules::output("indices", &self.indices, &self.taken())?;
        rules::typed("indices", &self.indices, DType::I64)
    }
}

impl CumSumSpec {
    fn check(&self) -> Result<(), SpecError> {
        rules::require(!self.domain.is_empty(), || {
            "there is no dimension to sum along".to_owned()
        })?;
        rules::operand("x", &self.x, &self.domain)?;
        rules::real("x", self.x.dtype)?;
        rules::output("out", &self.out, &self.domain)?;
        rules::typed("out", &self.out, self.x.dtype)
    }
}

impl GridSampleSpec {
    fn extents(&self) -> [Vec<u64>; 3] {
        let over = |outer: &[u64], positions: &[u64], inner: &[u64]| -> Vec<u64> {
            [outer, positions, inner].concat()
        };
        let images = [self.batch, self.channels];
        let coordinates = [self.output.len() as u64];
        [
            over(&images, &self.input, &[]),
            over(&images[..1], &self.output, &coordinates),
            over(&images, &self.output, &[]),
        ]
    }

    fn check(&self) -> Result<(), SpecError> {
        let rank = self.output.len();
        rules::require(rank > 0 && self.input.len() == rank, || {
            format!(
                "x has {} spatial dimensions, the output {rank}",
                self.input.len()
            )
        })?;
        let [x, grid, out] = self.extents();
        rules::operand("x", &self.x, &x)?;
        rules::float("x", self.x.dtype)?;
        rules::operand("grid", &self.grid, &grid)?;
        rules::float("grid", self.grid.dtype)?;
        rules::output("out", &self.out, &out)?;
        rules::typed("out", &self.out, self.x.dtype)?;
        let from_nothing = self.input.contains(&0) && !out.contains(&0);
        rules::require(
            !(from_nothing && self.padding != SamplePadding::Zeros),
            || "samples repeat elements of an empty tensor".to_owned(),
        )
    }
}

impl NonMaxSuppressionSpec {
    /// The most boxes that can be picked: rows of the result.
    pub fn rows(&self) -> u64 {
        self.batch
            .saturating_mul(self.classes)
            .saturating_mul(self.max_output)
    }

    fn check(&self) -> Result<(), SpecError> {
        let extents = [self.batch, self.classes, self.max_output];
        rules::extents("the result", &extents)?;
        rules::operand("boxes", &self.boxes_in, &[self.batch, self.boxes, 4])?;
        rules::typed("boxes", &self.boxes_in, DType::F32)?;
        let scores = [self.batch, self.classes, self.boxes];
        rules::operand("scores", &self.scores, &scores)?;
        rules::typed("scores", &self.scores, DType::F32)?;
        rules::output("out", &self.out, &[self.rows(), 3])?;
        rules::typed("out", &self.out, DType::I64)
    }
}

impl LibrarySpec {
    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        match self {
            LibrarySpec::TopK(s) => vec![
                ArgSpec::new("x", Role::Read, &s.x, &s.domain),
                ArgSpec::new("values", Role::Write, &s.values, &s.taken()),
                ArgSpec::new("indices", Role::Write, &s.indices, &s.taken()),
            ],
            LibrarySpec::CumSum(s) => vec![
                ArgSpec::new("x", Role::Read, &s.x, &s.domain),
                ArgSpec::new("out", Role::Write, &s.out, &s.domain),
            ],
            LibrarySpec::GridSample(s) => {
                let [x, grid, out] = s.extents();
                vec![
                    ArgSpec::new("x", Role::Read, &s.x, &x),
                    ArgSpec::new("grid", Role::Read, &s.grid, &grid),
                    ArgSpec::new("out", Role::Write, &s.out, &out),
                ]
            }
            LibrarySpec::NonMaxSuppression(s) => {
                let boxes = [s.batch, s.boxes, 4];
                let scores = [s.batch, s.classes, s.boxes];
                vec![
                    ArgSpec::new("boxes", Role::Read, &s.boxes_in, &boxes),
                    ArgSpec::new("scores", Role::Read, &s.scores, &scores),
                    ArgSpec::new("out", Role::Write, &s.out, &[s.rows(), 3]),
                    ArgSpec::scalar("count", Role::Write, DType::I64),
                ]
            }
        }
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            LibrarySpec::TopK(s) => s.check(),
            LibrarySpec::CumSum(s) => s.check(),
            LibrarySpec::GridSample(s) => s.check(),
            LibrarySpec::NonMaxSuppression(s) => s.check(),
        }
    }
}
