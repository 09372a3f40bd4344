//! Tensors read at computed positions between their elements.

use super::super::geometry::{Bump, bump_size};
use super::super::real::{Real, is_single, load_row, store_row};
use super::super::{Cx, Execute, Needs};
use plans::spec::{GridSampleSpec, SampleMode, SamplePadding};

/// Samples times channels that a thread should have at least.
const GRAIN: usize = 1 << 12;

/// The parameter of cubic convolution.
const CUBIC: f64 = -0.75;

/// Prepared sampling.
pub(crate) struct GridSample {
    spec: GridSampleSpec,
    n_positions: usize,
}

/// `x` mirrored at `low` and `high` until it lies between.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let along = (x - low).rem_euclid(2.0 * span);
    low + along.min(2.0 * span - along)
}

/// The weight of an element at distance `d` in cubic convolution (Keys 1981, equation 4).
fn cubic(d: f64) -> f64 {
    let d = d.abs();
    if d <= 1.0 {
        ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        CUBIC * (((d - 5.0) * d + 8.0) * d - 4.0)
    } else {
        0.0
    }
}

impl GridSample {
    pub(crate) fn new(spec: &GridSampleSpec) -> Self {
        Self {
            n_positions: spec.output.iter().product::<u64>() as usize,
            spec: spec.clone(),
        }
    }

    /// Where an axis of `n` elements begins and ends.
    fn borders(&self, n: f64) -> (f64, f64) {
        if self.spec.align_corners {
            (0.0, n - 1.0)
        } else {
            (-0.5, n - 0.5)
        }
    }

    /// Where along an axis of `n` elements the position `at`, from -1 to 1, lies.
    fn coordinate(&self, at: f64, n: f64) -> f64 {
        let x = if self.spec.align_corners {
            (at + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((at + 1.0) * n - 1.0) / 2.0
        };
        // Rounded to f32 first, so that halves are the same ones everywhere.
        let x = match self.spec.mode {
            SampleMode::Nearest => f64::from(x as f32).round_ties_even(),
            SampleMode::Linear | SampleMode::Cubic => x,
        };
        let (low, high) = self.borders(n);
        match self.spec.padding {
            _ if (low..=high).contains(&x) => x,
            SamplePadding::Zeros => x,
            SamplePadding::Border => x.clamp(0.0, n - 1.0),
            SamplePadding::Reflection => reflect(x, low, high),
        }
    }

    fn n_taps(&self) -> usize {
        match self.spec.mode {
            SampleMode::Nearest => 1,
            SampleMode::Linear => 2,
            SampleMode::Cubic => 4,
        }
    }

    /// Tap `t` of coordinate `x` on an axis of `n` elements: its position, -1 outside, and weight.
    fn tap(&self, x: f64, t: usize, n: f64) -> (isize, f64) {
        let shift = if self.spec.mode == SampleMode::Cubic {
            t as f64 - 1.0
        } else {
            t as f64
        };
        let p = x.floor() + shift;
        let weight = match self.spec.mode {
            SampleMode::Nearest => 1.0,
            SampleMode::Linear => (1.0 - (p - x).abs()).max(0.0),
            SampleMode::Cubic => cubic(p - x),
        };
        // A coordinate that is not a number has a weight that is none either.
        let weight = if x.is_nan() { f64::NAN } else { weight };
        let (low, high) = self.borders(n);
        let last = n - 1.0;
        let p = match self.spec.padding {
            _ if (0.0..=last).contains(&p) => p,
            SamplePadding::Zeros => return (-1, weight),
            SamplePadding::Border => p.clamp(0.0, last),
            SamplePadding::Reflection => reflect(p, low, high).clamp(0.0, last),
        };
        // NaN casts to 0, an element of every tensor that has any.
        (p as isize, weight)
    }

    /// Samples all channels at one position.
    ///
    /// # Safety
    /// As [`Execute::run`]; the buffers hold a lane for each dimension or channel, and the taps of
    /// all dimensions.
    unsafe fn sample<T: Real>(&self, cx: &Cx<'_>, at: usize, buffers: &mut Buffers<'_, T>) {
        let spec = &self.spec;
        let rank = spec.output.len();
        let (image, mut rest) = ((at / self.n_positions) as isize, at % self.n_positions);
        let mut grid = image * spec.grid.strides[0] as isize;
        let mut out = image * spec.out.strides[0] as isize;
        for d in (0..rank).rev() {
            let o = (rest % spec.output[d] as usize) as isize;
            rest /= spec.output[d] as usize;
            grid += o * spec.grid.strides[1 + d] as isize;
            out += o * spec.out.strides[2 + d] as isize;
        }
        // SAFETY: positions are those of the grid.
        unsafe {
            let at = cx.args[1].offset(grid * spec.grid.dtype.size() as isize);
            let stride = spec.grid.strides[1 + rank] as isize;
            if is_single(spec.grid.dtype) {
                let lanes = buffers.coordinates.as_mut_ptr().cast::<f32>();
                load_row(spec.grid.dtype, at, stride, rank, lanes);
                // From the last on, for lanes become twice as wide.
                for d in (0..rank).rev() {
                    let narrow = lanes.add(d).read();
                    buffers.coordinates[d] = narrow.into();
                }
            } else {
                let lanes = buffers.coordinates.as_mut_ptr();
                load_row(spec.grid.dtype, at, stride, rank, lanes);
            }
        }
        let n_taps = self.n_taps();
        for d in 0..rank {
            let n = spec.input[d] as f64;
            // The grid gives the innermost dimension first.
            let x = self.coordinate(buffers.coordinates[rank - 1 - d], n);
            for t in 0..n_taps {
                let (position, weight) = self.tap(x, t, n);
                buffers.positions[d * n_taps + t] = position;
                buffers.weights[d * n_taps + t] = weight;
            }
        }
        buffers.sums.fill(T::default());
        let n_combinations = n_taps.saturating_pow(rank as u32);
        for combination in 0..n_combinations {
            let (mut taps, mut weight) = (combination, 1.0);
            let mut offset = Some(image * spec.x.strides[0] as isize);
            for d in (0..rank).rev() {
                let i = d * n_taps + taps % n_taps;
                taps /= n_taps;
                weight *= buffers.weights[i];
                let position = buffers.positions[i];
                offset = offset
                    .filter(|_| position >= 0)
                    .map(|o| o + position * spec.x.strides[2 + d] as isize);
            }
            let Some(offset) = offset else { continue };
            // SAFETY: positions are those of x; the buffer holds all channels.
            unsafe {
                let x = cx.args[0].offset(offset * spec.x.dtype.size() as isize);
                let stride = spec.x.strides[1] as isize;
                let lanes = buffers.lanes.as_mut_ptr();
                load_row(spec.x.dtype, x, stride, buffers.sums.len(), lanes);
            }
            for (sum, &x) in buffers.sums.iter_mut().zip(&*buffers.lanes) {
                *sum += T::of(weight) * x;
            }
        }
        // SAFETY: positions are those of the output.
        unsafe {
            let at = cx.args[2].offset(out * spec.out.dtype.size() as isize);
            let stride = spec.out.strides[1] as isize;
            let n = buffers.sums.len();
            store_row(spec.out.dtype, buffers.sums.as_mut_ptr(), n, at, stride);
        }
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn sample_all<T: Real + super::super::geometry::Zero>(&self, cx: &Cx<'_>) {
        let channels = self.spec.channels as usize;
        let rank = self.spec.output.len();
        let n = if channels == 0 {
            0
        } else {
            self.spec.batch as usize * self.n_positions
        };
        cx.parallel(n, GRAIN.div_ceil(channels.max(1)), &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
            let mut buffers = Buffers {
                coordinates: bump.zeroed::<f64>(rank),
                positions: bump.zeroed::<isize>(rank * self.n_taps()),
                weights: bump.zeroed::<f64>(rank * self.n_taps()),
                sums: bump.zeroed::<T>(channels),
                lanes: bump.zeroed::<T>(channels),
            };
            for at in range {
                // SAFETY: positions are disjoint; the rest is the caller's promise.
                unsafe { self.sample(cx, at, &mut buffers) };
            }
        });
    }
}

struct Buffers<'a, T> {
    coordinates: &'a mut [f64],
    positions: &'a mut [isize],
    weights: &'a mut [f64],
    sums: &'a mut [T],
    lanes: &'a mut [T],
}

impl Execute for GridSample {
    fn implementation(&self) -> &'static str {
        "plain"
    }

    fn needs(&self) -> Needs {
        let rank = self.spec.output.len();
        Needs {
            shared: 0,
            worker: bump_size(rank * 8)
                + 2 * bump_size(rank * self.n_taps() * 8)
                + 2 * bump_size(self.spec.channels as usize * 8),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            if is_single(self.spec.x.dtype) {
                self.sample_all::<f32>(cx);
            } else {
                self.sample_all::<f64>(cx);
            }
        }
    }
}
