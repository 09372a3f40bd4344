//! Shapes of convolutions, and where the pixels under a window lie.

use crate::cpu::gemm::drive::Rows;

/// Sizes of a convolution. Spatial sizes are depth, height and width; what a convolution of fewer
/// dimensions lacks has input, output, kernel, stride and dilation 1 and no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the result.
    pub c_out: usize,
    /// Groups that channels are cut into.
    pub groups: usize,
    /// Pixels of the input.
    pub input: [usize; 3],
    /// Taps of the kernel.
    pub kernel: [usize; 3],
    /// Pixels from one window to the next.
    pub stride: [usize; 3],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 3],
    /// Pixels of padding before the first; those after the last follow from `output`.
    pub pads: [usize; 3],
    /// Pixels of the result.
    pub output: [usize; 3],
}

impl ConvShape {
    pub(super) fn check(&self) {
        assert!(
            self.groups > 0
                && self.c_in.is_multiple_of(self.groups)
                && self.c_out.is_multiple_of(self.groups)
                && !self.kernel.contains(&0)
                && !self.stride.contains(&0),
            "not the shape of a convolution: {self:?}"
        );
    }

    /// Rows of the result.
    pub fn n_output_pixels(&self) -> usize {
        self.batch * self.output.iter().product::<usize>()
    }

    pub(super) fn n_input_floats(&self) -> usize {
        self.batch * self.c_in * self.input.iter().product::<usize>()
    }

    /// Pixels that windows reach from the first on, padding included.
    pub(super) fn reach(&self, dim: usize) -> usize {
        (self.output[dim].max(1) - 1) * self.stride[dim]
            + (self.kernel[dim] - 1) * self.dilation[dim]
            + 1
    }

    /// Whether a window reaches beyond the input.
    pub(super) fn is_padded(&self) -> bool {
        (0..3).any(|d| self.pads[d] > 0 || self.reach(d) > self.input[d])
    }

    /// Whether every pixel of the result is under one pixel of the input, in order.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3]
            && self.stride == [1; 3]
            && self.input == self.output
            && !self.is_padded()
    }
}

/// Floats from one element of the input to the next in each dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputStrides {
    /// Between images.
    pub image: isize,
    /// Between channels.
    pub channel: isize,
    /// In depth, height and width.
    pub space: [isize; 3],
}

impl InputStrides {
    /// Of a contiguous input with channels last.
    pub fn channels_last(shape: &ConvShape) -> Self {
        let [_, h, w] = shape.input.map(|n| n as isize);
        let c = shape.c_in as isize;
        let plane = shape.input[0] as isize * h * w;
        InputStrides {
            image: plane * c,
            channel: 1,
            space: [h * w * c, w * c, c],
        }
    }

    /// Of a contiguous input with channels first.
    pub fn channels_first(shape: &ConvShape) -> Self {
        let [d, h, w] = shape.input.map(|n| n as isize);
        let plane = d * h * w;
        InputStrides {
            image: plane * shape.c_in as isize,
            channel: plane,
            space: [h * w, w, 1],
        }
    }

    /// The distance of pixels, if all pixels of all images are at equal distances.
    pub(super) fn even_pixels(&self, shape: &ConvShape) -> Option<isize> {
        let [d, h, w] = shape.input.map(|n| n as isize);
        let pixel = self.space[2];
        let is_even = (h == 1 || self.space[1] == w * pixel)
            && (d == 1 || self.space[0] == h * w * pixel)
            && (shape.batch == 1 || self.image == d * h * w * pixel);
        is_even.then_some(pixel)
    }
}

/// The taps of a window, as offsets of pixels from the window's corner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) taps: Vec<[isize; 3]>,
    /// Least and greatest offset of taps by dimension.
    least: [isize; 3],
    greatest: [isize; 3],
    pub(super) stride: [usize; 3],
    pub(super) input: [usize; 3],
    pub(super) output: [usize; 3],
}

impl Window {
    /// All combinations of offsets in three dimensions, the last varying fastest.
    pub(super) fn new(
        offsets: [&[isize]; 3],
        stride: [usize; 3],
        input: [usize; 3],
        output: [usize; 3],
    ) -> Self {
        let mut taps = Vec::new();
        for &d in offsets[0] {
            for &h in offsets[1] {
                taps.extend(offsets[2].iter().map(|&w| [d, h, w]));
            }
        }
        let extreme = |pick: fn(isize, isize) -> isize| {
            std::array::from_fn(|i| offsets[i].iter().copied().reduce(pick).unwrap_or(0))
        };
        Window {
            taps,
            least: extreme(isize::min),
            greatest: extreme(isize::max),
            stride,
            input,
            output,
        }
    }

    /// The window of a convolution.
    pub(super) fn of(shape: &ConvShape) -> Self {
        let offsets: [Vec<isize>; 3] = std::array::from_fn(|i| {
            (0..shape.kernel[i])
                .map(|k| (k * shape.dilation[i]) as isize - shape.pads[i] as isize)
                .collect()
        });
        let [d, h, w] = &offsets;
        Window::new([d, h, w], shape.stride, shape.input, shape.output)
    }

    /// The corners of windows in an input that is padded already.
    pub(super) fn corners(shape: &ConvShape) -> CornerWindow {
        let reach = std::array::from_fn(|i| shape.reach(i));
        CornerWindow {
            stride: shape.stride,
            input: reach,
            output: shape.output,
        }
    }
}

/// A window of one tap at its corner; holds no list, so that making one allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct CornerWindow {
    stride: [usize; 3],
    input: [usize; 3],
    output: [usize; 3],
}

/// What [`WindowRows`] needs of a window.
pub(super) trait Taps: Sync {
    fn taps(&self) -> &[[isize; 3]];
    fn bounds(&self) -> ([isize; 3], [isize; 3]);
    fn sizes(&self) -> ([usize; 3], [usize; 3], [usize; 3]);
}

impl Taps for Window {
    fn taps(&self) -> &[[isize; 3]] {
        &self.taps
    }
    fn bounds(&self) -> ([isize; 3], [isize; 3]) {
        (self.least, self.greatest)
    }
    fn sizes(&self) -> ([usize; 3], [usize; 3], [usize; 3]) {
        (self.stride, self.input, self.output)
    }
}

impl Taps for CornerWindow {
    fn taps(&self) -> &[[isize; 3]] {
        &[[0; 3]]
    }
    fn bounds(&self) -> ([isize; 3], [isize; 3]) {
        ([0; 3], [0; 3])
    }
    fn sizes(&self) -> ([usize; 3], [usize; 3], [usize; 3]) {
        (self.stride, self.input, self.output)
    }
}

/// Rows of a product that are windows of an input with channels last.
#[derive(Clone, Copy)]
pub(super) struct WindowRows<'a, T> {
    x: *const f32,
    image: isize,
    space: [isize; 3],
    window: &'a T,
    /// What taps in the padding read.
    zeros: *const f32,
}

// SAFETY: holds addresses only; whoever reads through them promises that they are valid.
unsafe impl<T: Sync> Sync for WindowRows<'_, T> {}

impl<'a, T: Taps> WindowRows<'a, T> {
    pub(super) fn new(
        x: *const f32,
        strides: &InputStrides,
        window: &'a T,
        zeros: *const f32,
    ) -> Self {
        WindowRows {
            x,
            image: strides.image,
            space: strides.space,
            window,
            zeros,
        }
    }
}

impl<T: Taps> Rows for WindowRows<'_, T> {
    unsafe fn locate(&self, row: usize, n: usize, to: *mut *const f32) {
        let (stride, input, output) = self.window.sizes();
        let (least, greatest) = self.window.bounds();
        let [sd, sh, sw] = self.space;
        let [_, oh, ow] = output;
        let mut at = [row / (ow * oh) % output[0], row / ow % oh, row % ow];
        let mut image = row / (ow * oh * output[0]);
        for i in 0..n {
            let corner: [isize; 3] = std::array::from_fn(|d| (at[d] * stride[d]) as isize);
            let base = self.x.wrapping_offset(
                image as isize * self.image + corner[0] * sd + corner[1] * sh + corner[2] * sw,
            );
            let is_inside = (0..3)
                .all(|d| corner[d] + least[d] >= 0 && corner[d] + greatest[d] < input[d] as isize);
            for (t, tap) in self.window.taps().iter().enumerate() {
                let is_valid = is_inside
                    || (0..3).all(|d| {
                        let p = corner[d] + tap[d];
                        p >= 0 && p < input[d] as isize
                    });
                let p = if is_valid {
                    base.wrapping_offset(tap[0] * sd + tap[1] * sh + tap[2] * sw)
                } else {
                    self.zeros
                };
                // SAFETY: the caller promises room for `n` pointers a tap.
                unsafe { *to.add(t * n + i) = p };
            }
            at[2] += 1;
            for d in [2, 1] {
                if at[d] == output[d] {
                    at[d] = 0;
                    at[d - 1] += 1;
                }
            }
            if at[0] == output[0] {
                at[0] = 0;
                image += 1;
            }
        }
    }
}

/// Offsets of the elements under a window, in the order of weights `[c, d, h, w]`; `None` if one
/// is too large for the table.
pub(super) fn tap_offsets(shape: &ConvShape, strides: &InputStrides) -> Option<Vec<i32>> {
    let [kd, kh, kw] = shape.kernel.map(|k| k as isize);
    let [dd, dh, dw] = shape.dilation.map(|d| d as isize);
    let mut offsets = Vec::new();
    for c in 0..shape.c_in as isize {
        for d in 0..kd {
            for h in 0..kh {
                for w in 0..kw {
                    let offset = c * strides.channel
                        + d * dd * strides.space[0]
                        + h * dh * strides.space[1]
                        + w * dw * strides.space[2];
                    offsets.push(i32::try_from(offset).ok()?);
                }
            }
        }
    }
    Some(offsets)
}
