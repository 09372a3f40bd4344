//! What all elementwise operators share: inference by broadcasting, evaluation by the scalar function.

use crate::attrs::{AttrError, Attrs};
use crate::dtype::Kind;
use crate::infer::{InferCx, broadcast};
use crate::ops::{Class, OpError, Operator};
use crate::scalar::{Reg, ScalarBuilder, ScalarFn};
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, eval};
use std::ops::RangeInclusive;

/// How many operands an elementwise operator can take: [`ScalarOp::Input`](crate::scalar::ScalarOp::Input) numbers them in a byte.
const MAX_INPUTS: usize = 256;

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

    /// The shape of the result. Operands that the function reads broadcast to it.
    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        broadcast_all(cx, 0..cx.n_inputs())
    }

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
        if inputs.len() > MAX_INPUTS {
            return Err(OpError::Unsupported(format!(
                "{} operands; split the operator into several of at most {MAX_INPUTS}",
                inputs.len()
            )));
        }
        self.check(&dtypes)?;
        let shape = self.shape(cx)?;
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
        let n = outputs[0].shape.n_elements().unwrap_or(0) as u64;
        n.saturating_mul(steps as u64)
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

/// The register of operand `i`, which is a required one.
pub(crate) fn operand(inputs: &[Option<Reg>], i: usize) -> Reg {
    inputs[i].expect("inference refuses nodes without their required operands")
}

/// What the operands `which` that are there broadcast to.
pub(crate) fn broadcast_all(
    cx: &InferCx<'_>,
    which: std::ops::Range<usize>,
) -> Result<Shape, OpError> {
    which
        .filter_map(|i| cx.optional(i))
        .try_fold(Shape::default(), |shape, t| broadcast(&shape, &t.shape))
}

/// `f(x)` in a floating-point type that is wide enough for a function of several steps, rounded
/// to `x`'s type at the end: half precision goes through f32, integers through f64.
pub(crate) fn in_float(
    b: &mut ScalarBuilder,
    x: Reg,
    f: impl FnOnce(&mut ScalarBuilder, Reg) -> Reg,
) -> Reg {
    let dtype = b.dtype(x);
    let wide = match dtype {
        DType::F16 | DType::BF16 | DType::F32 => DType::F32,
        _ => DType::F64,
    };
    let x = b.cast(x, wide);
    let y = f(b, x);
    b.cast(y, dtype)
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

/// Floating-point numbers.
pub(crate) fn is_float(dtype: DType) -> bool {
    dtype.is_float()
}

/// Integers, signed or not.
pub(crate) fn is_integer(dtype: DType) -> bool {
    dtype.is_integer()
}

/// Numbers that may be negative.
pub(crate) fn is_signed(dtype: DType) -> bool {
    matches!(dtype.kind(), Kind::Signed | Kind::Float)
}

/// Bools.
pub(crate) fn is_bool(dtype: DType) -> bool {
    dtype == DType::Bool
}

/// Numbers and bools.
pub(crate) fn is_real(dtype: DType) -> bool {
    is_number(dtype) || is_bool(dtype)
}

/// Declares an elementwise operator whose operands have one type.
///
/// `map_operator! { /// doc
///     Add, "Add", [7, 13, 14], 2..=2, is_number, "a number", |b, x| b.binary(Binary::Add, x[0], x[1]) }`:
/// name, ONNX name, versions, operands, allowed type and its description, function of one element.
/// With attributes, `Elu { /// doc
/// alpha: f32 = 1.0 }, …, |op, b, x| …`, where `op` is the operator.
macro_rules! map_operator {
    ($(#[$meta:meta])* $name:ident, $onnx:literal, [$($version:literal),*], $inputs:expr,
     $allowed:expr, $expected:literal, |$b:ident, $x:ident| $body:expr) => {
        $crate::ops::map::map_operator! {
            $(#[$meta])* $name {}, $onnx, [$($version),*], $inputs, $allowed, $expected,
            |_op, $b, $x| $body
        }
    };
    ($(#[$meta:meta])* $name:ident { $($attrs:tt)* }, $onnx:literal, [$($version:literal),*],
     $inputs:expr, $allowed:expr, $expected:literal, |$op:ident, $b:ident, $x:ident| $body:expr) => {
        $crate::attributes! { $(#[$meta])* $name { $($attrs)* } }

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
                let $op = self;
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
