//! Maxima and means over windows of one to three dimensions.

use super::conv::InputStrides;
use super::gemm::drive::Address;
use super::level::Level;
use super::pool::{Pool, PoolError};
use super::simd::for_each_level;

/// What is taken over a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolingKind {
    /// The greatest element; NaN if there is one; minus infinity of a window in the padding.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as elements of value zero.
        count_include_pad: bool,
    },
}

/// Sizes of a pooling. Dimensions are depth, height and width; those that are not there have
/// input, kernel, stride, dilation and output 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolingShape {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of the input.
    pub input: [usize; 3],
    /// Elements of a window.
    pub kernel: [usize; 3],
    /// Pixels from one window to the next.
    pub stride: [usize; 3],
    /// Pixels from one element of a window to the next.
    pub dilation: [usize; 3],
    /// Pixels of padding before the first.
    pub pads: [usize; 3],
    /// Pixels of padding after the last.
    pub pads_end: [usize; 3],
    /// Pixels of the result.
    pub output: [usize; 3],
}

/// A pooling bound to its shapes. It needs no scratch.
#[derive(Clone, Copy, Debug)]
pub struct Pooling {
    level: Level,
    shape: PoolingShape,
    kind: PoolingKind,
    input: InputStrides,
    output: InputStrides,
}

/// Channels that a task works on at a time, where they are consecutive.
const CHANNELS: usize = 512;

/// Elements that are worth a task.
const TASK_ELEMENTS: usize = 60_000;

/// The part of a window in one dimension that is inside the input.
#[derive(Clone, Copy)]
struct Extent {
    /// Pixel of the first element inside.
    first: usize,
    n: usize,
    /// Elements that count when padding does.
    n_padded: usize,
}

/// Elements under a window, for channels that follow each other.
#[derive(Clone, Copy)]
struct Elements {
    x: *const f32,
    n: [usize; 3],
    steps: [isize; 3],
    n_channels: usize,
    /// Of means; 0 for maxima.
    divisor: f32,
    y: *mut f32,
}

for_each_level! {
    /// # Safety
    /// `e.x` must be valid for all elements of the channels, `e.y` for the channels; the
    /// processor must have `level`.
    unsafe fn window<S>(e: &Elements) {
        let is_max = e.divisor == 0.0;
        let start = S::splat(if is_max { f32::NEG_INFINITY } else { 0.0 });
        let mut c = 0;
        while c < e.n_channels {
            let rest = e.n_channels - c;
            let is_wide = rest >= 4 * S::LANES;
            let rest = rest.min(S::LANES);
            let mut acc = [start; 4];
            for d in 0..e.n[0] as isize {
                for h in 0..e.n[1] as isize {
                    let mut x = e.x.wrapping_offset(d * e.steps[0] + h * e.steps[1]).wrapping_add(c);
                    for _ in 0..e.n[2] {
                        if is_wide {
                            for (j, a) in acc.iter_mut().enumerate() {
                                let v = S::load(x.add(j * S::LANES));
                                *a = if is_max { S::max_nan(*a, v) } else { S::add(*a, v) };
                            }
                        } else {
                            let v = S::load_n(x, rest);
                            acc[0] = if is_max { S::max_nan(acc[0], v) } else { S::add(acc[0], v) };
                        }
                        x = x.wrapping_offset(e.steps[2]);
                    }
                }
            }
            if !is_max {
                let divisor = S::splat(e.divisor);
                for a in &mut acc {
                    *a = S::div(*a, divisor);
                }
            }
            if is_wide {
                for (j, a) in acc.into_iter().enumerate() {
                    S::store(e.y.add(c + j * S::LANES), a);
                }
                c += 4 * S::LANES;
            } else {
                S::store_n(e.y.add(c), acc[0], rest);
                c += S::LANES;
            }
        }
    }
}

impl Pooling {
    /// A pooling with these strides of input and result.
    ///
    /// # Panics
    /// If a kernel extent, stride or dilation is zero.
    pub fn new(
        level: Level,
        shape: PoolingShape,
        kind: PoolingKind,
        input: InputStrides,
        output: InputStrides,
    ) -> Self {
        assert!(
            ![shape.kernel, shape.stride, shape.dilation]
                .as_flattened()
                .contains(&0),
            "not the shape of a pooling: {shape:?}"
        );
        Pooling {
            level: level.or_lower(),
            shape,
            kind,
            input,
            output,
        }
    }

    fn extent(&self, dim: usize, at: usize) -> Extent {
        let s = &self.shape;
        let corner = at * s.stride[dim];
        let (kernel, dilation) = (s.kernel[dim], s.dilation[dim]);
        // Elements k with corner + k * dilation below a bound.
        let below = |bound: usize| bound.saturating_sub(corner).div_ceil(dilation).min(kernel);
        let before = below(s.pads[dim]);
        let inside = below(s.pads[dim] + s.input[dim]);
        Extent {
            first: (corner + before * dilation).saturating_sub(s.pads[dim]),
            n: inside - before,
            n_padded: below(s.pads[dim] + s.input[dim] + s.pads_end[dim]),
        }
    }

    /// Pools.
    ///
    /// # Errors
    /// None of its own; the type is that of the pool.
    ///
    /// # Safety
    /// `x` and `y` must be valid for input and result with the strides given to `new`, and apart.
    pub unsafe fn run(&self, pool: &Pool, x: *const f32, y: *mut f32) -> Result<(), PoolError> {
        let s = &self.shape;
        let [depth, height, width] = s.output;
        let are_consecutive =
            (self.input.channel == 1 && self.output.channel == 1) || s.channels == 1;
        let per_window = if are_consecutive { CHANNELS } else { 1 };
        let n_blocks = s.channels.div_ceil(per_window);
        let n_lines = s.batch * depth * height * n_blocks;
        let per_line = width * s.kernel.iter().product::<usize>() * per_window.min(s.channels);
        let wanted = (n_lines * per_line / TASK_ELEMENTS).clamp(1, 8 * pool.n_threads());
        let per_task = n_lines.div_ceil(wanted).max(1);
        let (x, y) = (Address(x.cast_mut().cast()), Address(y.cast()));
        pool.run(n_lines.div_ceil(per_task), &|task, _| {
            for line in task * per_task..((task + 1) * per_task).min(n_lines) {
                // Channels vary slowest where they are planes, fastest where they are last.
                let (block, line) = if are_consecutive {
                    (line % n_blocks, line / n_blocks)
                } else {
                    (
                        line / height % n_blocks,
                        line / height / n_blocks * height + line % height,
                    )
                };
                let (h, d, image) = (line % height, line / height % depth, line / height / depth);
                let channel = block * per_window;
                let n_channels = per_window.min(s.channels - channel);
                let (ed, eh) = (self.extent(0, d), self.extent(1, h));
                for w in 0..width {
                    let ew = self.extent(2, w);
                    let start = |strides: &InputStrides, at: [usize; 3]| {
                        let space: isize = (0..3).map(|i| at[i] as isize * strides.space[i]).sum();
                        image as isize * strides.image + channel as isize * strides.channel + space
                    };
                    let from = start(&self.input, [ed.first, eh.first, ew.first]);
                    let to = start(&self.output, [d, h, w]);
                    let divisor = match self.kind {
                        PoolingKind::Max => 0,
                        PoolingKind::Average {
                            count_include_pad: true,
                        } => (ed.n_padded * eh.n_padded * ew.n_padded).max(1),
                        PoolingKind::Average { .. } => (ed.n * eh.n * ew.n).max(1),
                    };
                    let steps =
                        std::array::from_fn(|i| s.dilation[i] as isize * self.input.space[i]);
                    let elements = Elements {
                        x: x.at(0).cast::<f32>().wrapping_offset(from),
                        n: [ed.n, eh.n, ew.n],
                        steps,
                        n_channels,
                        divisor: divisor as f32,
                        y: y.at(0).cast::<f32>().wrapping_offset(to),
                    };
                    // SAFETY: the elements are inside the input, the pixel in the result; tasks
                    // write different pixels; `new` chose a level that the processor has.
                    unsafe { window(self.level, &elements) };
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{Rng, assert_close};

    fn reference(s: &PoolingShape, kind: PoolingKind, x: &[f32]) -> Vec<f64> {
        let mut y = Vec::new();
        let [id, ih, iw] = s.input;
        let split = |i: usize, s: [usize; 3]| [i / (s[1] * s[2]), i / s[2] % s[1], i % s[2]];
        for plane in x.chunks(id * ih * iw) {
            for o in 0..s.output.iter().product() {
                let (mut sum, mut n, mut n_padded) = (0.0, 0, 0);
                let mut top = f64::NEG_INFINITY;
                for k in 0..s.kernel.iter().product() {
                    let (at, tap) = (split(o, s.output), split(k, s.kernel));
                    let p: [usize; 3] =
                        std::array::from_fn(|d| at[d] * s.stride[d] + tap[d] * s.dilation[d]);
                    if (0..3).all(|d| p[d] < s.pads[d] + s.input[d] + s.pads_end[d]) {
                        n_padded += 1;
                    }
                    if (0..3).all(|d| p[d] >= s.pads[d] && p[d] - s.pads[d] < s.input[d]) {
                        let i =
                            ((p[0] - s.pads[0]) * ih + p[1] - s.pads[1]) * iw + p[2] - s.pads[2];
                        sum += f64::from(plane[i]);
                        top = top.max(plane[i].into());
                        n += 1;
                    }
                }
                y.push(match kind {
                    PoolingKind::Max => top,
                    PoolingKind::Average { count_include_pad } => {
                        sum / f64::from(if count_include_pad { n_padded } else { n }.max(1))
                    }
                });
            }
        }
        y
    }

    #[test]
    fn poolings_agree_with_double_precision() {
        let mut rng = Rng::new(21);
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for _ in 0..200 {
                let rank = rng.range(1, 3);
                let mut sizes = |low, high, other| -> [usize; 3] {
                    std::array::from_fn(|d| {
                        if d + rank >= 3 {
                            rng.range(low, high)
                        } else {
                            other
                        }
                    })
                };
                let mut s = PoolingShape {
                    batch: 2,
                    channels: 1,
                    input: sizes(3, 9, 1),
                    kernel: sizes(1, 3, 1),
                    stride: sizes(1, 3, 1),
                    dilation: sizes(1, 2, 1),
                    pads: sizes(0, 1, 0),
                    pads_end: sizes(0, 2, 0),
                    output: [1; 3],
                };
                let mut is_valid = true;
                for d in 0..3 {
                    let size = s.input[d] + s.pads[d] + s.pads_end[d];
                    let extent = (s.kernel[d] - 1) * s.dilation[d] + 1;
                    is_valid &= size >= extent;
                    // Rounded up: the last window may reach beyond the padding.
                    s.output[d] = size.saturating_sub(extent).div_ceil(s.stride[d]) + 1;
                }
                if !is_valid {
                    continue;
                }
                s.channels = rng.pick(&[1, 3, 16, 21, 70, 600]);
                let kind = rng.pick(&[
                    PoolingKind::Max,
                    PoolingKind::Average {
                        count_include_pad: true,
                    },
                    PoolingKind::Average {
                        count_include_pad: false,
                    },
                ]);
                let n_in = s.input.iter().product::<usize>();
                let n_out = s.output.iter().product::<usize>();
                let x = rng.floats(s.batch * s.channels * n_in);
                let want = reference(&s, kind, &x);
                let last = rng.one_in(2);
                let strides = |[_, h, w]: [usize; 3], n: usize| {
                    let (pixel, channel) = if last { (s.channels, 1) } else { (1, n) };
                    InputStrides {
                        image: (n * s.channels) as isize,
                        channel: channel as isize,
                        space: [h * w * pixel, w * pixel, pixel].map(|v| v as isize),
                    }
                };
                let reorder = |x: &[f32], n: usize, to_last: bool| -> Vec<f32> {
                    let mut out = x.to_vec();
                    for i in 0..x.len() {
                        let (image, rest) = (i / (n * s.channels), i % (n * s.channels));
                        let (c, p) = (rest / n, rest % n);
                        let j = image * n * s.channels + p * s.channels + c;
                        if to_last {
                            out[j] = x[i]
                        } else {
                            out[i] = x[j]
                        }
                    }
                    out
                };
                let x = if last { reorder(&x, n_in, true) } else { x };
                let pooling = Pooling::new(
                    level,
                    s,
                    kind,
                    strides(s.input, n_in),
                    strides(s.output, n_out),
                );
                let mut first: Option<Vec<f32>> = None;
                for threads in 1..=3 {
                    let mut y = vec![0.0; want.len()];
                    let pool = Pool::new(threads).unwrap();
                    // SAFETY: input and result have the sizes of the shape.
                    unsafe { pooling.run(&pool, x.as_ptr(), y.as_mut_ptr()).unwrap() };
                    let y = if last { reorder(&y, n_out, false) } else { y };
                    for (g, w) in y.iter().zip(&want) {
                        assert_eq!(g.is_infinite(), w.is_infinite());
                    }
                    let finite = |v: f64| if v.is_infinite() { 0.0 } else { v };
                    let got: Vec<f32> = y.iter().map(|v| finite(f64::from(*v)) as f32).collect();
                    let want: Vec<f64> = want.iter().map(|v| finite(*v)).collect();
                    assert_close(&got, &want, 1e-6);
                    assert_eq!(first.get_or_insert(y.clone()), &y);
                }
            }
        }
    }

    #[test]
    fn the_maximum_of_a_window_with_nan_is_nan() {
        let s = PoolingShape {
            batch: 1,
            channels: 20,
            input: [1, 1, 3],
            kernel: [1, 1, 3],
            stride: [1; 3],
            dilation: [1; 3],
            pads: [0; 3],
            pads_end: [0; 3],
            output: [1; 3],
        };
        let strides = InputStrides {
            image: 60,
            channel: 1,
            space: [60, 60, 20],
        };
        let mut x = vec![1.0_f32; 60];
        x[7] = f32::NAN;
        let mut y = vec![0.0_f32; 20];
        let pooling = Pooling::new(Level::detect(), s, PoolingKind::Max, strides, strides);
        // SAFETY: input and result have the sizes of the shape.
        unsafe {
            pooling
                .run(&Pool::new(1).unwrap(), x.as_ptr(), y.as_mut_ptr())
                .unwrap()
        };
        assert!(y[7].is_nan());
        assert!(y.iter().enumerate().all(|(i, v)| i == 7 || *v == 1.0));
    }
}
