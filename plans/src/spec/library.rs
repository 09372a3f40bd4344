//! Kernels with a program of their own.

use super::{ArgSpec, Operand, Role};
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
/// the others hold -1.
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

impl LibrarySpec {
    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        let arg = |name, role, o: &Operand, domain: &[u64]| ArgSpec {
            name,
            role,
            dtype: o.dtype,
            reach: o.reach(domain),
        };
        match self {
            LibrarySpec::TopK(s) => {
                let mut taken = s.domain.clone();
                if let Some(last) = taken.last_mut() {
                    *last = s.k;
                }
                vec![
                    arg("x", Role::Read, &s.x, &s.domain),
                    arg("values", Role::Write, &s.values, &taken),
                    arg("indices", Role::Write, &s.indices, &taken),
                ]
            }
            LibrarySpec::CumSum(s) => vec![
                arg("x", Role::Read, &s.x, &s.domain),
                arg("out", Role::Write, &s.out, &s.domain),
            ],
            LibrarySpec::GridSample(s) => {
                let over = |head: &[u64], positions: &[u64], tail: &[u64]| -> Vec<u64> {
                    head.iter().chain(positions).chain(tail).copied().collect()
                };
                let rank = s.output.len() as u64;
                let channels = [s.batch, s.channels];
                vec![
                    arg("x", Role::Read, &s.x, &over(&channels, &s.input, &[])),
                    arg(
                        "grid",
                        Role::Read,
                        &s.grid,
                        &over(&channels[..1], &s.output, &[rank]),
                    ),
                    arg("out", Role::Write, &s.out, &over(&channels, &s.output, &[])),
                ]
            }
            LibrarySpec::NonMaxSuppression(s) => {
                let rows = s
                    .batch
                    .saturating_mul(s.classes)
                    .saturating_mul(s.max_output);
                let count = ArgSpec {
                    name: "count",
                    role: Role::Write,
                    dtype: crate::DType::I64,
                    reach: Some((0, 0)),
                };
                vec![
                    arg("boxes", Role::Read, &s.boxes_in, &[s.batch, s.boxes, 4]),
                    arg(
                        "scores",
                        Role::Read,
                        &s.scores,
                        &[s.batch, s.classes, s.boxes],
                    ),
                    arg("out", Role::Write, &s.out, &[rows, 3]),
                    count,
                ]
            }
        }
    }
}
