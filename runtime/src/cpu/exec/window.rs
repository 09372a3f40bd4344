//! Folds over sliding windows.
//!
//! A row of outputs is folded at once, tap by tap. Lanes are the positions of the row or, where
//! channels are neighbours in memory, all channels of each position.

use super::access::{self, Pattern};
use super::contract::{epilogue_map, input_strides, sums_operand, three};
use super::error::{Fault, Unsupported};
use super::functions::{max_f32, wrap_lane};
use super::geometry::{Bump, bump_size};
use super::map::{Base, Bases, Map};
use super::program::{Lane, is_native};
use super::taps::{Meeting, Taps};
use super::{Cx, Execute, Needs};
use crate::cpu::level::Level;
use crate::cpu::pooling::{Pooling, PoolingKind, PoolingShape};
use plans::DType;
use plans::spec::{MapInput, MapSpec, Operand, WindowFold, WindowSpec};

/// Taps times outputs that a thread should have at least.
const GRAIN: usize = 1 << 15;

/// The position of the maximum of no elements.
const NONE: i64 = -1;

/// Numbers that are folded.
trait Number: Copy + PartialOrd + Send + Sync {
    const ZERO: Self;
    fn greater(self, other: Self) -> Self;
    fn product_added(self, a: Self, b: Self) -> Self;
    fn sum(self, other: Self) -> Self;
    fn divided(self, n: f64) -> Self;
    fn is_nan(self) -> bool;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        max_f32(self, other)
    }
    #[inline(always)]
    fn product_added(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    #[inline(always)]
    fn sum(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn divided(self, n: f64) -> Self {
        self / n as f32
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    fn greater(self, other: Self) -> Self {
        if self > other || f64::is_nan(self) {
            self
        } else {
            other
        }
    }
    fn product_added(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    fn sum(self, other: Self) -> Self {
        self + other
    }
    fn divided(self, n: f64) -> Self {
        self / n
    }
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

impl Number for i64 {
    const ZERO: Self = 0;
    fn greater(self, other: Self) -> Self {
        self.max(other)
    }
    fn product_added(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
    fn sum(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn divided(self, n: f64) -> Self {
        // Averages are of floating-point numbers only.
        (self as f64 / n) as i64
    }
    fn is_nan(self) -> bool {
        false
    }
}

impl Number for u64 {
    const ZERO: Self = 0;
    fn greater(self, other: Self) -> Self {
        self.max(other)
    }
    fn product_added(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
    fn sum(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn divided(self, n: f64) -> Self {
        (self as f64 / n) as u64
    }
    fn is_nan(self) -> bool {
        false
    }
}

/// What is folded, and by what.
enum Kind {
    Max,
    Sum,
    Average { pads_end: Option<Vec<i64>> },
}

/// Who folds.
#[allow(
    clippy::large_enum_variant,
    reason = "one of them is bound a kernel, and never moved"
)]
enum Method {
    /// The pooling library, into an output of the step or the shared region.
    Library { pooling: Pooling, to: Base },
    /// This file.
    Plain,
}

/// A prepared window.
pub(crate) struct Window {
    method: Method,
    taps: Taps,
    batch: usize,
    channels: usize,
    kind: Kind,
    /// The type that is folded, and that of its memory.
    folded: DType,
    /// What x goes through first, and where it then lies in the shared region.
    prologue: Option<Map>,
    x: Strides,
    x_base: Base,
    weight: Option<Strides>,
    /// The results, at the start of the shared region.
    results: Strides,
    epilogue: Option<Map>,
    /// The argument that takes positions of maxima, its strides, those of the positions.
    indices: Option<(usize, Strides, Strides)>,
    lanes_are_channels: bool,
    shared_bytes: usize,
}

/// Strides over batch, channel (for the weight: channel only) and positions or taps.
struct Strides {
    dtype: DType,
    batch: isize,
    channel: isize,
    positions: Vec<isize>,
}

impl Strides {
    fn new(o: &Operand, n_outer: usize) -> Self {
        let s: Vec<isize> = o.strides.iter().map(|&s| s as isize).collect();
        Self {
            dtype: o.dtype,
            batch: if n_outer == 2 { s[0] } else { 0 },
            channel: s[n_outer - 1],
            positions: s[n_outer..].to_vec(),
        }
    }
}

impl Window {
    pub(crate) fn new(spec: &WindowSpec, level: Level) -> Result<Self, Unsupported> {
        let domain = spec.domain();
        let result = spec.prologue.results[0];
        let folded = spec.prologue.steps[usize::from(result.0)].dtype;
        let (results, results_bytes) = sums_operand(folded, &domain, &spec.epilogue);
        let mut shared_bytes = bump_size(results_bytes);
        let extents = spec.x_extents();
        let (prologue, x, x_base) = if spec.prologue.is_identity() {
            (None, spec.x.clone(), Base::Arg(0))
        } else {
            // In the order of x's memory, so that neighbours stay neighbours.
            let mut order: Vec<usize> = (0..extents.len()).collect();
            order.sort_by_key(|&d| std::cmp::Reverse(spec.x.strides[d].unsigned_abs()));
            let mut strides = vec![0; extents.len()];
            let mut distance = 1u64;
            for &d in order.iter().rev() {
                strides[d] = distance as i64;
                distance = distance.saturating_mul(extents[d]);
            }
            let dense = Operand {
                // What is folded is not rounded first.
                dtype: match folded {
                    DType::F16 | DType::BF16 => DType::F32,
                    other => other,
                },
                strides,
            };
            let base = Base::Shared(shared_bytes);
            let bytes = (distance as usize).saturating_mul(dense.dtype.size());
            shared_bytes = shared_bytes.saturating_add(bump_size(bytes));
            let map = MapSpec {
                domain: extents.clone(),
                inputs: vec![MapInput::affine(spec.x.clone())],
                tape: spec.prologue.clone(),
                outputs: vec![dense.clone()],
            };
            let bases = Bases {
                inputs: vec![Base::Arg(0)],
                outputs: vec![base],
            };
            (Some(Map::with_bases(&map, bases)?), dense, base)
        };
        let first_epilogue = 1 + usize::from(spec.weight.is_some());
        let n_epilogue = spec.epilogue.inputs.len() + spec.epilogue.outputs.len();
        let indices = spec.indices.as_ref().map(|i| {
            let positions = index_strides(spec, i.column_major);
            (
                first_epilogue + n_epilogue,
                Strides::new(&i.out, 2),
                positions,
            )
        });
        let is_stored = spec.epilogue.tape.is_identity() && spec.epilogue.outputs.len() == 1;
        let to = if is_stored {
            (
                &spec.epilogue.outputs[0],
                Base::Arg(first_epilogue + spec.epilogue.inputs.len()),
            )
        } else {
            (&results, Base::Shared(0))
        };
        let method = match library(spec, level, &x, to.0) {
            Some(pooling) => Method::Library { pooling, to: to.1 },
            None => Method::Plain,
        };
        let epilogue = if is_stored && matches!(method, Method::Library { .. }) {
            None
        } else {
            Some(epilogue_map(
                &domain,
                &results,
                &spec.epilogue,
                first_epilogue,
            )?)
        };
        Ok(Self {
            method,
            taps: Taps::new(&spec.window),
            batch: spec.batch as usize,
            channels: spec.channels as usize,
            kind: match &spec.fold {
                WindowFold::Max => Kind::Max,
                WindowFold::Sum => Kind::Sum,
                WindowFold::Average => Kind::Average { pads_end: None },
                WindowFold::AveragePadded { pads_end } => Kind::Average {
                    pads_end: Some(pads_end.iter().map(|&p| p as i64).collect()),
                },
            },
            folded,
            prologue,
            lanes_are_channels: x.strides[1] == 1 && spec.channels > 1,
            x: Strides::new(&x, 2),
            x_base,
            weight: spec.weight.as_ref().map(|w| Strides::new(w, 1)),
            results: Strides::new(&results, 2),
            epilogue,
            indices,
            shared_bytes,
        })
    }

    /// Lanes of one output position.
    fn width(&self) -> usize {
        if self.lanes_are_channels {
            self.channels
        } else {
            1
        }
    }

    /// Rows of outputs that are folded one by one.
    fn n_rows(&self) -> usize {
        let planes = if self.lanes_are_channels {
            self.batch
        } else {
            self.batch * self.channels
        };
        planes * self.taps.n_rows()
    }

    fn row_lanes(&self) -> usize {
        self.taps.row_len().saturating_mul(self.width())
    }

    fn row_bytes(&self) -> usize {
        bump_size(self.row_lanes().saturating_mul(8))
    }

    /// # Safety
    /// As [`Execute::run`]; `T` is the lane of what is folded.
    unsafe fn fold_rows<T: Number>(&self, cx: &Cx<'_>, least: T) {
        let cost = (self.row_lanes() * self.taps.n_taps()).max(1);
        cx.parallel(self.n_rows(), GRAIN.div_ceil(cost), &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
            let counts = bump.zeroed::<f64>(self.taps.row_len());
            let mut row = Row {
                window: self,
                cx,
                sums: bump.bytes(self.row_bytes()).cast::<T>(),
                picked: bump.bytes(self.row_bytes()).cast::<i64>(),
                lanes: bump.bytes(self.row_bytes()),
                factors: bump.bytes(bump_size(self.width().saturating_mul(8))),
                counts,
            };
            for i in range {
                // SAFETY: rows are disjoint; buffers hold a row of lanes.
                unsafe { row.run(i, least) };
            }
        });
    }
}

/// The fold from x to `out` by the pooling library, if it has it.
fn library(spec: &WindowSpec, level: Level, x: &Operand, out: &Operand) -> Option<Pooling> {
    let is_f32 = x.dtype == DType::F32 && out.dtype == DType::F32;
    let w = &spec.window;
    let is_empty = spec.domain().contains(&0);
    if !is_f32 || w.kernel.len() > 3 || spec.weight.is_some() || spec.indices.is_some() || is_empty
    {
        return None;
    }
    let zeros = vec![0; w.kernel.len()];
    let (kind, pads_end) = match &spec.fold {
        WindowFold::Max => (PoolingKind::Max, &zeros),
        WindowFold::Sum => return None,
        WindowFold::Average => (
            PoolingKind::Average {
                count_include_pad: false,
            },
            &zeros,
        ),
        WindowFold::AveragePadded { pads_end } => (
            PoolingKind::Average {
                count_include_pad: true,
            },
            pads_end,
        ),
    };
    let shape = PoolingShape {
        batch: spec.batch as usize,
        channels: spec.channels as usize,
        input: three(&w.input, 1),
        kernel: three(&w.kernel, 1),
        stride: three(&w.strides, 1),
        dilation: three(&w.dilations, 1),
        pads: three(&w.pads_begin, 0),
        pads_end: three(pads_end, 0),
        output: three(&w.output, 1),
    };
    Some(Pooling::new(
        level,
        shape,
        kind,
        input_strides(x),
        input_strides(out),
    ))
}

/// The place of a maximum in the whole of x.
fn index_strides(spec: &WindowSpec, column_major: bool) -> Strides {
    let input = &spec.window.input;
    let mut positions = vec![0; input.len()];
    let mut distance = 1;
    let order: Vec<usize> = if column_major {
        (0..input.len()).collect()
    } else {
        (0..input.len()).rev().collect()
    };
    for d in order {
        positions[d] = distance;
        distance *= input[d] as isize;
    }
    Strides {
        dtype: DType::I64,
        batch: distance * spec.channels as isize,
        channel: distance,
        positions,
    }
}

/// One thread's buffers, each for a row of outputs.
struct Row<'a, T> {
    window: &'a Window,
    cx: &'a Cx<'a>,
    sums: *mut T,
    picked: *mut i64,
    lanes: *mut u8,
    factors: *mut u8,
    counts: &'a mut [f64],
}

impl<T: Number> Row<'_, T> {
    /// # Safety
    /// As [`Execute::run`]; `T` is the lane of what is folded.
    unsafe fn run(&mut self, row: usize, least: T) {
        let window = self.window;
        let Window { taps, x, .. } = window;
        let (plane, spatial) = (row / taps.n_rows(), row % taps.n_rows());
        let (image, channel) = if window.lanes_are_channels {
            (plane as isize, 0)
        } else {
            (
                (plane / window.channels) as isize,
                (plane % window.channels) as isize,
            )
        };
        let start = match window.kind {
            Kind::Max => least,
            Kind::Sum | Kind::Average { .. } => T::ZERO,
        };
        let n = window.row_lanes();
        for i in 0..n {
            // SAFETY: the buffers hold a row.
            unsafe {
                self.sums.add(i).write(start);
                if window.indices.is_some() {
                    self.picked.add(i).write(NONE);
                }
            }
        }
        let offset = image * x.batch + channel * x.channel;
        taps.meet(spatial, &x.positions, |meeting| {
            // SAFETY: the caller's promise; outputs and offsets are those of the row.
            unsafe { self.fold_tap(&meeting, [image, channel], spatial, offset) };
        });
        // SAFETY: as above.
        unsafe {
            self.divide(spatial);
            self.store([image, channel], spatial);
        }
    }

    /// # Safety
    /// As [`Row::run`].
    unsafe fn fold_tap(
        &mut self,
        meeting: &Meeting,
        [image, channel]: [isize; 2],
        spatial: usize,
        offset: isize,
    ) {
        let window = self.window;
        let (taps, x, width) = (&window.taps, &window.x, window.width());
        let inner = taps.rank() - 1;
        let step = taps.row_step() * x.positions[inner];
        let pattern = Pattern {
            rows: meeting.outputs.len(),
            cols: width,
            row_stride: step,
            col_stride: if width > 1 { x.channel } else { 1 },
        };
        let n = pattern.rows * width;
        let size = x.dtype.size() as isize;
        // SAFETY: the pattern is of elements in x's reach; the buffer holds a row.
        let lanes = unsafe {
            let at = window
                .x_base
                .pointer(self.cx)
                .offset((offset + meeting.offset) * size);
            if is_native(x.dtype) && pattern.is_dense() {
                at.cast::<T>()
            } else {
                access::load(x.dtype, pattern, at, self.lanes);
                self.lanes.cast::<T>()
            }
        };
        let first = meeting.outputs.start * width;
        // SAFETY: `n` lanes were loaded, and the row has so many from `first` on.
        let (sums, lanes) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.sums.add(first), n),
                Unaligned(lanes),
            )
        };
        if let Some(w) = &window.weight {
            let offset = channel * w.channel + taps.tap_offset(meeting.tap, &w.positions);
            let factors = Pattern {
                rows: 1,
                cols: width,
                row_stride: 0,
                col_stride: w.channel,
            };
            // SAFETY: factors of the channels lie in the weight's reach.
            unsafe {
                let at = self.cx.args[1].offset(offset * w.dtype.size() as isize);
                access::load(w.dtype, factors, at, self.factors);
                let factors = Unaligned(self.factors.cast::<T>());
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.product_added(lanes.get(i), factors.get(i % width));
                }
            }
            return;
        }
        if let Some((_, _, positions)) = &window.indices {
            let first_met = taps.met(
                spatial,
                meeting.outputs.start,
                meeting.tap,
                &positions.positions,
            );
            let base = image * positions.batch + channel * positions.channel + first_met;
            let along = taps.row_step() * positions.positions[inner];
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                unsafe {
                    let x = lanes.get(i);
                    let picked = self.picked.add(first + i);
                    let is_better = x > *sum || (x.is_nan() && !sum.is_nan());
                    if is_better || picked.read() == NONE {
                        *sum = x;
                        let (o, c) = ((i / width) as isize, (i % width) as isize);
                        let position = base + o * along + c * positions.channel;
                        picked.write(position as i64);
                    }
                }
            }
            return;
        }
        // SAFETY: as above.
        unsafe {
            if matches!(window.kind, Kind::Max) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.greater(lanes.get(i));
                }
            } else {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.sum(lanes.get(i));
                }
            }
        }
    }

    /// Sums to averages.
    ///
    /// # Safety
    /// As [`Row::run`].
    unsafe fn divide(&mut self, spatial: usize) {
        let window = self.window;
        let Kind::Average { pads_end } = &window.kind else {
            return;
        };
        window
            .taps
            .count_inside(spatial, pads_end.as_deref(), self.counts);
        let width = window.width();
        for i in 0..window.row_lanes() {
            // SAFETY: the buffer holds a row.
            unsafe {
                let sum = self.sums.add(i);
                sum.write(sum.read().divided(self.counts[i / width]));
            }
        }
    }

    /// # Safety
    /// As [`Row::run`].
    unsafe fn store(&self, [image, channel]: [isize; 2], spatial: usize) {
        let window = self.window;
        let (taps, width) = (&window.taps, window.width());
        let inner = taps.rank() - 1;
        let store = |o: &Strides, at: *mut u8, lanes: *const u8| {
            let offset =
                image * o.batch + channel * o.channel + taps.row_offset(spatial, &o.positions);
            let pattern = Pattern {
                rows: taps.row_len(),
                cols: width,
                row_stride: o.positions[inner],
                col_stride: if width > 1 { o.channel } else { 1 },
            };
            // SAFETY: the row lies in the operand's reach, and its lanes in the buffer.
            unsafe {
                let at = at.offset(offset * o.dtype.size() as isize);
                access::store(o.dtype, pattern, lanes, at);
            }
        };
        if window.results.dtype.is_integer() {
            for i in 0..window.row_lanes() {
                // SAFETY: integers are folded in 64 bits.
                unsafe { wrap_lane(self.sums.add(i).cast(), window.folded) };
            }
        }
        store(&window.results, self.cx.shared, self.sums.cast());
        if let Some((arg, out, _)) = &window.indices {
            store(out, self.cx.args[*arg], self.picked.cast());
        }
    }
}

/// Lanes that may lie anywhere.
#[derive(Clone, Copy)]
struct Unaligned<T>(*const T);

impl<T: Copy> Unaligned<T> {
    /// # Safety
    /// Lane `i` is there.
    #[inline(always)]
    unsafe fn get(self, i: usize) -> T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(i).read_unaligned() }
    }
}

impl Execute for Window {
    fn implementation(&self) -> &'static str {
        match (&self.method, &self.epilogue) {
            (Method::Library { .. }, None) => "pooling",
            (Method::Library { .. }, Some(_)) => "pooling, epilogue after it",
            (Method::Plain, _) => "plain",
        }
    }

    fn needs(&self) -> Needs {
        let rows = bump_size(self.taps.row_len() * size_of::<f64>())
            .saturating_add(self.row_bytes().saturating_mul(3))
            .saturating_add(bump_size(self.width().saturating_mul(8)));
        let prologue = self.prologue.as_ref().map(Map::needs).unwrap_or_default();
        Needs {
            shared: self.shared_bytes,
            worker: rows,
        }
        .max(prologue)
        .max(self.epilogue.as_ref().map(Map::needs).unwrap_or_default())
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise; results and the prologue's have parts of the shared region
        // for themselves.
        unsafe {
            if let Some(prologue) = &self.prologue {
                prologue.run(cx);
            }
            match (&self.method, Lane::of(self.folded)) {
                (Method::Library { pooling, to }, _) => {
                    let x = self.x_base.pointer(cx).cast_const().cast();
                    if pooling.run(cx.pool, x, to.pointer(cx).cast()).is_err() {
                        cx.fault.raise(Fault::TaskPanicked);
                    }
                }
                (_, Lane::F32) => self.fold_rows::<f32>(cx, f32::NEG_INFINITY),
                (_, Lane::F64) => self.fold_rows::<f64>(cx, f64::NEG_INFINITY),
                _ if self.folded == DType::U64 => self.fold_rows::<u64>(cx, 0),
                _ => self.fold_rows::<i64>(cx, super::fold::bounds(self.folded).0),
            }
            if let Some(epilogue) = &self.epilogue {
                epilogue.run(cx);
            }
        }
    }
}
