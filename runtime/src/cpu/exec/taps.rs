//! Which input positions the taps of sliding windows meet.

use plans::spec::Window;
use std::ops::Range;

/// The geometry of windows, for rows of outputs: positions along the innermost dimension.
pub(crate) struct Taps {
    input: Vec<i64>,
    output: Vec<i64>,
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
}

/// A tap that some outputs of a row meet inside of the input.
#[derive(Clone, Debug)]
pub(crate) struct Meeting {
    /// The tap, row-major.
    pub(crate) tap: usize,
    /// The outputs of the row (positions of the innermost dimension) that meet it.
    pub(crate) outputs: Range<usize>,
    /// The input position that the first of them meets: its offset by the given strides.
    pub(crate) offset: isize,
}

fn signed(list: &[u64]) -> Vec<i64> {
    // Specs bound all of these by 2^40.
    list.iter().map(|&v| v as i64).collect()
}

impl Taps {
    pub(crate) fn new(window: &Window) -> Self {
        Self {
            input: signed(&window.input),
            output: signed(&window.output),
            kernel: signed(&window.kernel),
            strides: signed(&window.strides),
            dilations: signed(&window.dilations),
            pads: signed(&window.pads_begin),
        }
    }

    /// Spatial dimensions.
    pub(crate) fn rank(&self) -> usize {
        self.kernel.len()
    }

    pub(crate) fn n_taps(&self) -> usize {
        self.kernel.iter().product::<i64>() as usize
    }

    /// Rows of outputs of one image and channel.
    pub(crate) fn n_rows(&self) -> usize {
        let outer = &self.output[..self.rank() - 1];
        outer.iter().product::<i64>() as usize
    }

    /// Outputs of a row.
    pub(crate) fn row_len(&self) -> usize {
        self.output[self.rank() - 1] as usize
    }

    /// Input positions of a row.
    pub(crate) fn row_inputs(&self) -> usize {
        self.input[self.rank() - 1] as usize
    }

    /// Input positions between neighbouring outputs of a row.
    pub(crate) fn row_step(&self) -> isize {
        self.strides[self.rank() - 1] as isize
    }

    /// The offset of row `row` by `strides` over output positions.
    pub(crate) fn row_offset(&self, row: usize, strides: &[isize]) -> isize {
        let mut rest = row as i64;
        let mut offset = 0;
        for d in (0..self.rank() - 1).rev() {
            offset += (rest % self.output[d]) as isize * strides[d];
            rest /= self.output[d];
        }
        offset
    }

    /// The offset of a tap by `strides` over taps.
    pub(crate) fn tap_offset(&self, tap: usize, strides: &[isize]) -> isize {
        let mut rest = tap as i64;
        let mut offset = 0;
        for d in (0..self.rank()).rev() {
            offset += (rest % self.kernel[d]) as isize * strides[d];
            rest /= self.kernel[d];
        }
        offset
    }

    /// Calls `f` for every tap that outputs of row `row` meet, in row-major order; `strides` are
    /// those of the input positions.
    pub(crate) fn meet(&self, row: usize, strides: &[isize], mut f: impl FnMut(Meeting)) {
        let inner = self.rank() - 1;
        'taps: for tap in 0..self.n_taps() {
            let mut taps = tap as i64;
            let inner_tap = taps % self.kernel[inner];
            taps /= self.kernel[inner];
            let (mut outputs, mut offset) = (row as i64, 0);
            for d in (0..inner).rev() {
                let position = (outputs % self.output[d]) * self.strides[d]
                    + (taps % self.kernel[d]) * self.dilations[d]
                    - self.pads[d];
                outputs /= self.output[d];
                taps /= self.kernel[d];
                if !(0..self.input[d]).contains(&position) {
                    continue 'taps;
                }
                offset += position as isize * strides[d];
            }
            let shift = inner_tap * self.dilations[inner] - self.pads[inner];
            let first = ceil_div(-shift, self.strides[inner]).max(0);
            let end = ceil_div(self.input[inner] - shift, self.strides[inner])
                .clamp(0, self.output[inner]);
            if first < end {
                let position = first * self.strides[inner] + shift;
                f(Meeting {
                    tap,
                    outputs: first as usize..end as usize,
                    offset: offset + position as isize * strides[inner],
                });
            }
        }
    }

    /// As [`Taps::meet`], for windows that are transposed: `input` are the positions of x, which
    /// step along the outputs. Calls `f(tap, first output, inputs, offset of the first input)` for
    /// every tap; neighbouring inputs meet outputs [`Taps::row_step`] apart.
    pub(crate) fn meet_transposed(
        &self,
        row: usize,
        strides: &[isize],
        mut f: impl FnMut(usize, usize, usize, isize),
    ) {
        let inner = self.rank() - 1;
        'taps: for tap in 0..self.n_taps() {
            let mut taps = tap as i64;
            let inner_tap = taps % self.kernel[inner];
            taps /= self.kernel[inner];
            let (mut outputs, mut offset) = (row as i64, 0);
            for d in (0..inner).rev() {
                let reached = outputs % self.output[d] + self.pads[d]
                    - (taps % self.kernel[d]) * self.dilations[d];
                outputs /= self.output[d];
                taps /= self.kernel[d];
                let position = reached / self.strides[d];
                if reached < 0 || reached % self.strides[d] != 0 || position >= self.input[d] {
                    continue 'taps;
                }
                offset += position as isize * strides[d];
            }
            // Input `i` meets output `i * stride + shift`.
            let stride = self.strides[inner];
            let shift = inner_tap * self.dilations[inner] - self.pads[inner];
            let first = ceil_div(-shift, stride).max(0);
            let end = ceil_div(self.output[inner] - shift, stride).clamp(0, self.input[inner]);
            if first < end {
                let output = (first * stride + shift) as usize;
                let offset = offset + first as isize * strides[inner];
                f(tap, output, (end - first) as usize, offset);
            }
        }
    }

    /// For output `o` along dimension `d`: how many taps lie within `before` positions before the
    /// input's first and `after` behind its last.
    fn n_inside(&self, d: usize, o: usize, before: i64, after: i64) -> usize {
        let start = o as i64 * self.strides[d] - self.pads[d];
        (0..self.kernel[d])
            .filter(|t| (-before..self.input[d] + after).contains(&(start + t * self.dilations[d])))
            .count()
    }

    /// For every output of row `row`: how many taps lie inside of the input, counting padding of
    /// `pads_end` after it and all padding before it if there is such a list.
    pub(crate) fn count_inside(&self, row: usize, pads_end: Option<&[i64]>, counts: &mut [f64]) {
        let inside = |d: usize, o: usize| {
            let (before, after) = pads_end.map_or((0, 0), |ends| (self.pads[d], ends[d]));
            self.n_inside(d, o, before, after)
        };
        let inner = self.rank() - 1;
        let mut rest = row as i64;
        let mut outer = 1;
        for d in (0..inner).rev() {
            outer *= inside(d, (rest % self.output[d]) as usize);
            rest /= self.output[d];
        }
        for (o, count) in counts.iter_mut().enumerate() {
            *count = (outer * inside(inner, o)) as f64;
        }
    }

    /// The offset by `strides` of the input position that output `o` of row `row` meets with `tap`.
    pub(crate) fn met(&self, row: usize, o: usize, tap: usize, strides: &[isize]) -> isize {
        let (mut outputs, mut taps) = (row as i64, tap as i64);
        let mut offset = 0;
        for d in (0..self.rank()).rev() {
            let output = if d + 1 == self.rank() {
                o as i64
            } else {
                let output = outputs % self.output[d];
                outputs /= self.output[d];
                output
            };
            let position = output * self.strides[d] + (taps % self.kernel[d]) * self.dilations[d]
                - self.pads[d];
            taps /= self.kernel[d];
            offset += position as isize * strides[d];
        }
        offset
    }
}

/// The quotient rounded up, of any number by a positive one.
fn ceil_div(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_windows_meet_the_pairs_that_windows_meet() {
        let forward = Taps {
            input: vec![9, 11],
            output: vec![4, 5],
            kernel: vec![3, 2],
            strides: vec![2, 3],
            dilations: vec![1, 2],
            pads: vec![1, 2],
        };
        let mut pairs = vec![];
        for row in 0..4 {
            forward.meet(row, &[100, 1], |m| {
                for (k, o) in m.outputs.enumerate() {
                    let i = m.offset as usize + k * 3;
                    pairs.push((m.tap, row * 100 + o, i));
                }
            });
        }
        let transposed = Taps {
            input: forward.output.clone(),
            output: forward.input.clone(),
            ..forward
        };
        let mut others = vec![];
        for row in 0..9 {
            transposed.meet_transposed(row, &[100, 1], |tap, first, n, offset| {
                for k in 0..n {
                    others.push((tap, offset as usize + k, row * 100 + first + k * 3));
                }
            });
        }
        pairs.sort_unstable();
        others.sort_unstable();
        assert!(pairs.len() > 60);
        assert_eq!(pairs, others);
    }
}
