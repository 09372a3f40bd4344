//! Scalar functions of operators to the plan's tape.

use ir::DType;
use ir::scalar::{self, ScalarFn, ScalarOp};
use plans::tape::{BinaryFn, Reg, Scalar, Tape, TapeOp, TapeStep, UnaryFn};

/// The plan's name for an element type.
pub fn dtype(dtype: DType) -> plans::DType {
    match dtype {
        DType::Bool => plans::DType::Bool,
        DType::I8 => plans::DType::I8,
        DType::I16 => plans::DType::I16,
        DType::I32 => plans::DType::I32,
        DType::I64 => plans::DType::I64,
        DType::U8 => plans::DType::U8,
        DType::U16 => plans::DType::U16,
        DType::U32 => plans::DType::U32,
        DType::U64 => plans::DType::U64,
        DType::F16 => plans::DType::F16,
        DType::BF16 => plans::DType::BF16,
        DType::F32 => plans::DType::F32,
        DType::F64 => plans::DType::F64,
        DType::C64 => plans::DType::C64,
        DType::C128 => plans::DType::C128,
    }
}

/// Builds a [`Tape`], one register for each distinct step.
#[derive(Clone, Default)]
pub struct TapeBuilder {
    steps: Vec<TapeStep>,
}

impl TapeBuilder {
    /// A builder without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// The register of `op`, of type `dtype`.
    pub fn push(&mut self, op: TapeOp, dtype: plans::DType) -> Reg {
        let step = TapeStep { op, dtype };
        if let Some(i) = self.steps.iter().position(|s| *s == step) {
            return Reg(i as u16);
        }
        self.steps.push(step);
        Reg((self.steps.len() - 1) as u16)
    }

    /// The element of input `n`.
    pub fn input(&mut self, n: usize, dtype: plans::DType) -> Reg {
        self.push(TapeOp::Input(n as u16), dtype)
    }

    /// The number of steps so far.
    pub fn n_steps(&self) -> usize {
        self.steps.len()
    }

    /// `f` applied to the elements in `inputs`, over a domain of `rank` dimensions whose last ones
    /// are the function's own.
    pub fn apply(&mut self, f: &ScalarFn, inputs: &[Option<Reg>], rank: usize) -> Reg {
        let mut regs: Vec<Reg> = Vec::with_capacity(f.steps.len());
        let at = |regs: &[Reg], r: scalar::Reg| regs[r.0 as usize];
        for &(op, ty) in &f.steps {
            let ty = dtype(ty);
            let reg = match op {
                ScalarOp::Input(n) => inputs[n as usize]
                    .expect("a scalar function reads only operands that are there"),
                ScalarOp::Const(v) => self.constant(v, ty),
                ScalarOp::Unary(u, x) => self.push(TapeOp::Unary(unary(u), at(&regs, x)), ty),
                ScalarOp::Binary(b, x, y) => {
                    self.push(TapeOp::Binary(binary(b), at(&regs, x), at(&regs, y)), ty)
                }
                ScalarOp::Select(c, x, y) => {
                    self.push(TapeOp::Select(at(&regs, c), at(&regs, x), at(&regs, y)), ty)
                }
                ScalarOp::Cast(x) => self.push(TapeOp::Convert(at(&regs, x)), ty),
                ScalarOp::Index(d) => {
                    let d = if d < 0 {
                        (rank as i64 + i64::from(d)) as u16
                    } else {
                        d as u16
                    };
                    self.push(TapeOp::Index(d), ty)
                }
            };
            regs.push(reg);
        }
        regs[f.result.0 as usize]
    }

    /// The finished tape that goes on with `tail`, whose input 0 is `first`.
    pub fn append(mut self, tail: &Tape, first: Reg) -> Tape {
        let mut regs: Vec<Reg> = Vec::with_capacity(tail.steps.len());
        for step in &tail.steps {
            let to = |r: Reg| regs[r.0 as usize];
            let reg = match step.op {
                TapeOp::Input(0) => first,
                op => self.push(map_operands(op, to), step.dtype),
            };
            regs.push(reg);
        }
        let results = tail.results.iter().map(|r| regs[r.0 as usize]).collect();
        self.finish(results)
    }

    /// The number `value` as `dtype`.
    pub fn constant(&mut self, value: f64, dtype: plans::DType) -> Reg {
        let scalar = if dtype.is_float() {
            Scalar::Float(value)
        } else {
            Scalar::Int(value as i64)
        };
        self.push(TapeOp::Const(scalar), dtype)
    }

    /// The finished tape, without steps that no result needs.
    pub fn finish(self, results: Vec<Reg>) -> Tape {
        let mut needed = vec![false; self.steps.len()];
        for r in &results {
            needed[r.0 as usize] = true;
        }
        for i in (0..self.steps.len()).rev() {
            if needed[i] {
                for r in operands(&self.steps[i].op) {
                    needed[r.0 as usize] = true;
                }
            }
        }
        let mut renumber = vec![Reg(0); self.steps.len()];
        let mut steps = Vec::new();
        for (i, step) in self.steps.iter().enumerate().filter(|&(i, _)| needed[i]) {
            renumber[i] = Reg(steps.len() as u16);
            let op = map_operands(step.op, |r| renumber[r.0 as usize]);
            steps.push(TapeStep {
                op,
                dtype: step.dtype,
            });
        }
        let results = results
            .into_iter()
            .map(|r| renumber[r.0 as usize])
            .collect();
        Tape { steps, results }
    }
}

/// `op` with every register that it reads replaced.
fn map_operands(op: TapeOp, to: impl Fn(Reg) -> Reg) -> TapeOp {
    match op {
        TapeOp::Unary(u, x) => TapeOp::Unary(u, to(x)),
        TapeOp::Binary(b, x, y) => TapeOp::Binary(b, to(x), to(y)),
        TapeOp::Select(c, x, y) => TapeOp::Select(to(c), to(x), to(y)),
        TapeOp::Convert(x) => TapeOp::Convert(to(x)),
        TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => op,
    }
}

/// The registers that `op` reads.
pub fn operands(op: &TapeOp) -> impl Iterator<Item = Reg> {
    let (a, b, c) = match *op {
        TapeOp::Unary(_, x) | TapeOp::Convert(x) => (Some(x), None, None),
        TapeOp::Binary(_, x, y) => (Some(x), Some(y), None),
        TapeOp::Select(c, x, y) => (Some(c), Some(x), Some(y)),
        TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => {
            (None, None, None)
        }
    };
    [a, b, c].into_iter().flatten()
}

macro_rules! same_names {
    ($f:ident, $from:ty, $to:ty, $($variant:ident),* $(,)?) => {
        fn $f(x: $from) -> $to {
            match x {
                $(<$from>::$variant => <$to>::$variant,)*
            }
        }
    };
}
same_names!(
    unary,
    scalar::Unary,
    UnaryFn,
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
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
    Sigmoid,
    Softplus,
    Not,
    BitNot,
    IsNan,
    IsInf,
);
same_names!(
    binary,
    scalar::Binary,
    BinaryFn,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    Mod,
    Rem,
    And,
    Or,
    Xor,
    BitAnd,
    BitOr,
    BitXor,
    Shl,
    Shr,
    Eq,
    Lt,
    Le,
);
