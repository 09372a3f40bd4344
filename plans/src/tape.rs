//! The scalar tape: the arithmetic of one element, fused from any number of operators.
//!
//! Every class of kernel that does elementwise work carries a tape, and every device reads the
//! same one.

use crate::DType;
use serde::{Deserialize, Serialize};

/// The result of a step of a [`Tape`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Reg(pub u16);

/// A function of one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum UnaryFn {
    Neg,
    Abs,
    /// -1, 0 or 1; NaN stays.
    Sign,
    Floor,
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    Sqrt,
    Reciprocal,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// ln(1 + exp(x)) without overflow.
    Softplus,
    /// Logical not, of a bool.
    Not,
    /// Bitwise not, of an integer.
    BitNot,
    /// Whether x is NaN; a bool.
    IsNan,
    /// Whether x is infinite; a bool.
    IsInf,
}

/// A function of two numbers of one type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum BinaryFn {
    Add,
    Sub,
    Mul,
    /// Integers truncate toward zero; division by zero gives 0.
    Div,
    Pow,
    /// NaN if either is NaN.
    Min,
    /// NaN if either is NaN.
    Max,
    /// Remainder with the sign of the divisor.
    Mod,
    /// Remainder with the sign of the dividend.
    Rem,
    And,
    Or,
    Xor,
    BitAnd,
    BitOr,
    BitXor,
    /// By the width or more gives 0.
    Shl,
    /// Logical; by the width or more gives 0.
    Shr,
    Eq,
    Lt,
    Le,
}

/// A constant of a tape.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Scalar {
    Float(f64),
    Int(i64),
}

/// What one step computes; registers refer to earlier steps.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum TapeOp {
    /// The element of input `n`. What the inputs are, the kernel's class says.
    Input(u16),
    /// The `n`-th scalar of the row; only in a [`RowSpec`](crate::spec::RowSpec).
    RowScalar(u16),
    /// The position along dimension `n` of the domain, as i64.
    Index(u16),
    /// A constant.
    Const(Scalar),
    /// A function of one register.
    Unary(UnaryFn, Reg),
    /// A function of two registers of one type.
    Binary(BinaryFn, Reg, Reg),
    /// The second register where the first, a bool, holds; else the third.
    Select(Reg, Reg, Reg),
    /// Conversion to the step's type: floats to integers truncate, integers wrap, bool is `!= 0`.
    Convert(Reg),
}

/// One step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TapeStep {
    /// What is computed.
    pub op: TapeOp,
    /// The type of the result. Integers wrap to it at once; f16 and bf16 are computed in f32 and
    /// rounded where they are stored or converted.
    pub dtype: DType,
}

/// Arithmetic on single elements, in static single assignment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tape {
    /// The steps.
    pub steps: Vec<TapeStep>,
    /// The registers that the kernel takes as results, in its order.
    pub results: Vec<Reg>,
}

impl Tape {
    /// The tape whose only result is input 0, of `dtype`.
    pub fn identity(dtype: DType) -> Self {
        Self {
            steps: vec![TapeStep {
                op: TapeOp::Input(0),
                dtype,
            }],
            results: vec![Reg(0)],
        }
    }

    /// Whether the tape gives input 0 back as it is.
    pub fn is_identity(&self) -> bool {
        self.steps.len() == 1 && self.steps[0].op == TapeOp::Input(0) && self.results == [Reg(0)]
    }

    /// The number of arithmetic steps, each one operation an element.
    pub fn n_operations(&self) -> usize {
        self.steps
            .iter()
            .filter(|s| {
                matches!(
                    s.op,
                    TapeOp::Unary(..)
                        | TapeOp::Binary(..)
                        | TapeOp::Select(..)
                        | TapeOp::Convert(_)
                )
            })
            .count()
    }
}
