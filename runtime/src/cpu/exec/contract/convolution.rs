//! Convolutions in f32 by the product library.

use super::super::Cx;
use super::super::bind::{BoundWeight, Packs};
use super::super::geometry::bump_size;
use super::layout::{Line, or_any};
use super::{Target, epilogue::Pointers};
use crate::cpu::conv::{Conv, ConvShape, ConvTranspose, InputStrides};
use crate::cpu::gemm::Output;
use crate::cpu::level::Level;
use crate::cpu::pool::PoolError;
use plans::spec::{Operand, Problem};
use std::sync::Arc;

/// A transposed convolution of more phases than this (the product of its strides) is left to the
/// plain loops.
const MAX_PHASES: usize = 1 << 12;

/// Where results of a convolution go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layout {
    /// Channels last: floats from one pixel to the next.
    Rows { stride: usize },
    /// Channels first.
    Columns {
        plane: usize,
        image: usize,
        channel: usize,
    },
}

impl Layout {
    /// The layout of results at these strides over batch, channel, positions.
    pub(super) fn of(domain: &[u64], strides: &[isize]) -> Option<Self> {
        let extents: Vec<usize> = domain.iter().map(|&n| n as usize).collect();
        let pixels = Line {
            extents: [&extents[..1], &extents[2..]].concat(),
        };
        let pixel_strides = [&strides[..1], &strides[2..]].concat();
        if or_any(strides[1], extents[1], 1) == 1
            && let Some(stride) = pixels.stride(&pixel_strides)
        {
            let stride = or_any(stride, pixels.len(), extents[1] as isize);
            if stride >= extents[1] as isize {
                return Some(Layout::Rows {
                    stride: stride as usize,
                });
            }
        }
        let plane = Line {
            extents: extents[2..].to_vec(),
        };
        let is_plane = or_any(plane.stride(&strides[2..])?, plane.len(), 1) == 1;
        let channel = or_any(strides[1], extents[1], plane.len() as isize);
        let image = or_any(strides[0], extents[0], 0);
        (is_plane && channel >= plane.len() as isize && image >= 0).then(|| Layout::Columns {
            plane: plane.len(),
            image: image as usize,
            channel: channel as usize,
        })
    }
}

enum Kind {
    Forward(Arc<Conv>),
    Transposed(Arc<ConvTranspose>),
}

/// A prepared convolution.
pub(super) struct Convolution {
    kind: Kind,
    layout: Layout,
}

/// The entries of three spatial dimensions, `fill` for those that are not there.
pub(in super::super) fn three(list: &[u64], fill: usize) -> [usize; 3] {
    let mut three = [fill; 3];
    for (to, &from) in three.iter_mut().rev().zip(list.iter().rev()) {
        *to = from as usize;
    }
    three
}

/// Strides of x over batch, channel, positions.
pub(in super::super) fn input_strides(x: &Operand) -> InputStrides {
    let mut space = [0; 3];
    for (to, &from) in space.iter_mut().rev().zip(x.strides[2..].iter().rev()) {
        *to = from as isize;
    }
    InputStrides {
        image: x.strides[0] as isize,
        channel: x.strides[1] as isize,
        space,
    }
}

impl Convolution {
    /// The convolution with its results in `layout`, or `None` if the library has no such.
    pub(super) fn new(
        level: Level,
        problem: &Problem,
        layout: Layout,
        weight: BoundWeight<'_>,
        packs: &Packs,
    ) -> Option<Self> {
        let (Problem::Conv {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }
        | Problem::ConvTranspose {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }) = problem
        else {
            return None;
        };
        if window.kernel.len() > 3 || *groups == 0 {
            return None;
        }
        let [_, (_, extents)] = problem.operands();
        let sizes = [*batch, *groups, *in_channels, *out_channels].map(|n| n as usize);
        let [batch, groups, c_in, c_out] = sizes;
        let shape = ConvShape {
            batch,
            c_in: groups * c_in,
            c_out: groups * c_out,
            groups,
            input: three(&window.input, 1),
            kernel: three(&window.kernel, 1),
            stride: three(&window.strides, 1),
            dilation: three(&window.dilations, 1),
            pads: three(&window.pads_begin, 0),
            output: three(&window.output, 1),
        };
        let input = input_strides(x);
        let kind = if matches!(problem, Problem::Conv { .. }) {
            Kind::Forward(packs.conv(level, shape, input, w, &extents, weight)?)
        } else {
            let n_phases = (0..3).try_fold(1usize, |n, d| {
                n.checked_mul(shape.stride[d].min(shape.output[d]))
            })?;
            if n_phases > MAX_PHASES || !matches!(layout, Layout::Rows { .. }) {
                return None;
            }
            Kind::Transposed(packs.conv_transpose(level, shape, input, w, &extents, weight)?)
        };
        Some(Self { kind, layout })
    }

    /// Bytes of scratch of a run on `n_threads` threads.
    pub(super) fn scratch_bytes(&self, n_threads: usize) -> usize {
        bump_size(match &self.kind {
            Kind::Forward(conv) => conv.scratch_bytes(n_threads),
            Kind::Transposed(conv) => conv.scratch_bytes(n_threads),
        })
    }

    /// # Safety
    /// As `Execute::run`; `target` has room for the results, `scratch` is what
    /// [`Convolution::scratch_bytes`] says, aligned to 64.
    pub(super) unsafe fn run(
        &self,
        cx: &Cx<'_>,
        target: Target,
        pointers: Pointers,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let x = cx.args[0].cast_const().cast::<f32>();
        let data = target.at.cast::<f32>();
        // SAFETY: x is valid for the strides that the convolution was bound to, as the argument's
        // reach says; the rest is the caller's promise.
        unsafe {
            match (&self.kind, self.layout) {
                (Kind::Forward(conv), Layout::Rows { stride }) => {
                    let output = Output::Rows {
                        data,
                        row_stride: stride,
                    };
                    conv.run(cx.pool, x, output, pointers.epilogue(), scratch)
                }
                (
                    Kind::Forward(conv),
                    Layout::Columns {
                        plane,
                        image,
                        channel,
                    },
                ) => {
                    let output = Output::Columns {
                        data,
                        plane,
                        image_stride: image,
                        column_stride: channel,
                    };
                    conv.run(cx.pool, x, output, pointers.epilogue(), scratch)
                }
                (Kind::Transposed(conv), Layout::Rows { stride }) => {
                    conv.run(cx.pool, x, data, stride, pointers.epilogue(), scratch)
                }
                // Not made by `new`.
                (Kind::Transposed(_), Layout::Columns { .. }) => Ok(()),
            }
        }
    }
}
