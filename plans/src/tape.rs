//! The scalar tape: the arithmetic of one element, fused from any number of operators.
//!
//! Every class of kernel that does elementwise work carries a tape, and every device reads the
//! same one.

use crate::DType;
use crate::spec::SpecError;
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

/// What a tape may refer to.
#[derive(Clone, Copy, Debug)]
pub struct TapeScope<'a> {
    /// The types of the inputs.
    pub inputs: &'a [DType],
    /// The types of the row scalars so far.
    pub row_scalars: &'a [DType],
    /// The dimensions of the domain.
    pub rank: usize,
}

impl Tape {
    /// Checks that registers refer backward, that inputs, row scalars and dimensions exist with
    /// the types that the steps say, and that every function takes its operands. Gives the types
    /// of the results.
    ///
    /// # Errors
    ///
    /// The first step or result that makes no sense.
    pub fn check(&self, scope: &TapeScope<'_>) -> Result<Vec<DType>, SpecError> {
        let n_registers = usize::from(u16::MAX) + 1;
        if self.steps.len() > n_registers {
            return Err(SpecError(format!(
                "a tape of {} steps; the most is {n_registers}",
                self.steps.len()
            )));
        }
        for (n, step) in self.steps.iter().enumerate() {
            let earlier = &self.steps[..n];
            let takes = step.takes(earlier, scope);
            if takes != Some(true) {
                return Err(SpecError(format!(
                    "step {n} of a tape, {:?} of type {}, refers to nothing there or to another type",
                    step.op, step.dtype
                )));
            }
        }
        self.results
            .iter()
            .map(|r| {
                let step = self.steps.get(usize::from(r.0));
                step.map(|s| s.dtype)
                    .ok_or_else(|| SpecError(format!("result {} of a tape does not exist", r.0)))
            })
            .collect()
    }
}

impl TapeStep {
    /// Whether the operands are of types that give this step's type; `None` if one does not exist.
    fn takes(&self, earlier: &[TapeStep], scope: &TapeScope<'_>) -> Option<bool> {
        let of = |r: Reg| earlier.get(usize::from(r.0)).map(|s| s.dtype);
        let out = self.dtype;
        let is_real = |d: DType| d.is_float() || d.is_integer();
        Some(match self.op {
            TapeOp::Input(n) => *scope.inputs.get(usize::from(n))? == out,
            TapeOp::RowScalar(n) => *scope.row_scalars.get(usize::from(n))? == out,
            TapeOp::Index(n) => usize::from(n) < scope.rank && out == DType::I64,
            TapeOp::Const(Scalar::Float(_)) => out.is_float(),
            TapeOp::Const(Scalar::Int(_)) => out.is_integer() || out == DType::Bool,
            TapeOp::Unary(f, x) => {
                let x = of(x)?;
                match f {
                    UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Sign => is_real(x) && out == x,
                    UnaryFn::Floor
                    | UnaryFn::Ceil
                    | UnaryFn::Round
                    | UnaryFn::Sqrt
                    | UnaryFn::Reciprocal
                    | UnaryFn::Exp
                    | UnaryFn::Log
                    | UnaryFn::Sin
                    | UnaryFn::Cos
                    | UnaryFn::Tan
                    | UnaryFn::Asin
                    | UnaryFn::Acos
                    | UnaryFn::Atan
                    | UnaryFn::Sinh
                    | UnaryFn::Cosh
                    | UnaryFn::Tanh
                    | UnaryFn::Asinh
                    | UnaryFn::Acosh
                    | UnaryFn::Atanh
                    | UnaryFn::Erf
                    | UnaryFn::Sigmoid
                    | UnaryFn::Softplus => x.is_float() && out == x,
                    UnaryFn::Not => x == DType::Bool && out == DType::Bool,
                    UnaryFn::BitNot => x.is_integer() && out == x,
                    UnaryFn::IsNan | UnaryFn::IsInf => x.is_float() && out == DType::Bool,
                }
            }
            TapeOp::Binary(f, x, y) => {
                let (x, y) = (of(x)?, of(y)?);
                x == y
                    && match f {
                        BinaryFn::Add
                        | BinaryFn::Sub
                        | BinaryFn::Mul
                        | BinaryFn::Div
                        | BinaryFn::Pow
                        | BinaryFn::Min
                        | BinaryFn::Max
                        | BinaryFn::Mod
                        | BinaryFn::Rem => is_real(x) && out == x,
                        BinaryFn::And | BinaryFn::Or | BinaryFn::Xor => {
                            x == DType::Bool && out == DType::Bool
                        }
                        BinaryFn::BitAnd
                        | BinaryFn::BitOr
                        | BinaryFn::BitXor
                        | BinaryFn::Shl
                        | BinaryFn::Shr => x.is_integer() && out == x,
                        BinaryFn::Eq => (is_real(x) || x == DType::Bool) && out == DType::Bool,
                        BinaryFn::Lt | BinaryFn::Le => is_real(x) && out == DType::Bool,
                    }
            }
            TapeOp::Select(condition, x, y) => {
                of(condition)? == DType::Bool && of(x)? == out && of(y)? == out
            }
            TapeOp::Convert(x) => {
                let is_number = |d| is_real(d) || d == DType::Bool;
                is_number(of(x)?) && is_number(out)
            }
        })
    }
}
