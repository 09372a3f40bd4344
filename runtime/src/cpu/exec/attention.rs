//! Attention, by the fused kernel of the mathematics where it is f32, plainly elsewhere.

use super::access;
use super::error::Unsupported;
use super::geometry::{Walk, bump_size, dims};
use super::program::Lane;
use super::{Cx, Execute, Fault, Needs};
use crate::cpu::attention as math;
use crate::cpu::attention::{AttentionShape, HeadOffsets};
use crate::cpu::gemm::MatrixStrides;
use crate::cpu::level::Level;
use plans::DType;
use plans::spec::{AttentionSpec, Operand};
use std::ptr::null;

/// The kernel of `spec`.
pub(crate) fn bind(
    spec: &AttentionSpec,
    level: Level,
    n_threads: usize,
) -> Result<Box<dyn Execute>, Unsupported> {
    let fused = [&spec.q, &spec.k, &spec.v, &spec.out].iter().all(|o| o.dtype == DType::F32)
        && spec.softcap.is_none()
        && spec.out.strides.last() == Some(&1)
        && spec.mask.as_ref().is_none_or(|m| matches!(m.dtype, DType::F32 | DType::Bool));
    if fused {
        return Ok(Box::new(Fused::new(spec, level, n_threads)));
    }
    let real = [&spec.q, &spec.k, &spec.v, &spec.out].iter().all(|o| o.dtype.is_float())
        && spec.mask.as_ref().is_none_or(|m| m.dtype.is_float() || m.dtype == DType::Bool);
    if !real {
        return Err(Unsupported(format!("attention of type {}", spec.q.dtype)));
    }
    Ok(Box::new(Plain::new(spec)))
}

/// Where each head's operands start: q, k, v, mask, out.
fn heads(spec: &AttentionSpec) -> Vec<[isize; 5]> {
    let rank = spec.batch.len();
    let zeros = vec![0; rank];
    let mask = spec.mask.as_ref().map_or(&zeros[..], |m| &m.strides[..rank]);
    let lists = [
        &spec.q.strides[..rank],
        &spec.k.strides[..rank],
        &spec.v.strides[..rank],
        mask,
        &spec.out.strides[..rank],
    ];
    let dims = dims(&spec.batch, &lists, |_| false);
    let (mut positions, mut offsets) = (vec![0; dims.len()], vec![0; 5]);
    let mut walk = Walk::new(&dims, 0, &mut positions, &mut offsets);
    let n: u64 = spec.batch.iter().product();
    let next = |_| {
        let head = [0, 1, 2, 3, 4].map(|i| walk.offsets[i]);
        walk.advance();
        head
    };
    (0..n).map(next).collect()
}

/// The strides of the last two dimensions.
fn matrix(operand: &Operand) -> MatrixStrides {
    match operand.strides[..] {
        [.., row, column] => MatrixStrides { row: row as isize, column: column as isize },
        _ => MatrixStrides { row: 0, column: 0 },
    }
}

struct Fused {
    attention: math::Attention,
    heads: Vec<HeadOffsets>,
    /// The mask's distinct elements, if they are bools that become 0 and minus infinity.
    flags: Option<Flags>,
    has_mask: bool,
    /// Where the converted mask lies in the shared region.
    at: usize,
    shared: usize,
}

/// A mask of bools over the dimensions along which it differs.
struct Flags {
    dims: Vec<super::geometry::Dim>,
    n: usize,
}

impl Fused {
    fn new(spec: &AttentionSpec, level: Level, n_threads: usize) -> Self {
        let mut heads = heads(spec);
        let mut mask = spec.mask.as_ref().map_or(MatrixStrides { row: 0, column: 0 }, matrix);
        let mut flags = None;
        if let Some(bools) = spec.mask.as_ref().filter(|m| m.dtype == DType::Bool) {
            let (dense, converted) = dense_mask(spec, bools);
            mask = matrix(&dense);
            let with_dense = AttentionSpec { mask: Some(dense), ..spec.clone() };
            heads = self::heads(&with_dense);
            flags = Some(converted);
        }
        let shape = AttentionShape {
            n_queries: spec.q_len as usize,
            n_keys: spec.kv_len as usize,
            depth: spec.qk_size as usize,
            value_depth: spec.v_size as usize,
            scale: spec.scale,
            causal: spec.causal.map(|c| c as isize),
            q: matrix(&spec.q),
            k: matrix(&spec.k),
            v: matrix(&spec.v),
            mask,
            o_row_stride: matrix(&spec.out).row as usize,
        };
        let attention = math::Attention::new(level, shape);
        let at = attention.scratch_bytes(n_threads).next_multiple_of(64);
        let shared = at + flags.as_ref().map_or(0, |f| bump_size(f.n * size_of::<f32>()));
        let heads = heads.into_iter().map(|[q, k, v, mask, o]| HeadOffsets { q, k, v, mask, o });
        Self {
            attention,
            heads: heads.collect(),
            flags,
            has_mask: spec.mask.is_some(),
            at,
            shared,
        }
    }
}

/// `mask` as an operand over its distinct elements, row-major, and how to visit them.
fn dense_mask(spec: &AttentionSpec, mask: &Operand) -> (Operand, Flags) {
    let domain: Vec<u64> = spec.batch.iter().copied().chain([spec.q_len, spec.kv_len]).collect();
    let mut strides = vec![0i64; domain.len()];
    let mut run = 1;
    for d in (0..domain.len()).rev() {
        if mask.strides[d] != 0 && domain[d] > 1 {
            strides[d] = run;
            run *= domain[d] as i64;
        }
    }
    let distinct: Vec<u64> =
        (0..domain.len()).map(|d| if strides[d] == 0 { 1 } else { domain[d] }).collect();
    let dims = dims(&distinct, &[&mask.strides], |_| false);
    let n = distinct.iter().product::<u64>() as usize;
    (Operand { dtype: DType::F32, strides }, Flags { dims, n })
}

/// The most dimensions of a mask.
const MAX_RANK: usize = 8;

impl Execute for Fused {
    fn needs(&self) -> Needs {
        Needs { shared: self.shared, worker: 0 }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let out = cx.args[if self.has_mask { 4 } else { 3 }];
        // SAFETY: the operands hold their reach at every head, as strides and offsets are the
        // spec's; the converted mask lies behind the kernel's scratch in the shared region.
        let done = unsafe {
            let mask: *const f32 = match (&self.flags, self.has_mask) {
                (Some(flags), _) => {
                    let to = cx.shared.add(self.at).cast::<f32>();
                    let (mut positions, mut offsets) = ([0; MAX_RANK], [0]);
                    let rank = flags.dims.len();
                    let mut walk = Walk::new(&flags.dims, 0, &mut positions[..rank], &mut offsets);
                    for i in 0..flags.n {
                        let seen = cx.args[3].offset(walk.offsets[0]).read() != 0;
                        to.add(i).write(if seen { 0.0 } else { f32::NEG_INFINITY });
                        walk.advance();
                    }
                    to
                }
                (None, true) => cx.args[3].cast(),
                (None, false) => null(),
            };
            let [q, k, v] = [0, 1, 2].map(|i| cx.args[i].cast::<f32>().cast_const());
            self.attention.run(cx.pool, &self.heads, q, k, v, mask, out.cast(), cx.shared)
        };
        if done.is_err() {
            cx.fault.raise(Fault::TaskPanicked);
        }
    }
}

/// Any floating-point type, one query after the other, in f64.
struct Plain {
    spec: AttentionSpec,
    heads: Vec<[isize; 5]>,
}

impl Plain {
    fn new(spec: &AttentionSpec) -> Self {
        Self { spec: spec.clone(), heads: heads(spec) }
    }

    /// One element of an operand as f64; bools are 0 and 1.
    ///
    /// # Safety
    /// The element can be read.
    unsafe fn get(&self, operand: &Operand, base: *const u8, at: isize) -> f64 {
        let mut lane = [0u64; 2];
        let to = lane.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller's promise; a lane has at most 16 bytes.
        unsafe {
            access::load_one(operand.dtype, base.offset(at * operand.dtype.size() as isize), to);
            match Lane::of(operand.dtype) {
                Lane::F32 => f64::from(to.cast::<f32>().read_unaligned()),
                Lane::F64 => to.cast::<f64>().read_unaligned(),
                _ => f64::from(to.read()),
            }
        }
    }

    /// # Safety
    /// As for [`Execute::run`]; scores hold a row.
    unsafe fn query(&self, cx: &Cx<'_>, head: [isize; 5], i: usize, scores: &mut [f64]) {
        let s = &self.spec;
        let at = |m: MatrixStrides, row: usize, column: usize| {
            row as isize * m.row + column as isize * m.column
        };
        let (q, k, v, out) = (matrix(&s.q), matrix(&s.k), matrix(&s.v), matrix(&s.out));
        let out_base = cx.args[if s.mask.is_some() { 4 } else { 3 }];
        // SAFETY: all offsets are those of elements of the operands.
        unsafe {
            for (j, score) in scores.iter_mut().enumerate() {
                let product: f64 = (0..s.qk_size as usize)
                    .map(|d| {
                        self.get(&s.q, cx.args[0], head[0] + at(q, i, d))
                            * self.get(&s.k, cx.args[1], head[1] + at(k, j, d))
                    })
                    .sum();
                *score = product * f64::from(s.scale);
                if let Some(cap) = s.softcap.map(f64::from) {
                    *score = cap * (*score / cap).tanh();
                }
                if let Some(mask) = &s.mask {
                    let m = self.get(mask, cx.args[3], head[3] + at(matrix(mask), i, j));
                    match mask.dtype {
                        DType::Bool if m == 0.0 => *score = f64::NEG_INFINITY,
                        DType::Bool => {}
                        _ => *score += m,
                    }
                }
                if s.causal.is_some_and(|c| j as i64 > i as i64 + c) {
                    *score = f64::NEG_INFINITY;
                }
            }
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
            for d in 0..s.v_size as usize {
                let mut y: f64 = 0.0;
                for (j, score) in scores.iter().enumerate() {
                    let factor = (score - max).exp() / sum;
                    y += factor * self.get(&s.v, cx.args[2], head[2] + at(v, j, d));
                }
                let mut lane = [0u64; 2];
                let from = lane.as_mut_ptr().cast::<u8>();
                match Lane::of(s.out.dtype) {
                    Lane::F32 => from.cast::<f32>().write_unaligned(y as f32),
                    _ => from.cast::<f64>().write_unaligned(y),
                }
                let one = access::Pattern { rows: 1, cols: 1, row_stride: 0, col_stride: 1 };
                let to = (head[4] + at(out, i, d)) * s.out.dtype.size() as isize;
                access::store(s.out.dtype, one, from, out_base.offset(to));
            }
        }
    }
}

impl Execute for Plain {
    fn needs(&self) -> Needs {
        Needs { shared: 0, worker: bump_size(self.spec.kv_len as usize * size_of::<f64>()) }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let n = self.heads.len() * self.spec.q_len as usize;
        cx.parallel(n, 1, &|range, memory| {
            for i in range {
                let (head, query) = (i / self.spec.q_len as usize, i % self.spec.q_len as usize);
                // SAFETY: the worker's memory holds a row of scores and is aligned; every query
                // writes its own row.
                unsafe {
                    let len = self.spec.kv_len as usize;
                    let scores = memory.cast::<f64>();
                    scores.write_bytes(0, len);
                    let scores = std::slice::from_raw_parts_mut(scores, len);
                    self.query(cx, self.heads[head], query, scores);
                }
            }
        });
    }
}
