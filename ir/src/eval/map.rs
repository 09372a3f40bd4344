//! Evaluation of scalar functions over whole tensors.

use super::broadcast_offsets;
use crate::DType;
use crate::ops::OpError;
use crate::scalar::{Binary, ScalarFn, ScalarOp, Unary};
use crate::shape::TensorType;
use crate::tensor::Tensor;

/// Registers hold floating-point numbers in `f64` and everything else in `i128`, so that both
/// signed and unsigned 64-bit integers fit; every step rounds or wraps to its type.
#[derive(Clone)]
enum Lane {
    Float(Vec<f64>),
    Int(Vec<i128>),
}

/// `f` applied to `inputs`, broadcast to the shape of `ty`.
pub fn map(f: &ScalarFn, inputs: &[Option<&Tensor>], ty: &TensorType) -> Result<Tensor, OpError> {
    let dims = ty
        .shape
        .dims()
        .ok_or_else(|| OpError::Shape("unknown shape".into()))?;
    let n: usize = dims.iter().product();
    let mut lanes: Vec<Lane> = Vec::with_capacity(f.steps.len());
    for &(op, dtype) in &f.steps {
        let lane = match op {
            ScalarOp::Input(i) => {
                let x = inputs
                    .get(i as usize)
                    .copied()
                    .flatten()
                    .ok_or(OpError::MissingInput(i as usize))?;
                load(x, &dims)?
            }
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
                Lane::Int((0..n).map(|i| (i / inner % dims[axis]) as i128).collect())
            }
        };
        lanes.push(round(lane, dtype));
    }
    Ok(match &lanes[f.result.0 as usize] {
        Lane::Float(v) => Tensor::from_f64(ty.dtype, &dims, v),
        Lane::Int(v) => Tensor::from_i64(
            ty.dtype,
            &dims,
            &v.iter().map(|&x| x as i64).collect::<Vec<_>>(),
        ),
    })
}

fn load(x: &Tensor, dims: &[usize]) -> Result<Lane, OpError> {
    let at = broadcast_offsets(dims, x.dims());
    let complex = || OpError::Type("arithmetic on complex numbers is not supported".into());
    if x.dtype().is_float() {
        let values = x.to_f64().ok_or_else(complex)?;
        return Ok(Lane::Float(at.into_iter().map(|i| values[i]).collect()));
    }
    let values = x.to_i64().ok_or_else(complex)?;
    let widen = |v: i64| {
        if x.dtype() == DType::U64 {
            v as u64 as i128
        } else {
            v as i128
        }
    };
    Ok(Lane::Int(
        at.into_iter().map(|i| widen(values[i])).collect(),
    ))
}

/// Every element rounded or wrapped to `dtype`.
fn round(lane: Lane, dtype: DType) -> Lane {
    match lane {
        Lane::Float(mut v) => {
            match dtype {
                DType::F32 => v.iter_mut().for_each(|x| *x = f64::from(*x as f32)),
                DType::F16 => v
                    .iter_mut()
                    .for_each(|x| *x = half::f16::from_f64(*x).to_f64()),
                DType::BF16 => v
                    .iter_mut()
                    .for_each(|x| *x = half::bf16::from_f64(*x).to_f64()),
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
pub fn erf(x: f64) -> f64 {
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
        Binary::Pow if y >= 0 => (0..y.min(128)).fold(1i128, |p, _| p.wrapping_mul(x)),
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
