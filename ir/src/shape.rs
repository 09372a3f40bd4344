//! Dimensions, shapes and tensor types.

use crate::DType;
use std::fmt;

/// The name of a dimension that is not known yet, such as `batch`.
///
/// Two dimensions with the same symbol are equal. Inference makes fresh symbols for
/// sizes that depend on data; their names start with `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Symbol(std::sync::Arc<str>);

impl Symbol {
    /// The symbol called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The size of dimension `axis` of the `value`-th value of a graph, known only at run time.
    pub fn fresh(value: usize, axis: usize) -> Self {
        Self::new(&format!("_{value}_{axis}"))
    }

    /// Whether inference made the symbol.
    pub fn is_fresh(&self) -> bool {
        self.0.starts_with('_')
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dim {
    /// A known number of elements.
    Known(usize),
    /// A number of elements known only by name.
    Symbol(Symbol),
}

impl Dim {
    /// The size, if it is known.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(*n),
            Dim::Symbol(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s.as_str()),
        }
    }
}

/// The dimensions of a tensor, outermost first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// The shape with these known dimensions.
    pub fn known(dims: &[usize]) -> Self {
        Shape(dims.iter().map(|&d| Dim::Known(d)).collect())
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// All dimensions, if every one is known.
    pub fn dims(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::known).collect()
    }

    /// The number of elements, if every dimension is known and the product fits.
    pub fn n_elements(&self) -> Option<usize> {
        self.0
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(d.known()?))
    }

    /// Dimension `axis`.
    pub fn dim(&self, axis: usize) -> &Dim {
        &self.0[axis]
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Self {
        Shape(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

/// What a value is: its element type and its shape.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
}

impl TensorType {
    /// The type of tensors of `dtype` and `shape`.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        Self { dtype, shape }
    }

    /// The type with these known dimensions.
    pub fn known(dtype: DType, dims: &[usize]) -> Self {
        Self {
            dtype,
            shape: Shape::known(dims),
        }
    }

    /// The size in bytes, if every dimension is known and the product fits.
    pub fn n_bytes(&self) -> Option<usize> {
        self.shape.n_elements()?.checked_mul(self.dtype.size())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
