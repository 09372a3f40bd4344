//! Where the elements of a value lie in memory.

use ir::StorageOrder;
use ir::ops::ViewStep;
use plans::DType;
use plans::spec::Operand;

/// An affine placement: element `i` lies `offset + sum(i[d] * strides[d])` elements after the start
/// of its storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The first element.
    pub offset: i64,
    /// The extent of each dimension.
    pub dims: Vec<u64>,
    /// The distance between neighbours along each dimension, in elements.
    pub strides: Vec<i64>,
}

impl Layout {
    /// A dense layout of `dims` in `order`.
    pub fn dense(dims: &[u64], order: StorageOrder) -> Self {
        let mut strides = vec![1i64; dims.len()];
        let mut run = 1i64;
        for d in innermost_first(dims.len(), order) {
            strides[d] = run;
            run *= dims[d].max(1) as i64;
        }
        Self {
            offset: 0,
            dims: dims.to_vec(),
            strides,
        }
    }

    /// The number of elements.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Whether the elements lie side by side in row-major order.
    pub fn is_row_major(&self) -> bool {
        self.is_dense_in(StorageOrder::RowMajor)
    }

    /// Whether the elements lie side by side in `order`; strides along extents of 1 do not matter.
    pub fn is_dense_in(&self, order: StorageOrder) -> bool {
        let dense = Self::dense(&self.dims, order);
        self.n_elements() == 0
            || (0..self.dims.len())
                .all(|d| self.dims[d] == 1 || self.strides[d] == dense.strides[d])
    }

    /// The layout of what `step` picks; `None` where that is not affine.
    pub fn view(&self, step: &ViewStep) -> Option<Self> {
        Some(match step {
            ViewStep::Permute(perm) => Self {
                offset: self.offset,
                dims: perm.iter().map(|&p| self.dims[p]).collect(),
                strides: perm.iter().map(|&p| self.strides[p]).collect(),
            },
            ViewStep::Slice {
                starts,
                steps,
                dims,
            } => Self {
                offset: self.offset
                    + starts
                        .iter()
                        .zip(&self.strides)
                        .map(|(&s, &t)| s as i64 * t)
                        .sum::<i64>(),
                dims: dims.iter().map(|&d| d as u64).collect(),
                strides: self
                    .strides
                    .iter()
                    .zip(steps)
                    .map(|(&s, &t)| s * t)
                    .collect(),
            },
            ViewStep::Broadcast(dims) => {
                let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
                let strides = self.broadcast_strides(&dims)?;
                Self {
                    offset: self.offset,
                    dims,
                    strides,
                }
            }
            ViewStep::Reshape(dims) => {
                let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
                let strides = self.reshaped_strides(&dims)?;
                Self {
                    offset: self.offset,
                    dims,
                    strides,
                }
            }
        })
    }

    /// Strides over `domain`, to which this layout broadcasts, aligned at the back.
    pub fn broadcast_strides(&self, domain: &[u64]) -> Option<Vec<i64>> {
        let lead = domain.len().checked_sub(self.dims.len())?;
        (0..domain.len())
            .map(|d| match d.checked_sub(lead) {
                None => Some(0),
                Some(own) if self.dims[own] == domain[d] => Some(self.strides[own]),
                Some(own) => (self.dims[own] == 1).then_some(0),
            })
            .collect()
    }

    /// Strides under which the elements, in row-major order, have the dimensions `to`; `None` where
    /// runs of dimensions would have to be merged that do not lie side by side.
    fn reshaped_strides(&self, to: &[u64]) -> Option<Vec<i64>> {
        if self.n_elements() == 0 || to.contains(&0) {
            return Some(Self::dense(to, StorageOrder::RowMajor).strides);
        }
        let from: Vec<(u64, i64)> = self
            .dims
            .iter()
            .copied()
            .zip(self.strides.iter().copied())
            .filter(|&(n, _)| n != 1)
            .collect();
        let mut strides = vec![0i64; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < from.len() {
            // The shortest runs of old and new dimensions with the same number of elements.
            let (first, mut n_from) = (i, from[i].0);
            i += 1;
            let start = j;
            let mut n_to = 1u64;
            loop {
                if n_to < n_from {
                    n_to = n_to.checked_mul(*to.get(j)?)?;
                    j += 1;
                } else if n_from < n_to {
                    n_from = n_from.checked_mul(from.get(i)?.0)?;
                    i += 1;
                } else {
                    break;
                }
            }
            let mergeable = (first + 1..i).all(|d| from[d - 1].1 == from[d].1 * from[d].0 as i64);
            if !mergeable {
                return None;
            }
            let mut run = from[i - 1].1;
            for d in (start..j).rev() {
                strides[d] = run;
                run *= to[d] as i64;
            }
        }
        // What is left has extent 1.
        to[j..].iter().all(|&n| n == 1).then_some(strides)
    }

    /// This layout as an operand over its own dimensions.
    pub fn operand(&self, dtype: DType) -> Operand {
        Operand {
            dtype,
            strides: self.strides.clone(),
        }
    }

    /// This layout as an operand over `domain`, to which it broadcasts.
    pub fn operand_over(&self, domain: &[u64], dtype: DType) -> Option<Operand> {
        Some(Operand {
            dtype,
            strides: self.broadcast_strides(domain)?,
        })
    }
}

/// The dimensions of a tensor of `rank`, innermost first.
pub fn innermost_first(rank: usize, order: StorageOrder) -> Vec<usize> {
    match order {
        StorageOrder::ChannelsLast if rank > 2 => std::iter::once(1)
            .chain((2..rank).rev())
            .chain([0])
            .collect(),
        _ => (0..rank).rev().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_merges_and_splits_what_lies_side_by_side() {
        let dense = Layout::dense(&[2, 3, 4], StorageOrder::RowMajor);
        assert_eq!(
            dense
                .view(&ViewStep::Reshape(vec![6, 2, 2]))
                .unwrap()
                .strides,
            [4, 2, 1]
        );
        assert_eq!(
            dense
                .view(&ViewStep::Reshape(vec![1, 24, 1]))
                .unwrap()
                .strides[1],
            1
        );
        let transposed = dense.view(&ViewStep::Permute(vec![0, 2, 1])).unwrap();
        assert_eq!(transposed.view(&ViewStep::Reshape(vec![2, 12])), None);
        assert_eq!(
            transposed
                .view(&ViewStep::Reshape(vec![2, 2, 2, 3]))
                .unwrap()
                .strides,
            [12, 2, 1, 4]
        );
    }

    #[test]
    fn channels_last_merges_positions() {
        let image = Layout::dense(&[1, 768, 14, 14], StorageOrder::ChannelsLast);
        assert_eq!(image.strides, [768 * 196, 1, 14 * 768, 768]);
        let rows = image.view(&ViewStep::Reshape(vec![1, 768, 196])).unwrap();
        let tokens = rows.view(&ViewStep::Permute(vec![0, 2, 1])).unwrap();
        assert!(tokens.is_row_major());
        assert_eq!(image.view(&ViewStep::Reshape(vec![1, 768 * 196])), None);
    }

    #[test]
    fn slices_move_the_start() {
        let dense = Layout::dense(&[4, 6], StorageOrder::RowMajor);
        let step = ViewStep::Slice {
            starts: vec![3, 1],
            steps: vec![-1, 2],
            dims: vec![4, 2],
        };
        let view = dense.view(&step).unwrap();
        assert_eq!((view.offset, view.strides), (19, vec![-6, 2]));
    }
}
