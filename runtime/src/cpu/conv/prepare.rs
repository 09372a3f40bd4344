//! Copies of inputs into the order that a convolution reads.

use super::geometry::{ConvShape, InputStrides};
use crate::cpu::gemm::drive::Address;
use crate::cpu::pool::{Pool, PoolError};

/// Strides of the copy that [`padded_planes`] makes: `[image, channel, d, h, w]`.
pub(super) fn padded_strides(shape: &ConvShape) -> InputStrides {
    let [d, h, w] = std::array::from_fn(|i| shape.reach(i) as isize);
    let plane = d * h * w;
    InputStrides {
        image: plane * shape.c_in as isize,
        channel: plane,
        space: [h * w, w, 1],
    }
}

pub(super) fn n_padded_floats(shape: &ConvShape) -> usize {
    shape.batch * shape.c_in * (0..3).map(|i| shape.reach(i)).product::<usize>()
}

/// Copies planes with the padding that windows reach.
///
/// # Safety
/// `x` must be valid for the input, `to` for [`n_padded_floats`].
pub(super) unsafe fn padded_planes(
    pool: &Pool,
    shape: &ConvShape,
    strides: &InputStrides,
    x: *const f32,
    to: *mut f32,
) -> Result<(), PoolError> {
    let [depth, height, width] = std::array::from_fn(|i| shape.reach(i));
    let n_planes = shape.batch * shape.c_in * depth;
    // Lines in tasks of at least 16 kB.
    let n_lines = n_planes * height;
    let per_task = (4096 / width).max(1);
    let (x, to) = (Address(x.cast_mut().cast()), Address(to.cast()));
    pool.run(n_lines.div_ceil(per_task), &|task, _| {
        let first = task * per_task;
        for line in first..(first + per_task).min(n_lines) {
            let h = (line % height).wrapping_sub(shape.pads[1]);
            let d = (line / height % depth).wrapping_sub(shape.pads[0]);
            let c = line / height / depth % shape.c_in;
            let image = line / height / depth / shape.c_in;
            // SAFETY: the line is one of the copy's; pixels of the input are below its sizes.
            unsafe {
                let to = to.at(0).cast::<f32>().add(line * width);
                if d >= shape.input[0] || h >= shape.input[1] {
                    std::ptr::write_bytes(to, 0, width);
                    continue;
                }
                let from = x.at(0).cast::<f32>().offset(
                    image as isize * strides.image
                        + c as isize * strides.channel
                        + d as isize * strides.space[0]
                        + h as isize * strides.space[1],
                );
                let before = shape.pads[2].min(width);
                let n = shape.input[2].min(width - before);
                std::ptr::write_bytes(to, 0, before);
                if strides.space[2] == 1 {
                    std::ptr::copy_nonoverlapping(from, to.add(before), n);
                } else {
                    for w in 0..n {
                        *to.add(before + w) = *from.offset(w as isize * strides.space[2]);
                    }
                }
                std::ptr::write_bytes(to.add(before + n), 0, width - before - n);
            }
        }
    })
}

/// Copies the input so that channels come last.
///
/// # Safety
/// `x` must be valid for the input, `to` for as many floats.
pub(super) unsafe fn channels_last(
    pool: &Pool,
    shape: &ConvShape,
    strides: &InputStrides,
    x: *const f32,
    to: *mut f32,
) -> Result<(), PoolError> {
    let [depth, height, width] = shape.input;
    let n_lines = shape.batch * depth * height;
    let (x, to) = (Address(x.cast_mut().cast()), Address(to.cast()));
    pool.run(n_lines, &|line, _| {
        let h = line % height;
        let d = line / height % depth;
        let image = line / height / depth;
        // SAFETY: pixels and channels are below the input's sizes.
        unsafe {
            let from = x.at(0).cast::<f32>().offset(
                image as isize * strides.image
                    + d as isize * strides.space[0]
                    + h as isize * strides.space[1],
            );
            let to = to.at(0).cast::<f32>().add(line * width * shape.c_in);
            // Squares whose lines of both sides stay in the first-level cache.
            for w0 in (0..width).step_by(16) {
                let w1 = (w0 + 16).min(width);
                for c0 in (0..shape.c_in).step_by(16) {
                    let c1 = (c0 + 16).min(shape.c_in);
                    for w in w0..w1 {
                        for c in c0..c1 {
                            *to.add(w * shape.c_in + c) = *from.offset(
                                w as isize * strides.space[2] + c as isize * strides.channel,
                            );
                        }
                    }
                }
            }
        }
    })
}
