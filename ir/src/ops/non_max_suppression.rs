//! Selection of boxes that overlap no better one.

use super::operands::{expect_type, n_elements, operand, read, with_cx};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// Triples (instance, class, box) of the boxes that no box of the same class and a higher score
    /// overlaps, by instance, class and falling score; of equal scores the first one first.
    ///
    /// Operands: boxes f32 `[N, boxes, 4]`, scores f32 `[N, classes, boxes]`, and three optional
    /// constants: the most boxes of a class (i64; 0 if left out, which selects none), the ratio of
    /// intersection to union above which boxes overlap (f32, 0), and a score that boxes must exceed (f32).
    /// Result: i64 `[selected, 3]`, its size known only at run time.
    NonMaxSuppression {
        /// Whether a box is centre and size (x, y, width, height) rather than two corners (y, x, y, x).
        center_point_box: bool = false,
    }
}

/// The limits of a selection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SelectionLimits {
    /// The most boxes of one class of one instance.
    pub boxes: usize,
    /// The ratio of intersection to union above which boxes overlap.
    pub overlap: f32,
    /// The score that boxes must exceed, if any.
    pub score: Option<f32>,
}

impl NonMaxSuppression {
    /// The limits in operands 2, 3 and 4, which must be constant.
    pub fn limits(&self, cx: &InferCx<'_>) -> Result<SelectionLimits, OpError> {
        let number = |i: usize, name: &'static str| match cx.optional(i) {
            None => Ok(None),
            Some(_) => constants(cx.constant(i), name),
        };
        let boxes = number(2, "max_output_boxes_per_class")?.unwrap_or(0.0);
        let overlap = number(3, "iou_threshold")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&overlap) {
            return Err(OpError::Shape(format!(
                "`iou_threshold` is {overlap}, expected 0 to 1"
            )));
        }
        let score = number(4, "score_threshold")?.map(|v| v as f32);
        Ok(SelectionLimits {
            boxes: boxes.max(0.0) as usize,
            overlap: overlap as f32,
            score,
        })
    }
}

/// The one number of a constant.
fn constants(tensor: Option<&Tensor>, name: &'static str) -> Result<Option<f64>, OpError> {
    match tensor
        .and_then(Tensor::to_f64)
        .ok_or(OpError::NotConstant(name))?[..]
    {
        [v] => Ok(Some(v)),
        ref other => Err(OpError::Shape(format!(
            "`{name}` is {other:?}, expected one number"
        ))),
    }
}

/// A box by its least and greatest coordinates.
#[derive(Clone, Copy)]
struct Area {
    least: [f64; 2],
    greatest: [f64; 2],
}

impl Area {
    fn new(numbers: &[f64], center: bool) -> Self {
        let pair = |i: usize| {
            if center {
                let (middle, half) = (numbers[i], numbers[i + 2] / 2.0);
                (middle - half, middle + half)
            } else {
                (
                    numbers[i].min(numbers[i + 2]),
                    numbers[i].max(numbers[i + 2]),
                )
            }
        };
        let (a, b) = (pair(0), pair(1));
        Self {
            least: [a.0, b.0],
            greatest: [a.1, b.1],
        }
    }

    fn size(&self) -> f64 {
        (0..2).map(|i| self.greatest[i] - self.least[i]).product()
    }

    /// Intersection over union; 0 if either is empty.
    fn overlap(&self, other: &Self) -> f64 {
        let common = Self {
            least: [0, 1].map(|i| self.least[i].max(other.least[i])),
            greatest: [0, 1].map(|i| self.greatest[i].min(other.greatest[i])),
        };
        let apart = (0..2).any(|i| common.greatest[i] <= common.least[i]);
        if apart || self.size() <= 0.0 || other.size() <= 0.0 {
            return 0.0;
        }
        common.size() / (self.size() + other.size() - common.size())
    }
}

/// The boxes that are selected for one class, best first.
fn select(areas: &[Area], scores: &[f64], limits: &SelectionLimits) -> Vec<usize> {
    let mut order: Vec<usize> = (0..areas.len())
        .filter(|&i| {
            limits
                .score
                .is_none_or(|least| scores[i] > f64::from(least))
        })
        .collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut selected: Vec<usize> = vec![];
    for candidate in order {
        if selected.len() >= limits.boxes {
            break;
        }
        let suppressed =
            |&s: &usize| areas[candidate].overlap(&areas[s]) > f64::from(limits.overlap);
        if !selected.iter().any(suppressed) {
            selected.push(candidate);
        }
    }
    selected
}

impl Operator for NonMaxSuppression {
    const NAME: &'static str = "NonMaxSuppression";
    const VERSIONS: &'static [u32] = &[10, 11];
    const INPUTS: RangeInclusive<usize> = 2..=5;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        self.limits(cx)?;
        let [instances, boxes, _] = cx.shape(0)?.0.as_slice() else {
            return Err(OpError::Shape(format!(
                "`boxes` is {}, expected rank 3",
                cx.input(0)?
            )));
        };
        let [_, classes, _] = cx.shape(1)?.0.as_slice() else {
            return Err(OpError::Shape(format!(
                "`scores` is {}, expected rank 3",
                cx.input(1)?
            )));
        };
        expect_type(
            cx,
            0,
            "boxes",
            DType::F32,
            &[instances.clone(), boxes.clone(), 4.into()],
        )?;
        let scores = [instances.clone(), classes.clone(), boxes.clone()];
        expect_type(cx, 1, "scores", DType::F32, &scores)?;
        let dims = [cx.fresh_dim(), Dim::Known(3)];
        Ok(vec![TensorType::new(
            DType::I64,
            dims.into_iter().collect(),
        )])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let limits = with_cx(inputs, 1, |cx| self.limits(cx))?;
        let (boxes, scores): (Vec<f64>, Vec<f64>) = (read(inputs, 0)?, read(inputs, 1)?);
        let n_boxes = operand(inputs, 0)?.dims()[1];
        let n_classes = operand(inputs, 1)?.dims()[1];
        let mut triples = vec![];
        for (instance, boxes) in boxes.chunks_exact((4 * n_boxes).max(1)).enumerate() {
            let areas: Vec<Area> = boxes
                .chunks_exact(4)
                .map(|b| Area::new(b, self.center_point_box))
                .collect();
            for class in 0..n_classes {
                let scores = &scores[(instance * n_classes + class) * n_boxes..][..n_boxes];
                for i in select(&areas, scores, &limits) {
                    triples.extend([instance as i64, class as i64, i as i64]);
                }
            }
        }
        Ok(vec![Tensor::from_slice(&[triples.len() / 3, 3], &triples)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        n_elements(inputs, 1)
    }
}
