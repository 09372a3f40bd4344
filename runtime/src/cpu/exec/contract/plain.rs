//! Contractions of every type, straight from their definition.
//!
//! Rows of results are summed at once, in lanes; products are added in the order of the channels
//! (or of k) and, within one, of the taps.

use super::super::Cx;
use super::super::access::{self, Pattern};
use super::super::geometry::{Bump, bump_size};
use super::super::program::{Lane, wrap};
use super::super::taps::Taps;
use plans::DType;
use plans::spec::{Operand, Problem};

/// Products that a thread should have at least.
const GRAIN: usize = 1 << 15;

/// Numbers that are multiplied and summed.
trait Sum: Copy + Default {
    fn product_added(self, a: Self, b: Self) -> Self;
}

impl Sum for f32 {
    #[inline(always)]
    fn product_added(self, a: f32, b: f32) -> f32 {
        self + a * b
    }
}

impl Sum for f64 {
    #[inline(always)]
    fn product_added(self, a: f64, b: f64) -> f64 {
        self + a * b
    }
}

impl Sum for i64 {
    #[inline(always)]
    fn product_added(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// An operand: its type and the strides of the loops over it.
struct Strides {
    dtype: DType,
    /// Batch dimensions of a product; batch and channel of a convolution.
    outer: Vec<isize>,
    /// Row and column of a product; positions or taps of a convolution.
    inner: Vec<isize>,
}

impl Strides {
    fn new(o: &Operand, n_outer: usize) -> Self {
        let strides: Vec<isize> = o.strides.iter().map(|&s| s as isize).collect();
        Self {
            dtype: o.dtype,
            outer: strides[..n_outer].to_vec(),
            inner: strides[n_outer..].to_vec(),
        }
    }

    /// # Safety
    /// The element lies in the operand's reach.
    unsafe fn at(&self, base: *mut u8, offset: isize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { base.offset(offset * self.dtype.size() as isize) }
    }
}

enum Kind {
    MatMul {
        batch: Vec<usize>,
        m: usize,
        n: usize,
        k: usize,
    },
    Conv {
        batch: usize,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        taps: Taps,
        transposed: bool,
    },
}

/// A prepared contraction.
pub(crate) struct Plain {
    kind: Kind,
    x: Strides,
    w: Strides,
    out: Strides,
}

impl Plain {
    /// Sums of `problem`, to be stored as `out` says, whose domain is the epilogue's.
    pub(crate) fn new(problem: &Problem, out: &Operand) -> Self {
        let [(x, _), (w, _)] = problem.operands();
        let size = |n: u64| n as usize;
        let (kind, n_outer) = match problem {
            Problem::MatMul {
                batch,
                m,
                n,
                k,
                a: _,
                b: _,
            } => (
                Kind::MatMul {
                    batch: batch.iter().copied().map(size).collect(),
                    m: size(*m),
                    n: size(*n),
                    k: size(*k),
                },
                batch.len(),
            ),
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x: _,
                w: _,
            }
            | Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x: _,
                w: _,
            } => (
                Kind::Conv {
                    batch: size(*batch),
                    groups: size(*groups),
                    in_channels: size(*in_channels),
                    out_channels: size(*out_channels),
                    taps: Taps::new(window),
                    transposed: matches!(problem, Problem::ConvTranspose { .. }),
                },
                2,
            ),
        };
        Self {
            kind,
            x: Strides::new(x, n_outer),
            w: Strides::new(w, n_outer),
            out: Strides::new(out, n_outer),
        }
    }

    /// Results of a row and rows of results.
    fn rows(&self) -> (usize, usize) {
        match &self.kind {
            Kind::MatMul { batch, m, n, k: _ } => (*n, batch.iter().product::<usize>() * m),
            Kind::Conv {
                batch,
                groups,
                in_channels: _,
                out_channels,
                taps,
                transposed: _,
            } => (
                taps.row_len(),
                batch * groups * out_channels * taps.n_rows(),
            ),
        }
    }

    /// Products in each sum.
    fn depth(&self) -> usize {
        match &self.kind {
            Kind::MatMul { k, .. } => *k,
            Kind::Conv {
                in_channels, taps, ..
            } => in_channels * taps.n_taps(),
        }
    }

    fn buffer_bytes(&self) -> usize {
        let inputs = match &self.kind {
            Kind::MatMul { .. } => 0,
            Kind::Conv { taps, .. } => taps.row_inputs(),
        };
        bump_size(self.rows().0.max(inputs) * size_of::<u64>())
    }

    /// Bytes that [`Plain::run`] needs for each worker.
    pub(crate) fn worker_bytes(&self) -> usize {
        2 * self.buffer_bytes()
    }

    /// Writes all sums to `out`.
    ///
    /// # Safety
    /// As `Execute::run`, the operands being the first two arguments; `out` can hold all sums and
    /// nobody else touches it.
    pub(crate) unsafe fn run(&self, cx: &Cx<'_>, out: *mut u8) {
        let (row_len, n_rows) = self.rows();
        let grain = GRAIN.div_ceil((row_len * self.depth()).max(1));
        let out = Address(out);
        cx.parallel(n_rows, grain, &|range, memory| {
            // SAFETY: the worker's memory is what `worker_bytes` asks for.
            let mut bump = unsafe { Bump::new(memory, self.worker_bytes()) };
            let sums = bump.bytes(self.buffer_bytes());
            let lanes = bump.bytes(self.buffer_bytes());
            for row in range {
                let worker = Worker {
                    plain: self,
                    cx,
                    sums,
                    lanes,
                };
                // SAFETY: rows are disjoint; the rest is the caller's promise.
                unsafe {
                    match Lane::of(self.x.dtype) {
                        Lane::F32 => worker.row::<f32>(row, row_len, out.get()),
                        Lane::F64 => worker.row::<f64>(row, row_len, out.get()),
                        Lane::I64 | Lane::Bool | Lane::Wide => {
                            worker.row::<i64>(row, row_len, out.get());
                        }
                    }
                }
            }
        });
    }
}

/// A pointer that threads may share.
#[derive(Clone, Copy)]
struct Address(*mut u8);

// SAFETY: threads write different rows of what it points to.
unsafe impl Sync for Address {}

impl Address {
    fn get(&self) -> *mut u8 {
        self.0
    }
}

/// One thread's memory: the sums of a row and the lanes that are added to them.
struct Worker<'a> {
    plain: &'a Plain,
    cx: &'a Cx<'a>,
    sums: *mut u8,
    lanes: *mut u8,
}

impl Worker<'_> {
    /// Computes and stores row `row` of the sums.
    ///
    /// # Safety
    /// As [`Plain::run`]; `T` is the lane of the operands.
    unsafe fn row<T: Sum>(&self, row: usize, row_len: usize, out: *mut u8) {
        // SAFETY: the buffer holds a row of lanes, aligned, and is this worker's.
        let sums = unsafe {
            let sums = self.sums.cast::<T>();
            for i in 0..row_len {
                sums.add(i).write(T::default());
            }
            std::slice::from_raw_parts_mut(sums, row_len)
        };
        // SAFETY: the caller's promise.
        let (offset, col_stride) = unsafe {
            match &self.plain.kind {
                Kind::MatMul { batch, m, n: _, k } => self.product(row, batch, *m, *k, sums),
                Kind::Conv { .. } => self.convolution(row, sums),
            }
        };
        let to = &self.plain.out;
        if to.dtype.is_integer() {
            for i in 0..row_len {
                // SAFETY: as above; integers are summed in i64.
                unsafe {
                    let sum = self.sums.cast::<i64>().add(i);
                    sum.write(wrap(sum.read(), to.dtype));
                }
            }
        }
        let pattern = Pattern {
            rows: 1,
            cols: row_len,
            row_stride: 0,
            col_stride,
        };
        // SAFETY: the row lies in the results, and its lanes in the buffer.
        unsafe { access::store(to.dtype, pattern, self.sums, to.at(out, offset)) };
    }

    /// Adds a row of a matrix product; gives the row's offset and stride in the results.
    ///
    /// # Safety
    /// As [`Worker::row`].
    unsafe fn product<T: Sum>(
        &self,
        row: usize,
        batch: &[usize],
        m: usize,
        k: usize,
        sums: &mut [T],
    ) -> (isize, isize) {
        let Plain { x, w, out, .. } = self.plain;
        let i = (row % m) as isize;
        let mut problem = row / m;
        let mut offsets = [i * x.inner[0], 0, i * out.inner[0]];
        for (d, extent) in batch.iter().enumerate().rev() {
            let position = (problem % extent) as isize;
            problem /= extent;
            for (offset, operand) in offsets.iter_mut().zip([x, w, out]) {
                *offset += position * operand.outer[d];
            }
        }
        for step in 0..k as isize {
            // SAFETY: the elements lie in the operands' reach, and the buffer holds a row.
            unsafe {
                let factor = x.at(self.cx.args[0], offsets[0] + step * x.inner[1]);
                let row = w.at(self.cx.args[1], offsets[1] + step * w.inner[0]);
                let lanes = self.load(w, row, sums.len(), w.inner[1]);
                add_products(sums, load_lane::<T>(x, factor), lanes);
            }
        }
        (offsets[2], out.inner[1])
    }

    /// Adds a row of a convolution; gives the row's offset and stride in the results.
    ///
    /// # Safety
    /// As [`Worker::row`].
    unsafe fn convolution<T: Sum>(&self, row: usize, sums: &mut [T]) -> (isize, isize) {
        let Plain { kind, x, w, out } = self.plain;
        let Kind::Conv {
            batch: _,
            groups,
            in_channels,
            out_channels,
            taps,
            transposed,
        } = kind
        else {
            return (0, 0);
        };
        let (n_rows, inner) = (taps.n_rows(), taps.rank() - 1);
        let (spatial, plane) = (row % n_rows, row / n_rows);
        let channel = plane % (groups * out_channels);
        let image = (plane / (groups * out_channels)) as isize;
        let (group, channel_of_group) = (channel / out_channels, channel % out_channels);
        for c in 0..*in_channels {
            let input = group * in_channels + c;
            let plane = image * x.outer[0] + input as isize * x.outer[1];
            let filter = if *transposed {
                input as isize * w.outer[0] + channel_of_group as isize * w.outer[1]
            } else {
                channel as isize * w.outer[0] + c as isize * w.outer[1]
            };
            // SAFETY: channels, taps and positions are those of the operands, so that elements lie
            // in their reach; the buffer holds a row of inputs.
            let factor = |tap: usize| unsafe {
                load_lane::<T>(w, w.at(self.cx.args[1], filter + w.tap_offset(tap, taps)))
            };
            if *transposed {
                taps.meet_transposed(spatial, &x.inner, |tap, first, n, offset| {
                    // SAFETY: as above.
                    let lanes = unsafe {
                        let at = x.at(self.cx.args[0], plane + offset);
                        self.load::<T>(x, at, n, x.inner[inner])
                    };
                    let factor = factor(tap);
                    let met = sums[first..].iter_mut().step_by(taps.row_step() as usize);
                    for (sum, &lane) in met.zip(lanes) {
                        *sum = sum.product_added(factor, lane);
                    }
                });
            } else {
                taps.meet(spatial, &x.inner, |meeting| {
                    let stride = x.inner[inner] * taps.row_step();
                    // SAFETY: as above.
                    let lanes = unsafe {
                        let at = x.at(self.cx.args[0], plane + meeting.offset);
                        self.load::<T>(x, at, meeting.outputs.len(), stride)
                    };
                    add_products(&mut sums[meeting.outputs], factor(meeting.tap), lanes);
                });
            }
        }
        let offset = image * out.outer[0]
            + channel as isize * out.outer[1]
            + taps.row_offset(spatial, &out.inner);
        (offset, out.inner[inner])
    }

    /// `n` elements as lanes.
    ///
    /// # Safety
    /// The elements lie in the operand's reach; `T` is their lane, and the buffer holds so many.
    unsafe fn load<T: Sum>(&self, o: &Strides, at: *const u8, n: usize, stride: isize) -> &[T] {
        let pattern = Pattern {
            rows: 1,
            cols: n,
            row_stride: 0,
            col_stride: stride,
        };
        // SAFETY: the caller's promise.
        unsafe {
            access::load(o.dtype, pattern, at, self.lanes);
            std::slice::from_raw_parts(self.lanes.cast(), n)
        }
    }
}

impl Strides {
    /// The offset of a tap of a weight.
    fn tap_offset(&self, tap: usize, taps: &Taps) -> isize {
        taps.tap_offset(tap, &self.inner)
    }
}

/// # Safety
/// `T` is the lane of the operand, whose element at `at` can be read.
unsafe fn load_lane<T: Sum>(o: &Strides, at: *const u8) -> T {
    let mut lane = T::default();
    // SAFETY: the caller's promise.
    unsafe { access::load_one(o.dtype, at, (&raw mut lane).cast()) };
    lane
}

fn add_products<T: Sum>(sums: &mut [T], factor: T, lanes: &[T]) {
    for (sum, &lane) in sums.iter_mut().zip(lanes) {
        *sum = sum.product_added(factor, lane);
    }
}
