//! Kernels with a program of their own.

mod cum_sum;
mod grid_sample;
mod non_max_suppression;
mod top_k;

use super::Execute;
use plans::spec::LibrarySpec;

/// The kernel of a library operator.
pub(crate) fn new(spec: &LibrarySpec) -> Box<dyn Execute> {
    match spec {
        LibrarySpec::TopK(s) => Box::new(top_k::TopK::new(s)),
        LibrarySpec::CumSum(s) => Box::new(cum_sum::CumSum::new(s)),
        LibrarySpec::GridSample(s) => Box::new(grid_sample::GridSample::new(s)),
        LibrarySpec::NonMaxSuppression(s) => {
            Box::new(non_max_suppression::NonMaxSuppression::new(s))
        }
    }
}

/// Rows of a domain: all positions of all dimensions but the last.
struct Rows {
    extents: Vec<usize>,
}

impl Rows {
    fn new(domain: &[u64]) -> Self {
        let outer = domain.len().saturating_sub(1);
        Self {
            extents: domain[..outer].iter().map(|&n| n as usize).collect(),
        }
    }

    fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// The offset of a row by strides over the domain.
    fn offset(&self, row: usize, strides: &[i64]) -> isize {
        let (mut rest, mut offset) = (row, 0);
        for (&extent, &stride) in self.extents.iter().zip(strides).rev() {
            offset += (rest % extent) as isize * stride as isize;
            rest /= extent;
        }
        offset
    }
}

/// The stride along the last dimension.
fn along(strides: &[i64]) -> isize {
    strides.last().map_or(0, |&s| s as isize)
}
