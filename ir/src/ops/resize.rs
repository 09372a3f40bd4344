//! Tensors of other sizes by interpolation.

use super::operands::{known_dims, operand, with_cx};
use super::sampling::{AxisSampling, cubic, extrapolate, pick, store, triangle, weigh};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attr_enum, attributes};
use std::ops::RangeInclusive;

attr_enum! {
    /// How [`Resize`] finds the position in its operand, of `n` elements along an axis, for
    /// position `i` of its result, of `m` elements; `scale` is about `m / n`.
    CoordinateMode {
        /// `(i + 0.5) / scale - 0.5`.
        HalfPixel = "half_pixel",
        /// The same, shifted so that the middles meet where `n * scale` is no integer.
        HalfPixelSymmetric = "half_pixel_symmetric",
        /// The same as `half_pixel`, but 0 where `m` is 1.
        PytorchHalfPixel = "pytorch_half_pixel",
        /// `i * (n - 1) / (n * scale - 1)`.
        AlignCorners = "align_corners",
        /// `i / scale`.
        Asymmetric = "asymmetric",
        /// `(i + 0.5) / scale`.
        TfHalfPixelForNn = "tf_half_pixel_for_nn",
        /// Evenly from the start to the end of a region of the operand.
        TfCropAndResize = "tf_crop_and_resize",
    }
}

attr_enum! {
    /// How [`Resize`] reads its operand between elements.
    ResizeMode {
        /// The nearest element.
        Nearest = "nearest",
        /// Straight lines between elements.
        Linear = "linear",
        /// Cubic convolution (Keys 1981).
        Cubic = "cubic",
    }
}

attr_enum! {
    /// Which element is nearest to a position between two.
    NearestMode {
        /// The nearer; of two equally near the one before.
        RoundPreferFloor = "round_prefer_floor",
        /// The nearer; of two equally near the one after.
        RoundPreferCeil = "round_prefer_ceil",
        /// The one before.
        Floor = "floor",
        /// The one after.
        Ceil = "ceil",
    }
}

impl NearestMode {
    /// The position of the element nearest to `at`.
    fn nearest(self, at: f64) -> f64 {
        match self {
            NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (at + 0.5).floor(),
            NearestMode::Floor => at.floor(),
            NearestMode::Ceil => at.ceil(),
        }
    }
}

attr_enum! {
    /// What the sizes that [`Resize`] is given mean.
    AspectRatioPolicy {
        /// The result's sizes.
        Stretch = "stretch",
        /// What no size may be above; all axes are scaled alike.
        NotLarger = "not_larger",
        /// What no size may be below; all axes are scaled alike.
        NotSmaller = "not_smaller",
    }
}

attributes! {
    /// Operand 0 with other sizes along some axes, its elements interpolated along each.
    ///
    /// Operands: x, roi (starts, then ends, as fractions of an axis), scales, sizes; one of the last two.
    Resize {
        /// Whether the filter of `linear` and `cubic` widens where the result is smaller.
        antialias: bool = false,
        /// The axes that roi, scales and sizes are for; all if left out.
        axes: Option<Vec<i64>> = None,
        /// How positions in the operand are found.
        coordinate_transformation_mode: CoordinateMode = CoordinateMode::HalfPixel,
        /// The parameter of cubic convolution.
        cubic_coeff_a: f32 = -0.75,
        /// Whether positions outside the operand have no weight rather than that of its edge.
        exclude_outside: bool = false,
        /// What `tf_crop_and_resize` gives for positions outside the operand.
        extrapolation_value: f32 = 0.0,
        /// What the sizes mean.
        keep_aspect_ratio_policy: AspectRatioPolicy = AspectRatioPolicy::Stretch,
        /// How the operand is read between elements.
        mode: ResizeMode = ResizeMode::Nearest,
        /// Which element is nearest, for the mode `nearest`.
        nearest_mode: NearestMode = NearestMode::RoundPreferFloor,
    }
}

/// How an axis changes.
#[derive(Clone, PartialEq, Debug)]
struct AxisChange {
    axis: usize,
    /// Elements before.
    n: usize,
    /// Elements after.
    m: usize,
    /// Elements after over elements before, as given.
    scale: f64,
    /// The region, as fractions of the axis.
    roi: (f64, f64),
}

/// The new size of an axis and its scale: the given one, or known with the size before.
struct NewSize {
    size: Option<usize>,
    scale: Option<f64>,
}

impl Resize {
    /// The axes that scales, sizes and roi are for.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(axes) = &self.axes else {
            return Ok((0..rank).collect());
        };
        let axes = axes.iter().map(|&a| normalize_axis(a, rank));
        let axes = axes.collect::<Result<Vec<_>, _>>()?;
        if (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
            return Err(OpError::Shape(format!("axes {axes:?} name an axis twice")));
        }
        Ok(axes)
    }

    /// New sizes and scales along `axes`; `None` where they are computed at run time.
    fn sizes(&self, cx: &InferCx<'_>, axes: &[usize]) -> Result<Option<Vec<NewSize>>, OpError> {
        let x = cx.shape(0)?;
        let (scales, sizes) = (list_operand(cx, 2), list_operand(cx, 3));
        let count = |n: usize, name: &str| match n == axes.len() {
            true => Ok(()),
            false => Err(OpError::Shape(format!(
                "{n} {name} for axes {axes:?} of {x}"
            ))),
        };
        let before = |i: usize| x.dim(axes[i]).known();
        match (scales, sizes) {
            (true, true) => Err(OpError::Arity("both `scales` and `sizes` are given".into())),
            (false, false) => Err(OpError::Arity(
                "neither `scales` nor `sizes` is given".into(),
            )),
            (true, false) => {
                let Some(scales) = cx.constant(2) else {
                    return Ok(None);
                };
                let scales = scales.to_vec::<f32>().ok_or_else(|| {
                    OpError::Type(format!("scales of type {}, expected f32", scales.dtype()))
                })?;
                count(scales.len(), "scales")?;
                let sizes = scales.iter().enumerate().map(|(i, &scale)| {
                    if !(scale > 0.0 && scale.is_finite()) {
                        return Err(OpError::Value(format!("the scale {scale}")));
                    }
                    // In f32, as declared shapes of models are computed.
                    let size = before(i).map(|n| (n as f32 * scale).floor() as usize);
                    let scale = Some(f64::from(scale));
                    Ok(NewSize { size, scale })
                });
                sizes.collect::<Result<_, _>>().map(Some)
            }
            (false, true) => {
                let Some(sizes) = cx.constant(3) else {
                    return Ok(None);
                };
                let wide = sizes.to_i64().ok_or_else(|| {
                    OpError::Type(format!("sizes of type {}, expected i64", sizes.dtype()))
                })?;
                count(wide.len(), "sizes")?;
                let sizes = wide.iter().map(|&s| {
                    usize::try_from(s).map_err(|_| OpError::Value(format!("the size {s}")))
                });
                let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
                let scale = |i: usize| Some(sizes[i] as f64 / before(i)? as f64);
                let common = |pick: fn(f64, f64) -> f64| {
                    (0..sizes.len()).map(scale).try_fold(None, |least, s| {
                        let s = s?;
                        Some(Some(least.map_or(s, |l| pick(l, s))))
                    })?
                };
                let common = match self.keep_aspect_ratio_policy {
                    AspectRatioPolicy::Stretch => {
                        let sizes = sizes.iter().enumerate().map(|(i, &size)| NewSize {
                            size: Some(size),
                            scale: scale(i),
                        });
                        return Ok(Some(sizes.collect()));
                    }
                    AspectRatioPolicy::NotLarger => common(f64::min),
                    AspectRatioPolicy::NotSmaller => common(f64::max),
                };
                let size = |i| Some((before(i)? as f64 * common? + 0.5).floor() as usize);
                let sizes = (0..sizes.len()).map(|i| NewSize {
                    size: size(i),
                    scale: common,
                });
                Ok(Some(sizes.collect()))
            }
        }
    }

    /// How each axis that changes does, operands being known.
    fn changes(&self, cx: &InferCx<'_>) -> Result<Vec<AxisChange>, OpError> {
        let x = cx.shape(0)?;
        let unknown = || OpError::Shape(format!("{x} is not known"));
        let dims = x.dims().ok_or_else(unknown)?;
        let axes = self.axes(dims.len())?;
        let sizes = self
            .sizes(cx, &axes)?
            .ok_or(OpError::NotConstant("scales or sizes"))?;
        let crops = self.coordinate_transformation_mode == CoordinateMode::TfCropAndResize;
        let roi = match cx.constant(1).and_then(Tensor::to_f64) {
            Some(roi) if crops && roi.len() == 2 * axes.len() => roi,
            _ if crops => {
                return Err(OpError::Shape(format!(
                    "`roi` does not hold a start and an end for axes {axes:?}"
                )));
            }
            _ => [vec![0.0; axes.len()], vec![1.0; axes.len()]].concat(),
        };
        let mut changes = vec![];
        for (i, (&axis, new)) in axes.iter().zip(sizes).enumerate() {
            let (n, roi) = (dims[axis], (roi[i], roi[axes.len() + i]));
            let m = new.size.ok_or_else(unknown)?;
            let scale = new.scale.ok_or_else(unknown)?;
            if n == 0 && m > 0 {
                return Err(OpError::Shape(
                    "an axis of no elements has none to read".into(),
                ));
            }
            if n != m || scale != 1.0 || roi != (0.0, 1.0) {
                let change = AxisChange {
                    axis,
                    n,
                    m,
                    scale,
                    roi,
                };
                changes.push(change);
            }
        }
        Ok(changes)
    }

    /// Where in the operand position `i` of the result lies.
    fn coordinate(&self, change: &AxisChange, i: usize) -> f64 {
        let AxisChange { n, m, scale, .. } = *change;
        let (start, end) = change.roi;
        let (i, last) = (i as f64, n as f64 - 1.0);
        // The size that the scale asks for, of which `m` is the whole part.
        let width = n as f64 * scale;
        match self.coordinate_transformation_mode {
            CoordinateMode::HalfPixel => (i + 0.5) / scale - 0.5,
            CoordinateMode::HalfPixelSymmetric => {
                let offset = n as f64 / 2.0 * (1.0 - m as f64 / width);
                offset + (i + 0.5) / scale - 0.5
            }
            CoordinateMode::PytorchHalfPixel if m <= 1 => 0.0,
            CoordinateMode::PytorchHalfPixel => (i + 0.5) / scale - 0.5,
            CoordinateMode::AlignCorners if width == 1.0 || m <= 1 => 0.0,
            CoordinateMode::AlignCorners => i * last / (width - 1.0),
            CoordinateMode::Asymmetric => i / scale,
            CoordinateMode::TfHalfPixelForNn => (i + 0.5) / scale,
            CoordinateMode::TfCropAndResize if m <= 1 => (start + end) / 2.0 * last,
            CoordinateMode::TfCropAndResize => {
                start * last + i * (end - start) * last / (width - 1.0)
            }
        }
    }

    /// The taps of position `i` of the result.
    fn taps(&self, change: &AxisChange, i: usize) -> Option<Vec<(usize, f64)>> {
        let last = change.n as f64 - 1.0;
        let at = self.coordinate(change, i);
        // Rounding noise of f64 must not turn an edge into an outside, nor a half into less.
        let coarse = f64::from(at as f32);
        if self.coordinate_transformation_mode == CoordinateMode::TfCropAndResize
            && !(0.0..=last).contains(&coarse)
        {
            return None;
        }
        let a = f64::from(self.cubic_coeff_a);
        let support = match self.mode {
            ResizeMode::Nearest => {
                let nearest = self.nearest_mode.nearest(coarse).clamp(0.0, last);
                return Some(vec![(nearest as usize, 1.0)]);
            }
            ResizeMode::Linear => 1.0,
            ResizeMode::Cubic => 2.0,
        };
        let shrink = if self.antialias {
            change.scale.min(1.0)
        } else {
            1.0
        };
        let weight = |p: f64| match self.mode {
            ResizeMode::Cubic => cubic((p - at) * shrink, a),
            _ => triangle((p - at) * shrink),
        };
        let first = (at - support / shrink).floor() as i64 + 1;
        let end = (at + support / shrink).ceil() as i64;
        let inside = |p: i64| (0..change.n as i64).contains(&p);
        let mut taps: Vec<(usize, f64)> = Vec::with_capacity((end - first) as usize);
        for p in first..end {
            let w = weight(p as f64);
            if w == 0.0 || (!inside(p) && self.exclude_outside) {
                continue;
            }
            let source = p.clamp(0, change.n as i64 - 1) as usize;
            match taps.last_mut() {
                Some((same, sum)) if *same == source => *sum += w,
                _ => taps.push((source, w)),
            }
        }
        let total: f64 = taps.iter().map(|(_, w)| w).sum();
        if (self.antialias || self.exclude_outside) && total != 0.0 {
            taps.iter_mut().for_each(|(_, w)| *w /= total);
        }
        Some(taps)
    }

    /// How each axis that changes is sampled, in the order in which the axes are given; operands
    /// must be constant and the shape of operand 0 known.
    pub fn samplings(&self, cx: &InferCx<'_>) -> Result<Vec<AxisSampling>, OpError> {
        let sampling = |change: &AxisChange| AxisSampling {
            axis: change.axis,
            taps: (0..change.m).map(|i| self.taps(change, i)).collect(),
        };
        Ok(self.changes(cx)?.iter().map(sampling).collect())
    }
}

/// Whether operand `i`, a list, is there; an empty one stands for one that is left out.
fn list_operand(cx: &InferCx<'_>, i: usize) -> bool {
    cx.optional(i)
        .is_some_and(|ty| ty.shape.n_elements() != Some(0))
}

impl Operator for Resize {
    const NAME: &'static str = "Resize";
    const VERSIONS: &'static [u32] = &[10, 11, 13, 18, 19];
    const INPUTS: RangeInclusive<usize> = 1..=4;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if self.mode == ResizeMode::Nearest && self.antialias {
            return Err(OpError::Unsupported(
                "`antialias` with mode `nearest`; leave it out".into(),
            ));
        }
        if self.mode != ResizeMode::Nearest && !super::map::is_number(x.dtype) {
            return Err(OpError::Type(format!(
                "operand of type {}, expected a number",
                x.dtype
            )));
        }
        let axes = self.axes(x.shape.rank())?;
        let mut dims = x.shape.0.clone();
        match self.sizes(cx, &axes)? {
            Some(sizes) => {
                for (axis, new) in axes.into_iter().zip(sizes) {
                    dims[axis] = match (new.size, new.scale) {
                        (Some(size), _) => Dim::Known(size),
                        (None, Some(1.0)) => dims[axis].clone(),
                        _ => cx.fresh_dim(),
                    };
                }
            }
            None => axes.into_iter().for_each(|a| dims[a] = cx.fresh_dim()),
        }
        Ok(vec![TensorType::new(x.dtype, Shape(dims))])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let dims = known_dims(&types[0])?;
        let samplings = with_cx(inputs, 1, |cx| self.samplings(cx))?;
        let result = match self.mode {
            ResizeMode::Nearest => pick(x, &samplings, self.extrapolation_value.into())?,
            _ => {
                let read = || OpError::Type("complex operand".into());
                let mut values = x.to_f64().ok_or_else(read)?;
                let mut dims = x.dims().to_vec();
                for s in &samplings {
                    values = weigh(&values, &mut dims, s);
                }
                for s in &samplings {
                    extrapolate(&mut values, &dims, s, self.extrapolation_value.into());
                }
                store(x, &dims, values)
            }
        };
        if result.dims() != dims {
            return Err(OpError::Shape(format!(
                "result of dimensions {:?}, expected {dims:?}",
                result.dims()
            )));
        }
        Ok(vec![result])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let per_axis: u64 = match self.mode {
            ResizeMode::Nearest => return 0,
            ResizeMode::Linear => 2,
            ResizeMode::Cubic => 4,
        };
        let Some(x) = inputs[0] else { return 0 };
        let changed = x
            .shape
            .0
            .iter()
            .zip(&outputs[0].shape.0)
            .filter(|(a, b)| a != b);
        let n = outputs[0].shape.n_elements().unwrap_or(0) as u64;
        n.saturating_mul(2)
            .saturating_mul(per_axis.saturating_pow(changed.count() as u32))
    }
}
