//! What all elementwise operators share: inference by broadcasting, evaluation by the scalar function.

use crate::attrs::{AttrError, Attrs};
use crate::infer::{InferCx, broadcast};
use crate::ops::{Class, OpError, Operator};
use crate::scalar::{Reg, ScalarBuilder, ScalarFn};
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, eval};
use std::ops::RangeInclusive;

/// An operator that computes each element of its result from one element of each operand.
pub trait MapOperator: Clone + PartialEq + std::fmt::Debug + Sized {
    /// The ONNX name.
    const NAME: &'static str;
    /// The opset versions in which ONNX defined or changed the operator, ascending.
    const VERSIONS: &'static [u32];
    /// How many operands it takes.
    const INPUTS: RangeInclusive<usize>;

    /// Reads the attributes.
    fn read_attrs(attrs: &Attrs) -> Result<Self, AttrError>;
    /// The attributes that differ from their defaults.
    fn write_attrs(&self) -> Attrs;

    /// Refuses element types that ONNX or dlirc does not define the operator for.
    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError>;

    /// The function of one element; `inputs` are registers that hold the operands' elements.
    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg;
}

impl<T: MapOperator> Operator for T {
    const NAME: &'static str = T::NAME;
    const VERSIONS: &'static [u32] = T::VERSIONS;
    const INPUTS: RangeInclusive<usize> = T::INPUTS;
    const CLASS: Class = Class::Map;

    fn read(attrs: &Attrs) -> Result<Self, AttrError> {
        T::read_attrs(attrs)
    }

    fn write(&self) -> Attrs {
        self.write_attrs()
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let inputs: Vec<_> = (0..cx.n_inputs()).map(|i| cx.optional(i)).collect();
        let dtypes: Vec<_> = inputs.iter().map(|t| t.map(|t| t.dtype)).collect();
        for i in 0..*T::INPUTS.start() {
            cx.input(i)?;
        }
        self.check(&dtypes)?;
        let shape = inputs
            .iter()
            .flatten()
            .try_fold(Shape::default(), |shape, t| broadcast(&shape, &t.shape))?;
        Ok(vec![TensorType::new(
            scalar_fn(self, &dtypes).dtype(),
            shape,
        )])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let dtypes: Vec<_> = inputs.iter().map(|t| t.map(Tensor::dtype)).collect();
        Ok(vec![eval::map(
            &scalar_fn(self, &dtypes),
            inputs,
            &types[0],
        )?])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let dtypes: Vec<_> = inputs.iter().map(|t| t.map(|t| t.dtype)).collect();
        let steps = scalar_fn(self, &dtypes)
            .steps
            .iter()
            .filter(|(op, _)| {
                use crate::scalar::ScalarOp::*;
                matches!(op, Unary(..) | Binary(..) | Select(..) | Cast(..))
            })
            .count();
        outputs[0].shape.n_elements().unwrap_or(0) as u64 * steps as u64
    }

    fn scalar(&self, inputs: &[Option<DType>]) -> Option<ScalarFn> {
        Some(scalar_fn(self, inputs))
    }
}

fn scalar_fn<T: MapOperator>(op: &T, dtypes: &[Option<DType>]) -> ScalarFn {
    let mut b = ScalarBuilder::new();
    let regs: Vec<_> = dtypes
        .iter()
        .enumerate()
        .map(|(i, d)| d.map(|d| b.input(i as u8, d)))
        .collect();
    let result = op.build(&mut b, &regs);
    b.finish(result)
}

/// All operands that are there have one type, for which `allowed` holds.
pub(crate) fn same_type(
    inputs: &[Option<DType>],
    allowed: impl Fn(DType) -> bool,
    expected: &str,
) -> Result<(), OpError> {
    let mut types = inputs.iter().flatten();
    let Some(&first) = types.next() else {
        return Ok(());
    };
    if let Some(other) = types.find(|&&d| d != first) {
        return Err(OpError::Type(format!(
            "operands of types {first} and {other} must have one type"
        )));
    }
    if !allowed(first) {
        return Err(OpError::Type(format!(
            "operand of type {first}, expected {expected}"
        )));
    }
    Ok(())
}

/// Numbers: everything but bool and complex.
pub(crate) fn is_number(dtype: DType) -> bool {
    dtype.is_float() || dtype.is_integer()
}

/// Declares an elementwise operator without attributes.
///
/// `map_operator! { /// doc
///     Add, "Add", [7, 13, 14], 2..=2, is_number, "a number", |b, x| b.binary(Binary::Add, x[0], x[1]) }`:
/// name, ONNX name, versions, operands, allowed type and its description, function of one element.
macro_rules! map_operator {
    ($(#[$meta:meta])* $name:ident, $onnx:literal, [$($version:literal),*], $inputs:expr,
     $allowed:expr, $expected:literal, |$b:ident, $x:ident| $body:expr) => {
        $crate::attributes! { $(#[$meta])* $name {} }

        impl $crate::ops::MapOperator for $name {
            const NAME: &'static str = $onnx;
            const VERSIONS: &'static [u32] = &[$($version),*];
            const INPUTS: std::ops::RangeInclusive<usize> = $inputs;

            $crate::ops::map::attrs_of_map!();

            fn check(&self, inputs: &[Option<$crate::DType>]) -> Result<(), $crate::OpError> {
                $crate::ops::map::same_type(inputs, $allowed, $expected)
            }

            fn build(
                &self,
                $b: &mut $crate::scalar::ScalarBuilder,
                inputs: &[Option<$crate::scalar::Reg>],
            ) -> $crate::scalar::Reg {
                let $x: Vec<_> = inputs.iter().flatten().copied().collect();
                $body
            }
        }
    };
}
pub(crate) use map_operator;

/// The two attribute methods of [`MapOperator`], by the methods that `attributes!` made.
macro_rules! attrs_of_map {
    () => {
        fn read_attrs(attrs: &$crate::attrs::Attrs) -> Result<Self, $crate::attrs::AttrError> {
            Self::read_attrs(attrs)
        }
        fn write_attrs(&self) -> $crate::attrs::Attrs {
            self.write_attrs()
        }
    };
}
pub(crate) use attrs_of_map;
