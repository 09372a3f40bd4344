//! Kernels with a program of their own.

mod cum_sum;
mod grid_sample;
mod non_max_suppression;
mod top_k;

use super::source::{self, Width};
use super::{Generated, Refused, Target};
use plans::spec::LibrarySpec;

/// Device code.
pub(super) fn generate(spec: &LibrarySpec, _target: &Target) -> Result<Generated, Refused> {
    let args = spec.args();
    match spec {
        LibrarySpec::CumSum(s) => cum_sum::generate(s, &args),
        LibrarySpec::GridSample(s) => grid_sample::generate(s, &args),
        LibrarySpec::NonMaxSuppression(s) => non_max_suppression::generate(s, &args),
        LibrarySpec::TopK(s) => top_k::generate(s, &args),
    }
}

/// A grid of so many blocks.
fn grid(blocks: u64) -> Result<[u32; 3], Refused> {
    match u32::try_from(blocks) {
        Ok(blocks) if blocks < 1 << 31 => Ok([blocks, 1, 1]),
        _ => Err(Refused(format!("a kernel of {blocks} blocks"))),
    }
}

/// Statements that find row `row` of the dimensions before the last one; gives the offset of each
/// operand there.
fn row_offsets(
    domain: &[u64],
    operands: &[&[i64]],
    width: Width,
    body: &mut String,
) -> Vec<String> {
    let outer = &domain[..domain.len().saturating_sub(1)];
    let names = source::split("row", outer, "r", width, body);
    let offset = |strides: &&[i64]| {
        let terms = names
            .iter()
            .map(String::as_str)
            .zip(strides.iter().copied());
        source::offset(terms, width)
    };
    operands.iter().map(offset).collect()
}

/// The stride along the last dimension.
fn along(strides: &[i64]) -> i64 {
    strides.last().copied().unwrap_or(1)
}
