//! Evaluation of scalar functions over whole tensors.

use super::{broadcast_strides, offsets};
use crate::DType;
use crate::ops::OpError;
use crate::scalar::{Binary, ScalarFn, ScalarOp, Unary};
use crate::shape::TensorType;
use crate::tensor::{Element, Tensor};
use half::{bf16, f16};
use std::ops::Range;

/// Registers hold floating-point numbers in `f64` and everything else in `i128`, so that both
/// signed and unsigned 64-bit integers fit; every step rounds or wraps to its type.
#[derive(Clone)]
enum Lane {
    Float(Vec<f64>),
    Int(Vec<i128>),
}

/// Elements that are computed at a time: what the registers of one round hold fits in cache.
const BLOCK: usize = 4096;

/// `f` applied to `inputs`, broadcast to the shape of `ty`.
pub fn map(f: &ScalarFn, inputs: &[Option<&Tensor>], ty: &TensorType) -> Result<Tensor, OpError> {
    let dims = ty
        .shape
        .dims()
        .ok_or_else(|| OpError::Shape("unknown shape".into()))?;
    let n: usize = dims.iter().product();
    let mut operands = Vec::with_capacity(inputs.len());
    for (i, x) in inputs.iter().enumerate() {
        let is_read = |&&(op, _): &&(ScalarOp, DType)| op == ScalarOp::Input(i as u8);
        operands.push(match (f.steps.iter().find(is_read), x) {
            (None, _) => None,
            (Some(_), None) => return Err(OpError::MissingInput(i)),
            (Some(_), Some(x)) => Some((*x, broadcast_strides(&dims, x.dims()))),
        });
    }
    let mut at: Vec<_> = operands
        .iter()
        .map(|o| o.as_ref().map(|(_, strides)| offsets(&dims, strides)))
        .collect();
    let mut data = Vec::with_capacity(n * ty.dtype.size());
    for start in (0..n).step_by(BLOCK) {
        let block = start..n.min(start + BLOCK);
        let loaded = operands
            .iter()
            .zip(&mut at)
            .map(|(operand, at)| match (operand, at) {
                (Some((x, _)), Some(at)) => load(x, at.take(block.len())).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let result = run(f, loaded, &dims, block)?;
        store(&result, ty.dtype, &mut data);
    }
    Tensor::new(ty.dtype, &dims, data.into()).map_err(|e| OpError::Shape(format!("{e:?}")))
}

/// The result of `f` for the elements `block` in row-major order over `dims`.
fn run(
    f: &ScalarFn,
    mut inputs: Vec<Option<Lane>>,
    dims: &[usize],
    block: Range<usize>,
) -> Result<Lane, OpError> {
    let n = block.len();
    let mut lanes: Vec<Lane> = Vec::with_capacity(f.steps.len());
    for &(op, dtype) in &f.steps {
        let lane = match op {
            ScalarOp::Input(i) => inputs
                .get_mut(i as usize)
                .and_then(Option::take)
                .ok_or(OpError::MissingInput(i as usize))?,
            ScalarOp::Const(v) if dtype.is_float() => Lane::Float(vec![v; n]),
            ScalarOp::Const(v) => Lane::Int(vec![v as i128; n]),
            ScalarOp::Unary(u, x) => unary(u, &lanes[x.0 as usize], dtype),
            ScalarOp::Binary(b, x, y) => binary(
                b,
                &lanes[x.0 as usize],
                &lanes[y.0 as usize],
                f.steps[x.0 as usize].1,
            ),
            ScalarOp::Select(c, x, y) => select(
                &lanes[c.0 as usize],
                &lanes[x.0 as usize],
                &lanes[y.0 as usize],
            ),
            ScalarOp::Cast(x) => cast(&lanes[x.0 as usize], dtype),
            ScalarOp::Index(d) => {
                let axis = if d < 0 {
                    d as i64 + dims.len() as i64
                } else {
                    d as i64
                };
                let axis = usize::try_from(axis)
                    .ok()
                    .filter(|&a| a < dims.len())
                    .ok_or_else(|| OpError::Shape(format!("no dimension {d}")))?;
                let inner: usize = dims[axis + 1..].iter().product();
                let index = |i: usize| (i / inner % dims[axis]) as i128;
                Lane::Int(block.clone().map(index).collect())
            }
        };
        lanes.push(round(lane, dtype));
    }
    Ok(lanes.swap_remove(f.result.0 as usize))
}

/// The elements of `x` at the offsets `at`.
fn load(x: &Tensor, at: impl Iterator<Item = usize>) -> Result<Lane, OpError> {
    let bytes = x.bytes();
    macro_rules! read {
        ($lane:ident, $ty:ty, $to:ty) => {
            Lane::$lane(
                at.map(|i| {
                    let size = size_of::<$ty>();
                    <$to>::from(<$ty>::read_le(&bytes[i * size..][..size]))
                })
                .collect(),
            )
        };
    }
    Ok(match x.dtype() {
        DType::Bool => read!(Int, bool, i128),
        DType::I8 => read!(Int, i8, i128),
        DType::I16 => read!(Int, i16, i128),
        DType::I32 => read!(Int, i32, i128),
        DType::I64 => read!(Int, i64, i128),
        DType::U8 => read!(Int, u8, i128),
        DType::U16 => read!(Int, u16, i128),
        DType::U32 => read!(Int, u32, i128),
        DType::U64 => read!(Int, u64, i128),
        DType::F16 => read!(Float, f16, f64),
        DType::BF16 => read!(Float, bf16, f64),
        DType::F32 => read!(Float, f32, f64),
        DType::F64 => read!(Float, f64, f64),
        DType::C64 | DType::C128 => {
            return Err(OpError::Type(
                "arithmetic on complex numbers is not supported".into(),
            ));
        }
    })
}

/// Appends the elements of `lane`, which are rounded or wrapped to `dtype` already.
fn store(lane: &Lane, dtype: DType, data: &mut Vec<u8>) {
    match lane {
        Lane::Float(v) => match dtype {
            DType::F16 => v.iter().for_each(|&x| f16::from_f64(x).put_le(data)),
            DType::BF16 => v.iter().for_each(|&x| bf16::from_f64(x).put_le(data)),
            DType::F32 => v.iter().for_each(|&x| (x as f32).put_le(data)),
            _ => v.iter().for_each(|&x| x.put_le(data)),
        },
        Lane::Int(v) => {
            for x in v {
                data.extend_from_slice(&x.to_le_bytes()[..dtype.size()]);
            }
        }
    }
}

/// Every element rounded or wrapped to `dtype`.
fn round(lane: Lane, dtype: DType) -> Lane {
    match lane {
        Lane::Float(mut v) => {
            match dtype {
                DType::F32 => v.iter_mut().for_each(|x| *x = f64::from(*x as f32)),
                DType::F16 => v.iter_mut().for_each(|x| *x = f16::from_f64(*x).to_f64()),
                DType::BF16 => v.iter_mut().for_each(|x| *x = bf16::from_f64(*x).to_f64()),
                _ => {}
            }
            Lane::Float(v)
        }
        Lane::Int(mut v) => {
            v.iter_mut().for_each(|x| *x = wrap(*x, dtype));
            Lane::Int(v)
        }
    }
}

fn wrap(x: i128, dtype: DType) -> i128 {
    match dtype {
        DType::Bool => i128::from(x != 0),
        DType::I8 => (x as i8).into(),
        DType::I16 => (x as i16).into(),
        DType::I32 => (x as i32).into(),
        DType::I64 => (x as i64).into(),
        DType::U8 => (x as u8).into(),
        DType::U16 => (x as u16).into(),
        DType::U32 => (x as u32).into(),
        DType::U64 => (x as u64).into(),
        _ => x,
    }
}

fn unary(u: Unary, x: &Lane, dtype: DType) -> Lane {
    match x {
        Lane::Float(v) if matches!(u, Unary::IsNan | Unary::IsInf) => Lane::Int(
            v.iter()
                .map(|x| {
                    i128::from(if u == Unary::IsNan {
                        x.is_nan()
                    } else {
                        x.is_infinite()
                    })
                })
                .collect(),
        ),
        Lane::Float(v) => Lane::Float(v.iter().map(|&x| unary_f64(u, x)).collect()),
        Lane::Int(v) => Lane::Int(
            v.iter()
                .map(|&x| match u {
                    Unary::Neg => -x,
                    Unary::Abs => x.abs(),
                    Unary::Sign => x.signum(),
                    Unary::Not => i128::from(x == 0),
                    Unary::BitNot => wrap(!x, dtype),
                    Unary::IsNan | Unary::IsInf => 0,
                    Unary::Floor | Unary::Ceil | Unary::Round => x,
                    // Integers have no such functions in ONNX; go through f64 as a cast would.
                    _ => unary_f64(u, x as f64) as i128,
                })
                .collect(),
        ),
    }
}

fn unary_f64(u: Unary, x: f64) -> f64 {
    match u {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Tanh => x.tanh(),
        Unary::Asinh => x.asinh(),
        Unary::Acosh => x.acosh(),
        Unary::Atanh => x.atanh(),
        Unary::Erf => erf(x),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Unary::Not | Unary::BitNot => f64::from(u8::from(x == 0.0)),
        Unary::IsNan => f64::from(u8::from(x.is_nan())),
        Unary::IsInf => f64::from(u8::from(x.is_infinite())),
    }
}

/// The error function to about 1e-15: its Taylor series near 0, the continued fraction of `erfc` beyond.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    if a > 6.0 {
        return x.signum();
    }
    if a < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = 0.0;
    for k in (1..=60).rev() {
        fraction = f64::from(k) / 2.0 / (a + fraction);
    }
    let erfc = (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - erfc)
}

fn binary(b: Binary, x: &Lane, y: &Lane, dtype: DType) -> Lane {
    match (x, y) {
        (Lane::Float(x), Lane::Float(y)) => {
            let pairs = x.iter().zip(y);
            match b {
                Binary::Eq => Lane::Int(pairs.map(|(x, y)| (x == y).into()).collect()),
                Binary::Lt => Lane::Int(pairs.map(|(x, y)| (x < y).into()).collect()),
                Binary::Le => Lane::Int(pairs.map(|(x, y)| (x <= y).into()).collect()),
                _ => Lane::Float(pairs.map(|(&x, &y)| binary_f64(b, x, y)).collect()),
            }
        }
        (Lane::Int(x), Lane::Int(y)) => Lane::Int(
            x.iter()
                .zip(y)
                .map(|(&x, &y)| binary_int(b, x, y, dtype))
                .collect(),
        ),
        _ => unreachable!("the builder gives operands of one type"),
    }
}

fn binary_f64(b: Binary, x: f64, y: f64) -> f64 {
    match b {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Pow => x.powf(y),
        Binary::Min | Binary::Max if x.is_nan() || y.is_nan() => f64::NAN,
        Binary::Min => x.min(y),
        Binary::Max => x.max(y),
        Binary::Mod => x - (x / y).floor() * y,
        Binary::Rem => x % y,
        _ => f64::NAN,
    }
}

fn binary_int(b: Binary, x: i128, y: i128, dtype: DType) -> i128 {
    let width = dtype.size() as i128 * 8;
    let unsigned = |v: i128| {
        if width == 64 {
            v as u64 as i128
        } else {
            v & ((1 << width) - 1)
        }
    };
    match b {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x.wrapping_mul(y),
        Binary::Div => x.checked_div(y).unwrap_or(0),
        Binary::Pow if y >= 0 => power(x, y),
        Binary::Pow => (x as f64).powf(y as f64) as i128,
        Binary::Min => x.min(y),
        Binary::Max => x.max(y),
        Binary::Mod => x.checked_rem(y).map_or(0, |r| {
            if r != 0 && (r < 0) != (y < 0) {
                r + y
            } else {
                r
            }
        }),
        Binary::Rem => x.checked_rem(y).unwrap_or(0),
        Binary::And => (x != 0 && y != 0).into(),
        Binary::Or => (x != 0 || y != 0).into(),
        Binary::Xor => ((x != 0) != (y != 0)).into(),
        Binary::BitAnd => x & y,
        Binary::BitOr => x | y,
        Binary::BitXor => x ^ y,
        Binary::Shl if (0..width).contains(&y) => x << y,
        Binary::Shr if (0..width).contains(&y) => unsigned(x) >> y,
        Binary::Shl | Binary::Shr => 0,
        Binary::Eq => (x == y).into(),
        Binary::Lt => (x < y).into(),
        Binary::Le => (x <= y).into(),
    }
}

/// `x ^ y` modulo 2^128, by squaring.
fn power(mut x: i128, mut y: i128) -> i128 {
    let mut result = 1i128;
    while y > 0 {
        if y & 1 == 1 {
            result = result.wrapping_mul(x);
        }
        x = x.wrapping_mul(x);
        y >>= 1;
    }
    result
}

fn select(c: &Lane, x: &Lane, y: &Lane) -> Lane {
    let Lane::Int(c) = c else {
        unreachable!("conditions are bools")
    };
    match (x, y) {
        (Lane::Float(x), Lane::Float(y)) => Lane::Float(
            (0..c.len())
                .map(|i| if c[i] != 0 { x[i] } else { y[i] })
                .collect(),
        ),
        (Lane::Int(x), Lane::Int(y)) => Lane::Int(
            (0..c.len())
                .map(|i| if c[i] != 0 { x[i] } else { y[i] })
                .collect(),
        ),
        _ => unreachable!("both choices have one type"),
    }
}

fn cast(x: &Lane, dtype: DType) -> Lane {
    match x {
        Lane::Float(v) if dtype.is_float() => Lane::Float(v.clone()),
        Lane::Float(v) if dtype == DType::Bool => {
            Lane::Int(v.iter().map(|&x| (x != 0.0).into()).collect())
        }
        Lane::Float(v) => Lane::Int(v.iter().map(|&x| x as i128).collect()),
        Lane::Int(v) if dtype.is_float() => Lane::Float(v.iter().map(|&x| x as f64).collect()),
        Lane::Int(v) => Lane::Int(v.clone()),
    }
}
