//! Borders around tensors.

use super::super::real::copy_row;
use super::super::{Cx, Execute, Needs};
use plans::spec::{PadMode, PadSpec};

/// Elements that a thread should have at least.
const GRAIN: usize = 1 << 15;

#[derive(Clone, Copy)]
struct Axis {
    input: i64,
    output: i64,
    /// Where the first element of x lies in the output.
    begin: i64,
    x: isize,
    out: isize,
}

impl Axis {
    /// The input position that output position `o` repeats; `None` in a constant border.
    fn source(&self, mode: PadMode, o: i64) -> Option<i64> {
        let i = o - self.begin;
        let n = self.input;
        if (0..n).contains(&i) {
            return Some(i);
        }
        match mode {
            PadMode::Constant => None,
            PadMode::Edge => Some(i.clamp(0, n - 1)),
            PadMode::Wrap => Some(i.rem_euclid(n)),
            PadMode::Reflect if n == 1 => Some(0),
            PadMode::Reflect => {
                let period = 2 * (n - 1);
                let along = i.rem_euclid(period);
                Some(along.min(period - along))
            }
        }
    }

    /// The outputs that are elements of x.
    fn interior(&self) -> std::ops::Range<i64> {
        let first = self.begin.clamp(0, self.output);
        first..(self.begin + self.input).clamp(first, self.output)
    }

    /// Whether nothing is added or cut off.
    fn is_whole(&self) -> bool {
        self.begin == 0 && self.input == self.output
    }
}

/// A prepared border.
pub(crate) struct Pad {
    outer: Vec<Axis>,
    inner: Axis,
    mode: PadMode,
    size: usize,
    n_rows: usize,
}

impl Pad {
    pub(crate) fn new(spec: &PadSpec) -> Self {
        let mut axes: Vec<Axis> = (0..spec.input.len())
            .map(|d| Axis {
                input: spec.input[d] as i64,
                output: spec.output[d] as i64,
                begin: spec.begin[d],
                x: spec.x.strides[d] as isize,
                out: spec.out.strides[d] as isize,
            })
            .collect();
        axes.sort_by_key(|a| std::cmp::Reverse(a.out.unsigned_abs()));
        let inner = axes.pop().unwrap_or(Axis {
            input: 1,
            output: 1,
            begin: 0,
            x: 1,
            out: 1,
        });
        let mut pad = Self {
            outer: axes,
            inner,
            mode: spec.mode,
            size: spec.x.dtype.size(),
            n_rows: 0,
        };
        pad.join_inner();
        let rows: i64 = pad.outer.iter().map(|a| a.output).product();
        pad.n_rows = if pad.inner.output == 0 {
            0
        } else {
            rows as usize
        };
        pad
    }

    /// Takes whole inner dimensions, such as channels, with the one around them.
    fn join_inner(&mut self) {
        while self.mode == PadMode::Constant
            && self.inner.is_whole()
            && let Some(&outer) = self.outer.last()
            && outer.x == self.inner.x * self.inner.input as isize
            && outer.out == self.inner.out * self.inner.output as isize
        {
            self.outer.pop();
            let n = self.inner.input;
            self.inner = Axis {
                input: outer.input * n,
                output: outer.output * n,
                begin: outer.begin * n,
                ..self.inner
            };
        }
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn row(&self, cx: &Cx<'_>, row: usize) {
        let size = self.size as isize;
        let mut rest = row as i64;
        let (mut from, mut to) = (Some(0), 0);
        for axis in self.outer.iter().rev() {
            let o = rest % axis.output;
            rest /= axis.output;
            to += o as isize * axis.out;
            from = from
                .zip(axis.source(self.mode, o))
                .map(|(from, i)| from + i as isize * axis.x);
        }
        let inner = &self.inner;
        let x = cx.args[0].cast_const();
        let out = cx.args[cx.args.len() - 1];
        // SAFETY: sources are positions of x, targets of the output; for a constant border the
        // argument between them is one element.
        unsafe {
            let at = |o: i64| out.offset((to + o as isize * inner.out) * size);
            let fill = |o: std::ops::Range<i64>| {
                let n = (o.end - o.start) as usize;
                copy_row(self.size, cx.args[1], 0, at(o.start), inner.out, n);
            };
            let Some(from) = from else {
                return fill(0..inner.output);
            };
            let interior = inner.interior();
            let first = from + (interior.start - inner.begin) as isize * inner.x;
            let n = (interior.end - interior.start) as usize;
            if n > 0 {
                let x = x.offset(first * size);
                copy_row(self.size, x, inner.x, at(interior.start), inner.out, n);
            }
            let borders = [0..interior.start, interior.end..inner.output];
            if self.mode == PadMode::Constant {
                return borders.into_iter().for_each(fill);
            }
            for o in borders.into_iter().flatten() {
                if let Some(i) = inner.source(self.mode, o) {
                    let x = x.offset((from + i as isize * inner.x) * size);
                    copy_row(self.size, x, 0, at(o), 0, 1);
                }
            }
        }
    }
}

impl Execute for Pad {
    fn implementation(&self) -> &'static str {
        "rows"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let grain = GRAIN.div_ceil((self.inner.output as usize).max(1));
        cx.parallel(self.n_rows, grain, &|range, _| {
            for row in range {
                // SAFETY: rows are disjoint; the rest is the caller's promise.
                unsafe { self.row(cx, row) };
            }
        });
    }
}
