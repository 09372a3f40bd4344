//! Element by element.

use super::super::Move;
use super::super::draft::{Draft, attrs};
use super::one_of;
use ir::{DType, ValueId};

/// One operator; what takes only positive numbers gets them.
pub(super) fn unary(d: &mut Draft, m: Move) -> Option<ValueId> {
    const OPS: [&str; 34] = [
        "Relu",
        "Sigmoid",
        "Tanh",
        "Erf",
        "Abs",
        "Neg",
        "Softplus",
        "Softsign",
        "HardSwish",
        "HardSigmoid",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Gelu",
        "Mish",
        "Exp",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Sin",
        "Cos",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Identity",
        "ThresholdedRelu",
        "Shrink",
        "Atan",
        "Sinh",
        "Asinh",
        "Cosh",
        "Swish",
    ];
    let mut x = d.pick(m.a)?;
    let op = one_of(&OPS, m.p[0]);
    if matches!(op, "Log" | "Sqrt" | "Reciprocal") {
        x = d.node("Abs", attrs! {}, &[x])?;
        let half = d.scalar(x, 0.5);
        x = d.node("Add", attrs! {}, &[x, half])?;
    }
    let attrs = match op {
        "LeakyRelu" => attrs! { alpha: f32::from(m.p[1]) / 256.0 },
        "Gelu" if m.p[1].is_multiple_of(2) => attrs! { approximate: "tanh" },
        _ => attrs! {},
    };
    let y = d.node(op, attrs, &[x])?;
    d.keep(y)
}

/// Two values of the pool, broadcast.
pub(super) fn binary(d: &mut Draft, m: Move) -> Option<ValueId> {
    const OPS: [&str; 9] = [
        "Add", "Sub", "Mul", "Max", "Min", "Div", "PRelu", "Mean", "Sum",
    ];
    let (a, mut b) = (d.pick(m.a)?, d.pick(m.b)?);
    let op = one_of(&OPS, m.p[0]);
    if op == "Div" {
        b = d.node("Abs", attrs! {}, &[b])?;
        let half = d.scalar(b, 0.5);
        b = d.node("Add", attrs! {}, &[half, b])?;
    }
    let y = d.node(op, attrs! {}, &[a, b])?;
    d.keep(y)
}

/// A value and a constant that broadcasts: one number, a channel's, a column's, all.
pub(super) fn with_weight(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let rank = dims.len();
    let shape = match m.p[0] % 6 {
        0 => vec![],
        1 => dims.last().map_or(vec![], |&n| vec![n]),
        2 if rank >= 2 => {
            let mut shape = vec![1; rank - 1];
            shape[0] = dims[1];
            shape
        }
        3 => dims
            .iter()
            .enumerate()
            .map(|(i, &n)| if m.p[1] >> i & 1 == 0 { 1 } else { n })
            .collect(),
        4 => vec![1; rank],
        _ => dims,
    };
    let (op, w) = match m.p[2] % 5 {
        0 => ("Add", d.weight(x, &shape)),
        1 => ("Sub", d.weight(x, &shape)),
        2 => ("Mul", d.weight(x, &shape)),
        3 => ("Div", d.positive(x, &shape)),
        _ => ("Max", d.weight(x, &shape)),
    };
    let swapped = m.p[3].is_multiple_of(3) && op != "Div";
    let operands = if swapped { [w, x] } else { [x, w] };
    let y = d.node(op, attrs! {}, &operands)?;
    d.keep(y)
}

/// Between two bounds.
pub(super) fn clip(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let low = -f64::from(m.p[0] % 8) / 4.0;
    let (low, high) = (
        d.scalar(x, low),
        d.scalar(x, low + f64::from(m.p[1]) / 64.0),
    );
    let operands = match m.p[2] % 3 {
        0 => [Some(x), Some(low), None],
        1 => [Some(x), None, Some(high)],
        _ => [Some(x), Some(low), Some(high)],
    };
    let y = d.nodes("Clip", attrs! {}, &operands, 1)?[0];
    d.keep(y)
}

/// One of two values, by a comparison.
pub(super) fn select(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (a, b) = (d.pick(m.a)?, d.pick(m.b)?);
    let bound = d.scalar(a, 0.3);
    let op = one_of(
        &["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"],
        m.p[0],
    );
    let condition = d.node(op, attrs! {}, &[a, bound])?;
    let operands = if m.p[1].is_multiple_of(2) {
        [condition, a, b]
    } else {
        [condition, b, a]
    };
    let y = d.node("Where", attrs! {}, &operands)?;
    d.keep(y)
}

/// Conditions joined, as numbers.
pub(super) fn logic(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (a, b) = (d.pick(m.a)?, d.pick(m.b)?);
    let bound = d.scalar(a, -0.2);
    let first = d.node("Greater", attrs! {}, &[a, bound])?;
    let bound = d.scalar(b, 0.4);
    let second = d.node("Less", attrs! {}, &[b, bound])?;
    let mut both = d.node(
        one_of(&["And", "Or", "Xor"], m.p[0]),
        attrs! {},
        &[first, second],
    )?;
    if m.p[1].is_multiple_of(2) {
        both = d.node("Not", attrs! {}, &[both])?;
    }
    let dtype = d.dtype(a);
    let y = d.node("Cast", attrs! { to: dtype }, &[both])?;
    d.keep(y)
}

/// The Gaussian error linear unit as exporters write it.
pub(super) fn gelu(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let (half, one) = (d.scalar(x, 0.5), d.scalar(x, 1.0));
    let inner = if m.p[0].is_multiple_of(2) {
        let root = d.scalar(x, std::f64::consts::SQRT_2);
        let scaled = d.node("Div", attrs! {}, &[x, root])?;
        d.node("Erf", attrs! {}, &[scaled])?
    } else {
        let (three, c) = (d.scalar(x, 3.0), d.scalar(x, 0.044715));
        let cube = d.node("Pow", attrs! {}, &[x, three])?;
        let cube = d.node("Mul", attrs! {}, &[cube, c])?;
        let sum = d.node("Add", attrs! {}, &[x, cube])?;
        let factor = d.scalar(x, (2.0 / std::f64::consts::PI).sqrt());
        let sum = d.node("Mul", attrs! {}, &[sum, factor])?;
        d.node("Tanh", attrs! {}, &[sum])?
    };
    let plus = d.node("Add", attrs! {}, &[inner, one])?;
    let y = if m.p[1].is_multiple_of(2) {
        let product = d.node("Mul", attrs! {}, &[x, plus])?;
        d.node("Mul", attrs! {}, &[product, half])?
    } else {
        let halved = d.node("Mul", attrs! {}, &[x, half])?;
        d.node("Mul", attrs! {}, &[halved, plus])?
    };
    d.keep(y)
}

/// A value times a gate of itself, as exporters write swish and hard swish.
pub(super) fn gate(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let y = match m.p[0] % 3 {
        0 => {
            let gate = d.node("Sigmoid", attrs! {}, &[x])?;
            d.node("Mul", attrs! {}, &[x, gate])?
        }
        1 => {
            let gate = d.node("HardSigmoid", attrs! { alpha: 1.0f32 / 6.0 }, &[x])?;
            d.node("Mul", attrs! {}, &[x, gate])?
        }
        _ => {
            let (three, zero, six) = (d.scalar(x, 3.0), d.scalar(x, 0.0), d.scalar(x, 6.0));
            let sum = d.node("Add", attrs! {}, &[x, three])?;
            let clipped = d.node("Clip", attrs! {}, &[sum, zero, six])?;
            let product = d.node("Mul", attrs! {}, &[x, clipped])?;
            d.node("Div", attrs! {}, &[product, six])?
        }
    };
    d.keep(y)
}

/// To another type; later moves go on in it.
pub(super) fn cast(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let types = [
        DType::F32,
        DType::F32,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::I32,
    ];
    let to = one_of(&types, m.p[0]);
    let y = d.node("Cast", attrs! { to: to }, &[x])?;
    d.keep(y)
}

/// Arithmetic of whole numbers, and back.
pub(super) fn integers(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dtype = d.dtype(x);
    let to = one_of(
        &[DType::I64, DType::I32, DType::I16, DType::I8, DType::U8],
        m.p[0],
    );
    let four = d.scalar(x, 4.0);
    let scaled = d.node("Mul", attrs! {}, &[x, four])?;
    let scaled = d.node("Abs", attrs! {}, &[scaled])?;
    let whole = d.node("Cast", attrs! { to: to }, &[scaled])?;
    let three = d.scalar(whole, 3.0);
    let op = one_of(
        &["Mod", "Mul", "Add", "Div", "Max", "Sub", "BitwiseAnd"],
        m.p[1],
    );
    let y = d.node(op, attrs! {}, &[whole, three])?;
    let y = d.node("Cast", attrs! { to: dtype }, &[y])?;
    d.keep(y)
}
