//! Views: results that are elements of the operand under another index.

/// How a view indexes its operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ViewStep {
    /// Dimension `i` of the result is dimension `perm[i]` of the operand.
    Permute(Vec<usize>),
    /// The same elements in row-major order under these dimensions.
    Reshape(Vec<usize>),
    /// Along each dimension `i`: `dims[i]` elements from `starts[i]`, `steps[i]` apart (negative: backward).
    Slice {
        /// The first element along each dimension.
        starts: Vec<usize>,
        /// The distance between elements along each dimension; not 0.
        steps: Vec<i64>,
        /// The result's dimensions.
        dims: Vec<usize>,
    },
    /// Broadcast to these dimensions, aligned at the back; dimensions of size 1 repeat.
    Broadcast(Vec<usize>),
}
