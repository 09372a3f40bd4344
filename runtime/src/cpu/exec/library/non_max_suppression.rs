//! Boxes picked greedily by score.

use super::super::geometry::{Bump, bump_size};
use super::super::{Cx, Execute, Needs};
use plans::spec::NonMaxSuppressionSpec;

/// A prepared selection of boxes.
pub(crate) struct NonMaxSuppression {
    spec: NonMaxSuppressionSpec,
}

/// A box by its least and greatest coordinates.
#[derive(Clone, Copy)]
struct Area {
    least: [f64; 2],
    greatest: [f64; 2],
}

impl Area {
    fn new(numbers: [f32; 4], center_point: bool) -> Self {
        let pair = |i: usize| {
            let (a, b) = (f64::from(numbers[i]), f64::from(numbers[i + 2]));
            if center_point {
                (a - b / 2.0, a + b / 2.0)
            } else {
                (a.min(b), a.max(b))
            }
        };
        let (a, b) = (pair(0), pair(1));
        Self {
            least: [a.0, b.0],
            greatest: [a.1, b.1],
        }
    }

    fn size(&self) -> f64 {
        (self.greatest[0] - self.least[0]) * (self.greatest[1] - self.least[1])
    }

    /// Intersection over union; 0 if either is empty.
    fn overlap(&self, other: &Self) -> f64 {
        let common = Self {
            least: [0, 1].map(|i| self.least[i].max(other.least[i])),
            greatest: [0, 1].map(|i| self.greatest[i].min(other.greatest[i])),
        };
        let are_apart = (0..2).any(|i| common.greatest[i] <= common.least[i]);
        if are_apart || self.size() <= 0.0 || other.size() <= 0.0 {
            return 0.0;
        }
        common.size() / (self.size() + other.size() - common.size())
    }
}

impl NonMaxSuppression {
    pub(crate) fn new(spec: &NonMaxSuppressionSpec) -> Self {
        Self { spec: spec.clone() }
    }

    /// # Safety
    /// As [`Execute::run`]; there is such an image and box.
    unsafe fn area(&self, cx: &Cx<'_>, image: usize, index: i64) -> Area {
        let strides = &self.spec.boxes_in.strides;
        let first = image as isize * strides[0] as isize + index as isize * strides[1] as isize;
        let boxes = cx.args[0].cast::<f32>();
        let numbers = [0, 1, 2, 3].map(|i| {
            // SAFETY: the element is in the boxes' reach.
            unsafe { *boxes.offset(first + i * strides[2] as isize) }
        });
        Area::new(numbers, self.spec.center_point)
    }

    /// # Safety
    /// As [`Execute::run`]; there is such an image, class and box.
    unsafe fn score(&self, cx: &Cx<'_>, image: usize, class: usize, index: i64) -> f32 {
        let strides = &self.spec.scores.strides;
        let offset = image as isize * strides[0] as isize
            + class as isize * strides[1] as isize
            + index as isize * strides[2] as isize;
        // SAFETY: the element is in the scores' reach.
        unsafe { *cx.args[1].cast::<f32>().offset(offset) }
    }

    /// Writes a row of the result.
    ///
    /// # Safety
    /// As [`Execute::run`]; there is such a row.
    unsafe fn put(&self, cx: &Cx<'_>, row: usize, values: [i64; 3]) {
        let strides = &self.spec.out.strides;
        let out = cx.args[2].cast::<i64>();
        for (i, value) in values.into_iter().enumerate() {
            let offset = row as isize * strides[0] as isize + i as isize * strides[1] as isize;
            // SAFETY: the element is in the output's reach.
            unsafe { *out.offset(offset) = value };
        }
    }
}

impl Execute for NonMaxSuppression {
    fn implementation(&self) -> &'static str {
        "plain"
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: 2 * bump_size(self.spec.boxes as usize * 8),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let spec = &self.spec;
        let n_boxes = spec.boxes as usize;
        // SAFETY: the first worker's memory is what `needs` asks for, and only this thread runs.
        let mut bump = unsafe { Bump::new(cx.workers, self.needs().worker) };
        let order = bump.zeroed::<i64>(n_boxes);
        let picked = bump.zeroed::<i64>(n_boxes);
        let mut n_rows = 0;
        for image in 0..spec.batch as usize {
            for class in 0..spec.classes as usize {
                let mut n_candidates = 0;
                for i in 0..n_boxes as i64 {
                    // SAFETY: indices below their extents; the rest is the caller's promise.
                    let score = unsafe { self.score(cx, image, class, i) };
                    if spec.score_threshold.is_none_or(|least| score > least) {
                        order[n_candidates] = i;
                        n_candidates += 1;
                    }
                }
                let candidates = &mut order[..n_candidates];
                candidates.sort_unstable_by(|&a, &b| {
                    // SAFETY: as above.
                    let [x, y] = [a, b].map(|i| unsafe { self.score(cx, image, class, i) });
                    y.total_cmp(&x).then(a.cmp(&b))
                });
                let mut n_picked = 0;
                for &candidate in &*candidates {
                    if n_picked as u64 >= spec.max_output {
                        break;
                    }
                    // SAFETY: as above.
                    let area = unsafe { self.area(cx, image, candidate) };
                    let is_covered = picked[..n_picked].iter().any(|&p| {
                        // SAFETY: as above.
                        let other = unsafe { self.area(cx, image, p) };
                        area.overlap(&other) > f64::from(spec.iou_threshold)
                    });
                    if !is_covered {
                        picked[n_picked] = candidate;
                        n_picked += 1;
                        let values = [image as i64, class as i64, candidate];
                        // SAFETY: a class of an image has at most `max_output` rows.
                        unsafe { self.put(cx, n_rows, values) };
                        n_rows += 1;
                    }
                }
            }
        }
        // SAFETY: rows below their number; the count is one element.
        unsafe {
            for row in n_rows..spec.rows() as usize {
                self.put(cx, row, [0; 3]);
            }
            cx.args[3].cast::<i64>().write_unaligned(n_rows as i64);
        }
    }
}
