//! Scalar functions: what an elementwise operator does to one element.
//!
//! Reference evaluation interprets them, and kernels translate them into their tape, so that an
//! elementwise operator is defined once.

use crate::DType;

/// A result inside a [`ScalarFn`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reg(pub u16);

/// A function of one number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Unary {
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
    /// The error function.
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Binary {
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
    /// Remainder with the sign of the divisor (Python's `%`).
    Mod,
    /// Remainder with the sign of the dividend (C's `fmod`).
    Rem,
    /// Logical, of bools.
    And,
    Or,
    Xor,
    BitAnd,
    BitOr,
    BitXor,
    /// Shift left; by the width or more gives 0.
    Shl,
    /// Logical shift right; by the width or more gives 0.
    Shr,
    /// Comparisons give a bool.
    Eq,
    Lt,
    Le,
}

/// One step of a [`ScalarFn`]; registers refer to earlier steps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ScalarOp {
    /// The element of operand `n`.
    Input(u8),
    /// A number of the register's type; integers exactly up to 2^53.
    Const(f64),
    /// A function of one register.
    Unary(Unary, Reg),
    /// A function of two registers of the same type.
    Binary(Binary, Reg, Reg),
    /// The second register where the first (a bool) holds, else the third.
    Select(Reg, Reg, Reg),
    /// Conversion to the register's type: ONNX `Cast` semantics.
    Cast(Reg),
    /// The position along dimension `n` of the result, as i64; negative counts from the back.
    Index(i8),
}

impl ScalarOp {
    /// The registers that the step reads.
    pub fn registers(&self) -> impl Iterator<Item = Reg> {
        let (a, b, c) = match *self {
            ScalarOp::Input(_) | ScalarOp::Const(_) | ScalarOp::Index(_) => (None, None, None),
            ScalarOp::Unary(_, x) | ScalarOp::Cast(x) => (Some(x), None, None),
            ScalarOp::Binary(_, x, y) => (Some(x), Some(y), None),
            ScalarOp::Select(c, x, y) => (Some(c), Some(x), Some(y)),
        };
        [a, b, c].into_iter().flatten()
    }

    /// The same step reading other registers.
    pub fn renamed(self, name: impl Fn(Reg) -> Reg) -> Self {
        match self {
            ScalarOp::Input(_) | ScalarOp::Const(_) | ScalarOp::Index(_) => self,
            ScalarOp::Unary(f, x) => ScalarOp::Unary(f, name(x)),
            ScalarOp::Cast(x) => ScalarOp::Cast(name(x)),
            ScalarOp::Binary(f, x, y) => ScalarOp::Binary(f, name(x), name(y)),
            ScalarOp::Select(c, x, y) => ScalarOp::Select(name(c), name(x), name(y)),
        }
    }
}

/// A function from the elements of some operands to one element: steps in static single assignment.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalarFn {
    /// The steps, each with the type of its result.
    pub steps: Vec<(ScalarOp, DType)>,
    /// The result.
    pub result: Reg,
}

impl ScalarFn {
    /// The element type of the result.
    pub fn dtype(&self) -> DType {
        self.steps[self.result.0 as usize].1
    }
}

/// Builds a [`ScalarFn`] step by step.
#[derive(Default)]
pub struct ScalarBuilder {
    steps: Vec<(ScalarOp, DType)>,
}

impl ScalarBuilder {
    /// A builder without steps.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, op: ScalarOp, dtype: DType) -> Reg {
        if let Some(i) = self.steps.iter().position(|&(o, d)| o == op && d == dtype) {
            return Reg(i as u16);
        }
        self.steps.push((op, dtype));
        Reg((self.steps.len() - 1) as u16)
    }

    /// The type of `reg`.
    pub fn dtype(&self, reg: Reg) -> DType {
        self.steps[reg.0 as usize].1
    }

    /// The element of operand `n`, of type `dtype`.
    pub fn input(&mut self, n: u8, dtype: DType) -> Reg {
        self.push(ScalarOp::Input(n), dtype)
    }

    /// The number `value` as `dtype`.
    pub fn constant(&mut self, value: f64, dtype: DType) -> Reg {
        self.push(ScalarOp::Const(value), dtype)
    }

    /// `f(x)`.
    pub fn unary(&mut self, f: Unary, x: Reg) -> Reg {
        let dtype = match f {
            Unary::IsNan | Unary::IsInf => DType::Bool,
            _ => self.dtype(x),
        };
        self.push(ScalarOp::Unary(f, x), dtype)
    }

    /// `f(x, y)`.
    pub fn binary(&mut self, f: Binary, x: Reg, y: Reg) -> Reg {
        debug_assert_eq!(
            self.dtype(x),
            self.dtype(y),
            "operands of {f:?} share a type"
        );
        let dtype = match f {
            Binary::Eq | Binary::Lt | Binary::Le => DType::Bool,
            _ => self.dtype(x),
        };
        self.push(ScalarOp::Binary(f, x, y), dtype)
    }

    /// `f(x, value)` with `value` as a constant of `x`'s type.
    pub fn binary_const(&mut self, f: Binary, x: Reg, value: f64) -> Reg {
        let y = self.constant(value, self.dtype(x));
        self.binary(f, x, y)
    }

    /// `if condition { x } else { y }`.
    pub fn select(&mut self, condition: Reg, x: Reg, y: Reg) -> Reg {
        debug_assert_eq!(self.dtype(x), self.dtype(y), "both choices share a type");
        let dtype = self.dtype(x);
        self.push(ScalarOp::Select(condition, x, y), dtype)
    }

    /// `x` as `dtype`.
    pub fn cast(&mut self, x: Reg, dtype: DType) -> Reg {
        if self.dtype(x) == dtype {
            x
        } else {
            self.push(ScalarOp::Cast(x), dtype)
        }
    }

    /// The position along dimension `n` of the result.
    pub fn index(&mut self, n: i8) -> Reg {
        self.push(ScalarOp::Index(n), DType::I64)
    }

    /// The finished function with result `reg`: the steps that it depends on, in order.
    pub fn finish(self, reg: Reg) -> ScalarFn {
        let mut needed = vec![false; self.steps.len()];
        needed[reg.0 as usize] = true;
        for (i, (op, _)) in self.steps.iter().enumerate().rev() {
            if needed[i] {
                op.registers().for_each(|r| needed[r.0 as usize] = true);
            }
        }
        let mut new = vec![Reg(0); self.steps.len()];
        let mut steps = Vec::with_capacity(self.steps.len());
        for (i, (op, dtype)) in self.steps.into_iter().enumerate() {
            if needed[i] {
                new[i] = Reg(steps.len() as u16);
                steps.push((op.renamed(|r| new[r.0 as usize]), dtype));
            }
        }
        ScalarFn {
            steps,
            result: new[reg.0 as usize],
        }
    }
}
