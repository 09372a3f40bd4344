//! What pooling over sliding windows shares.

use super::OpError;
use super::operands::{Number, known_dims, operand};
use super::window::WindowGeometry;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;

/// Type of the result: operand 0 with `geometry`'s output positions as spatial dimensions.
pub(crate) fn infer_pool(
    cx: &InferCx<'_>,
    geometry: &WindowGeometry,
) -> Result<TensorType, OpError> {
    let x = cx.input(0)?;
    for (&pad, (&kernel, &dilation)) in geometry
        .pads_begin
        .iter()
        .chain(&geometry.pads_end)
        .zip(geometry.kernel.iter().zip(&geometry.dilations).cycle())
    {
        let extent = (kernel - 1) * dilation + 1;
        if pad >= extent {
            return Err(OpError::Shape(format!(
                "padding of {pad} positions hides a window of extent {extent}"
            )));
        }
    }
    let spatial = geometry.output.iter().map(|&d| Dim::Known(d));
    let dims = x.shape.0[..2].iter().cloned().chain(spatial);
    Ok(TensorType::new(x.dtype, dims.collect()))
}

/// Folds each window: `start(output position)`, then `fold(state, position in the channel, element)`
/// over the input positions that the window covers, for each batch and channel. Results in order.
pub(crate) fn fold_windows<S: Clone>(
    inputs: &[Option<&Tensor>],
    geometry: &WindowGeometry,
    start: S,
    mut fold: impl FnMut(&mut S, usize, f64),
) -> Result<Vec<S>, OpError> {
    let x = operand(inputs, 0)?;
    let planes: usize = x.dims()[..2].iter().product();
    let x = f64::read(x)?;
    let n_in: usize = geometry.input.iter().product();
    let n_out: usize = geometry.output.iter().product();
    let mut states = vec![start; planes * n_out];
    geometry.visit(|o, _, i| {
        for plane in 0..planes {
            fold(&mut states[plane * n_out + o], i, x[plane * n_in + i]);
        }
    });
    Ok(states)
}

/// A result with these elements.
pub(crate) fn result(ty: &TensorType, values: &[f64]) -> Result<Tensor, OpError> {
    Ok(f64::write(ty.dtype, &known_dims(ty)?, values))
}

/// Declares a pooling operator's attributes: those of the window, then its own.
macro_rules! pool_attributes {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $crate::attributes! {
            $(#[$meta])*
            $name {
                /// Who chooses the padding.
                auto_pad: $crate::ops::AutoPad = $crate::ops::AutoPad::NotSet,
                /// Whether a last window that ends beyond the padded input counts.
                ceil_mode: bool = false,
                /// Distance between neighbouring positions of a window.
                dilations: Vec<i64> = vec![],
                /// Window size.
                kernel_shape: Vec<i64>,
                /// Padding: begins, then ends.
                pads: Vec<i64> = vec![],
                /// Distance between neighbouring windows.
                strides: Vec<i64> = vec![],
                $($own)*
            }
        }

        impl $name {
            /// The windows over an operand of type `x`.
            pub fn geometry(
                &self,
                x: &$crate::TensorType,
            ) -> Result<$crate::ops::WindowGeometry, $crate::OpError> {
                let (_, _, input) = $crate::ops::window::split_spatial(&x.shape)?;
                $crate::ops::window::WindowAttrs {
                    kernel: &$crate::ops::window::kernel(&self.kernel_shape)?,
                    strides: &self.strides,
                    dilations: &self.dilations,
                    pads: &self.pads,
                    auto_pad: self.auto_pad,
                    ceil: self.ceil_mode,
                }
                .geometry(&input)
            }
        }
    };
}
pub(crate) use pool_attributes;

/// The `flop` of a pooling operator: so many operations for each element that a window covers.
macro_rules! pool_flop {
    ($each:literal) => {
        fn flop(
            &self,
            _inputs: &[Option<&$crate::TensorType>],
            outputs: &[$crate::TensorType],
        ) -> u64 {
            let sizes = self.kernel_shape.iter().map(|k| k.unsigned_abs());
            let window = sizes.fold(1, u64::saturating_mul);
            let each = window.saturating_mul($each);
            $crate::ops::operands::flops(each, &[outputs.first()], 0)
        }
    };
}
pub(crate) use pool_flop;
