//! The meaning of tapes and operands, one element at a time.

use plans::spec::Operand;
use plans::tape::{BinaryFn, Scalar, TapeOp, UnaryFn};
use plans::{DType, Tape};

/// An element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value {
    Float(f64),
    Int(i128),
}

impl Value {
    pub(crate) fn float(self) -> f64 {
        match self {
            Value::Float(x) => x,
            Value::Int(x) => x as f64,
        }
    }

    pub(crate) fn int(self) -> i128 {
        match self {
            Value::Float(x) => x as i128,
            Value::Int(x) => x,
        }
    }

    pub(crate) fn is_true(self) -> bool {
        match self {
            Value::Float(x) => x != 0.0,
            Value::Int(x) => x != 0,
        }
    }

    /// Rounded or wrapped to the type.
    pub(crate) fn fit(self, dtype: DType) -> Value {
        match dtype {
            DType::Bool => Value::Int(self.is_true().into()),
            DType::I8 => Value::Int((self.int() as i8).into()),
            DType::I16 => Value::Int((self.int() as i16).into()),
            DType::I32 => Value::Int((self.int() as i32).into()),
            DType::I64 | DType::C64 => Value::Int((self.int() as i64).into()),
            DType::U8 => Value::Int((self.int() as u8).into()),
            DType::U16 => Value::Int((self.int() as u16).into()),
            DType::U32 => Value::Int((self.int() as u32).into()),
            DType::U64 => Value::Int((self.int() as u64).into()),
            DType::F16 => Value::Float(half::f16::from_f64(self.float()).to_f64()),
            DType::BF16 => Value::Float(half::bf16::from_f64(self.float()).to_f64()),
            DType::F32 => Value::Float((self.float() as f32).into()),
            DType::F64 => Value::Float(self.float()),
            DType::C128 => Value::Int(self.int()),
        }
    }
}

/// Reads element `i` of data of `dtype`.
pub(crate) fn get(dtype: DType, data: &[u8], i: usize) -> Value {
    let at = &data[i * dtype.size()..][..dtype.size()];
    macro_rules! as_number {
        ($t:ty) => {
            <$t>::from_ne_bytes(at.try_into().unwrap())
        };
    }
    match dtype {
        DType::Bool => Value::Int((at[0] != 0).into()),
        DType::I8 => Value::Int(as_number!(i8).into()),
        DType::I16 => Value::Int(as_number!(i16).into()),
        DType::I32 => Value::Int(as_number!(i32).into()),
        DType::I64 | DType::C64 => Value::Int(as_number!(i64).into()),
        DType::U8 => Value::Int(as_number!(u8).into()),
        DType::U16 => Value::Int(as_number!(u16).into()),
        DType::U32 => Value::Int(as_number!(u32).into()),
        DType::U64 => Value::Int(as_number!(u64).into()),
        DType::F16 => Value::Float(as_number!(half::f16).to_f64()),
        DType::BF16 => Value::Float(as_number!(half::bf16).to_f64()),
        DType::F32 => Value::Float(as_number!(f32).into()),
        DType::F64 => Value::Float(as_number!(f64)),
        DType::C128 => Value::Int(as_number!(i128)),
    }
}

/// Writes element `i` of data of `dtype`.
pub(crate) fn set(dtype: DType, data: &mut [u8], i: usize, value: Value) {
    let at = &mut data[i * dtype.size()..][..dtype.size()];
    match dtype {
        DType::F16 => {
            at.copy_from_slice(&half::f16::from_f64(value.float()).to_ne_bytes());
        }
        DType::BF16 => {
            at.copy_from_slice(&half::bf16::from_f64(value.float()).to_ne_bytes());
        }
        DType::F32 => at.copy_from_slice(&(value.float() as f32).to_ne_bytes()),
        DType::F64 => at.copy_from_slice(&value.float().to_ne_bytes()),
        // Little-endian machines keep the low bytes first.
        _ => at.copy_from_slice(&value.int().to_ne_bytes()[..dtype.size()]),
    }
}

/// All positions of a domain, row-major.
pub(crate) fn positions(domain: &[u64]) -> Vec<Vec<u64>> {
    let mut all = vec![vec![]];
    for &n in domain {
        all = all
            .into_iter()
            .flat_map(|p| {
                (0..n).map(move |i| {
                    let mut p = p.clone();
                    p.push(i);
                    p
                })
            })
            .collect();
    }
    all
}

/// The offset of a position.
pub(crate) fn offset(operand: &Operand, position: &[u64]) -> i64 {
    assert_eq!(operand.strides.len(), position.len());
    let steps = operand.strides.iter().zip(position);
    steps.map(|(s, &p)| s * p as i64).sum()
}

/// The results of a tape, of the types of its registers.
pub(crate) fn evaluate(
    tape: &Tape,
    inputs: &dyn Fn(usize) -> Value,
    scalars: &[Value],
    position: &[u64],
) -> Vec<Value> {
    let mut registers: Vec<Value> = vec![];
    for step in &tape.steps {
        let reg = |r: plans::tape::Reg| registers[usize::from(r.0)];
        let of = |r: plans::tape::Reg| tape.steps[usize::from(r.0)].dtype;
        let value = match step.op {
            TapeOp::Input(n) => inputs(n.into()),
            TapeOp::RowScalar(n) => scalars[usize::from(n)],
            TapeOp::Index(d) => Value::Int(position[usize::from(d)].into()),
            TapeOp::Const(Scalar::Float(v)) => Value::Float(v),
            TapeOp::Const(Scalar::Int(v)) => Value::Int(v.into()),
            TapeOp::Unary(f, a) => unary(f, reg(a)),
            TapeOp::Binary(f, a, b) => binary(f, reg(a), reg(b), of(a)),
            TapeOp::Select(c, a, b) => {
                if reg(c).is_true() {
                    reg(a)
                } else {
                    reg(b)
                }
            }
            TapeOp::Convert(a) => match reg(a) {
                Value::Float(x) if !step.dtype.is_float() => {
                    if step.dtype == DType::Bool {
                        Value::Int((x != 0.0).into())
                    } else {
                        Value::Int(x.trunc() as i128)
                    }
                }
                v if step.dtype.is_float() => Value::Float(v.float()),
                v => v,
            },
        };
        registers.push(match step.dtype {
            // Computed in f32, rounded where they are converted or stored.
            DType::F16 | DType::BF16 if !matches!(step.op, TapeOp::Convert(_)) => {
                value.fit(DType::F32)
            }
            dtype => value.fit(dtype),
        });
    }
    tape.results
        .iter()
        .map(|r| registers[usize::from(r.0)])
        .collect()
}

fn unary(f: UnaryFn, x: Value) -> Value {
    match (f, x) {
        (UnaryFn::Neg, Value::Int(x)) => Value::Int(-x),
        (UnaryFn::Abs, Value::Int(x)) => Value::Int(x.abs()),
        (UnaryFn::Sign, Value::Int(x)) => Value::Int(x.signum()),
        (UnaryFn::Not, x) => Value::Int((!x.is_true()).into()),
        (UnaryFn::BitNot, Value::Int(x)) => Value::Int(!x),
        (UnaryFn::IsNan, x) => Value::Int(x.float().is_nan().into()),
        (UnaryFn::IsInf, x) => Value::Int(x.float().is_infinite().into()),
        (f, x) => {
            let x = x.float();
            Value::Float(match f {
                UnaryFn::Neg => -x,
                UnaryFn::Abs => x.abs(),
                UnaryFn::Sign if x == 0.0 => 0.0,
                UnaryFn::Sign => x.signum(),
                UnaryFn::Floor => x.floor(),
                UnaryFn::Ceil => x.ceil(),
                UnaryFn::Round => x.round_ties_even(),
                UnaryFn::Sqrt => x.sqrt(),
                UnaryFn::Reciprocal => 1.0 / x,
                UnaryFn::Exp => x.exp(),
                UnaryFn::Log => x.ln(),
                UnaryFn::Sin => x.sin(),
                UnaryFn::Cos => x.cos(),
                UnaryFn::Tan => x.tan(),
                UnaryFn::Asin => x.asin(),
                UnaryFn::Acos => x.acos(),
                UnaryFn::Atan => x.atan(),
                UnaryFn::Sinh => x.sinh(),
                UnaryFn::Cosh => x.cosh(),
                UnaryFn::Tanh => x.tanh(),
                UnaryFn::Asinh => x.asinh(),
                UnaryFn::Acosh => x.acosh(),
                UnaryFn::Atanh => x.atanh(),
                UnaryFn::Erf => erf(x),
                UnaryFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                UnaryFn::Softplus => (1.0 + x.exp()).ln(),
                UnaryFn::Not | UnaryFn::BitNot | UnaryFn::IsNan | UnaryFn::IsInf => unreachable!(),
            })
        }
    }
}

/// The integral of the definition by Simpson's rule.
fn erf(x: f64) -> f64 {
    let x = x.clamp(-6.0, 6.0);
    let n = 4_000;
    let h = x / f64::from(n);
    let f = |i: i32| (-(f64::from(i) * h).powi(2)).exp();
    let sum: f64 = (1..n).map(|i| f(i) * f64::from(2 + 2 * (i % 2))).sum();
    (f(0) + sum + f(n)) * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt()
}

fn binary(f: BinaryFn, x: Value, y: Value, dtype: DType) -> Value {
    let holds = |b: bool| Value::Int(b.into());
    match f {
        BinaryFn::And => return holds(x.is_true() && y.is_true()),
        BinaryFn::Or => return holds(x.is_true() || y.is_true()),
        BinaryFn::Xor => return holds(x.is_true() != y.is_true()),
        _ => {}
    }
    if let (Value::Int(x), Value::Int(y)) = (x, y) {
        let width = dtype.size() as i128 * 8;
        let bits = |x: i128| x & ((1 << width) - 1);
        return match f {
            BinaryFn::Add => Value::Int(x + y),
            BinaryFn::Sub => Value::Int(x - y),
            BinaryFn::Mul => Value::Int(x.wrapping_mul(y)),
            BinaryFn::Div => Value::Int(x.checked_div(y).unwrap_or(0)),
            BinaryFn::Pow => Value::Int(if y >= 0 {
                x.pow(y as u32)
            } else {
                (x as f64).powf(y as f64) as i128
            }),
            BinaryFn::Min => Value::Int(x.min(y)),
            BinaryFn::Max => Value::Int(x.max(y)),
            BinaryFn::Mod => Value::Int(x.checked_rem(y).map_or(0, |r| (r + y) % y)),
            BinaryFn::Rem => Value::Int(x.checked_rem(y).unwrap_or(0)),
            BinaryFn::BitAnd => Value::Int(x & y),
            BinaryFn::BitOr => Value::Int(x | y),
            BinaryFn::BitXor => Value::Int(x ^ y),
            BinaryFn::Shl if (0..width).contains(&y) => Value::Int(x << y),
            BinaryFn::Shr if (0..width).contains(&y) => Value::Int(bits(x) >> y),
            BinaryFn::Shl | BinaryFn::Shr => Value::Int(0),
            BinaryFn::Eq => holds(x == y),
            BinaryFn::Lt => holds(x < y),
            BinaryFn::Le => holds(x <= y),
            BinaryFn::And | BinaryFn::Or | BinaryFn::Xor => unreachable!(),
        };
    }
    let (x, y) = (x.float(), y.float());
    match f {
        BinaryFn::Eq => return holds(x == y),
        BinaryFn::Lt => return holds(x < y),
        BinaryFn::Le => return holds(x <= y),
        _ => {}
    }
    let either_nan = x.is_nan() || y.is_nan();
    Value::Float(match f {
        BinaryFn::Add => x + y,
        BinaryFn::Sub => x - y,
        BinaryFn::Mul => x * y,
        BinaryFn::Div => x / y,
        BinaryFn::Pow => x.powf(y),
        BinaryFn::Min | BinaryFn::Max if either_nan => f64::NAN,
        BinaryFn::Min => x.min(y),
        BinaryFn::Max => x.max(y),
        BinaryFn::Mod => x - (x / y).floor() * y,
        BinaryFn::Rem => x % y,
        _ => unreachable!("{f:?} of floats"),
    })
}

/// Whether results agree: exactly for integers, to `tolerance` of the larger for floats.
pub(crate) fn agrees(dtype: DType, found: Value, expected: Value, tolerance: f64) -> bool {
    match (found, expected) {
        (Value::Int(a), Value::Int(b)) => a == b,
        (a, b) => {
            let (a, b) = (a.float(), b.float());
            let tolerance = match dtype {
                DType::F16 => 2e-3,
                DType::BF16 => 2e-2,
                _ => tolerance,
            };
            a == b
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
        }
    }
}
