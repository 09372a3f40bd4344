//! What type and shape inference of an operator sees, and the shape algebra that operators share.

use crate::DType;
use crate::ops::OpError;
use crate::shape::{Dim, Shape, Symbol, TensorType};
use crate::tensor::Tensor;

/// The operands of a node whose result types are asked for.
pub struct InferCx<'a> {
    inputs: &'a [Option<&'a TensorType>],
    constants: &'a [Option<&'a Tensor>],
    n_outputs: usize,
    fresh: std::cell::Cell<u32>,
}

impl<'a> InferCx<'a> {
    /// Operands by type, with the content of those that are constant, for a node of `n_outputs` results.
    ///
    /// `constants` is as long as `inputs`, or empty.
    pub fn new(
        inputs: &'a [Option<&'a TensorType>],
        constants: &'a [Option<&'a Tensor>],
        n_outputs: usize,
    ) -> Self {
        Self {
            inputs,
            constants,
            n_outputs,
            fresh: std::cell::Cell::new(0),
        }
    }

    /// The number of operands, those left out in the middle included.
    pub fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The number of results that the node has.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// The type of operand `i`, which must be there.
    pub fn input(&self, i: usize) -> Result<&'a TensorType, OpError> {
        self.optional(i).ok_or(OpError::MissingInput(i))
    }

    /// The type of operand `i`, if it is there.
    pub fn optional(&self, i: usize) -> Option<&'a TensorType> {
        self.inputs.get(i).copied().flatten()
    }

    /// The element type of operand `i`, which must be there.
    pub fn dtype(&self, i: usize) -> Result<DType, OpError> {
        Ok(self.input(i)?.dtype)
    }

    /// The shape of operand `i`, which must be there.
    pub fn shape(&self, i: usize) -> Result<&'a Shape, OpError> {
        Ok(&self.input(i)?.shape)
    }

    /// The content of operand `i`, if it is constant.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        self.constants.get(i).copied().flatten()
    }

    /// The content of operand `i` as integers, if it is a constant of an integer type.
    pub fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.constant(i)?.to_i64()
    }

    /// The content of operand `i` as integers; an error that names the operand if it is not constant.
    pub fn require_ints(&self, i: usize, name: &'static str) -> Result<Vec<i64>, OpError> {
        self.input(i)?;
        self.ints(i).ok_or(OpError::NotConstant(name))
    }

    /// A dimension known only at run time.
    pub fn fresh_dim(&self) -> Dim {
        let n = self.fresh.get();
        self.fresh.set(n + 1);
        Dim::Symbol(Symbol::new(&format!("_{n}")))
    }
}

/// `axis` of a tensor of `rank`, counted from the front.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let r = rank as i64;
    if (-r..r).contains(&axis) {
        Ok((if axis < 0 { axis + r } else { axis }) as usize)
    } else {
        Err(OpError::Shape(format!(
            "axis {axis} of a tensor of rank {rank}"
        )))
    }
}

/// `axes` counted from the front, sorted; duplicates are an error.
pub fn normalize_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut out = axes
        .iter()
        .map(|&a| normalize_axis(a, rank))
        .collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(OpError::Shape(format!("axes {axes:?} name an axis twice")));
    }
    Ok(out)
}

/// The shape that `a` and `b` broadcast to (ONNX, "Broadcasting in ONNX", multidirectional).
pub fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, OpError> {
    let rank = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| {
        (i + s.rank())
            .checked_sub(rank)
            .map_or(Dim::Known(1), |j| s.dim(j).clone())
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (Dim::Known(1), y) => Ok(y),
            (x, Dim::Known(1)) => Ok(x),
            (Dim::Known(x), Dim::Symbol(_)) | (Dim::Symbol(_), Dim::Known(x)) => Ok(Dim::Known(x)),
            _ => Err(OpError::Shape(format!(
                "shapes {a} and {b} do not broadcast together"
            ))),
        })
        .collect()
}
