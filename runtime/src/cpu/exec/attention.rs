//! Scaled dot-product attention: f32 by the attention library, other types row by row.

use super::error::{Fault, Unsupported};
use super::geometry::{Bump, bump_size};
use super::map::{Base, Bases, Map};
use super::real::{Real, is_single, load_row, store_row};
use super::{Cx, Execute, Needs};
use crate::cpu::attention as library;
use crate::cpu::gemm::MatrixStrides;
use crate::cpu::level::Level;
use plans::spec::{AttentionSpec, MapInput, MapSpec, Operand};
use plans::tape::{Reg, Scalar, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};

/// More heads than this are left to the plain loops: their offsets are stored.
const MAX_HEADS: usize = 1 << 20;

/// Products that a thread should have at least.
const GRAIN: usize = 1 << 15;

/// A prepared attention.
pub(crate) struct Attention {
    spec: AttentionSpec,
    fast: Option<Fast>,
    n_threads: usize,
}

struct Fast {
    attention: library::Attention,
    heads: Vec<library::HeadOffsets>,
    /// The mask as numbers to add: where it is, and what makes it of a mask of bools.
    mask: Option<Base>,
    masked: Option<Map>,
    mask_bytes: usize,
}

/// The offset of problem `i` by strides over the batch.
fn batch_offset(batch: &[u64], i: usize, strides: &[i64]) -> isize {
    let (mut rest, mut offset) = (i as u64, 0);
    for (&extent, &stride) in batch.iter().zip(strides).rev() {
        offset += (rest % extent) as i64 * stride;
        rest /= extent;
    }
    offset as isize
}

impl Attention {
    pub(crate) fn new(
        spec: &AttentionSpec,
        level: Level,
        n_threads: usize,
    ) -> Result<Self, Unsupported> {
        Ok(Self {
            fast: Fast::new(spec, level)?,
            spec: spec.clone(),
            n_threads,
        })
    }

    fn n_problems(&self) -> usize {
        self.spec.batch.iter().product::<u64>() as usize
    }

    fn out_arg(&self) -> usize {
        3 + usize::from(self.spec.mask.is_some())
    }

    /// Keys that a query may see.
    fn n_seen(&self, query: usize) -> usize {
        let all = self.spec.kv_len as i64;
        let seen = self
            .spec
            .causal
            .map_or(all, |shift| (query as i64 + shift + 1).clamp(0, all));
        seen as usize
    }

    /// Whether a mask hides all that a query may see.
    ///
    /// # Safety
    /// As [`Execute::run`]; there is such a problem and query.
    unsafe fn is_hidden(&self, cx: &Cx<'_>, problem: usize, query: usize) -> bool {
        let Some(mask) = &self.spec.mask else {
            return false;
        };
        let rank = self.spec.batch.len();
        let row = batch_offset(&self.spec.batch, problem, &mask.strides)
            + query as isize * mask.strides[rank] as isize;
        (0..self.n_seen(query) as isize).all(|key| {
            let offset = row + key * mask.strides[rank + 1] as isize;
            // SAFETY: the element is in the mask's reach; bools are bytes.
            unsafe {
                let at = cx.args[3].offset(offset * mask.dtype.size() as isize);
                match mask.dtype {
                    DType::Bool => *at == 0,
                    DType::F32 => *at.cast::<f32>() == f32::NEG_INFINITY,
                    DType::F64 => *at.cast::<f64>() == f64::NEG_INFINITY,
                    _ => {
                        let mut lane = 0f32;
                        load_row(mask.dtype, at, 1, 1, &raw mut lane);
                        lane == f32::NEG_INFINITY
                    }
                }
            }
        })
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn run_fast(&self, fast: &Fast, cx: &Cx<'_>) {
        let spec = &self.spec;
        let out = cx.args[self.out_arg()].cast::<f32>();
        // SAFETY: offsets and strides are those of the operands, whose reach arguments hold; the
        // shared region starts with the mask, and the library's scratch follows.
        unsafe {
            if let Some(masked) = &fast.masked {
                masked.run(cx);
            }
            let mask = fast.mask.map_or(std::ptr::null(), |base| {
                base.pointer(cx).cast_const().cast()
            });
            let [q, k, v] = [0, 1, 2].map(|n| cx.args[n].cast_const().cast::<f32>());
            let scratch = cx.shared.add(bump_size(fast.mask_bytes));
            let done = fast
                .attention
                .run(cx.pool, &fast.heads, q, k, v, mask, out, scratch);
            if done.is_err() {
                cx.fault.raise(Fault::TaskPanicked);
            }
            if spec.mask.is_none() {
                return;
            }
            for problem in 0..self.n_problems() {
                for query in 0..spec.q_len as usize {
                    if self.is_hidden(cx, problem, query) {
                        let rank = spec.batch.len();
                        let row = batch_offset(&spec.batch, problem, &spec.out.strides)
                            + query as isize * spec.out.strides[rank] as isize;
                        out.offset(row).write_bytes(0, spec.v_size as usize);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Execute::run`]; `T` is the lane of the operands.
    unsafe fn run_plain<T: Real>(&self, cx: &Cx<'_>) {
        let spec = &self.spec;
        let (n_keys, depth) = (spec.kv_len as usize, spec.qk_size as usize);
        let width = depth.max(spec.v_size as usize);
        let n_rows = self.n_problems() * spec.q_len as usize;
        let cost = (n_keys * width * 2).max(1);
        cx.parallel(n_rows, GRAIN.div_ceil(cost), &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
            let scores = bump.bytes(n_keys * 8).cast::<T>();
            let mask = bump.bytes(n_keys * 8);
            let [query, lanes, sums] = [(); 3].map(|()| bump.bytes(width * 8).cast::<T>());
            for row in range {
                let buffers = Buffers {
                    scores,
                    mask,
                    query,
                    lanes,
                    sums,
                };
                // SAFETY: rows are disjoint; buffers hold a row each.
                unsafe { self.row(cx, row, &buffers) };
            }
        });
    }

    /// # Safety
    /// As [`Execute::run`]; the buffers hold a row of keys or elements each.
    unsafe fn row<T: Real>(&self, cx: &Cx<'_>, row: usize, buffers: &Buffers<T>) {
        let spec = &self.spec;
        let (problem, query) = (row / spec.q_len as usize, row % spec.q_len as usize);
        let rank = spec.batch.len();
        let at = |arg: usize, o: &Operand, i: usize| {
            let offset = batch_offset(&spec.batch, problem, &o.strides)
                + i as isize * o.strides[rank] as isize;
            // SAFETY: the row is in the operand's reach.
            unsafe { cx.args[arg].offset(offset * o.dtype.size() as isize) }
        };
        let stride = |o: &Operand| o.strides[rank + 1] as isize;
        let (depth, v_size) = (spec.qk_size as usize, spec.v_size as usize);
        let n_seen = self.n_seen(query);
        // SAFETY: rows are in their operands' reach; buffers hold them.
        unsafe {
            load_row(
                spec.q.dtype,
                at(0, &spec.q, query),
                stride(&spec.q),
                depth,
                buffers.query,
            );
            for i in 0..v_size {
                buffers.sums.add(i).write(T::default());
            }
            let sums = std::slice::from_raw_parts_mut(buffers.sums, v_size);
            let hidden = self.is_hidden(cx, problem, query);
            let n_seen = if hidden { 0 } else { n_seen };
            for key in 0..n_seen {
                load_row(
                    spec.k.dtype,
                    at(1, &spec.k, key),
                    stride(&spec.k),
                    depth,
                    buffers.lanes,
                );
                let mut score = T::default();
                for i in 0..depth {
                    score += buffers.query.add(i).read() * buffers.lanes.add(i).read();
                }
                let mut score = score * T::of(spec.scale.into());
                if let Some(cap) = spec.softcap {
                    let cap = T::of(cap.into());
                    score = cap * (score / cap).apply(UnaryFn::Tanh);
                }
                buffers.scores.add(key).write(score);
            }
            let scores = std::slice::from_raw_parts_mut(buffers.scores, n_seen);
            if let Some(mask) = &spec.mask {
                self.add_mask(mask, at(3, mask, query), buffers.mask, scores);
            }
            let mut greatest = T::of(f64::NEG_INFINITY);
            for &score in &*scores {
                if score > greatest || score.wide().is_nan() {
                    greatest = score;
                }
            }
            let mut total = T::default();
            for score in &mut *scores {
                *score = (*score - greatest).apply(UnaryFn::Exp);
                total += *score;
            }
            for (key, &score) in scores.iter().enumerate() {
                load_row(
                    spec.v.dtype,
                    at(2, &spec.v, key),
                    stride(&spec.v),
                    v_size,
                    buffers.lanes,
                );
                let weight = score / total;
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += weight * buffers.lanes.add(i).read();
                }
            }
            let out = at(self.out_arg(), &spec.out, query);
            store_row(spec.out.dtype, buffers.sums, v_size, out, stride(&spec.out));
        }
    }

    /// # Safety
    /// A row of the mask starts at `at`; `buffer` holds one of 8 bytes an element.
    unsafe fn add_mask<T: Real>(
        &self,
        mask: &Operand,
        at: *const u8,
        buffer: *mut u8,
        scores: &mut [T],
    ) {
        let stride = mask.strides[self.spec.batch.len() + 1] as isize;
        for (key, score) in scores.iter_mut().enumerate() {
            // SAFETY: the element is in the mask's reach; the buffer holds a lane.
            unsafe {
                let at = at.offset(key as isize * stride * mask.dtype.size() as isize);
                if mask.dtype == DType::Bool {
                    if *at == 0 {
                        *score = T::of(f64::NEG_INFINITY);
                    }
                } else if is_single(mask.dtype) {
                    load_row(mask.dtype, at, 1, 1, buffer.cast::<f32>());
                    *score += T::of(buffer.cast::<f32>().read().into());
                } else {
                    load_row(mask.dtype, at, 1, 1, buffer.cast::<f64>());
                    *score += T::of(buffer.cast::<f64>().read());
                }
            }
        }
    }
}

struct Buffers<T> {
    scores: *mut T,
    mask: *mut u8,
    query: *mut T,
    lanes: *mut T,
    sums: *mut T,
}

impl Fast {
    /// By the library, if it has such attention.
    fn new(spec: &AttentionSpec, level: Level) -> Result<Option<Self>, Unsupported> {
        let rank = spec.batch.len();
        let n_problems = spec.batch.iter().product::<u64>();
        let is_f32 = spec.q.dtype == DType::F32
            && spec
                .mask
                .as_ref()
                .is_none_or(|m| matches!(m.dtype, DType::F32 | DType::Bool));
        let rows_follow = spec.out.strides[rank + 1] == 1 || spec.v_size == 1;
        let out_row = if spec.q_len == 1 {
            spec.v_size as i64
        } else {
            spec.out.strides[rank]
        };
        let sizes = [
            spec.q_len,
            spec.kv_len,
            spec.qk_size,
            spec.v_size,
            n_problems,
        ];
        if !is_f32
            || spec.softcap.is_some()
            || !rows_follow
            || out_row < spec.v_size as i64
            || sizes.contains(&0)
            || n_problems as usize > MAX_HEADS
        {
            return Ok(None);
        }
        let strides = |o: &Operand| MatrixStrides {
            row: o.strides[rank] as isize,
            column: o.strides[rank + 1] as isize,
        };
        let (mask, masked, mask_operand, mask_bytes) = match &spec.mask {
            None => (None, None, None, 0),
            Some(mask) if mask.dtype == DType::F32 => {
                (Some(Base::Arg(3)), None, Some(mask.clone()), 0)
            }
            Some(mask) => {
                let (map, operand, bytes) = additive_mask(spec, mask)?;
                (Some(Base::Shared(0)), Some(map), Some(operand), bytes)
            }
        };
        let shape = library::AttentionShape {
            n_queries: spec.q_len as usize,
            n_keys: spec.kv_len as usize,
            depth: spec.qk_size as usize,
            value_depth: spec.v_size as usize,
            scale: spec.scale,
            causal: spec.causal.map(|n| n as isize),
            q: strides(&spec.q),
            k: strides(&spec.k),
            v: strides(&spec.v),
            mask: mask_operand
                .as_ref()
                .map_or(MatrixStrides { row: 0, column: 0 }, strides),
            o_row_stride: out_row as usize,
        };
        let heads = (0..n_problems as usize)
            .map(|i| {
                let at = |o: &Operand| batch_offset(&spec.batch, i, &o.strides);
                library::HeadOffsets {
                    q: at(&spec.q),
                    k: at(&spec.k),
                    v: at(&spec.v),
                    mask: mask_operand.as_ref().map_or(0, at),
                    o: at(&spec.out),
                }
            })
            .collect();
        Ok(Some(Self {
            attention: library::Attention::new(level, shape),
            heads,
            mask,
            masked,
            mask_bytes,
        }))
    }
}

/// A mask of bools as one of numbers to add, at the start of the shared region: the map that makes
/// it, where its elements are, and its bytes.
fn additive_mask(
    spec: &AttentionSpec,
    mask: &Operand,
) -> Result<(Map, Operand, usize), Unsupported> {
    let all: Vec<u64> = spec
        .batch
        .iter()
        .copied()
        .chain([spec.q_len, spec.kv_len])
        .collect();
    // Dimensions along which the mask repeats stay as they are.
    let domain: Vec<u64> = all
        .iter()
        .zip(&mask.strides)
        .map(|(&n, &stride)| if stride == 0 { 1 } else { n })
        .collect();
    let (mut strides, mut dense, mut distance) = (vec![0; all.len()], vec![0; all.len()], 1u64);
    for d in (0..all.len()).rev() {
        dense[d] = distance as i64;
        strides[d] = if mask.strides[d] == 0 {
            0
        } else {
            distance as i64
        };
        distance = distance.saturating_mul(domain[d]);
    }
    let step = |op, dtype| TapeStep { op, dtype };
    let f32_operand = |strides| Operand {
        dtype: DType::F32,
        strides,
    };
    let map = MapSpec {
        domain,
        inputs: vec![MapInput::affine(mask.clone())],
        tape: Tape {
            steps: vec![
                step(TapeOp::Input(0), DType::Bool),
                step(TapeOp::Const(Scalar::Float(0.0)), DType::F32),
                step(TapeOp::Const(Scalar::Float(f64::NEG_INFINITY)), DType::F32),
                step(TapeOp::Select(Reg(0), Reg(1), Reg(2)), DType::F32),
            ],
            results: vec![Reg(3)],
        },
        outputs: vec![f32_operand(dense)],
    };
    let bases = Bases {
        inputs: vec![Base::Arg(3)],
        outputs: vec![Base::Shared(0)],
    };
    let map = Map::with_bases(&map, bases)?;
    let bytes = (distance as usize).saturating_mul(size_of::<f32>());
    Ok((map, f32_operand(strides), bytes))
}

impl Execute for Attention {
    fn implementation(&self) -> &'static str {
        if self.fast.is_some() {
            "fused"
        } else {
            "plain"
        }
    }

    fn needs(&self) -> Needs {
        let Some(fast) = &self.fast else {
            let spec = &self.spec;
            let width = spec.qk_size.max(spec.v_size) as usize;
            return Needs {
                shared: 0,
                worker: 2 * bump_size(spec.kv_len as usize * 8) + 3 * bump_size(width * 8),
            };
        };
        let scratch = fast.attention.scratch_bytes(self.n_threads);
        Needs {
            shared: bump_size(fast.mask_bytes).saturating_add(scratch),
            worker: 0,
        }
        .max(fast.masked.as_ref().map(Map::needs).unwrap_or_default())
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.fast {
                Some(fast) => self.run_fast(fast, cx),
                None if is_single(self.spec.q.dtype) => self.run_plain::<f32>(cx),
                None => self.run_plain::<f64>(cx),
            }
        }
    }
}
