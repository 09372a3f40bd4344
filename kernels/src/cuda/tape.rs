//! Tapes to CUDA C: one statement a step.

use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};
use std::fmt::Write;

/// What the sources of a tape are: C expressions of the type that their elements are computed in
/// ([`compute_type`]); positions are of an integer type.
pub(super) struct Scope<'a> {
    /// The element of an input.
    pub(super) input: &'a dyn Fn(u16) -> String,
    /// A scalar of the row.
    pub(super) row_scalar: &'a dyn Fn(u16) -> String,
    /// The position along a dimension of the domain.
    pub(super) index: &'a dyn Fn(u16) -> String,
}

/// Writes statements to `out` that compute the tape, each step that the results need once, in
/// constants whose names start with `prefix`. Gives expressions of the results.
pub(super) fn emit(tape: &Tape, scope: &Scope, prefix: &str, out: &mut String) -> Vec<String> {
    let used = used(tape);
    let mut names: Vec<String> = Vec::with_capacity(tape.steps.len());
    for (n, step) in tape.steps.iter().enumerate() {
        if !used[n] {
            names.push(String::new());
            continue;
        }
        let reg = |r: Reg| names[usize::from(r.0)].as_str();
        let of = |r: Reg| tape.steps[usize::from(r.0)].dtype;
        let value = match step.op {
            TapeOp::Input(i) => (scope.input)(i),
            TapeOp::RowScalar(i) => (scope.row_scalar)(i),
            TapeOp::Index(d) => format!("(long long)({})", (scope.index)(d)),
            TapeOp::Const(value) => {
                names.push(constant(value, step.dtype));
                continue;
            }
            TapeOp::Unary(f, x) => unary(f, reg(x), of(x)),
            TapeOp::Binary(BinaryFn::Pow, x, y) => {
                let exponent = exponent(&tape.steps[usize::from(y.0)]);
                power(reg(x), reg(y), of(x), exponent)
            }
            TapeOp::Binary(f, x, y) => binary(f, reg(x), reg(y), of(x)),
            TapeOp::Select(c, x, y) => format!("{} ? {} : {}", reg(c), reg(x), reg(y)),
            TapeOp::Convert(x) => convert(reg(x), of(x), step.dtype),
        };
        let name = format!("{prefix}{n}");
        let ctype = compute_type(step.dtype);
        // Writing to a string does not fail.
        let _ = writeln!(out, "const {ctype} {name} = {value};");
        names.push(name);
    }
    let results = tape.results.iter();
    results.map(|r| names[usize::from(r.0)].clone()).collect()
}

/// Which steps the results need.
fn used(tape: &Tape) -> Vec<bool> {
    let mut used = vec![false; tape.steps.len()];
    for r in &tape.results {
        used[usize::from(r.0)] = true;
    }
    for (n, step) in tape.steps.iter().enumerate().rev() {
        if !used[n] {
            continue;
        }
        let operands = match step.op {
            TapeOp::Input(_) | TapeOp::RowScalar(_) | TapeOp::Index(_) | TapeOp::Const(_) => {
                [None; 3]
            }
            TapeOp::Unary(_, x) | TapeOp::Convert(x) => [Some(x), None, None],
            TapeOp::Binary(_, x, y) => [Some(x), Some(y), None],
            TapeOp::Select(c, x, y) => [Some(c), Some(x), Some(y)],
        };
        for r in operands.into_iter().flatten() {
            used[usize::from(r.0)] = true;
        }
    }
    used
}

/// Which inputs of a tape its results need, of the first `n`.
pub(super) fn used_inputs(tape: &Tape, n: usize) -> Vec<bool> {
    let mut inputs = vec![false; n];
    for (step, used) in tape.steps.iter().zip(used(tape)) {
        if let (TapeOp::Input(i), true) = (step.op, used)
            && let Some(input) = inputs.get_mut(usize::from(i))
        {
            *input = true;
        }
    }
    inputs
}

/// The type of an element in memory.
pub(super) fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 => "unsigned char",
        DType::I8 => "signed char",
        DType::I16 => "short",
        DType::I32 => "int",
        DType::I64 => "long long",
        DType::U16 | DType::F16 | DType::BF16 => "unsigned short",
        DType::U32 => "unsigned",
        DType::U64 | DType::C64 => "unsigned long long",
        DType::F32 => "float",
        DType::F64 => "double",
        DType::C128 => "Bits128",
    }
}

/// The type that an element is computed in.
pub(super) fn compute_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::I8 | DType::I16 | DType::I32 => "int",
        DType::U8 | DType::U16 | DType::U32 => "unsigned",
        DType::I64 => "long long",
        DType::U64 | DType::C64 => "unsigned long long",
        DType::F16 | DType::BF16 | DType::F32 => "float",
        DType::F64 => "double",
        DType::C128 => "Bits128",
    }
}

/// The element `index` at `pointer`, to compute with.
pub(super) fn load(dtype: DType, pointer: &str, index: &str) -> String {
    from_memory(dtype, &format!("{pointer}[{index}]"))
}

/// A statement that stores `value` as element `index` at `pointer`.
pub(super) fn store(dtype: DType, pointer: &str, index: &str, value: &str) -> String {
    format!("{pointer}[{index}] = {};", to_memory(dtype, value))
}

/// An element as it lies in memory, to compute with.
pub(super) fn from_memory(dtype: DType, value: &str) -> String {
    match dtype {
        DType::Bool => format!("({value} != 0)"),
        DType::F16 => format!("from_f16({value})"),
        DType::BF16 => format!("from_bf16({value})"),
        DType::I8 | DType::I16 => format!("(int){value}"),
        DType::U8 | DType::U16 => format!("(unsigned){value}"),
        DType::I32
        | DType::I64
        | DType::U32
        | DType::U64
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128 => value.to_owned(),
    }
}

/// A computed element as it lies in memory.
pub(super) fn to_memory(dtype: DType, value: &str) -> String {
    match dtype {
        DType::F16 => format!("to_f16({value})"),
        DType::BF16 => format!("to_bf16({value})"),
        DType::Bool | DType::I8 | DType::I16 | DType::U8 | DType::U16 => {
            format!("({})({value})", c_type(dtype))
        }
        DType::I32
        | DType::I64
        | DType::U32
        | DType::U64
        | DType::F32
        | DType::F64
        | DType::C64
        | DType::C128 => value.to_owned(),
    }
}

/// A constant; f16 and bf16 are rounded.
pub(super) fn constant(value: Scalar, dtype: DType) -> String {
    let (float, int) = match value {
        Scalar::Float(v) => (v, v as i64),
        Scalar::Int(v) => (v as f64, v),
    };
    match dtype {
        DType::Bool => (int != 0 || float != 0.0).to_string(),
        DType::F32 => float_literal(float as f32),
        DType::F16 => float_literal(half::f16::from_f64(float).to_f32()),
        DType::BF16 => float_literal(half::bf16::from_f64(float).to_f32()),
        DType::F64 if float.is_finite() => format!("({float:e})"),
        DType::F64 => format!("__longlong_as_double({:#x}ll)", float.to_bits()),
        DType::I8 => (int as i8).to_string(),
        DType::I16 => (int as i16).to_string(),
        DType::I32 => format!("(int){:#x}u", int as i32),
        DType::U8 => format!("{}u", int as u8),
        DType::U16 => format!("{}u", int as u16),
        DType::U32 => format!("{}u", int as u32),
        DType::I64 => format!("(long long){int:#x}ull"),
        DType::U64 | DType::C64 => format!("{}ull", int as u64),
        DType::C128 => format!("Bits128{{{}ull, 0}}", int as u64),
    }
}

/// A computed element whose bits are zeros.
pub(super) fn zero(dtype: DType) -> String {
    match dtype {
        DType::C128 => "Bits128()".to_owned(),
        _ => format!("({})0", compute_type(dtype)),
    }
}

/// A float.
pub(super) fn float_literal(x: f32) -> String {
    if x.is_finite() {
        format!("({x:e}f)")
    } else {
        format!("__uint_as_float({:#x}u)", x.to_bits())
    }
}

/// An integer wrapped to its type; a float as it is.
pub(super) fn wrapped(value: String, dtype: DType) -> String {
    match dtype {
        DType::I8 | DType::I16 | DType::U8 | DType::U16 => {
            format!("({})({value})", c_type(dtype))
        }
        _ => value,
    }
}

fn unary(f: UnaryFn, x: &str, dtype: DType) -> String {
    let call = |single: &str, double: &str| {
        let name = if dtype == DType::F64 { double } else { single };
        format!("{name}({x})")
    };
    let is_float = dtype.is_float();
    match f {
        UnaryFn::Neg if is_float => format!("-{x}"),
        UnaryFn::Neg => wrapped(format!("negate({x})"), dtype),
        UnaryFn::Abs if is_float => call("fabsf", "fabs"),
        UnaryFn::Abs => wrapped(format!("absolute({x})"), dtype),
        UnaryFn::Sign => format!("sign({x})"),
        UnaryFn::Floor => call("floorf", "floor"),
        UnaryFn::Ceil => call("ceilf", "ceil"),
        UnaryFn::Round => call("rintf", "rint"),
        UnaryFn::Sqrt => call("sqrtf", "sqrt"),
        UnaryFn::Reciprocal if dtype == DType::F64 => format!("1.0 / {x}"),
        UnaryFn::Reciprocal => format!("1.0f / {x}"),
        UnaryFn::Exp => call("expf", "exp"),
        UnaryFn::Log => call("logf", "log"),
        UnaryFn::Sin => call("sinf", "sin"),
        UnaryFn::Cos => call("cosf", "cos"),
        UnaryFn::Tan => call("tanf", "tan"),
        UnaryFn::Asin => call("asinf", "asin"),
        UnaryFn::Acos => call("acosf", "acos"),
        UnaryFn::Atan => call("atanf", "atan"),
        UnaryFn::Sinh => call("sinhf", "sinh"),
        UnaryFn::Cosh => call("coshf", "cosh"),
        UnaryFn::Tanh => call("tanhf", "tanh"),
        UnaryFn::Asinh => call("asinhf", "asinh"),
        UnaryFn::Acosh => call("acoshf", "acosh"),
        UnaryFn::Atanh => call("atanhf", "atanh"),
        UnaryFn::Erf => call("erff", "erf"),
        UnaryFn::Sigmoid => format!("sigmoid({x})"),
        UnaryFn::Softplus => format!("softplus({x})"),
        UnaryFn::Not => format!("!{x}"),
        UnaryFn::BitNot => wrapped(format!("~{x}"), dtype),
        UnaryFn::IsNan => format!("is_nan({x})"),
        UnaryFn::IsInf => format!("is_infinite({x})"),
    }
}

/// The exponent, where it is a constant of a type that is computed in f32.
fn exponent(step: &TapeStep) -> Option<f64> {
    match (step.op, step.dtype) {
        (TapeOp::Const(Scalar::Float(v)), DType::F32 | DType::F16 | DType::BF16) => Some(v),
        _ => None,
    }
}

/// Powers by the exponents that models hold need no logarithm.
fn power(x: &str, y: &str, dtype: DType, exponent: Option<f64>) -> String {
    match exponent {
        Some(1.0) => x.to_owned(),
        Some(2.0) => format!("{x} * {x}"),
        Some(3.0) => format!("{x} * {x} * {x}"),
        Some(-1.0) => format!("1.0f / {x}"),
        Some(0.5) => format!("power_half({x})"),
        Some(-0.5) => format!("1.0f / power_half({x})"),
        _ => wrapped(format!("power({x}, {y})"), dtype),
    }
}

/// `f` of two computed elements of type `dtype`.
pub(super) fn binary(f: BinaryFn, x: &str, y: &str, dtype: DType) -> String {
    let bits = 8 * dtype.size();
    let arithmetic = |operator: &str, function: &str| {
        if dtype.is_float() {
            format!("{x} {operator} {y}")
        } else {
            wrapped(format!("{function}({x}, {y})"), dtype)
        }
    };
    match f {
        BinaryFn::Add => arithmetic("+", "add"),
        BinaryFn::Sub => arithmetic("-", "subtract"),
        BinaryFn::Mul => arithmetic("*", "multiply"),
        BinaryFn::Div => arithmetic("/", "divide"),
        BinaryFn::Pow => wrapped(format!("power({x}, {y})"), dtype),
        BinaryFn::Min => format!("minimum({x}, {y})"),
        BinaryFn::Max => format!("maximum({x}, {y})"),
        BinaryFn::Mod => wrapped(format!("modulo({x}, {y})"), dtype),
        BinaryFn::Rem => wrapped(format!("truncated_remainder({x}, {y})"), dtype),
        BinaryFn::And => format!("{x} && {y}"),
        BinaryFn::Or => format!("{x} || {y}"),
        BinaryFn::Xor => format!("{x} != {y}"),
        BinaryFn::BitAnd => format!("{x} & {y}"),
        BinaryFn::BitOr => format!("{x} | {y}"),
        BinaryFn::BitXor => format!("{x} ^ {y}"),
        BinaryFn::Shl => wrapped(format!("shift_left({x}, {y}, {bits}u)"), dtype),
        BinaryFn::Shr => wrapped(format!("shift_right({x}, {y}, {bits}u)"), dtype),
        BinaryFn::Eq => format!("{x} == {y}"),
        BinaryFn::Lt => format!("{x} < {y}"),
        BinaryFn::Le => format!("{x} <= {y}"),
    }
}

/// A computed element of one type converted to another.
pub(super) fn convert(x: &str, from: DType, to: DType) -> String {
    if to == DType::F16 || to == DType::BF16 {
        let round = if to == DType::F16 {
            "round_f16"
        } else {
            "round_bf16"
        };
        return match from {
            DType::F64 => format!("{round}({x})"),
            DType::Bool => format!("(float){x}"),
            _ => format!("{round}((float){x})"),
        };
    }
    match to {
        _ if from == to => x.to_owned(),
        DType::Bool => format!("{x} != 0"),
        DType::U64 if from.is_float() => format!("truncate_u64({x})"),
        _ if to.is_integer() && from.is_float() => format!("({})truncate_i64({x})", c_type(to)),
        _ => format!("({}){x}", c_type(to)),
    }
}

/// The least number of a type that has an order; of floats minus infinity.
pub(super) fn least(dtype: DType) -> String {
    match dtype {
        DType::I8 => constant(Scalar::Int(i8::MIN.into()), dtype),
        DType::I16 => constant(Scalar::Int(i16::MIN.into()), dtype),
        DType::I32 => constant(Scalar::Int(i32::MIN.into()), dtype),
        DType::I64 => constant(Scalar::Int(i64::MIN), dtype),
        _ if dtype.is_float() => constant(Scalar::Float(f64::NEG_INFINITY), dtype),
        _ => constant(Scalar::Int(0), dtype),
    }
}

/// The greatest number of a type that has an order; of floats infinity.
pub(super) fn greatest(dtype: DType) -> String {
    match dtype {
        DType::I8 => constant(Scalar::Int(i8::MAX.into()), dtype),
        DType::I16 => constant(Scalar::Int(i16::MAX.into()), dtype),
        DType::I32 => constant(Scalar::Int(i32::MAX.into()), dtype),
        DType::I64 => constant(Scalar::Int(i64::MAX), dtype),
        _ if dtype.is_float() => constant(Scalar::Float(f64::INFINITY), dtype),
        _ => constant(Scalar::Int(-1), dtype),
    }
}
