//! Contents of weights: numbers of every element type, exactly; splats; generators.

use crate::dtype::Kind;
use crate::{DType, Tensor};
use half::{bf16, f16};
use std::fmt::Write;

/// A floating-point number so that parsing gives the same bits: shortest digits, NaN with its
/// bits unless they are the usual ones.
macro_rules! float_text {
    ($name:ident, $ty:ty, $bits:ty, $nan:expr) => {
        fn $name(v: $ty) -> String {
            if v.is_nan() && v.to_bits() != $nan {
                format!("nan({:#x})", v.to_bits())
            } else if v.is_nan() {
                "nan".into()
            } else {
                // The wider type's shortest digits read back to the same narrow number.
                format!("{v:?}")
            }
        }
    };
}
const NAN16: u16 = 0x7e00;
const NAN_BF16: u16 = 0x7fc0;
pub(super) const NAN32: u32 = 0x7fc0_0000;
const NAN64: u64 = 0x7ff8_0000_0000_0000;
float_text!(f32_text, f32, u32, NAN32);
float_text!(f64_text, f64, u64, NAN64);

/// A number as attributes and weights write it.
pub(super) fn float(v: f32) -> String {
    f32_text(v)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The element whose bytes these are.
pub(super) fn element(dtype: DType, b: &[u8]) -> String {
    match dtype {
        DType::Bool => match b[0] {
            0 => "false".into(),
            1 => "true".into(),
            other => format!("bool({other})"),
        },
        DType::I8 => i8::from_le_bytes(take(b, 0)).to_string(),
        DType::I16 => i16::from_le_bytes(take(b, 0)).to_string(),
        DType::I32 => i32::from_le_bytes(take(b, 0)).to_string(),
        DType::I64 => i64::from_le_bytes(take(b, 0)).to_string(),
        DType::U8 => b[0].to_string(),
        DType::U16 => u16::from_le_bytes(take(b, 0)).to_string(),
        DType::U32 => u32::from_le_bytes(take(b, 0)).to_string(),
        DType::U64 => u64::from_le_bytes(take(b, 0)).to_string(),
        DType::F16 => match f16::from_le_bytes(take(b, 0)) {
            v if v.is_nan() && v.to_bits() != NAN16 => format!("nan({:#x})", v.to_bits()),
            v if v.is_nan() => "nan".into(),
            v => f32_text(v.to_f32()),
        },
        DType::BF16 => match bf16::from_le_bytes(take(b, 0)) {
            v if v.is_nan() && v.to_bits() != NAN_BF16 => format!("nan({:#x})", v.to_bits()),
            v if v.is_nan() => "nan".into(),
            v => f32_text(v.to_f32()),
        },
        DType::F32 => f32_text(f32::from_le_bytes(take(b, 0))),
        DType::F64 => f64_text(f64::from_le_bytes(take(b, 0))),
        DType::C64 => format!(
            "({}, {})",
            f32_text(f32::from_le_bytes(take(b, 0))),
            f32_text(f32::from_le_bytes(take(b, 4)))
        ),
        DType::C128 => format!(
            "({}, {})",
            f64_text(f64::from_le_bytes(take(b, 0))),
            f64_text(f64::from_le_bytes(take(b, 8)))
        ),
    }
}

/// The content of `tensor` as the text form writes it; `None` if only its hash can be written.
pub(super) fn write(tensor: &Tensor) -> Option<String> {
    let size = tensor.dtype().size();
    let mut elements = tensor.bytes().chunks_exact(size);
    let n = tensor.n_elements();
    let first = tensor.bytes().get(..size);
    let splat = first.filter(|f| n > 4 && tensor.bytes().chunks_exact(size).all(|e| e == *f));
    if let Some(e) = splat {
        return Some(format!("splat {}", element(tensor.dtype(), e)));
    }
    if n > super::LITERAL_LIMIT {
        return None;
    }
    if tensor.dims().is_empty() {
        return elements.next().map(|e| element(tensor.dtype(), e));
    }
    let mut out = String::from("[");
    for (i, e) in elements.enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        let _ = write!(out, "{comma}{}", element(tensor.dtype(), e));
    }
    out.push(']');
    Some(out)
}

/// How a number is spelt in the text: one word, bits in parentheses, or two parts.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Literal<'a> {
    Word(&'a str),
    /// `nan(0x…)` or `bool(n)`: a word and the bits of the element.
    Bits(&'a str, &'a str),
    /// A complex number; each part is a word or bits.
    Pair(Box<[Literal<'a>; 2]>),
}

/// Appends the bytes of `literal` as a `dtype`; what was expected, if it is none.
pub(super) fn read(
    dtype: DType,
    literal: &Literal<'_>,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let part = match dtype {
        DType::C64 => Some(DType::F32),
        DType::C128 => Some(DType::F64),
        _ => None,
    };
    match (literal, part) {
        (Literal::Pair(parts), Some(part)) => parts.iter().try_for_each(|p| read(part, p, out)),
        (Literal::Pair(_), None) => Err("a number, not a pair"),
        (_, Some(_)) => Err("a complex number such as `(1.0, -2.0)`"),
        (Literal::Word(word), None) => read_word(dtype, word, out),
        (Literal::Bits(word, bits), None) => {
            let value = match bits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => bits.parse(),
            };
            let value = value.map_err(|_| "the bits of the number, such as `0x7fc00001`")?;
            read_bits(dtype, word, value, out)
        }
    }
}

fn read_word(dtype: DType, word: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    macro_rules! number {
        ($ty:ty, $expected:literal) => {{
            let v: $ty = word.parse().map_err(|_| $expected)?;
            out.extend_from_slice(&v.to_le_bytes());
        }};
    }
    macro_rules! float {
        ($nan:expr, $convert:expr, $wide:ty) => {{
            if word == "nan" {
                out.extend_from_slice(&$nan.to_le_bytes());
            } else {
                let v: $wide = word.parse().map_err(|_| "a number")?;
                out.extend_from_slice(&$convert(v).to_le_bytes());
            }
        }};
    }
    match dtype {
        DType::Bool => out.push(match word {
            "true" => 1,
            "false" => 0,
            _ => return Err("`true` or `false`"),
        }),
        DType::I8 => number!(i8, "an integer of 8 bits"),
        DType::I16 => number!(i16, "an integer of 16 bits"),
        DType::I32 => number!(i32, "an integer of 32 bits"),
        DType::I64 => number!(i64, "an integer of 64 bits"),
        DType::U8 => number!(u8, "an unsigned integer of 8 bits"),
        DType::U16 => number!(u16, "an unsigned integer of 16 bits"),
        DType::U32 => number!(u32, "an unsigned integer of 32 bits"),
        DType::U64 => number!(u64, "an unsigned integer of 64 bits"),
        DType::F16 => float!(NAN16, f16::from_f32, f32),
        DType::BF16 => float!(NAN_BF16, bf16::from_f32, f32),
        DType::F32 => float!(NAN32, std::convert::identity::<f32>, f32),
        DType::F64 => float!(NAN64, std::convert::identity::<f64>, f64),
        DType::C64 | DType::C128 => return Err("a complex number such as `(1.0, -2.0)`"),
    }
    Ok(())
}

fn read_bits(dtype: DType, word: &str, bits: u64, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let fits = dtype.size() >= 8 || bits >> (8 * dtype.size()) == 0;
    let expected = match dtype.kind() {
        Kind::Float => "nan",
        Kind::Bool => "bool",
        _ => return Err("a number"),
    };
    if word != expected || !fits {
        return Err("`nan(…)` with the bits of the number");
    }
    out.extend_from_slice(&bits.to_le_bytes()[..dtype.size()]);
    Ok(())
}

/// Seeded numbers, the same on every machine: SplitMix64 (Steele, Lea and Flood, 2014).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Near enough a standard normal number, by exact arithmetic: twelve uniform ones less 6.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A tensor of seeded numbers: normal ones, integers of 0 to 9, coin flips. Complex types have none.
pub(super) fn random(dtype: DType, dims: &[usize], seed: u64) -> Option<Tensor> {
    let mut source = Seeded(seed);
    let n = dims.iter().product();
    Some(match dtype.kind() {
        Kind::Complex => return None,
        Kind::Float => {
            let values: Vec<f64> = (0..n).map(|_| source.normal()).collect();
            Tensor::from_f64(dtype, dims, &values)
        }
        Kind::Bool => {
            let values: Vec<i64> = (0..n).map(|_| (source.next() >> 63) as i64).collect();
            Tensor::from_i64(dtype, dims, &values)
        }
        Kind::Signed | Kind::Unsigned => {
            let values: Vec<i64> = (0..n).map(|_| (source.next() % 10) as i64).collect();
            Tensor::from_i64(dtype, dims, &values)
        }
    })
}

/// A tensor of seeded numbers in `low..high`. Complex types have none.
pub(super) fn uniform(
    dtype: DType,
    dims: &[usize],
    seed: u64,
    low: f64,
    high: f64,
) -> Option<Tensor> {
    let mut source = Seeded(seed);
    let n: usize = dims.iter().product();
    let values: Vec<f64> = (0..n).map(|_| low + (high - low) * source.unit()).collect();
    (dtype.kind() != Kind::Complex).then(|| Tensor::from_f64(dtype, dims, &values))
}
