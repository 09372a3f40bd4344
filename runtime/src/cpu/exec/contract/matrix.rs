//! Matrix products in f32 by the product library.

use super::super::Cx;
use super::super::bind::{BoundWeight, Packs};
use super::super::geometry::bump_size;
use super::Target;
use super::epilogue::{Addends, Pointers};
use super::layout::{Line, or_any};
use crate::cpu::gemm::{BatchGemm, BatchOffsets, Gemm, MatrixStrides, Output};
use crate::cpu::level::Level;
use crate::cpu::pool::PoolError;
use plans::spec::Operand;
use std::sync::Arc;

/// More problems than this are left to the plain loops: their offsets are stored.
const MAX_PROBLEMS: usize = 1 << 20;

/// A product of matrices: sizes and the strides of operands and result over batch, rows, columns.
pub(super) struct Shape {
    pub(super) batch: Vec<usize>,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: Vec<isize>,
    pub(super) b: Vec<isize>,
}

impl Shape {
    pub(super) fn new(batch: &[u64], [m, n, k]: [u64; 3], a: &Operand, b: &Operand) -> Self {
        let strides = |o: &Operand| o.strides.iter().map(|&s| s as isize).collect();
        Self {
            batch: batch.iter().map(|&n| n as usize).collect(),
            m: m as usize,
            n: n as usize,
            k: k as usize,
            a: strides(a),
            b: strides(b),
        }
    }

    fn rank(&self) -> usize {
        self.batch.len()
    }
}

/// One product of several.
struct Problem {
    gemm: usize,
    a: isize,
    c: isize,
    residual: isize,
}

enum Kind {
    /// B is a weight.
    Constant {
        gemms: Vec<Arc<Gemm>>,
        problems: Vec<Problem>,
        m: usize,
        a_row: isize,
        a_column: isize,
        output: OutputShape,
    },
    /// Both are known at run time; swapped, the transposed product is computed.
    Dynamic {
        gemm: BatchGemm,
        offsets: Vec<BatchOffsets>,
        is_swapped: bool,
    },
}

#[derive(Clone, Copy)]
enum OutputShape {
    Rows { stride: usize },
    Columns { stride: usize, plane: usize },
}

/// A prepared product.
pub(super) struct Matrix {
    kind: Kind,
    /// Floats from one row of the residual to the next.
    residual_row: usize,
}

impl Matrix {
    /// The product with its result at `target` (strides over the domain), or `None` if the library
    /// doesn't write such results.
    pub(super) fn new(
        level: Level,
        shape: &Shape,
        target: &[isize],
        addends: Addends<'_>,
        weight: Option<BoundWeight<'_>>,
        packs: &Packs,
    ) -> Option<Self> {
        let residual = addends.residual;
        let rank = shape.rank();
        let own_row = |r: &[isize]| or_any(r[rank], shape.m, 0);
        let (kind, residual_row) = match weight {
            Some(weight) => constant(level, shape, target, residual, weight, packs)?,
            None => {
                let kind = dynamic(level, shape, target, addends)?;
                (kind, residual.map_or(0, own_row))
            }
        };
        Some(Self {
            kind,
            residual_row: usize::try_from(residual_row).ok()?,
        })
    }

    /// Bytes of scratch of a run on `n_threads` threads.
    pub(super) fn scratch_bytes(&self, n_threads: usize) -> usize {
        bump_size(match &self.kind {
            Kind::Constant {
                gemms, m, a_column, ..
            } => gemms
                .iter()
                .map(|g| g.scratch_bytes(*m, n_threads, *a_column != 1))
                .max()
                .unwrap_or(0),
            Kind::Dynamic { gemm, .. } => gemm.scratch_bytes(n_threads),
        })
    }

    /// # Safety
    /// As `Execute::run`; `target` has room for the results, `scratch` is what
    /// [`Matrix::scratch_bytes`] says, aligned to 64.
    pub(super) unsafe fn run(
        &self,
        cx: &Cx<'_>,
        target: Target,
        pointers: Pointers,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let (a, b, c) = (
            cx.args[0].cast_const().cast::<f32>(),
            cx.args[1].cast_const().cast::<f32>(),
            target.at.cast::<f32>(),
        );
        // SAFETY: offsets are those of elements in the operands' reach; the rest is the caller's
        // promise.
        unsafe {
            match &self.kind {
                Kind::Dynamic {
                    gemm,
                    offsets,
                    is_swapped,
                } => {
                    let (a, b) = if *is_swapped { (b, a) } else { (a, b) };
                    let mut epilogue = pointers.epilogue();
                    epilogue.residual_stride = self.residual_row;
                    gemm.run(cx.pool, a, b, c, offsets, epilogue, scratch)
                }
                Kind::Constant {
                    gemms,
                    problems,
                    m,
                    a_row,
                    a_column,
                    output,
                } => {
                    for problem in problems {
                        let mut epilogue = pointers.epilogue();
                        epilogue.residual_stride = self.residual_row;
                        if !epilogue.residual.is_null() {
                            epilogue.residual = epilogue.residual.offset(problem.residual);
                        }
                        let data = c.offset(problem.c);
                        let output = match *output {
                            OutputShape::Rows { stride } => Output::Rows {
                                data,
                                row_stride: stride,
                            },
                            OutputShape::Columns { stride, plane } => Output::Columns {
                                data,
                                plane,
                                image_stride: 0,
                                column_stride: stride,
                            },
                        };
                        gemms[problem.gemm].run(
                            cx.pool,
                            *m,
                            a.offset(problem.a),
                            *a_row,
                            *a_column,
                            output,
                            epilogue,
                            scratch,
                        )?;
                    }
                    Ok(())
                }
            }
        }
    }
}

/// The offset of problem `i` by `strides` over the batch.
fn batch_offset(batch: &[usize], i: usize, strides: &[isize]) -> isize {
    let mut rest = i;
    let mut offset = 0;
    for (&extent, &stride) in batch.iter().zip(strides).rev() {
        offset += (rest % extent) as isize * stride;
        rest /= extent;
    }
    offset
}

fn constant(
    level: Level,
    shape: &Shape,
    target: &[isize],
    residual: Option<&[isize]>,
    weight: BoundWeight<'_>,
    packs: &Packs,
) -> Option<(Kind, isize)> {
    let rank = shape.rank();
    let n_problems: usize = shape.batch.iter().product();
    if n_problems > MAX_PROBLEMS {
        return None;
    }
    let b_strides = [shape.b[rank], shape.b[rank + 1]];
    let c_column = or_any(target[rank + 1], shape.n, 1);
    let c_row = or_any(target[rank], shape.m, shape.n as isize);

    // With one B, rows of all problems may be rows of one.
    let line = Line {
        extents: shape.batch.iter().copied().chain([shape.m]).collect(),
    };
    let is_shared = shape.b[..rank]
        .iter()
        .zip(&shape.batch)
        .all(|(&s, &n)| s == 0 || n == 1);
    let whole = |strides: &[isize]| line.stride(&strides[..=rank]);
    if is_shared
        && c_column == 1
        && let (Some(a_row), Some(c_row)) = (whole(&shape.a), whole(target))
        && residual.is_none_or(|r| whole(r).is_some())
    {
        let c_row = or_any(c_row, line.len(), shape.n as isize);
        let residual_row = residual.and_then(whole).unwrap_or(0);
        let kind = Kind::Constant {
            gemms: vec![packs.gemm(level, [shape.k, shape.n], b_strides, 0, weight)?],
            problems: vec![Problem {
                gemm: 0,
                a: 0,
                c: 0,
                residual: 0,
            }],
            m: line.len(),
            a_row,
            a_column: or_any(shape.a[rank + 1], shape.k, 1),
            output: OutputShape::Rows {
                stride: usize::try_from(c_row).ok().filter(|&s| s >= shape.n)?,
            },
        };
        return Some((kind, residual_row));
    }

    let output = if c_column == 1 && c_row >= shape.n as isize {
        OutputShape::Rows {
            stride: c_row as usize,
        }
    } else if or_any(target[rank], shape.m, 1) == 1
        && residual.is_none()
        && target[rank + 1] >= shape.m as isize
    {
        OutputShape::Columns {
            stride: target[rank + 1] as usize,
            plane: shape.m,
        }
    } else {
        return None;
    };
    let mut starts: Vec<isize> = vec![];
    let mut problems = vec![];
    for i in 0..n_problems {
        let at = |strides: &[isize]| batch_offset(&shape.batch, i, &strides[..rank]);
        let start = at(&shape.b);
        let gemm = starts.iter().position(|&s| s == start).unwrap_or_else(|| {
            starts.push(start);
            starts.len() - 1
        });
        problems.push(Problem {
            gemm,
            a: at(&shape.a),
            c: at(target),
            residual: residual.map_or(0, at),
        });
    }
    let gemms = starts
        .iter()
        .map(|&start| packs.gemm(level, [shape.k, shape.n], b_strides, start, weight))
        .collect::<Option<_>>()?;
    let kind = Kind::Constant {
        gemms,
        problems,
        m: shape.m,
        a_row: shape.a[rank],
        a_column: or_any(shape.a[rank + 1], shape.k, 1),
        output,
    };
    let residual_row = residual.map_or(0, |r| or_any(r[rank], shape.m, 0));
    Some((kind, residual_row))
}

fn dynamic(level: Level, shape: &Shape, target: &[isize], addends: Addends<'_>) -> Option<Kind> {
    let residual = addends.residual;
    let rank = shape.rank();
    let n_problems: usize = shape.batch.iter().product();
    if n_problems > MAX_PROBLEMS {
        return None;
    }
    let (c_row, c_column) = (
        or_any(target[rank], shape.m, shape.n as isize),
        or_any(target[rank + 1], shape.n, 1),
    );
    let is_swapped = if c_column == 1 && c_row >= shape.n as isize {
        false
    } else if or_any(target[rank], shape.m, 1) == 1 && c_column >= shape.m as isize {
        true
    } else {
        return None;
    };
    if is_swapped && (addends.has_bias || residual.is_some()) {
        return None;
    }
    let a = MatrixStrides {
        row: shape.a[rank],
        column: or_any(shape.a[rank + 1], shape.k, 1),
    };
    let b = MatrixStrides {
        row: shape.b[rank],
        column: or_any(shape.b[rank + 1], shape.n, 1),
    };
    let transposed = |s: MatrixStrides| MatrixStrides {
        row: s.column,
        column: s.row,
    };
    let gemm = if is_swapped {
        let sizes = [shape.n, shape.k, shape.m];
        let left = MatrixStrides {
            row: shape.b[rank + 1],
            column: or_any(shape.b[rank], shape.k, 1),
        };
        BatchGemm::new(level, sizes, left, transposed(a), c_column as usize)
    } else {
        BatchGemm::new(level, [shape.m, shape.k, shape.n], a, b, c_row as usize)
    };
    let offsets = (0..n_problems)
        .map(|i| {
            let at = |strides: &[isize]| batch_offset(&shape.batch, i, &strides[..rank]);
            let (a, b) = (at(&shape.a), at(&shape.b));
            BatchOffsets {
                a: if is_swapped { b } else { a },
                b: if is_swapped { a } else { b },
                c: at(target),
                residual: residual.map_or(0, at),
            }
        })
        .collect();
    Some(Kind::Dynamic {
        gemm,
        offsets,
        is_swapped,
    })
}
