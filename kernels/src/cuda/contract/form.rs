//! What all contractions are: batches of products `left[rows, k] * right[k, columns]`, whose
//! factors are read where their elements lie.
//!
//! A convolution is the product of its positions by its taps and channels, and of these by its
//! output channels. A transposed convolution of stride s is s products along each dimension, one a
//! residue of the output position (a phase), each with the taps that meet it: so nothing is
//! multiplied by the zeros between the input's elements.

use plans::DType;
use plans::spec::{ContractSpec, Operand, Problem, Window};

/// A contraction as products.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// Extents of the dimensions of independent products; the last ones are those of `phases`.
    pub(super) batch: Vec<u64>,
    /// Extents that the rows of a product run over.
    pub(super) rows: Vec<u64>,
    /// Extents that its columns run over.
    pub(super) cols: Vec<u64>,
    /// Extents that its sums run over. With phases, the taps are the most of any phase.
    pub(super) k: Vec<u64>,
    /// How many of `k`, from the first, are taps.
    pub(super) n_taps: usize,
    /// The factor with the rows.
    pub(super) left: Factor,
    /// The factor with the columns.
    pub(super) right: Factor,
    /// Residues of output positions.
    pub(super) phases: Vec<Phased>,
    /// What the positions along the dimensions of the epilogue's domain are.
    pub(super) domain: Vec<Place>,
    /// The type of the sums.
    pub(super) sum: DType,
}

/// One of the operands; strides are in elements.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// Which argument of the kernel it is.
    pub(super) arg: usize,
    pub(super) dtype: DType,
    /// The offset where all positions are 0.
    pub(super) start: i64,
    /// Strides over [`Form::batch`].
    pub(super) batch: Vec<i64>,
    /// Strides over the rows, or the columns.
    pub(super) own: Vec<i64>,
    /// Strides over [`Form::k`].
    pub(super) k: Vec<i64>,
    /// Positions that may lie outside the operand, where it counts as zero.
    pub(super) checks: Vec<Check>,
}

/// A position along a dimension of an operand: a sum of a position among the rows or columns and
/// one of the sum, times steps.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Which of the rows' or columns' dimensions.
    pub(super) own: usize,
    pub(super) own_step: i64,
    /// Which of the sum's dimensions.
    pub(super) k: usize,
    pub(super) k_step: i64,
    pub(super) start: i64,
    /// Positions from 0 to here are inside.
    pub(super) extent: u64,
    /// Which of the phases shifts it.
    pub(super) phase: Option<usize>,
}

/// A dimension whose output positions are taken apart by residue.
#[derive(Clone, Debug)]
pub(super) struct Phased {
    /// Which dimension of [`Form::batch`] counts the residues.
    pub(super) batch: usize,
    /// Which dimension of [`Form::k`] runs over its taps.
    pub(super) k: usize,
    /// What each residue has.
    pub(super) of: Vec<Phase>,
    /// The data operand's stride along the dimension.
    pub(super) position_stride: i64,
    /// The weight's stride along the taps.
    pub(super) tap_stride: i64,
}

/// One residue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Phase {
    /// Taps that meet it.
    pub(super) taps: u64,
    /// The first of them.
    pub(super) first_tap: u64,
    /// The input position where that tap meets the first output position.
    pub(super) position: i64,
}

/// A position of the domain: the sum of positions times steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) terms: Vec<(Axis, i64)>,
    /// The extent, where the sum may reach beyond it.
    pub(super) limit: Option<u64>,
}

/// A dimension of a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Axis {
    Batch(usize),
    Row(usize),
    Col(usize),
}

impl Form {
    /// The products of a contraction.
    pub(super) fn of(spec: &ContractSpec) -> Option<Self> {
        let sum = spec.problem.sum_dtype().ok()?;
        let form = match &spec.problem {
            Problem::MatMul {
                batch,
                m,
                n,
                k,
                a,
                b,
            } => matmul(batch, [*m, *n, *k], a, b, sum),
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            } => convolution(
                [*batch, *groups, *in_channels, *out_channels],
                window,
                (x, w),
                false,
                sum,
            ),
            Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            } => convolution(
                [*batch, *groups, *in_channels, *out_channels],
                window,
                (x, w),
                true,
                sum,
            ),
        };
        let first = spec.epilogue.outputs.first();
        Some(if first.is_some_and(|out| form.prefers_swap(out)) {
            form.swapped()
        } else {
            form
        })
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.rows.iter().product()
    }

    pub(super) fn n_cols(&self) -> u64 {
        self.cols.iter().product()
    }

    pub(super) fn n_batch(&self) -> u64 {
        self.batch.iter().product()
    }

    /// Whether positions along rows, columns and sums fit in 32 bits, with room for a tile.
    pub(super) fn is_narrow(&self) -> bool {
        let most = (1 << 31) - (1 << 20);
        let positions = [self.n_rows(), self.n_cols(), self.depth()];
        positions.iter().all(|&n| n < most)
    }

    /// Whether factors and sums are f32.
    pub(super) fn is_f32(&self) -> bool {
        [self.left.dtype, self.right.dtype, self.sum] == [DType::F32; 3]
    }

    /// Products in a sum, at most.
    pub(super) fn depth(&self) -> u64 {
        self.k.iter().product()
    }

    /// Taps in a sum, at most.
    pub(super) fn taps(&self) -> u64 {
        self.k[..self.n_taps].iter().product()
    }

    /// The same with the channels as the outermost dimension of the sum, and no taps.
    pub(super) fn channel_first(&self) -> Option<Self> {
        if self.n_taps == 0 || !self.phases.is_empty() {
            return None;
        }
        let mut form = self.clone();
        form.n_taps = 0;
        form.k.rotate_right(1);
        for factor in [&mut form.left, &mut form.right] {
            factor.k.rotate_right(1);
            for check in &mut factor.checks {
                check.k += 1;
            }
        }
        Some(form)
    }

    /// The stride of an operand over the domain along a dimension of the form.
    pub(super) fn stride_along(&self, axis: Axis, operand: &Operand) -> i64 {
        let along = |place: &Place| -> i64 {
            let terms = place.terms.iter().filter(|(a, _)| *a == axis);
            terms.map(|(_, step)| step).sum()
        };
        let places = self.domain.iter().zip(&operand.strides);
        places.map(|(place, stride)| along(place) * stride).sum()
    }

    /// Strides of an operand over the domain along all rows, or all columns.
    pub(super) fn strides_along_rows(&self, operand: &Operand) -> Vec<i64> {
        let axes = (0..self.rows.len()).map(Axis::Row);
        axes.map(|a| self.stride_along(a, operand)).collect()
    }

    pub(super) fn strides_along_cols(&self, operand: &Operand) -> Vec<i64> {
        let axes = (0..self.cols.len()).map(Axis::Col);
        axes.map(|a| self.stride_along(a, operand)).collect()
    }

    /// Whether rows and columns should change places: columns are the many where the others are
    /// few, and else those that lie next to each other in the output.
    fn prefers_swap(&self, out: &Operand) -> bool {
        const FEW: u64 = 4;
        let (rows, cols) = (self.n_rows(), self.n_cols());
        if rows.min(cols) <= FEW && rows.max(cols) > 4 * FEW {
            return cols < rows;
        }
        let last = |extents: &[u64], strides: Vec<i64>| {
            let dims = extents.iter().zip(strides).rev();
            let mut strides = dims.filter(|(n, _)| **n > 1).map(|(_, s)| s.unsigned_abs());
            strides.next().unwrap_or(u64::MAX)
        };
        last(&self.rows, self.strides_along_rows(out))
            < last(&self.cols, self.strides_along_cols(out))
    }

    fn swapped(self) -> Self {
        let swap = |axis| match axis {
            Axis::Batch(n) => Axis::Batch(n),
            Axis::Row(n) => Axis::Col(n),
            Axis::Col(n) => Axis::Row(n),
        };
        let places = self.domain.into_iter().map(|place| Place {
            terms: place.terms.into_iter().map(|(a, s)| (swap(a), s)).collect(),
            limit: place.limit,
        });
        Self {
            rows: self.cols,
            cols: self.rows,
            left: self.right,
            right: self.left,
            domain: places.collect(),
            ..self
        }
    }
}

fn matmul(batch: &[u64], [m, n, k]: [u64; 3], a: &Operand, b: &Operand, sum: DType) -> Form {
    let n_batch = batch.len();
    let (a_batch, a_own) = a.strides.split_at(n_batch);
    let (b_batch, b_own) = b.strides.split_at(n_batch);
    // A batch that shares its right operand is one product of more rows.
    let shares = b_batch.iter().zip(batch).all(|(&s, &n)| s == 0 || n == 1);
    let n_outer = if shares { 0 } else { n_batch };
    let factor = |arg, o: &Operand, batch: Vec<i64>, own: Vec<i64>, k: i64| Factor {
        arg,
        dtype: o.dtype,
        start: 0,
        batch,
        own,
        k: vec![k],
        checks: vec![],
    };
    let rows = [&a_batch[n_outer..], &a_own[..1]].concat();
    let places = (0..n_batch).map(|d| if shares { Axis::Row(d) } else { Axis::Batch(d) });
    let places = places.chain([Axis::Row(n_batch - n_outer), Axis::Col(0)]);
    Form {
        batch: batch[..n_outer].to_vec(),
        rows: batch[n_outer..].iter().copied().chain([m]).collect(),
        cols: vec![n],
        k: vec![k],
        n_taps: 0,
        left: factor(0, a, a_batch[..n_outer].to_vec(), rows, a_own[1]),
        right: factor(1, b, b_batch[..n_outer].to_vec(), vec![b_own[1]], b_own[0]),
        phases: vec![],
        domain: places
            .map(|axis| Place {
                terms: vec![(axis, 1)],
                limit: None,
            })
            .collect(),
        sum,
    }
}

fn convolution(
    [batch, groups, in_channels, out_channels]: [u64; 4],
    window: &Window,
    (x, w): (&Operand, &Operand),
    transposed: bool,
    sum: DType,
) -> Form {
    let rank = window.kernel.len();
    let (x_channel, x_positions) = (x.strides[1], &x.strides[2..]);
    // The weight's first dimension is that of the groups' output channels, or input channels.
    let w_group = w.strides[0]
        * if transposed {
            in_channels
        } else {
            out_channels
        } as i64;
    let (w_in, w_out) = if transposed {
        (w.strides[0], w.strides[1])
    } else {
        (w.strides[1], w.strides[0])
    };
    let w_taps = &w.strides[2..];
    let mut form = Form {
        batch: vec![groups],
        rows: vec![batch],
        cols: vec![out_channels],
        k: vec![],
        n_taps: rank,
        left: Factor {
            arg: 0,
            dtype: x.dtype,
            start: 0,
            batch: vec![x_channel * in_channels as i64],
            own: vec![x.strides[0]],
            k: vec![],
            checks: vec![],
        },
        right: Factor {
            arg: 1,
            dtype: w.dtype,
            start: 0,
            batch: vec![w_group],
            own: vec![w_out],
            k: vec![],
            checks: vec![],
        },
        phases: vec![],
        domain: vec![
            Place {
                terms: vec![(Axis::Row(0), 1)],
                limit: None,
            },
            Place {
                terms: vec![(Axis::Batch(0), out_channels as i64), (Axis::Col(0), 1)],
                limit: None,
            },
        ],
        sum,
    };
    for d in 0..rank {
        let geometry = Geometry {
            input: window.input[d],
            output: window.output[d],
            kernel: window.kernel[d],
            stride: window.strides[d],
            dilation: window.dilations[d],
            pad: window.pads_begin[d],
        };
        form.add_dimension(&geometry, x_positions[d], w_taps[d], transposed);
    }
    form.k.push(in_channels);
    form.left.k.push(x_channel);
    form.right.k.push(w_in);
    form
}

/// One dimension of a window.
struct Geometry {
    input: u64,
    output: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    pad: u64,
}

impl Geometry {
    /// The taps that meet output positions of residue `residue`, and how far apart they are: tap t
    /// meets output o at input `(o + pad - t * dilation) / stride`, if that is whole.
    fn phase(&self, residue: u64) -> Phase {
        let period = self.stride / gcd(self.stride, self.dilation);
        let meets = |t: &u64| {
            (residue + self.pad)
                .abs_diff(t * self.dilation)
                .is_multiple_of(self.stride)
        };
        match (0..period.min(self.kernel)).find(meets) {
            Some(first_tap) => Phase {
                taps: (self.kernel - first_tap).div_ceil(period),
                first_tap,
                position: ((residue + self.pad) as i64 - (first_tap * self.dilation) as i64)
                    / self.stride as i64,
            },
            None => Phase {
                taps: 0,
                first_tap: 0,
                position: 0,
            },
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Form {
    /// Adds a dimension of a window: to the rows its output positions, to the sum its taps.
    fn add_dimension(&mut self, g: &Geometry, x_stride: i64, w_stride: i64, transposed: bool) {
        let (own, k) = (self.rows.len(), self.k.len());
        let (own_step, k_step, start, taps, w_step);
        if transposed {
            let period = (g.stride / gcd(g.stride, g.dilation)) as i64;
            (own_step, k_step) = (1, -(period * g.dilation as i64) / g.stride as i64);
            w_step = period * w_stride;
            let phases: Vec<Phase> = (0..g.stride.min(g.output.max(1)))
                .map(|residue| g.phase(residue))
                .collect();
            taps = phases.iter().map(|p| p.taps).max().unwrap_or(0);
            self.rows.push(g.output.div_ceil(g.stride));
            let mut place = Place {
                terms: vec![(Axis::Row(own), g.stride as i64)],
                limit: (!g.output.is_multiple_of(g.stride)).then_some(g.output),
            };
            if let &[only] = phases.as_slice() {
                start = only.position;
                self.right.start += only.first_tap as i64 * w_stride;
                place.limit = None;
            } else {
                start = 0;
                place.terms.push((Axis::Batch(self.batch.len()), 1));
                self.phases.push(Phased {
                    batch: self.batch.len(),
                    k,
                    of: phases,
                    position_stride: x_stride,
                    tap_stride: w_stride,
                });
                self.batch.push(g.stride.min(g.output));
                self.left.batch.push(0);
                self.right.batch.push(0);
            }
            self.domain.push(place);
        } else {
            (own_step, k_step) = (g.stride as i64, g.dilation as i64);
            (start, taps, w_step) = (-(g.pad as i64), g.kernel, w_stride);
            self.rows.push(g.output);
            self.domain.push(Place {
                terms: vec![(Axis::Row(own), 1)],
                limit: None,
            });
        }
        self.k.push(taps);
        self.left.own.push(own_step * x_stride);
        self.left.k.push(k_step * x_stride);
        self.left.start += start * x_stride;
        self.right.k.push(w_step);
        let phase = self.phases.iter().position(|p| p.k == k);
        let last = |n: u64, step: i64| (n as i64 - 1).max(0) * step;
        let reaches = [last(self.rows[own], own_step), last(taps, k_step)];
        let low = start + reaches.iter().map(|r| r.min(&0)).sum::<i64>();
        let high = start + reaches.iter().map(|r| r.max(&0)).sum::<i64>();
        if phase.is_some() || low < 0 || high >= g.input as i64 {
            self.left.checks.push(Check {
                own,
                own_step,
                k,
                k_step,
                start,
                extent: g.input,
                phase,
            });
        }
    }
}

/// The one stride of dimensions that are walked as if they were one.
pub(super) fn only(extents: &[u64], strides: &[i64]) -> Option<i64> {
    let mut joined: Option<(i64, i64)> = None;
    let dims = extents.iter().zip(strides).filter(|(n, _)| **n != 1);
    for (&n, &stride) in dims {
        match joined {
            Some((_, outer)) if outer != stride * n as i64 => return None,
            Some((extent, _)) => joined = Some((extent * n as i64, stride)),
            None => joined = Some((n as i64, stride)),
        }
    }
    Some(joined.map_or(0, |(_, stride)| stride))
}
