//! The steps of a program over one block.
//!
//! Loops read a chunk, compute it and write it, so that a result may overwrite its operand, and
//! are written for the compiler to turn a chunk into a few vector instructions.

use super::functions;
use super::per_level::for_each_level;
use super::program::{CHUNK, Code, Frame, Lane, Op, wrap};
use crate::cpu::level::Level;
use plans::DType;
use plans::tape::{BinaryFn, UnaryFn};

/// An operand: a block of lanes, or one chunk that stands for all.
#[derive(Clone, Copy)]
struct Operand {
    at: *const u8,
    /// Lanes from one chunk to the next.
    step: usize,
}

#[inline(always)]
unsafe fn read<T: Copy>(x: Operand, chunk: usize) -> [T; CHUNK] {
    // SAFETY: the caller asks for a chunk of the operand.
    unsafe {
        x.at.cast::<T>()
            .add(chunk * x.step)
            .cast::<[T; CHUNK]>()
            .read_unaligned()
    }
}

#[inline(always)]
unsafe fn write<T: Copy>(r: *mut u8, chunk: usize, lanes: [T; CHUNK]) {
    // SAFETY: the caller asks for a chunk of the result.
    unsafe {
        r.cast::<T>()
            .add(chunk * CHUNK)
            .cast::<[T; CHUNK]>()
            .write_unaligned(lanes);
    }
}

#[inline(always)]
unsafe fn map1<A: Copy, R: Copy + Default>(
    n: usize,
    a: Operand,
    r: *mut u8,
    f: impl Fn(A) -> R + Copy,
) {
    for i in 0..n {
        // SAFETY: operands and result have `n` chunks.
        unsafe {
            let x = read::<A>(a, i);
            let mut y = [R::default(); CHUNK];
            for j in 0..CHUNK {
                y[j] = f(x[j]);
            }
            write(r, i, y);
        }
    }
}

#[inline(always)]
unsafe fn map2<A: Copy, R: Copy + Default>(
    n: usize,
    a: Operand,
    b: Operand,
    r: *mut u8,
    f: impl Fn(A, A) -> R + Copy,
) {
    for i in 0..n {
        // SAFETY: operands and result have `n` chunks.
        unsafe {
            let x = read::<A>(a, i);
            let y = read::<A>(b, i);
            let mut z = [R::default(); CHUNK];
            for j in 0..CHUNK {
                z[j] = f(x[j], y[j]);
            }
            write(r, i, z);
        }
    }
}

#[inline(always)]
unsafe fn select<T: Copy + Default>(n: usize, c: Operand, a: Operand, b: Operand, r: *mut u8) {
    for i in 0..n {
        // SAFETY: operands and result have `n` chunks.
        unsafe {
            let condition = read::<u8>(c, i);
            let x = read::<T>(a, i);
            let y = read::<T>(b, i);
            let mut z = [T::default(); CHUNK];
            for j in 0..CHUNK {
                z[j] = if condition[j] != 0 { x[j] } else { y[j] };
            }
            write(r, i, z);
        }
    }
}

for_each_level! {
    /// Runs all steps over `n_chunks` chunks.
    ///
    /// # Safety
    /// The frame was made for its program, every register that was pointed out of the frame has
    /// `n_chunks` chunks there, `n_chunks * CHUNK <= program.block`, and `own` is the level.
    unsafe fn run(frame: &Frame<'_>, n_chunks: usize, own: Level) {
        let program = frame.program;
        let pointers = frame.pointers();
        for op in &program.ops {
            let operand = |reg: u16| {
                let uniform = program.registers[usize::from(reg)].uniform;
                Operand {
                    // SAFETY: there is a pointer for every register.
                    at: unsafe { *pointers.add(usize::from(reg)) },
                    step: if uniform { 0 } else { CHUNK },
                }
            };
            let n = if op.uniform { 1 } else { n_chunks };
            // SAFETY: as above; operands hold lanes of the operation's type and, like the result,
            // `n` chunks (or one, read with step 0).
            unsafe {
                let r = *pointers.add(usize::from(op.dst));
                match op.code {
                    Code::Unary(f, a) => unary(own, f, op, n, operand(a), r),
                    Code::Binary(f, a, b) => binary(f, op, n, operand(a), operand(b), r),
                    Code::Select(c, a, b) => {
                        let (c, a, b) = (operand(c), operand(a), operand(b));
                        match op.lane {
                            Lane::Bool => select::<u8>(n, c, a, b, r),
                            Lane::F32 => select::<u32>(n, c, a, b, r),
                            Lane::I64 | Lane::F64 => select::<u64>(n, c, a, b, r),
                            Lane::Wide => select::<[u64; 2]>(n, c, a, b, r),
                        }
                    }
                    Code::Convert(a) => convert(op, n, operand(a), r),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn unary(level: Level, f: UnaryFn, op: &Op, n: usize, a: Operand, r: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match op.lane {
            Lane::F32 => unary_f32(level, f, n, a, r),
            Lane::F64 => match f {
                UnaryFn::IsNan => map1::<f64, u8>(n, a, r, |x| u8::from(x.is_nan())),
                UnaryFn::IsInf => map1::<f64, u8>(n, a, r, |x| u8::from(x.is_infinite())),
                _ => map1::<f64, f64>(n, a, r, |x| functions::unary_f64(f, x)),
            },
            Lane::Bool => match f {
                UnaryFn::Not | UnaryFn::BitNot => map1::<u8, u8>(n, a, r, |x| x ^ 1),
                UnaryFn::IsNan | UnaryFn::IsInf => map1::<u8, u8>(n, a, r, |_| 0),
                _ => map1::<u8, u8>(n, a, r, |x| x),
            },
            Lane::I64 => unary_i64(f, op.to, n, a, r),
            Lane::Wide => {}
        }
    }
}

#[inline(always)]
unsafe fn unary_f32(level: Level, f: UnaryFn, n: usize, a: Operand, r: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match f {
            UnaryFn::Neg => map1::<f32, f32>(n, a, r, |x| -x),
            UnaryFn::Abs => map1::<f32, f32>(n, a, r, f32::abs),
            UnaryFn::Sign => map1::<f32, f32>(n, a, r, |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            }),
            UnaryFn::Floor => map1::<f32, f32>(n, a, r, f32::floor),
            UnaryFn::Ceil => map1::<f32, f32>(n, a, r, f32::ceil),
            UnaryFn::Round => map1::<f32, f32>(n, a, r, f32::round_ties_even),
            UnaryFn::Sqrt => map1::<f32, f32>(n, a, r, f32::sqrt),
            UnaryFn::Reciprocal => map1::<f32, f32>(n, a, r, |x| 1.0 / x),
            UnaryFn::IsNan => map1::<f32, u8>(n, a, r, |x| u8::from(x.is_nan())),
            UnaryFn::IsInf => map1::<f32, u8>(n, a, r, |x| u8::from(x.is_infinite())),
            // Either operand and result have `n` chunks, or both have one.
            _ if a.step != 0 || n == 1 => {
                functions::unary_f32(level, f, a.at.cast(), r.cast(), n * CHUNK);
            }
            _ => {
                map1::<f32, f32>(n, a, r, |x| x);
                functions::unary_f32(level, f, r.cast(), r.cast(), n * CHUNK);
            }
        }
    }
}

#[inline(always)]
unsafe fn unary_i64(f: UnaryFn, dtype: DType, n: usize, a: Operand, r: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match f {
            UnaryFn::IsNan | UnaryFn::IsInf => map1::<i64, u8>(n, a, r, |_| 0),
            UnaryFn::Neg => map1::<i64, i64>(n, a, r, i64::wrapping_neg),
            UnaryFn::Abs | UnaryFn::Sign if dtype == DType::U64 => {
                let sign = f == UnaryFn::Sign;
                map1::<i64, i64>(n, a, r, |x| if sign { i64::from(x != 0) } else { x });
            }
            UnaryFn::Abs => map1::<i64, i64>(n, a, r, i64::wrapping_abs),
            UnaryFn::Sign => map1::<i64, i64>(n, a, r, i64::signum),
            UnaryFn::BitNot => map1::<i64, i64>(n, a, r, |x| !x),
            UnaryFn::Not => map1::<i64, i64>(n, a, r, |x| i64::from(x == 0)),
            UnaryFn::Floor | UnaryFn::Ceil | UnaryFn::Round => map1::<i64, i64>(n, a, r, |x| x),
            _ => map1::<i64, i64>(n, a, r, |x| {
                let x = if dtype == DType::U64 {
                    x as u64 as f64
                } else {
                    x as f64
                };
                functions::unary_f64(f, x) as i64
            }),
        }
        if !matches!(f, UnaryFn::IsNan | UnaryFn::IsInf) {
            wrap_all(dtype, n, r);
        }
    }
}

/// Wraps `n` chunks to the integer type in place.
#[inline(always)]
unsafe fn wrap_all(dtype: DType, n: usize, r: *mut u8) {
    let all = Operand { at: r, step: CHUNK };
    let bits = 64 - 8 * dtype.size() as u32;
    if bits == 0 {
        return;
    }
    // SAFETY: the caller's promise is handed on.
    unsafe {
        if matches!(dtype, DType::U8 | DType::U16 | DType::U32) {
            map1::<u64, u64>(n, all, r, |x| (x << bits) >> bits);
        } else {
            map1::<i64, i64>(n, all, r, |x| (x << bits) >> bits);
        }
    }
}

#[inline(always)]
unsafe fn binary(f: BinaryFn, op: &Op, n: usize, a: Operand, b: Operand, r: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match op.lane {
            Lane::F32 => binary_f32(f, n, a, b, r),
            Lane::F64 => match f {
                BinaryFn::Eq => map2::<f64, u8>(n, a, b, r, |x, y| u8::from(x == y)),
                BinaryFn::Lt => map2::<f64, u8>(n, a, b, r, |x, y| u8::from(x < y)),
                BinaryFn::Le => map2::<f64, u8>(n, a, b, r, |x, y| u8::from(x <= y)),
                _ => map2::<f64, f64>(n, a, b, r, |x, y| functions::binary_f64(f, x, y)),
            },
            Lane::Bool => match f {
                BinaryFn::And | BinaryFn::BitAnd | BinaryFn::Min | BinaryFn::Mul => {
                    map2::<u8, u8>(n, a, b, r, |x, y| x & y);
                }
                BinaryFn::Or | BinaryFn::BitOr | BinaryFn::Max | BinaryFn::Add => {
                    map2::<u8, u8>(n, a, b, r, |x, y| x | y);
                }
                BinaryFn::Xor | BinaryFn::BitXor | BinaryFn::Sub => {
                    map2::<u8, u8>(n, a, b, r, |x, y| x ^ y);
                }
                BinaryFn::Eq => map2::<u8, u8>(n, a, b, r, |x, y| u8::from(x == y)),
                BinaryFn::Lt => map2::<u8, u8>(n, a, b, r, |x, y| u8::from(x < y)),
                BinaryFn::Le => map2::<u8, u8>(n, a, b, r, |x, y| u8::from(x <= y)),
                _ => map2::<u8, u8>(n, a, b, r, |x, y| {
                    functions::binary_i64(f, x.into(), y.into(), DType::Bool) as u8 & 1
                }),
            },
            Lane::I64 => binary_i64(f, op.from, n, a, b, r),
            Lane::Wide => {}
        }
    }
}

#[inline(always)]
unsafe fn binary_f32(f: BinaryFn, n: usize, a: Operand, b: Operand, r: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match f {
            BinaryFn::Add => map2::<f32, f32>(n, a, b, r, |x, y| x + y),
            BinaryFn::Sub => map2::<f32, f32>(n, a, b, r, |x, y| x - y),
            BinaryFn::Mul => map2::<f32, f32>(n, a, b, r, |x, y| x * y),
            BinaryFn::Div => map2::<f32, f32>(n, a, b, r, |x, y| x / y),
            BinaryFn::Min => map2::<f32, f32>(n, a, b, r, functions::min_f32),
            BinaryFn::Max => map2::<f32, f32>(n, a, b, r, functions::max_f32),
            BinaryFn::Pow if b.step == 0 => {
                let exponent = read::<f32>(b, 0)[0];
                if exponent == 3.0 {
                    map1::<f32, f32>(n, a, r, |x| x * x * x);
                } else if exponent == 0.5 {
                    map1::<f32, f32>(n, a, r, functions::root);
                } else if exponent == -0.5 {
                    map1::<f32, f32>(n, a, r, |x| 1.0 / functions::root(x));
                } else {
                    map1::<f32, f32>(n, a, r, |x| x.powf(exponent));
                }
            }
            BinaryFn::Eq => map2::<f32, u8>(n, a, b, r, |x, y| u8::from(x == y)),
            BinaryFn::Lt => map2::<f32, u8>(n, a, b, r, |x, y| u8::from(x < y)),
            BinaryFn::Le => map2::<f32, u8>(n, a, b, r, |x, y| u8::from(x <= y)),
            _ => map2::<f32, f32>(n, a, b, r, |x, y| functions::binary_f32(f, x, y)),
        }
    }
}

#[inline(always)]
unsafe fn binary_i64(f: BinaryFn, dtype: DType, n: usize, a: Operand, b: Operand, r: *mut u8) {
    let unsigned = dtype == DType::U64;
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match f {
            BinaryFn::Add => map2::<i64, i64>(n, a, b, r, i64::wrapping_add),
            BinaryFn::Sub => map2::<i64, i64>(n, a, b, r, i64::wrapping_sub),
            BinaryFn::Mul => map2::<i64, i64>(n, a, b, r, i64::wrapping_mul),
            BinaryFn::BitAnd => map2::<i64, i64>(n, a, b, r, |x, y| x & y),
            BinaryFn::BitOr => map2::<i64, i64>(n, a, b, r, |x, y| x | y),
            BinaryFn::BitXor => map2::<i64, i64>(n, a, b, r, |x, y| x ^ y),
            BinaryFn::Eq => map2::<i64, u8>(n, a, b, r, |x, y| u8::from(x == y)),
            BinaryFn::Lt if unsigned => map2::<u64, u8>(n, a, b, r, |x, y| u8::from(x < y)),
            BinaryFn::Le if unsigned => map2::<u64, u8>(n, a, b, r, |x, y| u8::from(x <= y)),
            BinaryFn::Lt => map2::<i64, u8>(n, a, b, r, |x, y| u8::from(x < y)),
            BinaryFn::Le => map2::<i64, u8>(n, a, b, r, |x, y| u8::from(x <= y)),
            _ => map2::<i64, i64>(n, a, b, r, |x, y| functions::binary_i64(f, x, y, dtype)),
        }
        if !matches!(f, BinaryFn::Eq | BinaryFn::Lt | BinaryFn::Le) {
            wrap_all(dtype, n, r);
        }
    }
}

#[inline(always)]
unsafe fn convert(op: &Op, n: usize, a: Operand, r: *mut u8) {
    let (from, to) = (op.from, op.to);
    let unsigned = from == DType::U64;
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match (op.lane, Lane::of(to)) {
            (Lane::Wide, _) | (_, Lane::Wide) => map1::<[u64; 2], [u64; 2]>(n, a, r, |x| x),
            (Lane::Bool, Lane::Bool) => map1::<u8, u8>(n, a, r, |x| x),
            (Lane::Bool, Lane::F32) => map1::<u8, f32>(n, a, r, f32::from),
            (Lane::Bool, Lane::F64) => map1::<u8, f64>(n, a, r, f64::from),
            (Lane::Bool, Lane::I64) => map1::<u8, i64>(n, a, r, i64::from),
            (Lane::F32, Lane::Bool) => map1::<f32, u8>(n, a, r, |x| u8::from(x != 0.0)),
            (Lane::F64, Lane::Bool) => map1::<f64, u8>(n, a, r, |x| u8::from(x != 0.0)),
            (Lane::I64, Lane::Bool) => map1::<i64, u8>(n, a, r, |x| u8::from(x != 0)),
            (Lane::F32, Lane::F32) => map1::<f32, f32>(n, a, r, |x| x),
            (Lane::F32, Lane::F64) => map1::<f32, f64>(n, a, r, f64::from),
            (Lane::F64, Lane::F64) => map1::<f64, f64>(n, a, r, |x| x),
            (Lane::F64, Lane::F32) => map1::<f64, f32>(n, a, r, |x| match to {
                DType::F16 => half::f16::from_f64(x).to_f32(),
                DType::BF16 => half::bf16::from_f64(x).to_f32(),
                _ => x as f32,
            }),
            (Lane::F32, Lane::I64) => {
                map1::<f32, i64>(n, a, r, |x| functions::truncate(x.into(), to));
            }
            (Lane::F64, Lane::I64) => map1::<f64, i64>(n, a, r, |x| functions::truncate(x, to)),
            (Lane::I64, Lane::F32) if unsigned => map1::<u64, f32>(n, a, r, |x| x as f32),
            (Lane::I64, Lane::F64) if unsigned => map1::<u64, f64>(n, a, r, |x| x as f64),
            (Lane::I64, Lane::F32) => map1::<i64, f32>(n, a, r, |x| x as f32),
            (Lane::I64, Lane::F64) => map1::<i64, f64>(n, a, r, |x| x as f64),
            (Lane::I64, Lane::I64) => map1::<i64, i64>(n, a, r, |x| wrap(x, to)),
        }
        let all = Operand { at: r, step: CHUNK };
        match to {
            DType::F16 => {
                map1::<f32, f32>(n, all, r, |x| half::f16::from_f32(x).to_f32());
            }
            DType::BF16 => {
                map1::<f32, f32>(n, all, r, |x| half::bf16::from_f32(x).to_f32());
            }
            _ => {}
        }
    }
}
